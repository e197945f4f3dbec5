"""What series and statistics must say, computed from deliveries by plain Python."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from beam_pipeline.query.model import Statistics, TimeSeries
from tests.support.query_events import Delivery, Filters, current, find, meets, time_of

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
HOUR, MS = timedelta(hours=1), timedelta(milliseconds=1)
Group = tuple[Any, ...]
Said = Mapping[str, Any]


def floor(moment: datetime, interval: timedelta) -> datetime:
    return moment - (moment - EPOCH) % interval


def counted(event_type: str, rows: Sequence[Delivery], filters: Filters, source: str) -> list[Delivery]:
    """The rows that a source counts: events in their newest version, deliveries, or the latter in whole hours only."""
    if source == "events":
        return current(event_type, rows, filters)
    hours, edges = dict(filters), []
    if source == "rollup+events" and "start" in filters:
        hours["start"] = floor(filters["start"] - MS, HOUR) + HOUR
        if filters["start"] < hours["start"]:
            edges += current(event_type, rows, {**filters, "end": hours["start"] - MS})
    if source == "rollup+events" and "end" in filters:
        hours["end"] = floor(filters["end"] + MS, HOUR) - MS
        if hours["end"] < filters["end"]:
            edges += current(event_type, rows, {**filters, "start": hours["end"] + MS})
    return [*edges, *(row for row in rows if meets(event_type, row, hours))]


def label(row: Delivery, name: str) -> str | None:
    """A label's value as text."""
    try:
        document = json.loads(row["labels_json"])
    except ValueError:
        return None
    value = find(document, name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def by_group(rows: Iterable[Delivery], group_by: Sequence[str]) -> dict[Group, list[Delivery]]:
    groups: dict[Group, list[Delivery]] = {} if group_by else {(): []}
    for row in rows:
        key = tuple(label(row, name[7:]) if name.startswith("labels.") else row[name] for name in group_by)
        groups.setdefault(key, []).append(row)
    return groups


def check_series(
    found: TimeSeries,
    event_type: str,
    rows: Sequence[Delivery],
    filters: Filters,
    interval: timedelta,
    group_by: Sequence[str],
    said: Callable[[list[Delivery], float], Said],
) -> None:
    """Compares series with what `said` says of the rows of each bucket and the seconds of it that are in the range."""
    filters = dict(filters)
    if found.source == "rollup":
        filters |= {name: getattr(found, name) for name in ("start", "end") if getattr(found, name) is not None}
    assert (found.start, found.end) == (filters.get("start"), filters.get("end"))
    rows = counted(event_type, rows, filters, found.source)
    times = [
        time_of(event_type, row) if found.source == "events" else floor(time_of(event_type, row), HOUR) for row in rows
    ]
    first, last = filters.get("start", min(times, default=None)), filters.get("end", max(times, default=None))
    starts = []
    while first is not None and last is not None and floor(first, interval) + len(starts) * interval <= last:
        starts.append(floor(first, interval) + len(starts) * interval)
    groups = by_group(rows, group_by)
    assert [tuple(series.group) for series in found.series] == [tuple(group_by)] * len(groups)
    assert {tuple(series.group.values()) for series in found.series} == set(groups)
    sizes = [sum(bucket.count for bucket in series.buckets) for series in found.series]
    assert sizes == sorted(sizes, reverse=True)
    for series in found.series:
        members = groups[tuple(series.group.values())]
        assert [bucket.timestamp for bucket in series.buckets] == starts
        for bucket in series.buckets:
            inside = [row for row in members if floor(time_of(event_type, row), interval) == bucket.timestamp]
            lower = max(bucket.timestamp, found.start or bucket.timestamp)
            upper = min(bucket.timestamp + interval, (found.end or bucket.timestamp + interval) + MS)
            if found.end is None:
                upper = bucket.timestamp + interval
            assert bucket.count == len(inside)
            assert_same(bucket.values, said(inside, (upper - lower).total_seconds()), found.source)


def check_statistics(
    found: Statistics,
    event_type: str,
    rows: Sequence[Delivery],
    filters: Filters,
    group_by: Sequence[str],
    said: Callable[[list[Delivery], float], Said],
) -> None:
    groups = by_group(counted(event_type, rows, filters, found.source), group_by)
    assert {tuple(group.group.values()) for group in found.groups} == set(groups)
    for group in found.groups:
        members = groups[tuple(group.group.values())]
        assert group.count == len(members)
        assert_same(group.values, said(members, 0), found.source)


def assert_same(found: Said, expected: Said, source: str) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        if value is None:
            assert found[name] is None
        elif source != "events" and name.startswith("p") and name[1:].isdigit():
            assert found[name] is not None  # a t-digest's estimate
        else:
            assert math.isclose(found[name], value, rel_tol=1e-9, abs_tol=1e-9), name


def quantile(values: Sequence[float], level: float) -> float | None:
    """Linear between the two nearest values."""
    if not values:
        return None
    ordered = sorted(values)
    place = level * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def of_errors(rows: list[Delivery], _: float) -> Said:
    wrong = sum(row["status"] == "error" for row in rows)
    return {"error_count": wrong, "error_rate": wrong / len(rows) if rows else 0.0}


def of_durations(levels: Sequence[float]) -> Callable[[list[Delivery], float], Said]:
    def said(rows: list[Delivery], _: float) -> Said:
        durations = [row["duration_ms"] for row in rows if row["duration_ms"] is not None]
        return {f"p{level * 100:g}": quantile(durations, level) for level in levels}

    return said


def of_values(levels: Sequence[float]) -> Callable[[list[Delivery], float], Said]:
    def said(rows: list[Delivery], _: float) -> Said:
        values = [row["value"] for row in rows]
        return {
            "sum": math.fsum(values),
            "avg": math.fsum(values) / len(values) if values else None,
            "min": min(values, default=None),
            "max": max(values, default=None),
            **{f"p{level * 100:g}": quantile(values, level) for level in levels},
        }

    return said
