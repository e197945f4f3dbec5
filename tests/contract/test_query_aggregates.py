"""Series and statistics in the engine, over both transports, against what Python says of the same deliveries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_pipeline.query.provider import ClickHouseQueryProvider
from tests.support import query_aggregates as expected
from tests.support import query_events as events
from transforms.clickhouse import ClickHouse

few = settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
HOUR, MS = timedelta(hours=1), timedelta(milliseconds=1)
intervals = st.sampled_from([HOUR, timedelta(minutes=90), timedelta(days=1), timedelta(days=7)])
sources = st.sampled_from(["auto", "auto", "events"])
LEVELS = (0.5, 0.9, 0.99)


@pytest.fixture(scope="module", params=["embedded_admin", "server_admin"])
def database(request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """Migrated once; each example empties the table that it is about."""
    with events.migrated_database(request.getfixturevalue(request.param)) as client:
        yield client


def loaded(database: ClickHouse, data: st.DataObject, event_type: str, **fixed: Any) -> list[events.Delivery]:
    """Inserts deliveries in two inserts."""
    rows = data.draw(events.deliveries(event_type, **fixed))
    events.empty(database, event_type)
    half = len(rows) // 4 * 2  # what has one `ingested_at` comes in one insert
    events.insert(database, event_type, rows[:half])
    events.insert(database, event_type, rows[half:])
    return rows


RANGES: tuple[events.Filters, ...] = (
    {},
    {"start": events.NOON},
    {"start": events.NOON - HOUR, "end": events.NOON - MS},
    {"start": events.NOON - HOUR, "end": events.NOON},
    {"start": events.NOON + MS, "end": events.NOON + 2 * HOUR},
    {"end": events.NOON + HOUR - MS},
    {"start": events.NOON + MS},
    {"end": events.NOON},
    {"start": events.NOON - 15 * HOUR + MS, "end": events.NOON + 11 * HOUR},
    {"start": events.NOON - 12 * HOUR, "end": events.NOON + 13 * HOUR},
)


def filters_and_range(event_type: str) -> st.SearchStrategy[events.Filters]:
    """Filters, and whole hours, other limits, or none."""
    filters = events.filters(event_type, most=2).map(
        lambda chosen: {name: value for name, value in chosen.items() if name not in ("start", "end")}
    )
    return st.builds(lambda chosen, limits: chosen | limits, filters, st.sampled_from(RANGES))


@few
@given(data=st.data())
def test_trace_counts_and_error_rates(database: ClickHouse, data: st.DataObject) -> None:
    rows = loaded(database, data, "trace")
    filters = data.draw(filters_and_range("trace"))
    group_by = data.draw(
        st.lists(st.sampled_from(["name", "status", "deployment_id", "project_id"]), unique=True, max_size=2)
    )
    interval, source = data.draw(intervals), data.draw(sources)
    provider = ClickHouseQueryProvider(database)
    kept = {"interval": interval, "group_by": group_by, "source": source, **filters}
    counts = provider.get_trace_count_time_series(**kept)
    expected.check_series(counts, "trace", rows, filters, interval, group_by, lambda _, __: {})
    found = provider.get_error_rate_time_series(**kept)
    expected.check_series(found, "trace", rows, filters, interval, group_by, expected.of_errors)
    rates = provider.throughput(**kept)
    expected.check_series(
        rates, "trace", rows, filters, interval, group_by, lambda inside, seconds: {"per_second": len(inside) / seconds}
    )


@pytest.mark.parametrize("of", ["trace", "span"])
@few
@given(data=st.data())
def test_latencies_and_error_rates_by_group(database: ClickHouse, of: str, data: st.DataObject) -> None:
    rows = loaded(database, data, of)
    filters = data.draw(filters_and_range(of))
    columns = ["name", "status", "deployment_id", *(["kind"] if of == "span" else [])]
    group_by = data.draw(st.lists(st.sampled_from(columns), unique=True, max_size=2))
    interval, source = data.draw(intervals), data.draw(sources)
    provider = ClickHouseQueryProvider(database)
    kept = {"of": of, "group_by": group_by, "source": source, **filters}
    said = expected.of_durations(LEVELS)
    percentiles = provider.latency_percentiles(percentiles=LEVELS, **kept)
    expected.check_statistics(percentiles, of, rows, filters, group_by, said)
    expected.check_statistics(provider.error_rate(**kept), of, rows, filters, group_by, expected.of_errors)
    series = provider.latency_time_series(percentiles=LEVELS, interval=interval, **kept)
    expected.check_series(series, of, rows, filters, interval, group_by, said)


@few
@given(data=st.data())
def test_log_volume(database: ClickHouse, data: st.DataObject) -> None:
    rows = loaded(database, data, "log")
    filters = data.draw(filters_and_range("log"))
    interval, source = data.draw(intervals), data.draw(sources)
    found = ClickHouseQueryProvider(database).log_volume(interval=interval, source=source, **filters)
    expected.check_series(found, "log", rows, filters, interval, ["level"], lambda _, __: {})


@few
@given(data=st.data())
def test_metric_series(database: ClickHouse, data: st.DataObject) -> None:
    rows = loaded(database, data, "metric", value=st.sampled_from([0.0, -1.5, 2.25, 1e6]))
    filters = data.draw(filters_and_range("metric"))
    group_by = data.draw(st.lists(st.sampled_from(["name", "type", "unit"]), unique=True, max_size=2))
    labels = data.draw(st.lists(st.sampled_from(["a", "k.x", "n.m.0"]), unique=True, max_size=2))
    interval, source = data.draw(intervals), data.draw(sources)
    found = ClickHouseQueryProvider(database).metric_series(
        interval=interval, percentiles=LEVELS, group_by=group_by, group_by_labels=labels, source=source, **filters
    )
    names = [*group_by, *(f"labels.{name}" for name in labels)]
    expected.check_series(found, "metric", rows, filters, interval, names, expected.of_values(LEVELS))


@few
@given(data=st.data())
def test_score_distribution(database: ClickHouse, data: st.DataObject) -> None:
    some = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.7, 1.0, -2.0])
    rows = loaded(database, data, "score", value=some, normalized_value=st.none() | some)
    filters = data.draw(events.filters("score", most=2))
    bins, normalized = data.draw(st.integers(1, 7)), data.draw(st.booleans())
    low, high = data.draw(
        st.sampled_from([(None, None), (0.0, 1.0), (0.1, None), (None, 0.3), (5.0, None), (None, -5.0)])
    )
    found = ClickHouseQueryProvider(database).score_distribution(
        bins=bins, low=low, high=high, normalized=normalized, percentiles=LEVELS, interval=7 * 86_400, **filters
    )
    column = "normalized_value" if normalized else "value"
    kept = expected.counted("score", rows, filters, "events")
    values = [row[column] for row in kept if row[column] is not None]
    assert found.count == len(values)
    said = expected.of_values(LEVELS)([{"value": value} for value in values], 0)
    numbers = {"avg": found.mean, "min": found.minimum, "max": found.maximum}
    numbers |= {f"p{level * 100:g}": value for level, value in found.percentiles.items()}
    expected.assert_same(numbers, {name: value for name, value in said.items() if name != "sum"}, "events")
    inside = sum(one.count for one in found.histogram)
    assert found.below + inside + found.above == len(values)
    for place, one in enumerate(found.histogram):
        is_last = place == len(found.histogram) - 1
        assert one.count == sum(one.low <= value < one.high or (is_last and value == one.high) for value in values)
    if found.histogram:
        assert found.below == sum(value < found.histogram[0].low for value in values)
        if low is not None:
            assert found.histogram[0].low == low
    assert found.trend is not None
    trend: Callable[[list[events.Delivery], float], Any] = lambda members, seconds: expected.of_values(())(  # noqa: E731
        [{"value": row[column]} for row in members if row[column] is not None], seconds
    )
    if normalized:  # the others are not counted
        kept = [row for row in kept if row["normalized_value"] is not None]
        rows = kept if found.trend.source == "events" else rows
    expected.check_series(found.trend, "score", rows, filters, timedelta(days=7), [], trend)


@few
@given(data=st.data())
def test_slowest(database: ClickHouse, data: st.DataObject) -> None:
    event_type = data.draw(st.sampled_from(["trace", "span"]))
    rows = loaded(database, data, event_type)
    filters = data.draw(events.filters(event_type, most=2))
    limit = data.draw(st.integers(1, 4))
    found = getattr(ClickHouseQueryProvider(database), f"slowest_{event_type}s")(limit, **filters)
    timed = [one for one in events.listed(event_type, rows, filters) if one.duration_ms is not None]
    assert found == sorted(timed, key=lambda one: -one.duration_ms)[:limit]
