"""A SELECT of events, each once, in its newest version, for numbers about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from beam_pipeline.query.conditions import Conditions


@dataclass(frozen=True)
class Column:
    """Something to know of each event, under an alias that is no column's name."""

    alias: str
    sql: str
    nullable_default: str = ""
    """For an expression that may be NULL: a value of its type."""

    def newest(self) -> str:
        """Its value in the newest version. argMax alone would take it from the newest version in which it is not NULL."""
        if not self.nullable_default:
            return f"argMax({self.sql}, _version) AS {self.alias}"
        value = f"argMax(ifNull({self.sql}, {self.nullable_default}), _version)"
        return f"if(argMax(isNull({self.sql}), _version), NULL, {value}) AS {self.alias}"


def newest_events(conditions: Conditions, columns: Sequence[Column]) -> str:
    """A SELECT with a row for each event that meets the conditions in its newest version.

    Reads the rows that meet the conditions for their ids, and then all versions of these, unless all there are in a range
    of time are wanted. What was ingested before all of them is no newer version of any.
    """
    source = conditions.source
    identity = ", ".join(source.identity)
    where = conditions.where_versions
    having = ""
    if conditions.other and not conditions.are_on_time_only:
        found = f"FROM {source.table} WHERE {conditions.where}"
        where += f" AND ({identity}) IN (SELECT {identity} {found})"
        where += f" AND ingested_at >= (SELECT min(ingested_at) {found})"
    if conditions.other:
        having = f"HAVING argMax({conditions.matches}, _version) = 1"
    selection = ", ".join([*(column.newest() for column in columns), "1 AS _event"])
    return (
        f"WITH {source.version} AS _version SELECT {selection} FROM {source.table} "
        f"WHERE {where} GROUP BY {', '.join(conditions.telling)} {having}"
    )
