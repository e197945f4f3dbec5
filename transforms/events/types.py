"""The five event types: what a line may hold, and which table, columns and types it becomes.

Lines come in two dialects, freely mixed: flat, `{"type": "trace", "id": …}`, and in an envelope,
`{"type": "trace", "data": {"traceId": …}}`. The structs below are what msgspec decodes a line into; everything in them is
optional, since a field may be in the line itself or in its `data`, and `parse_events` says what is required.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Union

import msgspec

EVENT_TYPES = ("trace", "span", "log", "metric", "score")
REJECTED_TABLE = "mastra_admin_rejected_events"

MIN_MS = -2_208_988_800_000
"""1900-01-01, the first instant of DateTime64."""
MAX_MS = 10_413_791_999_999
"""2299-12-31T23:59:59.999, the last one."""

Raw = msgspec.Raw
Time = Union[str, int, float, None]
Number = Union[int, float, None]
Text = Union[str, None]
Status = Literal["ok", "error", "unset"]
Kind = Literal["internal", "server", "client", "producer", "consumer"]
Level = Literal["debug", "info", "warn", "error"]
MetricType = Literal["counter", "gauge", "histogram"]

ABSENT = Raw(b"")


class _Body(msgspec.Struct, gc=False, rename="camel"):
    id: Text = None
    project_id: Text = None
    deployment_id: Text = None
    recorded_at: Time = None


class TraceBody(_Body, gc=False, rename="camel"):
    trace_id: Text = None
    name: Text = None
    status: Status | None = None
    start_time: Time = None
    end_time: Time = None
    duration_ms: Number = None
    input: Raw = ABSENT
    output: Raw = ABSENT
    metadata: Raw = ABSENT


class SpanBody(_Body, gc=False, rename="camel"):
    span_id: Text = None
    trace_id: Text = None
    parent_span_id: Text = None
    name: Text = None
    kind: Kind | None = None
    status: Status | None = None
    start_time: Time = None
    end_time: Time = None
    duration_ms: Number = None
    attributes: Raw = ABSENT
    events: Raw = ABSENT


class LogBody(_Body, gc=False, rename="camel"):
    trace_id: Text = None
    span_id: Text = None
    level: Level | None = None
    message: Text = None
    timestamp: Time = None
    attributes: Raw = ABSENT


class MetricBody(_Body, gc=False, rename="camel"):
    name: Text = None
    metric_type: MetricType | None = None
    value: float | None = None
    unit: Text = None
    timestamp: Time = None
    labels: Raw = ABSENT


class EnvelopedMetricBody(MetricBody, gc=False, rename="camel"):
    type: MetricType | None = None


class ScoreBody(_Body, gc=False, rename="camel"):
    trace_id: Text = None
    name: Text = None
    value: float | None = None
    normalized_value: float | None = None
    comment: Text = None
    timestamp: Time = None
    metadata: Raw = ABSENT


class Trace(TraceBody, tag="trace", tag_field="type", gc=False, rename="camel"):
    data: TraceBody | None = None


class Span(SpanBody, tag="span", tag_field="type", gc=False, rename="camel"):
    data: SpanBody | None = None


class Log(LogBody, tag="log", tag_field="type", gc=False, rename="camel"):
    data: LogBody | None = None


class Metric(MetricBody, tag="metric", tag_field="type", gc=False, rename="camel"):
    type: ClassVar[None] = None
    """In a flat line `type` is the event's; only in an envelope may it be the metric's."""
    data: EnvelopedMetricBody | None = None


class Score(ScoreBody, tag="score", tag_field="type", gc=False, rename="camel"):
    data: ScoreBody | None = None


Line = Union[Trace, Span, Log, Metric, Score]
STRUCTS: Mapping[str, type[msgspec.Struct]] = {
    "trace": Trace,
    "span": Span,
    "log": Log,
    "metric": Metric,
    "score": Score,
}

TIME, _TEXT, _JSON, _INTEGER, _NUMBER = "time", "text", "json", "integer", "number"
"""Kinds of columns; `transforms.events.schemas` has their types in Arrow."""


@dataclass(frozen=True)
class EventTable:
    """Where events of a type go. `columns` are the plan's, without those that say when and by which load."""

    event_type: str
    table: str
    rollup: str
    stats_view: str
    time_column: str
    identity: tuple[str, ...]
    """The columns that tell a project's events from each other; the last is the event's own id."""
    sorting_key: tuple[str, ...]
    """Of rows that are equal in all of these ReplacingMergeTree keeps one."""
    columns: Mapping[str, str]
    """Kinds by name, in their order."""

    @property
    def id_column(self) -> str:
        return self.identity[-1]


def _table(
    event_type: str,
    time_column: str,
    identity: tuple[str, ...],
    fields: list[tuple[str, str]],
    sorted_by: tuple[str, ...] = (),
) -> EventTable:
    """`sorted_by`: what comes between time and id in the sorting key."""
    table = f"mastra_admin_{event_type}s"
    return EventTable(
        event_type=event_type,
        table=table,
        rollup=f"{table}_hourly",
        stats_view=f"{table}_hourly_stats",
        time_column=time_column,
        identity=identity,
        # By time, not by trace: ids are random, so that an hour's spans would be all over the table.
        sorting_key=("project_id", "deployment_id", time_column, *sorted_by, *identity),
        columns=dict([*fields, ("recorded_at", TIME)]),
    )


TABLES: Mapping[str, EventTable] = {
    "trace": _table(
        "trace",
        "start_time",
        ("trace_id",),
        [
            ("trace_id", _TEXT),
            ("project_id", _TEXT),
            ("deployment_id", _TEXT),
            ("name", _TEXT),
            ("status", _TEXT),
            ("start_time", TIME),
            ("end_time", TIME),
            ("duration_ms", _INTEGER),
            ("input", _JSON),
            ("output", _JSON),
            ("metadata", _JSON),
        ],
    ),
    "span": _table(
        "span",
        "start_time",
        ("trace_id", "span_id"),
        [
            ("span_id", _TEXT),
            ("trace_id", _TEXT),
            ("parent_span_id", _TEXT),
            ("project_id", _TEXT),
            ("deployment_id", _TEXT),
            ("name", _TEXT),
            ("kind", _TEXT),
            ("status", _TEXT),
            ("start_time", TIME),
            ("end_time", TIME),
            ("duration_ms", _INTEGER),
            ("attributes", _JSON),
            ("events", _JSON),
        ],
    ),
    "log": _table(
        "log",
        "timestamp",
        ("id",),
        [
            ("id", _TEXT),
            ("project_id", _TEXT),
            ("deployment_id", _TEXT),
            ("trace_id", _TEXT),
            ("span_id", _TEXT),
            ("level", _TEXT),
            ("message", _TEXT),
            ("timestamp", TIME),
            ("attributes", _JSON),
        ],
    ),
    "metric": _table(
        "metric",
        "timestamp",
        ("id",),
        [
            ("id", _TEXT),
            ("project_id", _TEXT),
            ("deployment_id", _TEXT),
            ("name", _TEXT),
            ("type", _TEXT),
            ("value", _NUMBER),
            ("unit", _TEXT),
            ("timestamp", TIME),
            ("labels", _JSON),
        ],
        sorted_by=("name",),
    ),
    "score": _table(
        "score",
        "timestamp",
        ("id",),
        [
            ("id", _TEXT),
            ("project_id", _TEXT),
            ("deployment_id", _TEXT),
            ("trace_id", _TEXT),
            ("name", _TEXT),
            ("value", _NUMBER),
            ("normalized_value", _NUMBER),
            ("comment", _TEXT),
            ("timestamp", TIME),
            ("metadata", _JSON),
        ],
        sorted_by=("name",),
    ),
}


@dataclass(frozen=True, slots=True)
class LineSource:
    """Where some lines come from, and what stands in for the fields that an event may lack."""

    path: str
    event_type: str
    """By the path; a line's own type decides."""
    project_id: str
    recorded_at_ms: int
    offset: int
    """Byte offset in the file of the first byte."""
    line: int
    """1-based number of the first line."""
    sequence: int = 0
    """Byte offset of the first line in the chunk that it is read with: what `sequence` counts from."""
