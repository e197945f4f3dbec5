"""A SELECT with each event once, in its newest version, for numbers to be computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from beam_pipeline.query.conditions import Conditions


@dataclass(frozen=True)
class Column:
    """An expression to select for each event, under an alias that is no column's name."""

    alias: str
    sql: str
    nullable_default: str = ""
    """For an expression that may be NULL: any value of its type."""

    def newest(self) -> str:
        """SQL for the value in the newest version. argMax alone would skip versions in which it is NULL."""
        if not self.nullable_default:
            return f"argMax({self.sql}, _version) AS {self.alias}"
        value = f"argMax(ifNull({self.sql}, {self.nullable_default}), _version)"
        return f"if(argMax(isNull({self.sql}), _version), NULL, {value}) AS {self.alias}"


def newest_events(conditions: Conditions, columns: Sequence[Column]) -> str:
    """A SELECT with a row for each event whose newest version matches.

    With conditions on more than the time, it reads the ids of the matching rows first, and then the versions of these events
    that were ingested no earlier than the first of the rows: earlier versions cannot be newer.
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
        f"WHERE {where} GROUP BY {', '.join(conditions.distinguishing)} {having}"
    )
