"""How many events meet some conditions in their newest version, and whether any of them has more than one row.

Nearly always none has, and then versions need not be compared. Events are grouped by hashes of their ids, which takes a
fraction of the time; two that have the same hash count as one, which among a billion events happens once in forty times.
Rows are never subtracted from rows that another statement has counted: a merge may have dropped some of them in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.newest import Order


@dataclass(frozen=True)
class Counted:
    """How many events meet some conditions in their newest version."""

    total: int
    single: bool
    """Whether none of those that meet them in any version has more than one row."""
    parts: frozenset[str] = frozenset()
    """Of a short range: the table's parts that these rows are in."""

    def covers(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether rows that another statement has read, with their part, are events that have no other row.

        A part never changes: who has seen it has seen the same rows.
        """
        return self.single and self.parts.issuperset(row["_part"] for row in rows)


def count_events(database: Database, conditions: Conditions) -> Counted:
    """Counts events. Raises QueryError."""
    table = conditions.source.table
    if not conditions.other:
        (found,) = database.rows(
            f"SELECT count() AS _rows, uniqExact({_key(conditions)}) AS _events FROM {table} WHERE {conditions.where}",
            conditions.parameters,
        )
        return Counted(found["_events"], single=found["_rows"] == found["_events"])
    rows, key = f"FROM {table} WHERE {conditions.where_versions}", _key(conditions)
    if conditions.is_short:
        # One pass over few rows takes two thirds of the time. The page waits for the count, and for its parts.
        statement = (
            f"WITH {conditions.matches} AS _met, {key} AS _event SELECT countIf(_met) AS _rows, "
            "uniqExactIf(_event, _met) AS _events, _events + uniqExactIf(_event, NOT _met) > uniqExact(_event) AS _mixed, "
            f"groupUniqArrayIf(_part, _met) AS _parts {rows}"
        )
    else:
        statement = (
            "SELECT sum(_met) AS _rows, countIf(_met > 0) AS _events, countIf(_met > 0 AND _met < _all) > 0 AS _mixed, "
            f"[] AS _parts FROM (SELECT sum({conditions.matches}) AS _met, count() AS _all {rows} GROUP BY {key})"
        )
    (found,) = database.rows(statement, conditions.parameters)
    if not found["_mixed"]:
        return Counted(found["_events"], found["_rows"] == found["_events"], frozenset(found["_parts"]))
    (found,) = database.rows(
        f"WITH {conditions.source.version} AS _version SELECT countIf(_newest = 1) AS _events FROM ("
        f"SELECT argMax({conditions.matches}, _version) AS _newest FROM {table} "
        f"WHERE {conditions.where_versions} GROUP BY {', '.join(conditions.telling)})",
        conditions.parameters,
    )
    return Counted(found["_events"], single=False)


def first_are_single(database: Database, conditions: Conditions, order: Order, first: int) -> bool:
    """Whether none of the events of the first rows that meet the conditions, in an order, has a second row."""
    table, identity = conditions.source.table, ", ".join(conditions.source.identity)
    rows = f"FROM {table} WHERE {conditions.where} ORDER BY {order.sql} LIMIT {first}"
    (found,) = database.rows(
        f"SELECT count() = uniqExact({_key(conditions)}) AS _single FROM {table} WHERE {conditions.where_versions} "
        f"AND ({identity}) IN (SELECT {identity} {rows}) "
        f"AND ingested_at >= (SELECT min(_ingested_at) FROM (SELECT ingested_at AS _ingested_at {rows}))",
        conditions.parameters,
    )
    return bool(found["_single"])


def _key(conditions: Conditions) -> str:
    return f"cityHash64({', '.join(conditions.telling)})"
