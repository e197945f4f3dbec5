"""The options of `query`: filters, pages, series; and which of them each kind of query takes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from beam_pipeline.commands.times import TZ
from beam_pipeline.option_parser import Option
from beam_pipeline.option_values import choice, moment, number, seconds, shown, whole
from beam_pipeline.query.filters import FILTERS, JsonValue
from beam_pipeline.query.json_paths import JsonPath, read_path

_LABELS = "labels"
_EXACT_LABEL = f"{_LABELS}["
_EXACT = (
    """keys with dots, brackets or = in them can be written as JSON, such as ["service.name"] or ["events",0,"name"]"""
)


def interval(text: str) -> timedelta:
    """A duration of whole seconds."""
    return timedelta(seconds=seconds(text))


def names(text: str) -> tuple[str, ...]:
    """Words separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def column_names(text: str) -> tuple[str, ...]:
    """Names of columns separated by commas."""
    found = names(text)
    if not found:
        raise argparse.ArgumentTypeError("is empty; give names separated by commas, such as id,name")
    return found


def levels(text: str) -> tuple[float, ...]:
    """Numbers separated by commas."""
    return tuple(number(part) for part in names(text))


def json_filter(text: str) -> tuple[JsonPath, JsonValue]:
    """`path=value`; a number, true, false or null is read as such, quotes are removed, and other values are text."""
    path, rest = _read_path(text, text)
    if not rest.startswith("=") or not path:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not key=value, such as model=gpt-5 or user.id=7")
    said = rest[1:]
    try:
        value = json.loads(said, parse_constant=lambda word: word)
    except (ValueError, RecursionError):
        value = said
    return path, said if isinstance(value, (list, dict)) else value


def merged(filters: Sequence[tuple[JsonPath, JsonValue]]) -> dict[JsonPath, JsonValue]:
    """Several filters on JSON as one."""
    found: dict[JsonPath, JsonValue] = {}
    for path, value in filters:
        if path in found and found[path] != value:
            raise argparse.ArgumentTypeError(f"{path!r} cannot be both {found[path]!r} and {value!r}")
        found[path] = value
    return found


def grouping(text: str) -> tuple[str, ...]:
    """Names separated by commas; `labels["service.name"]` is one name, whatever it contains."""
    found, rest = list[str](), text
    while rest:
        start = rest.lstrip()
        is_exact = start.startswith(_EXACT_LABEL)
        behind = _read_path(text, start.removeprefix(_LABELS))[1] if is_exact else start
        more, _, rest = behind.partition(",")
        if is_exact and more.strip():
            raise argparse.ArgumentTypeError(f"{shown(text)} lacks a comma before {more.strip()!r}")
        found.append((start[: len(start) - len(behind)] + more).strip())
    return tuple(filter(None, found))


def label_paths(group_by: Sequence[str]) -> tuple[tuple[str, ...], tuple[JsonPath, ...]]:
    """Columns to group by, and paths in labels, which are written as `labels.host` or `labels["service.name"]`."""
    columns, paths = list[str](), list[JsonPath]()
    for name in group_by:
        if name.startswith(_EXACT_LABEL):
            paths.append(read_path(name.removeprefix(_LABELS))[0])
        elif name.startswith(f"{_LABELS}."):
            paths.append(name.removeprefix(f"{_LABELS}."))
        else:
            columns.append(name)
    return tuple(columns), tuple(paths)


def _read_path(text: str, written: str) -> tuple[JsonPath, str]:
    try:
        return read_path(written)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)}: {error}; {_EXACT}") from None


def _json_option(name: str, told: str) -> Option:
    return Option(name, json_filter, None, told, "", "KEY=VALUE", merged)


FILTER_OPTIONS = (
    Option("project_id", str, None, "only this project", "", "ID"),
    Option("deployment_id", str, None, "only this deployment", "", "ID"),
    Option("since", moment, None, "from this time on: ISO 8601, or how long ago, such as 2h or 7d", "", "TIME"),
    Option("until", moment, None, "up to this time", "", "TIME"),
    Option("name", str, None, "exactly this name", "", "NAME"),
    Option(
        "name_contains",
        str,
        None,
        "names that contain this text; no character is special; repeatable",
        "",
        "TEXT",
        tuple,
    ),
    Option("message", str, None, "logs: exactly this message", "", "TEXT"),
    Option("message_contains", str, None, "logs: messages that contain this text; repeatable", "", "TEXT", tuple),
    Option("ignore_case", None, False, "ignore case in name_contains and message_contains"),
    Option("trace_id", str, None, "only of this trace", "", "ID"),
    Option("span_id", str, None, "spans and logs: only this span", "", "ID"),
    Option("parent_span_id", str, None, "spans: only children of this span", "", "ID"),
    Option("status", str, None, "traces and spans: ok, error or unset", "", "STATUS"),
    Option("kind", str, None, "spans: internal, server, client, producer or consumer", "", "KIND"),
    Option("level", str, None, "logs: debug, info, warn or error", "", "LEVEL"),
    Option("min_level", str, None, "logs: of this level or a more severe one", "", "LEVEL"),
    Option("type", str, None, "metrics: counter, gauge or histogram", "", "TYPE"),
    Option("unit", str, None, "metrics: only this unit", "", "UNIT"),
    Option("min_duration_ms", number, None, "traces and spans that took at least this long", "", "N"),
    Option("max_duration_ms", number, None, "traces and spans that took at most this long", "", "N"),
    Option("min_value", number, None, "metrics and scores of at least this", "", "X"),
    Option("max_value", number, None, "metrics and scores of at most this", "", "X"),
    _json_option("metadata", "traces and scores: metadata with this value at this path; repeatable"),
    _json_option("attributes", "spans and logs: attributes with this value at this path; repeatable"),
    _json_option("events", "spans: events with this value at this path, such as 0.name=exception; repeatable"),
    _json_option("labels", "metrics: labels with this value at this path; repeatable"),
)
PAGE = Option("page", whole, None, "lists: which page, from 0", "", "N")
PER_PAGE = Option("per_page", whole, None, "lists: events on a page, at most 1000; default: 50", "", "N")
CURSOR = Option(
    "cursor", str, None, "lists: continue after the page that printed this cursor, in the same time range", "", "CURSOR"
)
COUNT = Option(
    "count",
    choice("exact", "none"),
    "exact",
    "lists: whether to count the events on all pages: exact, none",
    "",
    "COUNT",
)
MOVED = Option("moved", seconds, 21_600.0, "how far outside the time range to look for newer versions", "", "DURATION")
ORDER = Option("order", choice("newest", "oldest"), "newest", "lists: which events come first: newest, oldest")
COLUMNS = Option("columns", column_names, (), "lists and slowest: only these fields, separated by commas", "", "NAMES")
LIMIT = Option("limit", whole, None, "slowest: how many, default: 10; lists with --csv: how many at most", "", "N")
OF = Option("of", choice("trace", "span"), "trace", "traces or spans: trace, span", "", "TYPE")
MEASURE = Option(
    "measure",
    choice("traces", "error_rate", "throughput", "latency", "logs", "metrics"),
    "traces",
    "series of what: traces, error_rate, throughput, latency, logs, metrics",
    "",
    "WHAT",
)
INTERVAL = Option(
    "interval", interval, None, "series: length of a bucket; distribution: that of a trend", "", "DURATION"
)
GROUP_BY = Option(
    "group_by",
    grouping,
    (),
    'numbers: group by these, separated by commas, such as status,name; metrics: labels.host, or labels["a.b"]',
    "",
    "NAMES",
)
PERCENTILES = Option("percentiles", levels, (0.5, 0.9, 0.95, 0.99), "which percentiles, from 0 to 1", "", "LEVELS")
SOURCE = Option(
    "source",
    choice("auto", "rollup", "events"),
    "auto",
    "count from hourly rollups or from events; auto: rollups where possible",
    "",
    "SOURCE",
)
BINS = Option("bins", whole, 10, "distribution: bars of the histogram", "", "N")
NORMALIZED = Option("normalized", None, False, "distribution: of the normalized values")
CSV = Option(
    "csv",
    None,
    False,
    "print comma-separated values with a header; lists: all pages, unless --page, --per_page or --cursor is given",
)

OWN_OPTIONS = (
    *(PAGE, PER_PAGE, CURSOR, COUNT, ORDER, COLUMNS, LIMIT, OF, MEASURE, INTERVAL, GROUP_BY, PERCENTILES, SOURCE, BINS),
    *(NORMALIZED, MOVED, TZ, CSV),
)
QUERY = (*FILTER_OPTIONS, *OWN_OPTIONS)

_LIST = (PAGE, PER_PAGE, CURSOR, COUNT, ORDER, COLUMNS, LIMIT, MOVED)
_NUMBERS = (OF, GROUP_BY, SOURCE, MOVED)


@dataclass(frozen=True)
class Kind:
    """A kind of query: the event type of its filters ('' if an option decides), and its own options."""

    event_type: str
    options: tuple[Option, ...] = ()


KINDS: Mapping[str, Kind] = {
    "traces": Kind("trace", _LIST),
    "spans": Kind("span", _LIST),
    "logs": Kind("log", _LIST),
    "metrics": Kind("metric", _LIST),
    "scores": Kind("score", _LIST),
    "trace": Kind("trace"),
    "slowest": Kind("", (OF, LIMIT, COLUMNS, MOVED)),
    "series": Kind("", (*_NUMBERS, MEASURE, INTERVAL, PERCENTILES)),
    "percentiles": Kind("", (*_NUMBERS, PERCENTILES)),
    "errors": Kind("", _NUMBERS),
    "distribution": Kind("score", (BINS, NORMALIZED, PERCENTILES, INTERVAL, SOURCE, MOVED)),
}
_OF_MEASURE = {"traces": "trace", "error_rate": "trace", "logs": "log", "metrics": "metric"}


def event_type_of(action: str, values: Mapping[str, Any]) -> str:
    """The event type of a query."""
    measured = _OF_MEASURE.get(values["measure"]) if action == "series" else None
    return KINDS[action].event_type or measured or str(values["of"])


def exports(values: Mapping[str, Any]) -> bool:
    """Whether to print a whole list instead of a page."""
    return bool(values["csv"]) and all(values[name] is None for name in ("page", "per_page", "cursor"))


def query_filters(action: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The given filters, by their names in the query API."""
    given = {option.name: values[option.name] for option in FILTER_OPTIONS}
    for bound, option in (("start", "since"), ("end", "until")):
        time = given.pop(option)
        naive = isinstance(time, datetime) and time.tzinfo is None
        given[bound] = time.replace(tzinfo=values["tz"]) if naive else time
    # Not by comparison: 0 is a value, and equal to False.
    return {name: value for name, value in given.items() if value is not None and value is not False}


def query_problems(action: str, values: Mapping[str, Any]) -> list[str]:
    """Options that do not apply to this kind of query, and options that are missing."""
    event_type = event_type_of(action, values)
    known = {*FILTERS[event_type], "start", "end", "ignore_case"}
    if action == "trace":
        known = {"project_id", "trace_id"}
    what = f"query {action}" + (f" of {event_type}s" if not KINDS[action].event_type else "")
    problems = [
        f"--{_flag(name)}: {what} has no such filter" for name in query_filters(action, values) if name not in known
    ]
    for option in OWN_OPTIONS:
        if option not in (TZ, CSV) and option not in KINDS[action].options and values[option.name] != option.default:
            problems.append(f"--{option.name}: is not for query {action}")
    if action == "trace" and not values["trace_id"]:
        problems.append("--trace_id: is missing; use: query trace ID")
    if action == "series" and not values["interval"]:
        problems.append("--interval: is missing; the length of a bucket, such as 1h")
    if PAGE in KINDS[action].options and values["limit"] is not None and not exports(values):
        problems.append("--limit: is for lists with --csv and without --page, --per_page and --cursor; give --per_page")
    elif values["limit"] is not None and values["limit"] < 1:
        problems.append(f"--limit: {values['limit']} must be at least 1")
    if values["json"] and values["csv"]:
        problems.append("--csv and --json cannot be combined")
    return problems


def _flag(name: str) -> str:
    return {"start": "since", "end": "until"}.get(name, name)
