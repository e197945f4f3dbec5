"""Splits a long time range into parts, so that the first events of a list are found quickly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.lists.order import AT, Order, Position
from beam_pipeline.query.rollups import rollup_rows
from beam_pipeline.query.times import HOUR_MS

_LARGER = 8
"""How many times as many events each part has as the part before it."""
_PARTS = 5


def parts_in_time(
    database: Database, conditions: Conditions, order: Order, after: Position | None, expected: int
) -> Iterable[Conditions]:
    """The conditions, in parts where that saves time: for an order by time, a long range, and no filter with an index on ids."""
    if order.measure or conditions.is_short or conditions.given.keys() & {*conditions.source.identity, "trace_id"}:
        return [conditions]
    return _parts_by_time(database, conditions, order, None if after is None else after[0], expected)


def _parts_by_time(
    database: Database, asked: Conditions, order: Order, from_ms: int | None, events: int
) -> Iterator[Conditions]:
    """The conditions on growing parts of the range, each of which includes the parts before it.

    Events before `from_ms`, in the order, are not wanted. According to the rollup, each part has several times as many events
    as the part before. The last part is the whole range, so that nothing is missed whatever the rollup says.
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
