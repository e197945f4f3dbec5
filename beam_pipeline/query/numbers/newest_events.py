"""A SELECT with each event once, in its newest version, for numbers to be computed from.

Hardly any event has several rows, and comparing versions takes ten times as long as reading. So one statement finds the events
with several rows, by their hashes, and the next one compares versions of these alone. A merge or an insert between the two
shows in the table's parts, which never change: a row that is counted as it is must be in a part that the first has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.filters import Parameters
from beam_pipeline.query.sources import PART

_MAX_REPEATED = 20_000
"""The most events with several rows that are compared apart from the others."""
_IN_A_PARAMETER = 5_000
"""Hashes in one parameter: 105 kB, where a server accepts 128 KiB."""


@dataclass(frozen=True)
class Column:
    """An expression to select for each event, under an alias that is no column's name."""

    alias: str
    sql: str
    nullable_default: str = ""
    """For an expression that may be NULL: any value of its type."""

    def plain(self) -> str:
        """SQL for the value of a row."""
        return f"{self.sql} AS {self.alias}"

    def newest(self) -> str:
        """SQL for the value in the newest version. argMax alone would skip versions in which it is NULL."""
        if not self.nullable_default:
            return f"argMax({self.sql}, _version) AS {self.alias}"
        value = f"argMax(ifNull({self.sql}, {self.nullable_default}), _version)"
        return f"if(argMax(isNull({self.sql}), _version), NULL, {value}) AS {self.alias}"


Events = tuple[str, Parameters]
"""A SELECT with a row for each event, and its parameters."""


def read_newest(
    database: Database,
    conditions: Conditions,
    columns: Sequence[Column],
    read: Callable[[Events, Sequence[str]], Sequence[Mapping[str, Any]]],
) -> Sequence[Mapping[str, Any]]:
    """What `read` reads from the events whose newest version matches. Raises QueryError.

    `read` takes the events and further aggregates to select; it may be called twice.
    """
    several = None if _may_be_few(conditions) else _find_several(database, conditions)
    if several is not None:
        rows = read(several.events(conditions, columns), ["max(_is_new) AS _has_new"])
        if not any(row["_has_new"] for row in rows):
            return rows
    return read((newest_events(conditions, columns), conditions.parameters), [])


def newest_events(conditions: Conditions, columns: Sequence[Column]) -> str:
    """A SELECT with a row for each event whose newest version matches, found by comparing the versions of every event.

    With conditions on more than the time, it reads the ids of the matching rows first, and then the versions of these events
    that were ingested no earlier than the first of the rows: earlier versions cannot be newer.
    """
    source = conditions.source
    identity = ", ".join(source.identity)
    where = conditions.where_versions
    if conditions.other and not conditions.are_on_time_only:
        found = f"FROM {source.table} WHERE {conditions.where}"
        where += f" AND ({identity}) IN (SELECT {identity} {found})"
        where += f" AND ingested_at >= (SELECT min(ingested_at) {found})"
    return _compared(conditions, where, [*(column.newest() for column in columns), "1 AS _event"])


def _compared(conditions: Conditions, where: str, selection: Sequence[str]) -> str:
    having = f"HAVING argMax({conditions.matches}, _version) = 1" if conditions.other else ""
    return (
        f"WITH {conditions.source.version} AS _version SELECT {', '.join(selection)} FROM {conditions.source.table} "
        f"WHERE {where} GROUP BY {', '.join(conditions.distinguishing)} {having}"
    )


def _may_be_few(conditions: Conditions) -> bool:
    """Whether an index leads to the matching rows, so that grouping the hashes of all events would take longer."""
    return bool(conditions.given.keys() & {*conditions.source.identity, "trace_id"})


@dataclass(frozen=True)
class _Several:
    """The events with several rows, and the parts of the table that were looked at; both as hashes."""

    events_with_several: Sequence[int]
    parts: Sequence[int]

    def events(self, conditions: Conditions, columns: Sequence[Column]) -> Events:
        """A SELECT with a row for each event; `_is_new` is 1 if its row is in a part that was not looked at."""
        parameters: Parameters = {**conditions.parameters, "parts": self.parts}
        several = list[str]()
        for first in range(0, len(self.events_with_several), _IN_A_PARAMETER):
            name = f"several_{first}"
            parameters[name] = self.events_with_several[first : first + _IN_A_PARAMETER]
            several.append(f"event_hash IN {{{name}:Array(UInt64)}}")
        plain = [*(column.plain() for column in columns), f"{PART} NOT IN {{parts:Array(UInt64)}} AS _is_new"]
        where = " AND ".join([conditions.where, *(f"NOT {one}" for one in several)])
        events = f"SELECT {', '.join(plain)} FROM {conditions.source.table} WHERE {where}"
        if several:
            newest = [*(column.newest() for column in columns), "toUInt8(0) AS _is_new"]
            compared = _compared(conditions, f"{conditions.where_versions} AND ({' OR '.join(several)})", newest)
            events += f" UNION ALL {compared}"
        return events, parameters


def _find_several(database: Database, conditions: Conditions) -> _Several | None:
    """The events with several rows among the versions that are compared; None if there are too many."""
    by_event = (
        f"SELECT event_hash AS _event, count() AS _rows, any({PART}) AS _in FROM {conditions.source.table} "
        f"WHERE {conditions.where_versions} GROUP BY _event"
    )
    (found,) = database.rows(
        f"SELECT groupArrayIf({_MAX_REPEATED + 1})(_event, _rows > 1) AS _several, groupUniqArray(_in) AS _parts "
        f"FROM ({by_event})",
        conditions.parameters,
    )
    several = found["_several"]
    return None if len(several) > _MAX_REPEATED else _Several(several, found["_parts"])
