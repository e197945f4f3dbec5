"""How `query` prints what it found: tables for people, JSON and CSV for programs, a trace as a tree with bars."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from beam_pipeline.commands.base import output_width, print_table, print_text
from beam_pipeline.query.model import Page, ScoreDistribution, Statistics, TimeSeries
from beam_pipeline.query.tree import SpanTree, interval_of

Cells = Sequence[Any]

_COLUMNS: Mapping[str, Mapping[str, str]] = {
    # title: field
    "trace": {
        **{"start": "start_time", "trace": "id", "project": "project_id", "name": "name", "status": "status"},
        "ms": "duration_ms",
    },
    "span": {
        **{"start": "start_time", "span": "id", "trace": "trace_id", "name": "name", "kind": "kind"},
        **{"status": "status", "ms": "duration_ms"},
    },
    "log": {"time": "timestamp", "level": "level", "project": "project_id", "message": "message", "trace": "trace_id"},
    "metric": {
        **{"time": "timestamp", "project": "project_id", "name": "name", "type": "type", "value": "value"},
        "unit": "unit",
    },
    "score": {
        **{"time": "timestamp", "project": "project_id", "name": "name", "value": "value"},
        **{"normalized": "normalized_value", "trace": "trace_id", "comment": "comment"},
    },
}
_NUMBERS = ("ms", "value", "normalized")
_BAR, _LEAST_BAR = 40, 10
"""How many letters a trace's bars are wide, and at least in a narrow terminal."""
_GAP = 3
"""Letters between columns."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def event_json(event: Any) -> dict[str, Any]:
    """An event with all its fields, its JSON fields parsed."""
    found: dict[str, Any] = {}
    for field in fields(event):
        name = field.name.removesuffix("_json")
        found[name] = getattr(event, name)
    return found


def print_events(event_type: str, events: Sequence[Any]) -> None:
    """A table with the columns that tell most."""
    columns = _COLUMNS[event_type]
    sides = {title: "right" if title in _NUMBERS else "left" for title in columns}
    print_table(sides, [tuple(cell(getattr(event, name)) for name in columns.values()) for event in events])


def print_page(event_type: str, page: Page[Any]) -> None:
    """A table, and how to go on."""
    if page.items:
        print_events(event_type, page.items)
    of = f" of {page.total:,}" if page.total is not None else ""
    more = f"; go on with --cursor={page.next_cursor}" if page.next_cursor else ""
    print_text(f"{len(page.items):,}{of} {event_type}s{more}")


def print_events_csv(model: type[Any], events: Sequence[Any]) -> None:
    """All fields, JSON fields as their text."""
    names = [field.name for field in fields(model)]
    titles = [name.removesuffix("_json") for name in names]
    print_csv(titles, [[getattr(event, name) for name in names] for event in events])


def print_csv(titles: Sequence[str], rows: Sequence[Cells]) -> None:
    """Comma-separated values; times in ISO 8601, nothing for what there is not."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows([_iso(value) for value in row] for row in rows)


def print_tree(tree: SpanTree) -> None:
    """Spans under their parents, each with a bar where it is in the time of the trace."""
    nodes = list(tree.walk())
    times = [interval_of(node.span) or (node.span.start_time, node.span.start_time) for node in nodes]
    begin = min(start for start, _ in times)
    total = max((max(end for _, end in times) - begin).total_seconds(), 0.001)
    places = [((start - begin).total_seconds() / total, (end - start).total_seconds() / total) for start, end in times]
    rows: list[tuple[str, ...]] = []
    for node in nodes:
        span = node.span
        note = " (its parent is missing)" if node.is_orphan else " (its own ancestor)" if node.is_cycle else ""
        rows.append(
            (
                "  " * node.depth + span.name + note,
                span.kind,
                span.status,
                cell(span.duration_ms),
                cell(node.self_time_ms),
            )
        )
    sides = {"span": "left", "kind": "left", "status": "left", "ms": "right", "self": "right", "": "left"}
    taken = sum(max(map(len, column)) + _GAP for column in zip(list(sides)[:-1], *rows, strict=True))
    width = max(min(output_width() - taken - _GAP, _BAR), _LEAST_BAR)
    bars = (" " * min(int(start * width), width - 1) + bar(length, width) for start, length in places)
    print_table(sides, [(*row, drawn) for row, drawn in zip(rows, bars, strict=True)])


def series_rows(series: TimeSeries) -> tuple[list[str], list[list[Any]]]:
    """A row for each bucket of each group, with titles."""
    groups = list(series.series[0].group) if series.series else []
    values = list(series.series[0].buckets[0].values) if series.series and series.series[0].buckets else []
    rows = [
        [bucket.timestamp, *one.group.values(), bucket.count, *bucket.values.values()]
        for one in series.series
        for bucket in one.buckets
    ]
    return ["timestamp", *groups, "count", *values], rows


def statistics_rows(statistics: Statistics) -> tuple[list[str], list[list[Any]]]:
    """A row for each group, with titles."""
    groups = list(statistics.groups[0].group) if statistics.groups else []
    values = list(statistics.groups[0].values) if statistics.groups else []
    rows = [[*one.group.values(), one.count, *one.values.values()] for one in statistics.groups]
    return [*groups, "count", *values], rows


def distribution_rows(distribution: ScoreDistribution) -> tuple[list[str], list[list[Any]]]:
    """The histogram, with titles."""
    return ["low", "high", "count"], [[one.low, one.high, one.count] for one in distribution.histogram]


def print_numbers(titles: Sequence[str], rows: Sequence[Cells]) -> None:
    """A table of numbers, with a bar for each count."""
    place = titles.index("count")
    most = max((row[place] for row in rows), default=0) or 1
    words = {title for title, value in zip(titles, rows[0] if rows else (), strict=False) if isinstance(value, str)}
    sides = {title: "left" if title == "timestamp" or title in words else "right" for title in titles} | {"": "left"}
    print_table(sides, [(*map(cell, row), bar(row[place] / most, 20)) for row in rows])


def cell(value: Any) -> str:
    """A value for a table."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}"
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def bar(share: float, width: int) -> str:
    """A bar as long as this part of a width; anything more than nothing can be seen."""
    eighths = min(round(share * width * 8), width * 8)
    if share > 0:
        eighths = max(eighths, 1)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _iso(value: Any) -> Any:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value
