"""The hourly rollups as queries see them: which filters they can answer, and where the events of a list begin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.filters import FILTERS, Parameters
from beam_pipeline.query.lists.order import AT, Order
from beam_pipeline.query.times import HOUR_MS, clamped
from transforms.blocks.rollups import ROLLUP_SOURCES
from transforms.events import TABLES

_LARGER = 8
"""How many times more events each further part of a list has."""
_PARTS = 5


def rollup_keys(event_type: str) -> tuple[str, ...]:
    """The columns that a rollup is by, besides the hour."""
    return ("project_id", "deployment_id", *ROLLUP_SOURCES[event_type].keys)


def whole_hours(asked: Conditions) -> tuple[int | None, int | None]:
    """The first and last millisecond of the hours that the conditions touch."""
    start = None if asked.start_ms is None else asked.start_ms - asked.start_ms % HOUR_MS
    end = None if asked.end_ms is None else asked.end_ms - asked.end_ms % HOUR_MS + HOUR_MS - 1
    return start, end


def inner_hours(asked: Conditions) -> tuple[int | None, int | None]:
    """The first and last millisecond of the hours that are wholly in the range; the last may be before the first."""
    start = None if asked.start_ms is None else -(-asked.start_ms // HOUR_MS) * HOUR_MS
    end = None if asked.end_ms is None else (asked.end_ms + 1) // HOUR_MS * HOUR_MS - 1
    return start, end


def rollup_rows(asked: Conditions) -> tuple[str, Parameters]:
    """FROM and WHERE for the cells of these hours, by those of the filters that the rollup knows; alias `r`."""
    where, parameters = ["receipt = ''"], Parameters()
    for bound, value, comparison in zip(("start_ms", "end_ms"), whole_hours(asked), (">=", "<="), strict=True):
        if value is not None:
            where.append(f"hour {comparison} fromUnixTimestamp64Milli({{{bound}:Int64}}, 'UTC')")
            parameters[bound] = clamped(value)
    event_type = asked.source.event_type
    for name in asked.given.keys() & set(rollup_keys(event_type)):
        known = FILTERS[event_type][name]
        conditions, values = known.compile(name, known.column, asked.given[name], False)
        where += conditions
        parameters |= values
    return f"FROM {TABLES[event_type].rollup} AS r WHERE {' AND '.join(where)}", parameters


def parts_by_time(
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
