"""The hourly rollups: which filters and hours they can answer."""

from __future__ import annotations

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.filters import FILTERS, Parameters
from beam_pipeline.query.times import HOUR_MS, clamped
from transforms.blocks.rollups import ROLLUP_SOURCES
from transforms.events import TABLES


def rollup_keys(event_type: str) -> tuple[str, ...]:
    """The columns that a rollup is grouped by, besides the hour."""
    return ("project_id", "deployment_id", *ROLLUP_SOURCES[event_type].keys)


def whole_hours(asked: Conditions) -> tuple[int | None, int | None]:
    """The first and last millisecond of all hours that overlap the time range."""
    start = None if asked.start_ms is None else asked.start_ms - asked.start_ms % HOUR_MS
    end = None if asked.end_ms is None else asked.end_ms - asked.end_ms % HOUR_MS + HOUR_MS - 1
    return start, end


def inner_hours(asked: Conditions) -> tuple[int | None, int | None]:
    """The first and last millisecond of the whole hours in the time range; the last is before the first if there are none."""
    start = None if asked.start_ms is None else -(-asked.start_ms // HOUR_MS) * HOUR_MS
    end = None if asked.end_ms is None else (asked.end_ms + 1) // HOUR_MS * HOUR_MS - 1
    return start, end


def rollup_rows(asked: Conditions) -> tuple[str, Parameters]:
    """FROM and WHERE for the rows of these hours, with the filters that the rollup has; its alias is `r`."""
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
