"""Answers as series of buckets without gaps, and as statistics by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Union

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.errors import BadArgument
from beam_pipeline.query.model import GroupStatistics, Series, Statistics, TimeBucket, TimeSeries
from beam_pipeline.query.numbers.aggregates import MAX_ROWS, Answer, Group, Numbers, Question, SourceChoice, answer
from beam_pipeline.query.times import clamped, from_ms

MAX_BUCKETS = 10_000

Interval = Union[timedelta, int]
"""The length of a bucket, in whole seconds."""

Values = Callable[[Numbers, float], Mapping[str, float | None]]
"""Computes the values of a bucket besides its count; the second argument is the seconds that it covers."""


def read_series(
    database: Database,
    conditions: Conditions,
    interval: Interval,
    source: SourceChoice,
    values: Values,
    **measured: Any,
) -> TimeSeries:
    """Series of the matching events; `measured` goes to `_question`. Raises QueryError."""
    question = _question(conditions, interval_ms=interval_ms(interval), **measured)
    check_buckets(question)
    return time_series(question, answer(database, question, source), values)


def read_statistics(
    database: Database, conditions: Conditions, source: SourceChoice, values: Values, **measured: Any
) -> Statistics:
    """Statistics of the matching events over the whole range; otherwise as `read_series`."""
    question = _question(conditions, **measured)
    return statistics(question, answer(database, question, source), values)


def _question(conditions: Conditions, group_by: Any = (), labels: Any = (), **measured: Any) -> Question:
    """A question with checked groups; `measured` are its other fields. Raises BadArgument."""
    for name, value in (("group_by", group_by), ("group_by_labels", labels)):
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            raise BadArgument(name, value, "a sequence, such as a tuple")
    return Question(conditions, group_by=tuple(group_by), labels=tuple(labels), **measured)


def interval_ms(interval: Any) -> int:
    """The milliseconds of a whole number of seconds, or of a timedelta of whole seconds."""
    seconds: Any = interval
    if isinstance(interval, timedelta):
        seconds = interval // timedelta(seconds=1) if not interval % timedelta(seconds=1) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 1 <= seconds <= 400 * 366 * 86_400:
        raise BadArgument("interval", interval, "a timedelta of whole seconds, or a whole number of seconds")
    return seconds * 1000


def check_buckets(question: Question) -> None:
    """Raises BadArgument for a range with too many buckets, before ClickHouse is asked; an open range is checked later."""
    start, end, length = question.conditions.start_ms, question.conditions.end_ms, question.interval_ms
    if length is not None and start is not None and end is not None:
        _bucket_starts(length, start, end)


def time_series(question: Question, answer: Answer, values: Values) -> TimeSeries:
    """Series with the buckets of the whole range, which by default goes from the first to the last event.

    Without grouping there is a series even if there are no events. Raises BadArgument for too many buckets.
    """
    length = question.interval_ms
    assert length is not None
    there = [bucket for buckets in answer.numbers.values() for bucket in buckets]
    start = min(there, default=None) if answer.start_ms is None else answer.start_ms
    end = max(there, default=None) if answer.end_ms is None else answer.end_ms
    starts = range(0) if start is None or end is None else _bucket_starts(length, start, end)
    numbers: Mapping[Group, Mapping[int, Numbers]] = (
        answer.numbers if question.group_names else {(): {}, **answer.numbers}
    )
    if len(numbers) * len(starts) > MAX_ROWS:
        raise BadArgument(
            "interval", timedelta(milliseconds=length), f"longer: there would be more than {MAX_ROWS} buckets"
        )

    nothing = Numbers(quantiles=(None,) * len(question.levels))
    places = [(bucket, from_ms(bucket), _covered_s(bucket, length, answer)) for bucket in starts]

    def buckets(of: Mapping[int, Numbers]) -> Iterator[TimeBucket]:
        for bucket, timestamp, seconds in places:
            found = of.get(bucket, nothing)
            yield TimeBucket(timestamp, found.count, values(found, seconds))

    return TimeSeries(
        source=answer.source,
        interval=timedelta(milliseconds=length),
        start=None if answer.start_ms is None else from_ms(answer.start_ms),
        end=None if answer.end_ms is None else from_ms(answer.end_ms),
        series=[
            Series(dict(zip(question.group_names, group, strict=True)), list(buckets(numbers[group])))
            for group in _largest_first(numbers)
        ],
    )


def statistics(question: Question, answer: Answer, values: Values) -> Statistics:
    """The numbers of each group over the whole range."""
    numbers = dict(answer.numbers)
    return Statistics(
        source=answer.source,
        start=None if answer.start_ms is None else from_ms(answer.start_ms),
        end=None if answer.end_ms is None else from_ms(answer.end_ms),
        groups=[
            GroupStatistics(
                dict(zip(question.group_names, group, strict=True)),
                numbers[group][0].count,
                values(numbers[group][0], 0),
            )
            for group in _largest_first(numbers)
        ],
    )


def _largest_first(numbers: Mapping[Group, Mapping[int, Numbers]]) -> list[Group]:
    def key(group: Group) -> tuple[int, list[tuple[bool, str]]]:
        total = sum(bucket.count for bucket in numbers[group].values())
        return -total, [(value is None, value or "") for value in group]

    return sorted(numbers, key=key)


def _bucket_starts(length: int, start_ms: int, end_ms: int) -> range:
    start_ms, end_ms = clamped(start_ms), clamped(end_ms)
    starts = range(start_ms - start_ms % length, end_ms + 1, length)
    if len(starts) > MAX_BUCKETS:
        expected = f"longer: there would be {len(starts)} buckets, more than {MAX_BUCKETS}"
        raise BadArgument("interval", timedelta(milliseconds=length), expected)
    return starts


def _covered_s(bucket: int, length: int, answer: Answer) -> float:
    """The seconds of a bucket that are in the range."""
    start = bucket if answer.start_ms is None else max(bucket, answer.start_ms)
    end = bucket + length if answer.end_ms is None else min(bucket + length, answer.end_ms + 1)
    return (end - start) / 1000


def count_only(_: Numbers, __: float) -> dict[str, float | None]:
    return {}


def per_second(numbers: Numbers, seconds: float) -> dict[str, float | None]:
    return {"per_second": numbers.count / seconds}


def errors(numbers: Numbers, _: float) -> dict[str, float | None]:
    """The rate is 0 if there is nothing."""
    return {
        "error_count": float(numbers.errors),
        "error_rate": numbers.errors / numbers.count if numbers.count else 0.0,
    }


def percentile_name(level: float) -> str:
    """`p50`, `p99.9`."""
    return f"p{level * 100:.10g}"


def quantiles(levels: Sequence[float]) -> Values:
    def values(numbers: Numbers, _: float) -> dict[str, float | None]:
        return {percentile_name(level): value for level, value in zip(levels, numbers.quantiles, strict=True)}

    return values


def measures(levels: Sequence[float]) -> Values:
    """Sum, average, extremes and quantiles. The sum is 0 without values, and None beyond the range of doubles."""
    percentiles = quantiles(levels)

    def values(numbers: Numbers, seconds: float) -> dict[str, float | None]:
        return {
            "sum": None if numbers.values and numbers.sum is None else numbers.sum or 0.0,
            "avg": numbers.average,
            "min": numbers.min,
            "max": numbers.max,
            **percentiles(numbers, seconds),
        }

    return values
