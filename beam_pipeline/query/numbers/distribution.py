"""The distribution of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beam_pipeline.query.arguments import number, whole
from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.errors import BadArgument
from beam_pipeline.query.model import HistogramBin, ScoreDistribution
from beam_pipeline.query.numbers.aggregates import Question, SourceChoice, answer
from beam_pipeline.query.numbers.newest_events import Column, Events, read_newest
from beam_pipeline.query.numbers.series import Interval, measures, read_series

MAX_BINS = 1000


def read_distribution(
    database: Database,
    conditions: Conditions,
    *,
    normalized: bool,
    bins: int,
    low: float | None,
    high: float | None,
    levels: Sequence[float],
    interval: Interval | None,
    source: SourceChoice,
) -> ScoreDistribution:
    """The distribution of scores over bins of equal width from `low` to `high`, by default over all values.

    With an interval it has a trend, read from `source`. Raises QueryError.
    """
    whole("bins", bins, 1, MAX_BINS)
    low = low if low is None else number("low", low)
    high = high if high is None else number("high", high)
    if low is not None and high is not None and low >= high:
        raise BadArgument("low", low, f"less than high, {high}")
    value = "normalized_value" if normalized else "value"
    trend = None
    if interval is not None:
        measured = {"value": value, "only_with_value": normalized}
        trend = read_series(database, conditions, interval, source, measures(()), **measured)
    found = answer(database, Question(conditions, value, levels=tuple(levels)), "events").numbers[()][0]
    first = found.min if low is None else low
    last = found.max if high is None else high
    counts = [0] * (bins + 2)
    edges = list[float]()
    # With one limit given, all values may be beyond it.
    if first is not None and last is not None and first <= last:
        edges = _edges(first, last, bins)
        counts = _count(database, conditions, value, edges)
    elif found.values:
        counts[0 if high is None else -1] = found.values
    return ScoreDistribution(
        count=found.values,
        mean=found.average,
        minimum=found.min,
        maximum=found.max,
        percentiles=dict(zip(levels, found.quantiles, strict=True)),
        histogram=[HistogramBin(*limits) for limits in zip(edges, edges[1:], counts[1:-1], strict=False)],
        below=counts[0],
        above=counts[-1],
        trend=trend,
    )


def _edges(low: float, high: float, bins: int) -> list[float]:
    if low == high:
        return [low, high]
    # Not low + width * place: the width from -1.7e308 to 1.7e308 would be infinite.
    inner = [low * (1 - place / bins) + high * (place / bins) for place in range(1, bins)]
    return [low, *sorted(min(max(edge, low), high) for edge in inner), high]


def _count(database: Database, conditions: Conditions, value: str, edges: Sequence[float]) -> list[int]:
    """How many scores are below the first edge, in each bin, and above the last edge."""
    default = "0." if value == "normalized_value" else ""
    place = "arrayCount(edge -> edge <= _value, {edges:Array(Float64)})"
    bound = {"edges": list(edges), "last": edges[-1], "bins": len(edges) - 1}

    def read(events: Events, more: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        sql, of_events = events
        return database.rows(
            f"SELECT {', '.join([f'if(_value = {{last:Float64}}, {{bins:UInt64}}, {place}) AS _place', *more])}, "
            f"count() AS _count FROM ({sql}) WHERE _value IS NOT NULL GROUP BY _place",
            {**of_events, **bound},
        )

    rows = read_newest(database, conditions, [Column("_value", value, default)], read)
    counts = [0] * (len(edges) + 1)
    for row in rows:
        counts[row["_place"]] = row["_count"]
    return counts
