"""How many events meet some conditions in their newest version, and which of them have more than one row.

Hardly any has, and then versions need not be compared. Events are grouped by `event_hash`, which takes a fraction of the
time of ids; two that have the same hash count as one, which among a billion events happens once in forty times.
Rows are never subtracted from rows that another statement has counted: a merge may have dropped some of them in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.lists.order import Order
from beam_pipeline.query.lists.versions import PART
from beam_pipeline.query.sources import Row

_MAX_TOLD = 1000
"""More events than this are not told one by one."""


@dataclass(frozen=True)
class Counted:
    """How many events meet some conditions in their newest version."""

    total: int
    repeated: frozenset[int] | None
    """Hashes of those that meet them in any version and have more than one row; None when they are too many to tell."""
    parts: frozenset[int]
    """Hashes of the names of the table's parts that the others of these are in."""

    def doubtful(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Of rows that another statement has read, with their `PART`, those of events that may have another row.

        A part never changes: what is in one that has been counted has been counted.
        """
        if self.repeated is None:
            return rows
        events = {
            row["_event"] for row in rows if row["_event"] in self.repeated or row["_part_hash"] not in self.parts
        }
        return [row for row in rows if row["_event"] in events]


def count_events(database: Database, conditions: Conditions) -> Counted:
    """Counts events. Raises QueryError."""
    if conditions.is_short and "project_id" in conditions.given:
        # To see that none of a few has a second row takes two thirds of the time of groups.
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
    told = f"groupArrayIf({_MAX_TOLD + 1})(_event, _met > 0 AND {{}})"
    (found,) = database.rows(
        f"SELECT countIf(_met = _all) AS _total, {told.format('_met < _all')} AS _mixed, "
        f"{told.format('_all > 1')} AS _repeated, groupUniqArrayIf(_in, _met > 0) AS _parts FROM ({by_event})",
        conditions.parameters,
    )
    total, mixed, repeated = found["_total"], found["_mixed"], found["_repeated"]
    if len(mixed) > _MAX_TOLD:
        total = _count_newest(database, conditions)
    elif mixed:
        total += _count_newest(database, conditions.identified("event_hash IN {mixed:Array(UInt64)}", mixed=mixed))
    return Counted(total, frozenset(repeated) if len(repeated) <= _MAX_TOLD else None, frozenset(found["_parts"]))


def _count_newest(database: Database, conditions: Conditions) -> int:
    """How many events meet the conditions in their newest version, by comparing all versions of all events."""
    (found,) = database.rows(
        f"WITH {conditions.source.version} AS _version SELECT countIf(_newest = 1) AS _events FROM ("
        f"SELECT argMax({conditions.matches}, _version) AS _newest FROM {conditions.source.table} "
        f"WHERE {conditions.where_versions} GROUP BY {', '.join(conditions.telling)})",
        conditions.parameters,
    )
    return int(found["_events"])


def first_are_single(database: Database, conditions: Conditions, order: Order, first: int) -> bool:
    """Whether none of the events of the first rows that meet the conditions, in an order, has a second row."""
    table, identity = conditions.source.table, ", ".join(conditions.source.identity)
    rows = f"FROM {table} WHERE {conditions.where} ORDER BY {order.sql} LIMIT {first}"
    (found,) = database.rows(
        f"SELECT count() = uniqExact(event_hash) AS _single FROM {table} WHERE {conditions.where_versions} "
        f"AND ({identity}) IN (SELECT {identity} {rows}) "
        f"AND ingested_at >= (SELECT min(_ingested_at) FROM (SELECT ingested_at AS _ingested_at {rows}))",
        conditions.parameters,
    )
    return bool(found["_single"])
