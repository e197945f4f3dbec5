"""A long range of time in parts, so that the first events of a list are found soon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.lists.order import AT, Order, Position
from beam_pipeline.query.rollups import rollup_rows
from beam_pipeline.query.times import HOUR_MS

_LARGER = 8
"""How many times more events each further part of a list has."""
_PARTS = 5


def parts_in_time(
    database: Database, conditions: Conditions, order: Order, after: Position | None, expected: int
) -> Iterable[Conditions]:
    """The conditions, in parts where these are worth while: in order of time, over a long range, without an id's index."""
    if order.measure or conditions.is_short or conditions.given.keys() & {*conditions.source.identity, "trace_id"}:
        return [conditions]
    return _parts_by_time(database, conditions, order, None if after is None else after[0], expected)


def _parts_by_time(
    database: Database, asked: Conditions, order: Order, from_ms: int | None, events: int
) -> Iterator[Conditions]:
    """The conditions on one part of the range after the other, so that its first events in an order by time are found soon.

    Nothing that comes before `from_ms` is wanted any more. Each part has several times more events than the one before, by what
    the rollup says. The last has no limit of its own, so that nothing is missed whatever the rollup says.
    """
    oldest = order.first == "oldest"
    if from_ms is None:
        rows, parameters = rollup_rows(asked)
    else:
        rows, parameters = rollup_rows(replace(asked, start_ms=from_ms) if oldest else replace(asked, end_ms=from_ms))
    hours = database.rows(
        f"SELECT toInt64(r.hour) * 1000 AS _ms, sum(r.count) AS _count {rows} GROUP BY _ms ORDER BY _ms {order.direction}",
        parameters,
    )
    wanted, there, parts = 2 * events, 0, 0
    for hour in hours[:-1]:
        there += hour["_count"]
        if there >= wanted:
            part_ms = hour["_ms"] + (HOUR_MS - 1 if oldest else 0)
            yield asked.only(f"{asked.source.time} {order.up_to} {AT.format('part_ms')}", part_ms=part_ms)
            wanted, parts = there * _LARGER, parts + 1
            if parts == _PARTS:
                break
    yield asked
