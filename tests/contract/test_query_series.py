"""What series and statistics say of single cases, over both transports: rollups, events, buckets without holes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from beam_pipeline.query import BadArgument, ClickHouseQueryProvider
from beam_pipeline.query.numbers import newest_events
from tests.support import query_events as events
from tests.support.query_events import NOON, trace
from transforms.clickhouse import ClickHouse

HOUR, MS = timedelta(hours=1), timedelta(milliseconds=1)


def test_rollups_count_deliveries_and_say_so(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    events.insert(database, "trace", [trace("a", status="ok", duration_ms=10)])
    events.insert(database, "trace", [trace("a", NOON + HOUR, 1, status="error", duration_ms=30)])
    by_hour = provider.get_error_rate_time_series(interval=HOUR)
    assert by_hour.source == "rollup"
    assert [(one.count, one.values["error_rate"]) for one in by_hour.buckets] == [(1, 0.0), (1, 1.0)]
    exact = provider.get_error_rate_time_series(interval=HOUR, source="events")
    assert [(one.timestamp, one.count, one.values["error_count"]) for one in exact.buckets] == [(NOON + HOUR, 1, 1.0)]
    assert provider.latency_percentiles().groups[0].count == 2
    assert provider.latency_percentiles(source="events").groups[0].values["p50"] == 30


@pytest.mark.parametrize(
    ("asked", "source"),
    [
        ({}, "rollup"),
        ({"status": "ok", "project_id": "p1", "deployment_id": ""}, "rollup"),
        ({"start": NOON, "end": NOON + HOUR - MS}, "rollup"),
        ({"start": NOON, "end": NOON + HOUR}, "events"),
        ({"start": NOON + MS, "end": NOON + 24 * HOUR}, "events"),
        ({"start": NOON + MS, "end": NOON + 25 * HOUR - MS}, "rollup+events"),
        ({"start": NOON, "end": NOON + 24 * HOUR}, "rollup+events"),
        ({"start": NOON + MS}, "rollup+events"),
        ({"end": NOON, "source": "events"}, "events"),
        ({"name": "n"}, "events"),
        ({"group_by": ["name"]}, "events"),
        ({"group_by": ["status"]}, "rollup"),
        ({"interval": 1800}, "events"),
        ({"interval": 7200}, "rollup"),
        ({"start": NOON, "end": NOON + HOUR, "source": "rollup"}, "rollup"),
    ],
)
def test_the_rollup_answers_when_it_can(provider: ClickHouseQueryProvider, asked: Any, source: str) -> None:
    assert provider.get_trace_count_time_series(**{"interval": 3600, **asked}).source == source


def test_a_rollup_that_is_asked_for_covers_whole_hours(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    events.insert(database, "trace", [trace("a", NOON + 59 * MS), trace("b", NOON + HOUR + MS)])
    asked = {"interval": HOUR, "start": NOON + timedelta(minutes=1), "end": NOON + timedelta(minutes=2)}
    found = provider.get_trace_count_time_series(source="rollup", **asked)
    assert (found.start, found.end) == (NOON, NOON + HOUR - MS)
    assert [one.count for one in found.buckets] == [1]
    assert [one.count for one in provider.get_trace_count_time_series(**asked).buckets] == [0]


def test_hours_are_from_the_rollup_and_what_is_around_them_from_events(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    minutes = timedelta(minutes=1)
    start, end = NOON - 10 * minutes, NOON + 30 * HOUR + 10 * minutes
    outside, head, tail = (start - MS, end + MS), (start, NOON - MS), (NOON + 30 * HOUR, end)
    hours = (NOON, NOON + 29 * HOUR)
    durations = {at: place for place, at in enumerate((*outside, *head, *hours, *tail))}
    for version in range(2):  # what was delivered again counts twice only in whole hours
        events.insert(
            database,
            "trace",
            [trace(str(ms), at, version, duration_ms=ms, status="error") for at, ms in durations.items()],
        )
    asked = {"start": start, "end": end}
    found = provider.get_error_rate_time_series(interval=HOUR, **asked)
    assert (found.source, found.start, found.end) == ("rollup+events", start, end)
    assert [bucket.count for bucket in found.buckets] == [2, 2, *[0] * 28, 2, 2]
    assert {bucket.timestamp: bucket.values["error_count"] for bucket in found.buckets if bucket.count} == {
        NOON - HOUR: 2, NOON: 2, NOON + 29 * HOUR: 2, NOON + 30 * HOUR: 2
    }  # fmt: skip
    (whole,) = provider.latency_percentiles(percentiles=[0.5], **asked).groups
    assert whole.count == 8 and 4 <= (whole.values["p50"] or 0) <= 5  # a t-digest tells one of them
    of_day = provider.throughput(interval=24 * HOUR, **asked).buckets
    assert [(bucket.timestamp, bucket.count) for bucket in of_day] == [
        (NOON - 12 * HOUR, 4), (NOON + 12 * HOUR, 4)
    ]  # fmt: skip
    assert of_day[0].values["per_second"] == 4 / (12 * HOUR + 10 * minutes).total_seconds()
    exact = provider.latency_percentiles(percentiles=[0.5], source="events", **asked).groups[0]
    assert (exact.count, exact.values["p50"]) == (6, 4.5)


def test_an_empty_hour_is_a_zero(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    events.insert(database, "trace", [trace("a"), trace("b", NOON + 3 * HOUR)])
    for source in ("events", "rollup"):
        found = provider.throughput(interval=HOUR, source=source)
        assert [one.count for one in found.buckets] == [1, 0, 0, 1]
        assert [one.values["per_second"] for one in found.buckets] == [1 / 3600, 0, 0, 1 / 3600]
        day = {"start": NOON - HOUR, "end": NOON + 5 * HOUR - MS}
        assert [one.count for one in provider.throughput(interval=HOUR, source=source, **day).buckets] == [
            0,
            1,
            0,
            0,
            1,
            0,
        ]
        grouped = provider.latency_time_series(interval=HOUR, source=source, group_by=["project_id"], **day).series
        medians = [[one.values["p50"] for one in series.buckets] for series in grouped]
        assert medians == [[None, 1, None, None, 1, None]]
    nothing = provider.get_trace_count_time_series(
        interval=60, start=NOON + 9 * HOUR, end=NOON + 9 * HOUR + 2 * 60_000 * MS
    )
    assert [one.count for one in nothing.buckets] == [0, 0, 0]
    assert provider.get_trace_count_time_series(interval=60, name="absent").buckets == []
    with pytest.raises(BadArgument, match="group_by"):
        _ = provider.log_volume(interval=60).buckets


class Between:
    """A client that does something after the first statement of a question."""

    def __init__(self, client: ClickHouse, happens: Callable[[], Any]) -> None:
        self.client = client
        self.happens: Callable[[], Any] | None = happens
        self.statements = list[str]()

    def query(self, sql: str, *asked: Any) -> Any:
        rows = self.client.query(sql, *asked)
        self.statements.append(sql)
        if self.happens is not None:
            self.happens()
            self.happens = None
        return rows


def test_an_event_that_is_delivered_again_while_it_is_counted_counts_once(database: ClickHouse) -> None:
    events.insert(database, "trace", [trace("a", name="x", duration_ms=1), trace("b", name="x", duration_ms=2)])
    again = [trace("a", NOON + MS, 1, name="x", duration_ms=9)]
    between: Any = Between(database, lambda: events.insert(database, "trace", again))
    groups = ClickHouseQueryProvider(between).latency_percentiles(group_by=["name"], percentiles=[1]).groups
    assert [(one.count, one.values["p100"]) for one in groups] == [(2, 9.0)]
    assert len(between.statements) == 3  # its row is in a part that the first has not seen: all versions are compared


def test_a_merge_while_events_are_counted_changes_nothing(database: ClickHouse) -> None:
    for version in range(2):
        events.insert(database, "trace", [trace("a", NOON, version, name="x", duration_ms=version)])
    events.insert(database, "trace", [trace("b", name="x", duration_ms=7)])
    between: Any = Between(database, lambda: database.command("OPTIMIZE TABLE mastra_admin_traces FINAL"))
    groups = ClickHouseQueryProvider(between).latency_percentiles(group_by=["name"], percentiles=[0, 1]).groups
    assert [(one.count, one.values["p0"], one.values["p100"]) for one in groups] == [(2, 1.0, 7.0)]


@pytest.mark.parametrize("most", [20_000, 2, 1])
def test_events_with_several_rows_are_compared_apart(
    database: ClickHouse, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(newest_events, "_MAX_REPEATED", most)
    monkeypatch.setattr(newest_events, "_IN_A_PARAMETER", 1)
    for version in range(2):
        rows = [trace(name, NOON + version * MS, version, name="x", duration_ms=version) for name in "ab"]
        events.insert(database, "trace", rows)
    events.insert(database, "trace", [trace("c", name="x", duration_ms=None)])
    between: Any = Between(database, lambda: None)
    groups = ClickHouseQueryProvider(between).latency_percentiles(group_by=["name"], percentiles=[0]).groups
    assert [(one.count, one.values["p0"]) for one in groups] == [(3, 1.0)]
    assert len(between.statements) == 2
    assert ("several_1" in between.statements[-1]) == (most >= 2)
