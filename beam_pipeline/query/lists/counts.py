"""Counts the events whose newest version matches, and finds those with more than one row.

Few events have several rows, and versions of the others need not be compared. Grouping by `event_hash` takes a fraction of
the time that ids take. Two events with the same hash count as one; the chance of any such pair among a billion events is
one in forty. Counts of different statements are never subtracted: a merge may drop rows between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.lists.order import Order
from beam_pipeline.query.sources import PART, Row

_MAX_LISTED = 1000
"""The most events that a count lists by their hashes."""


@dataclass(frozen=True)
class Counted:
    """The number of events whose newest version matches."""

    total: int
    repeated: frozenset[int] | None
    """Hashes of events with more than one row of which any version matches; None if there are too many to list."""
    parts: frozenset[int]
    """Hashes of the names of the table's parts that hold the matching events with one row."""

    def doubtful(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows, read by another statement with their `PART`, of events that may have other rows.

        Parts never change: events in a part that was counted were counted.
        """
        if self.repeated is None:
            return rows
        events = {
            row["_event"] for row in rows if row["_event"] in self.repeated or row["_part_hash"] not in self.parts
        }
        return [row for row in rows if row["_event"] in events]


def count_events(database: Database, conditions: Conditions) -> Counted:
    """Counts the events whose newest version matches. Raises QueryError."""
    if conditions.is_short and "project_id" in conditions.given:
        # Checking that none of a few events has a second row takes two thirds of the time of grouping them.
        (found,) = database.rows(
            f"SELECT sum({conditions.matches}) AS _total, count() = uniqExact(event_hash) AS _single, "
            f"groupUniqArray({PART}) AS _parts FROM {conditions.source.table} WHERE {conditions.where_versions}",
            conditions.parameters,
        )
        if found["_single"]:
            return Counted(found["_total"], frozenset(), frozenset(found["_parts"]))
    by_event = (
        f"SELECT event_hash AS _event, sum({conditions.matches}) AS _met, count() AS _all, any({PART}) AS _in "
        f"FROM {conditions.source.table} WHERE {conditions.where_versions} GROUP BY _event"
    )
    listed = f"groupArrayIf({_MAX_LISTED + 1})(_event, _met > 0 AND {{}})"
    (found,) = database.rows(
        f"SELECT countIf(_met = _all) AS _total, {listed.format('_met < _all')} AS _mixed, "
        f"{listed.format('_all > 1')} AS _repeated, groupUniqArrayIf(_in, _met > 0) AS _parts FROM ({by_event})",
        conditions.parameters,
    )
    total, mixed, repeated = found["_total"], found["_mixed"], found["_repeated"]
    if len(mixed) > _MAX_LISTED:
        total = _count_newest(database, conditions)
    elif mixed:
        total += _count_newest(database, conditions.identified("event_hash IN {mixed:Array(UInt64)}", mixed=mixed))
    return Counted(total, frozenset(repeated) if len(repeated) <= _MAX_LISTED else None, frozenset(found["_parts"]))


def _count_newest(database: Database, conditions: Conditions) -> int:
    """The number of events whose newest version matches, found by comparing the versions of every event."""
    (found,) = database.rows(
        f"WITH {conditions.source.version} AS _version SELECT countIf(_newest = 1) AS _events FROM ("
        f"SELECT argMax({conditions.matches}, _version) AS _newest FROM {conditions.source.table} "
        f"WHERE {conditions.where_versions} GROUP BY {', '.join(conditions.distinguishing)})",
        conditions.parameters,
    )
    return int(found["_events"])


def first_are_single(database: Database, conditions: Conditions, order: Order, first: int) -> bool:
    """Whether each event among the first matching rows, in an order, has only one row."""
    table, identity = conditions.source.table, ", ".join(conditions.source.identity)
    rows = f"FROM {table} WHERE {conditions.where} ORDER BY {order.sql} LIMIT {first}"
    (found,) = database.rows(
        f"SELECT count() = uniqExact(event_hash) AS _single FROM {table} WHERE {conditions.where_versions} "
        f"AND ({identity}) IN (SELECT {identity} {rows}) "
        f"AND ingested_at >= (SELECT min(_ingested_at) FROM (SELECT ingested_at AS _ingested_at {rows}))",
        conditions.parameters,
    )
    return bool(found["_single"])
