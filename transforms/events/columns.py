"""Decoded events of one type, as the columns of their table; and for one event, what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.events import TABLES
from transforms.events.schemas import TIME, arrow_schema
from transforms.events.times import (
    Milliseconds,
    is_in_range,
    parse_time,
    parse_times,
    time_problem,
    whole_milliseconds,
)

_INT64 = 2**63
_NULL = b"null"


class InvalidEvents(Exception):
    """Some of the events lack a field or hold what cannot be stored; `problem` tells for each."""


@dataclass(frozen=True)
class Fallback:
    """What stands in for fields that an event may lack: one value per event. Made only when one lacks it."""

    project_ids: Callable[[], Sequence[str]]
    recorded_at_ms: Callable[[], Sequence[int]]


@dataclass(frozen=True)
class _Field:
    column: str
    attribute: str
    json: str
    """Name in the line, for messages."""
    kind: str
    default: Any = None


def _text(column: str, attribute: str, json: str) -> _Field:
    return _Field(column, attribute, json, "required_text")


def _id(column: str, attribute: str, json: str) -> _Field:
    return _Field(column, attribute, json, "identity")


_DEPLOYMENT = _Field("deployment_id", "deployment_id", "deploymentId", "text", "")
_PROJECT = _Field("project_id", "project_id", "projectId", "project")
_RECORDED = _Field("recorded_at", "recorded_at", "recordedAt", "recorded")
_STATUS = _Field("status", "status", "status", "text", "unset")
_START = _Field("start_time", "start_time", "startTime", "required_time")
_END = _Field("end_time", "end_time", "endTime", "time")
_DURATION = _Field("duration_ms", "duration_ms", "durationMs", "duration")
_TIMESTAMP = _Field("timestamp", "timestamp", "timestamp", "required_time")
_NAME = _text("name", "name", "name")
_TRACE = _Field("trace_id", "trace_id", "traceId", "nullable")
_VALUE = _Field("value", "value", "value", "required_number")


def _json(name: str, default: bytes) -> _Field:
    return _Field(name, name, name, "json", default)


FIELDS: Mapping[str, Sequence[_Field]] = {
    "trace": (
        _id("trace_id", "trace_id id", "id"),
        _PROJECT,
        _DEPLOYMENT,
        _NAME,
        _STATUS,
        _START,
        _END,
        _DURATION,
        _json("input", b""),
        _json("output", b""),
        _json("metadata", b"{}"),
        _RECORDED,
    ),
    "span": (
        _id("span_id", "span_id id", "id"),
        _id("trace_id", "trace_id", "traceId"),
        _Field("parent_span_id", "parent_span_id", "parentSpanId", "nullable"),
        _PROJECT,
        _DEPLOYMENT,
        _NAME,
        _Field("kind", "kind", "kind", "text", "internal"),
        _STATUS,
        _START,
        _END,
        _DURATION,
        _json("attributes", b"{}"),
        _json("events", b"[]"),
        _RECORDED,
    ),
    "log": (
        _id("id", "id", "id"),
        _PROJECT,
        _DEPLOYMENT,
        _TRACE,
        _Field("span_id", "span_id", "spanId", "nullable"),
        _text("level", "level", "level"),
        _text("message", "message", "message"),
        _TIMESTAMP,
        _json("attributes", b"{}"),
        _RECORDED,
    ),
    "metric": (
        _id("id", "id", "id"),
        _PROJECT,
        _DEPLOYMENT,
        _NAME,
        _Field("type", "metric_type type", "metricType", "text", "gauge"),
        _VALUE,
        _Field("unit", "unit", "unit", "nullable"),
        _TIMESTAMP,
        _json("labels", b"{}"),
        _RECORDED,
    ),
    "score": (
        _id("id", "id", "id"),
        _PROJECT,
        _DEPLOYMENT,
        _TRACE,
        _NAME,
        _VALUE,
        _Field("normalized_value", "normalized_value", "normalizedValue", "number"),
        _Field("comment", "comment", "comment", "nullable"),
        _TIMESTAMP,
        _json("metadata", b"{}"),
        _RECORDED,
    ),
}


def bodies(events: Sequence[Any]) -> Sequence[Any]:
    """Where the fields of each event are: its `data` when it came in an envelope, else the event itself."""
    inner = [event.data for event in events]
    if inner.count(None) == len(inner):
        return events
    return [event if data is None else data for event, data in zip(events, inner, strict=True)]


def columns(event_type: str, events: Sequence[Any], fallback: Fallback) -> tuple[pa.RecordBatch, Milliseconds]:
    """The rows of events of one type, in their order, and the time of each. Raises InvalidEvents."""
    rows = bodies(events)
    table = TABLES[event_type]
    times: dict[str, Milliseconds] = {}
    made: dict[str, pa.Array] = {}
    for field in FIELDS[event_type]:
        values = _values(rows, field.attribute)
        if field.kind == "project":
            made[field.column] = _projects(values, fallback)
        elif field.kind == "recorded":
            made[field.column] = _recorded(values, fallback)
        elif field.kind == "required_time":
            times[field.column] = _required_times(values)
            made[field.column] = pa.array(times[field.column]).cast(TIME)
        elif field.kind == "duration":
            made[field.column] = _durations(values, made)
        else:
            made[field.column] = _BUILDERS[field.kind](values, field.default)
    batch = pa.RecordBatch.from_arrays([made[name] for name in table.columns], schema=arrow_schema(event_type))
    return batch, times[table.time_column]


def problem(event_type: str, event: Any, file_ms: int) -> str | None:
    """What is wrong with one event, naming the field, its value and what would be right; None when nothing is.

    `file_ms` is the file's own time, which an event without `recordedAt` was recorded at.
    """
    (body,) = bodies([event])
    for field in FIELDS[event_type]:
        (value,) = _values([body], field.attribute)
        found = _problem(field, value, file_ms)
        if found:
            return f"{field.json}: {found}"
    return None


def _problem(field: _Field, value: Any, file_ms: int) -> str | None:
    if value is None:
        if field.kind in ("identity", "required_text", "required_time", "required_number"):
            return "is missing"
        if field.kind == "recorded" and not is_in_range(file_ms):
            return f"is missing, and the time of the file, {np.datetime64(file_ms, 'ms')}, is not from 1900 to 2299"
        return None
    if value == "" and field.kind in ("identity", "project"):
        return "is empty"
    if field.kind in ("required_time", "time", "recorded") and parse_time(value) is None:
        return f"{shorten(value)} {time_problem(value)}"
    if field.kind == "duration" and not _fits(whole_milliseconds(value)):
        return f"{shorten(value)} is not a number of milliseconds from -2^63 to 2^63 - 1"
    return None


def shorten(value: Any) -> str:
    """A value for a message, cut to a length that can be read."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _values(rows: Sequence[Any], attributes: str) -> list[Any]:
    """One attribute of each row; of two names for the same thing, the first that is there."""
    first, _, second = attributes.partition(" ")
    values = list(map(attrgetter(first), rows))
    if second and None in values:
        others = map(attrgetter(second), rows) if hasattr(rows[0], second) or len(rows) > 1 else [None] * len(rows)
        values = [other if value is None else value for value, other in zip(values, others, strict=True)]
    return values


def _required_text(values: list[Any], _: Any) -> pa.Array:
    if None in values:
        raise InvalidEvents
    return pa.array(values, pa.string())


def _identity(values: list[Any], _: Any) -> pa.Array:
    if None in values or "" in values:
        raise InvalidEvents
    return pa.array(values, pa.string())


def _text_or_default(values: list[Any], default: str) -> pa.Array:
    made = pa.array(values, pa.string())
    return pc.fill_null(made, default) if made.null_count else made


def _nullable(values: list[Any], _: Any) -> pa.Array:
    return pa.array(values, pa.string())


def _required_number(values: list[Any], _: Any) -> pa.Array:
    if None in values:
        raise InvalidEvents
    return pa.array(values, pa.float64())


def _number(values: list[Any], _: Any) -> pa.Array:
    return pa.array(values, pa.float64())


def _json_text(values: list[Any], default: bytes) -> pa.Array:
    # Joined at once: to make each one bytes first takes twice as long.
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    made = pa.Array.from_buffers(pa.large_binary(), len(values), buffers).cast(pa.binary())
    if not ((lengths == 0) | (lengths == len(_NULL))).any():
        return made
    absent = pc.or_(pc.equal(made, b""), pc.equal(made, _NULL))
    return pc.if_else(absent, pa.scalar(default, pa.binary()), made)


def _nullable_times(values: list[Any], _: Any) -> pa.Array:
    present = [value for value in values if value is not None]
    parsed = parse_times(present) if present else np.empty(0, np.int64)
    if parsed is None:
        raise InvalidEvents
    if len(present) == len(values):
        return pa.array(parsed).cast(TIME)
    mask = np.fromiter((value is None for value in values), bool, len(values))
    filled = np.zeros(len(values), np.int64)
    filled[~mask] = parsed
    return pa.array(filled, mask=mask).cast(TIME)


_BUILDERS: Mapping[str, Callable[[list[Any], Any], pa.Array]] = {
    "identity": _identity,
    "required_text": _required_text,
    "text": _text_or_default,
    "nullable": _nullable,
    "required_number": _required_number,
    "number": _number,
    "json": _json_text,
    "time": _nullable_times,
}


def _required_times(values: list[Any]) -> Milliseconds:
    parsed = None if None in values else parse_times(values)
    if parsed is None:
        raise InvalidEvents
    return parsed


def _projects(values: list[Any], fallback: Fallback) -> pa.Array:
    if "" in values:
        raise InvalidEvents
    if None in values:
        values = [
            other if value is None else value for value, other in zip(values, fallback.project_ids(), strict=True)
        ]
    return pa.array(values, pa.string())


def _recorded(values: list[Any], fallback: Fallback) -> pa.Array:
    if None not in values:
        return pa.array(_required_times(values)).cast(TIME)
    times = np.array(fallback.recorded_at_ms(), np.int64)
    present = [value for value in values if value is not None]
    if present:
        times[[value is not None for value in values]] = _required_times(present)
    if not (is_in_range(times.min()) and is_in_range(times.max())):
        raise InvalidEvents
    return pa.array(times).cast(TIME)


def _fits(number: int | None) -> bool:
    return number is not None and -_INT64 <= number < _INT64


def _durations(values: list[Any], made: Mapping[str, pa.Array]) -> pa.Array:
    """Durations as given; where there is none, the time from start to end when both are known."""
    try:
        if float in set(map(type, values)):
            values = [None if value is None else math.floor(value) for value in values]
        durations = pa.array(values, pa.int64())
    except (OverflowError, ValueError):  # also of inf and nan
        raise InvalidEvents from None
    if not durations.null_count:
        return durations
    elapsed = pc.subtract(made["end_time"].cast(pa.int64()), made["start_time"].cast(pa.int64()))
    durations = pc.coalesce(durations, elapsed)
    if not durations.null_count:
        return durations
    # A block's digest is of what lies under a null, too: nothing else than 0, wherever and however it was made.
    mask = durations.is_null().to_numpy(zero_copy_only=False)
    return pa.array(durations.fill_null(0).to_numpy(), mask=mask)
