"""How many events meet some conditions in their newest version, and whether any of them has more than one row.

Nearly always none has. To be sure of it takes ids alone, as hashes, where to compare versions takes several columns and a
group for each event. That two events may have the same hash makes a count take longer, never wrong.
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
        f"SELECT count() AS _rows, uniqExact({_key(conditions)}) AS _keys, {listed}, "
        f"toUnixTimestamp64Milli(min(ingested_at)) AS _since FROM {conditions.source.table} WHERE {conditions.where}",
        conditions.parameters,
    )
    rows, since_ms = int(found["_rows"]), found["_since"]
    known_twice = rows > found["_keys"]
    if not known_twice and (not rows or not conditions.other):
        return Counted(rows, single=True)
    values = {column: found[f"_values_{place}"] for place, column in enumerate(conditions.telling)}
    if _can_be_listed(values):
        # May be on other events, too, that have one column in common with one and another with another.
        among = conditions.among(values, since_ms)
        if not known_twice and _count_rows(database, among) == rows:
            return Counted(rows, single=True)
        return Counted(rows - _superseded(database, among), single=False)
    several = _with_several_rows(database, conditions, since_ms)
    return Counted(rows - (_superseded(database, several) if several else 0), single=several is None)


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


def _superseded(database: Database, among: Conditions) -> int:
    """How many rows meet the conditions and are not the newest of their event."""
    (row,) = database.rows(
        "SELECT sum(_rows) - countIf(_newest = 1) AS _superseded FROM ("
        f"WITH {among.source.version} AS _version "
        f"SELECT sum({among.matches}) AS _rows, argMax({among.matches}, _version) AS _newest "
        f"FROM {among.source.table} WHERE {among.where_identity} GROUP BY {', '.join(among.telling)})",
        among.parameters,
    )
    return int(row["_superseded"])


def _key(conditions: Conditions) -> str:
    return f"cityHash64({', '.join(conditions.telling)})"
