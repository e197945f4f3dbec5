"""How `query` prints numbers, with a bar for each count, and a trace as a tree with bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

from beam_pipeline.commands.tables import NUMBER, Bar, Cell, Column, print_table
from beam_pipeline.commands.times import TimeColumn
from beam_pipeline.query.lists.tree import SpanTree, interval_of
from beam_pipeline.query.model import ScoreDistribution, Statistics, TimeSeries

Table = tuple[list[str], list[list[Any]]]
"""Titles and rows."""

STATUS = Column(styles={"error": "red"})


def print_tree(tree: SpanTree) -> None:
    """Spans under their parents, each with a bar that shows when it ran within the trace."""
    nodes = list(tree.walk())
    times = [interval_of(node.span) or (node.span.start_time, node.span.start_time) for node in nodes]
    begin = min(start for start, _ in times)
    total = max((max(end for _, end in times) - begin).total_seconds(), 0.001)
    rows: list[Sequence[Cell]] = []
    for node, (start, end) in zip(nodes, times, strict=True):
        span = node.span
        note = " (its parent is missing)" if node.is_orphan else " (its own ancestor)" if node.is_cycle else ""
        numbers = (cell(span.duration_ms), cell(node.self_time_ms))
        bar = Bar((end - start).total_seconds() / total, (start - begin).total_seconds() / total)
        rows.append(("  " * node.depth + span.name + note, span.kind, span.status, *numbers, bar))
    headers = {
        "span": Column(least=24, cut=True),
        "kind": Column(rank=3),
        "status": Column(rank=2, styles=STATUS.styles),
        "ms": NUMBER,
        "self": Column(right=True, rank=1),
        "": Column(least=10, most=40),
    }
    print_table(headers, rows)


def series_rows(series: TimeSeries, groups: Sequence[str] = (), values: Sequence[str] = ()) -> Table:
    """A row for each bucket of each group, with titles; `groups` and `values` are the titles if there are no events."""
    if series.series and series.series[0].buckets:
        groups, values = list(series.series[0].group), list(series.series[0].buckets[0].values)
    rows = [
        [bucket.timestamp, *one.group.values(), bucket.count, *bucket.values.values()]
        for one in series.series
        for bucket in one.buckets
    ]
    return ["timestamp", *groups, "count", *values], rows


def statistics_rows(statistics: Statistics, groups: Sequence[str] = (), values: Sequence[str] = ()) -> Table:
    """A row for each group, with titles; otherwise as `series_rows`."""
    if statistics.groups:
        groups, values = list(statistics.groups[0].group), list(statistics.groups[0].values)
    rows = [[*one.group.values(), one.count, *one.values.values()] for one in statistics.groups]
    return [*groups, "count", *values], rows


def distribution_rows(distribution: ScoreDistribution) -> Table:
    """The histogram, with titles."""
    return ["low", "high", "count"], [[one.low, one.high, one.count] for one in distribution.histogram]


def distribution_and_trend_rows(distribution: ScoreDistribution, trend: Table) -> Table:
    """The histogram and the trend in one table, told apart by the column `part`."""
    titles, rows = trend
    _, bins = distribution_rows(distribution)
    nothing = [None] * (len(titles) - 2)
    return ["part", "low", "high", *titles], [
        *(["histogram", low, high, None, count, *nothing] for low, high, count in bins),
        *(["trend", None, None, *row] for row in rows),
    ]


def print_numbers(titles: Sequence[str], rows: Sequence[Sequence[Any]], zone: tzinfo) -> None:
    """A table of numbers, with a bar for each count."""
    place = titles.index("count")
    most = max((row[place] for row in rows), default=0) or 1
    headers: dict[str, Column] = {}
    cells: list[list[Cell]] = []
    for number, title in enumerate(titles):
        values = [row[number] for row in rows]
        if title == "timestamp":
            seconds = any(value.second for value in values)
            times = TimeColumn(values, zone, "seconds" if seconds else "minutes")
            headers[title] = Column(note=times.note)
            cells.append(list(map(times.cell, values)))
        else:
            is_text = any(isinstance(value, str) for value in values)
            headers[title] = Column(least=16) if is_text else Column(right=True, rank=max(number - place, 0))
            cells.append(list(map(cell, values)))
    headers[""] = Column(least=8, most=20, rank=len(titles) + 1)
    cells.append([Bar(row[place] / most) for row in rows])
    print_table(headers, list(zip(*cells, strict=True)), more="--csv has all")


def cell(value: Any) -> str:
    """A value for a table."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
