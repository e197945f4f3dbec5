"""How many events meet some conditions in their newest version, and whether any of them has more than one row.

Nearly always none has. To be sure of it takes ids alone, as hashes, where to compare versions takes several columns and a
group for each event. That two events may have the same hash makes a count take longer, never wrong. Rows are never
subtracted from rows that another statement has counted: a merge may have dropped some of them in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.newest import MAX_LOOKUP_BYTES, Order

_LISTED = 700
"""Events that are looked up by lists of their ids."""


@dataclass(frozen=True)
class Counted:
    """How many events meet some conditions in their newest version."""

    total: int
    single: bool
    """Whether none of those that meet them in any version has more than one row."""


def count_events(database: Database, conditions: Conditions) -> Counted:
    """Counts events. Raises QueryError."""
    listed = ", ".join(
        f"groupUniqArray({_LISTED + 1})({column}) AS _values_{place}" for place, column in enumerate(conditions.telling)
    )
    (found,) = database.rows(
        f"SELECT count() AS _rows, uniqExact({', '.join(conditions.telling)}) AS _events, {listed}, "
        f"toUnixTimestamp64Milli(min(ingested_at)) AS _since FROM {conditions.source.table} WHERE {conditions.where}",
        conditions.parameters,
    )
    rows, events, since_ms = int(found["_rows"]), int(found["_events"]), found["_since"]
    if rows == events and (not rows or not conditions.other):
        return Counted(events, single=True)
    values = {column: found[f"_values_{place}"] for place, column in enumerate(conditions.telling)}
    if _can_be_listed(values):
        # May be on other events, too, that have one column in common with one and another with another.
        among = conditions.among(values, since_ms)
        if rows == events and _count_rows(database, among) == rows:
            return Counted(events, single=True)
        return Counted(_compare(database, among).current, single=False)
    several = _with_several_rows(database, conditions, since_ms)
    if several is None:
        return Counted(events, single=True)
    return Counted(events - _compare(database, several).superseded, single=False)


def first_are_single(database: Database, conditions: Conditions, order: Order, first: int) -> bool:
    """Whether none of the events of the first rows that meet the conditions, in an order, has a second row."""
    table, identity = conditions.source.table, ", ".join(conditions.source.identity)
    rows = f"FROM {table} WHERE {conditions.where} ORDER BY {order.sql} LIMIT {first}"
    (found,) = database.rows(
        f"SELECT count() = uniqExact({_key(conditions)}) AS _single FROM {table} WHERE {conditions.where_identity} "
        f"AND ({identity}) IN (SELECT {identity} {rows}) "
        f"AND ingested_at >= (SELECT min(_ingested_at) FROM (SELECT ingested_at AS _ingested_at {rows}))",
        conditions.parameters,
    )
    return bool(found["_single"])


def _count_rows(database: Database, among: Conditions) -> int:
    (row,) = database.rows(
        f"SELECT count() AS _rows FROM {among.source.table} WHERE {among.where_identity}", among.parameters
    )
    return int(row["_rows"])


def _with_several_rows(database: Database, conditions: Conditions, since_ms: int) -> Conditions | None:
    """On those of the events, and maybe on others, that have several rows; None when there are no such."""
    table, key = conditions.source.table, _key(conditions)
    since = conditions.among({}, since_ms)
    several = (
        f"SELECT {key} AS _key FROM {table} WHERE {since.where_identity} "
        f"AND _key IN (SELECT {key} FROM {table} WHERE {conditions.where}) GROUP BY _key HAVING count() > 1"
    )
    rows = database.rows(f"{several} LIMIT {_LISTED + 1}", since.parameters)
    if not rows:
        return None
    if len(rows) > _LISTED:
        return since.identified(f"{key} IN ({several})")
    return since.identified(f"{key} IN {{keys:Array(UInt64)}}", keys=[row["_key"] for row in rows])


def _can_be_listed(values: Mapping[str, Sequence[str]]) -> bool:
    size = sum(len(value.encode()) + 8 for listed in values.values() for value in listed)
    return max(map(len, values.values())) <= _LISTED and size <= MAX_LOOKUP_BYTES


@dataclass(frozen=True)
class _Compared:
    """How many events meet some conditions in their newest version, and how many only in an older one."""

    current: int
    superseded: int


def _compare(database: Database, among: Conditions) -> _Compared:
    (row,) = database.rows(
        "SELECT countIf(_newest = 1) AS _current, countIf(_any = 1 AND _newest = 0) AS _superseded FROM ("
        f"WITH {among.source.version} AS _version "
        f"SELECT max({among.matches}) AS _any, argMax({among.matches}, _version) AS _newest "
        f"FROM {among.source.table} WHERE {among.where_identity} GROUP BY {', '.join(among.telling)})",
        among.parameters,
    )
    return _Compared(int(row["_current"]), int(row["_superseded"]))


def _key(conditions: Conditions) -> str:
    return f"cityHash64({', '.join(conditions.telling)})"
