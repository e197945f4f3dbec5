"""The filters of each event type, and their SQL.

Values are never part of a statement: each is a bound parameter, named after its filter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypedDict, Union

from beam_pipeline.query.arguments import number, text
from beam_pipeline.query.errors import BadArgument
from beam_pipeline.query.json_paths import JsonPath
from beam_pipeline.query.json_sql import json_condition

JsonValue = Union[str, int, float, bool, None]
"""The value at a path. None matches null and a missing value."""
JsonFilter = Mapping[JsonPath, JsonValue]
Texts = Union[str, Sequence[str]]


class ScopeFilters(TypedDict, total=False):
    """Filters of all event types. None means no filter."""

    project_id: str | None
    deployment_id: str | None
    start: datetime | timedelta | None
    """Inclusive; a timedelta counts back from now."""
    end: datetime | timedelta | None
    """Inclusive; a timedelta counts back from now."""


class _NameFilters(ScopeFilters, total=False):
    name: str | None
    name_contains: Texts | None
    """Text that the name must contain, or several texts, all of which it must contain; no character is special."""
    ignore_case: bool
    """Whether `…_contains` ignores case; False by default."""


class _DurationFilters(_NameFilters, total=False):
    status: str | None
    """ok, error or unset."""
    min_duration_ms: float | None
    """Inclusive; events without a duration are left out."""
    max_duration_ms: float | None


class TraceFilters(_DurationFilters, total=False):
    """Filters of traces."""

    trace_id: str | None
    metadata: JsonFilter | None
    """Values by path, all of which must match."""


class SpanFilters(_DurationFilters, total=False):
    """Filters of spans."""

    trace_id: str | None
    span_id: str | None
    parent_span_id: str | None
    kind: str | None
    """internal, server, client, producer or consumer."""
    attributes: JsonFilter | None
    events: JsonFilter | None
    """Paths begin with the position of an event: `0.name`."""


class OperationFilters(TraceFilters, SpanFilters, total=False):
    """Filters of traces or spans, depending on `of`."""


class LogFilters(ScopeFilters, total=False):
    """Filters of logs."""

    trace_id: str | None
    span_id: str | None
    level: str | None
    """debug, info, warn or error."""
    min_level: str | None
    """This level and more severe ones."""
    message: str | None
    message_contains: Texts | None
    ignore_case: bool
    attributes: JsonFilter | None


class _ValueFilters(_NameFilters, total=False):
    min_value: float | None
    """Inclusive."""
    max_value: float | None
    """Inclusive."""


class MetricFilters(_ValueFilters, total=False):
    """Filters of metrics."""

    type: str | None
    """counter, gauge or histogram."""
    unit: str | None
    labels: JsonFilter | None


class ScoreFilters(_ValueFilters, total=False):
    """Filters of scores."""

    trace_id: str | None
    metadata: JsonFilter | None


Parameters = dict[str, Any]
Compiled = tuple[list[str], Parameters]
_SEARCHED = 255
"""The most texts that one of ClickHouse's functions searches for."""
_STATUS = ("unset", "ok", "error")
_KIND = ("internal", "server", "client", "producer", "consumer")
_LEVEL = ("debug", "info", "warn", "error")
"""From the least to the most severe."""
_TYPE = ("counter", "gauge", "histogram")


@dataclass(frozen=True)
class Filter:
    """How the value of a filter on a column becomes conditions."""

    column: str
    compile: Callable[[str, str, Any, bool], Compiled]
    """Takes the filter's name, its column, its value, and whether to ignore case. Raises BadArgument."""
    exact: bool = False
    """Whether it tests for equality, which also works on a column of a rollup."""


def _equals(name: str, column: str, value: Any, _: bool) -> Compiled:
    return [f"{column} = {{{name}:String}}"], {name: text(name, value)}


def _one_of(choices: Sequence[str]) -> Filter:
    def compiled(name: str, column: str, value: Any, ignore_case: bool) -> Compiled:
        if not isinstance(value, str) or value not in choices:
            raise BadArgument(name, value, f"one of {', '.join(choices)}")
        return _equals(name, column, value, ignore_case)

    return Filter("", compiled, exact=True)


def _contains(name: str, column: str, value: Any, ignore_case: bool) -> Compiled:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, Sequence) or not given or isinstance(given, bytes):
        raise BadArgument(name, value, "a string, or several")
    texts = list(dict.fromkeys(text(name, one) for one in given))
    case = "CaseInsensitiveUTF8" if ignore_case else ""
    if len(texts) == 1:
        return [f"position{case}({column}, {{{name}:String}}) > 0"], {name: texts[0]}
    conditions, parameters = [], Parameters()
    for first in range(0, len(texts), _SEARCHED):
        parameter = f"{name}_{first}"
        places = f"multiSearchAllPositions{case}({column}, {{{parameter}:Array(String)}})"
        conditions.append(f"arrayAll(_place -> _place > 0, {places})")
        parameters[parameter] = texts[first : first + _SEARCHED]
    return conditions, parameters


def _at_least(name: str, column: str, value: Any, _: bool) -> Compiled:
    return [f"{column} >= {{{name}:Float64}}"], {name: number(name, value)}


def _at_most(name: str, column: str, value: Any, _: bool) -> Compiled:
    return [f"{column} <= {{{name}:Float64}}"], {name: number(name, value)}


def _from_level(name: str, column: str, value: Any, _: bool) -> Compiled:
    if not isinstance(value, str) or value not in _LEVEL:
        raise BadArgument(name, value, f"one of {', '.join(_LEVEL)}")
    return [f"{column} IN {{{name}:Array(String)}}"], {name: list(_LEVEL[_LEVEL.index(value) :])}


def _json(name: str, column: str, value: Any, _: bool) -> Compiled:
    condition, parameters = json_condition(name, column, value)
    return [condition], parameters


def _named(column: str, template: Filter | Callable[[str, str, Any, bool], Compiled], exact: bool = False) -> Filter:
    if isinstance(template, Filter):
        return Filter(column, template.compile, template.exact)
    return Filter(column, template, exact)


def _equal(*columns: str) -> dict[str, Filter]:
    return {column: _named(column, _equals, exact=True) for column in columns}


def _jsons(*columns: str) -> dict[str, Filter]:
    return {column: _named(column, _json) for column in columns}


def _between(column: str, suffix: str) -> dict[str, Filter]:
    return {f"min_{suffix}": _named(column, _at_least), f"max_{suffix}": _named(column, _at_most)}


_SCOPE = _equal("project_id", "deployment_id")
_NAME = {**_SCOPE, **_equal("name"), "name_contains": _named("name", _contains)}
_TIMED = {**_NAME, "status": _named("status", _one_of(_STATUS)), **_between("duration_ms", "duration_ms")}
_VALUED = {**_NAME, **_between("value", "value")}

FILTERS: Mapping[str, Mapping[str, Filter]] = {
    "trace": {**_TIMED, **_equal("trace_id"), **_jsons("metadata")},
    "span": {
        **_TIMED,
        **_equal("trace_id", "span_id", "parent_span_id"),
        "kind": _named("kind", _one_of(_KIND)),
        **_jsons("attributes", "events"),
    },
    "log": {
        **_SCOPE,
        **_equal("trace_id", "span_id", "message"),
        "level": _named("level", _one_of(_LEVEL)),
        "min_level": _named("level", _from_level),
        "message_contains": _named("message", _contains),
        **_jsons("attributes"),
    },
    "metric": {**_VALUED, "type": _named("type", _one_of(_TYPE)), **_equal("unit"), **_jsons("labels")},
    "score": {**_VALUED, **_equal("trace_id"), **_jsons("metadata")},
}
"""By event type and name; `conditions` handles `start`, `end` and `ignore_case`."""
