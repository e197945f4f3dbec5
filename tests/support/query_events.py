"""Events for tests of the query API: strategies for deliveries, their insertion, and what queries must say of them.

A delivery is a row as it is inserted. Several may be of one event; the one with the greatest `ingested_at` counts, and of
those of one insert that have the same, the last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from beam_pipeline.query import model
from tests.support.databases import FOR_EVER, fresh_database, make_tables
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.events import TABLES
from transforms.events.schemas import SEQUENCE, TIME, arrow_schema

Delivery = dict[str, Any]
Filters = dict[str, Any]

NOON = datetime(2100, 11, 20, 12, tzinfo=timezone.utc)
LOADED = datetime(2100, 12, 31, tzinfo=timezone.utc)
MOVED = timedelta(hours=6)
"""How far outside of a range of time the versions are that are compared, unless a provider is told otherwise."""
_CENTURY = timedelta(days=36_500)
PROJECTS = ("p1", "p'2")
TEXTS = (
    *("", "a", "A", "ab", "a%b", "a_b", "a\\b", "%", "_", "\\", "it's", 'say "x"', "one\ntwo", "tab\t", "\r", "\x00"),
    *("é", "É", "😀!", "' OR 1=1 --", "{name:String}", "\\N", "NULL"),
)
MODELS = {"trace": model.Trace, "span": model.Span, "log": model.Log, "metric": model.Metric, "score": model.Score}
IDENTITY = {**dict.fromkeys(TABLES, ("id",)), "span": ("trace_id", "id")}
"""Fields that identify an event within its project."""
OFFSETS_MS = (-40 * 86_400_000, -3_600_000, -1, 0, 1, 1_000, 3_599_999, 3_600_000, 40 * 86_400_000)
DOCUMENTS: tuple[Any, ...] = (
    {},
    {"a": 1, "k.x": "a%b", "n": {"m": [True, None, 2.5]}},
    {"a": 1.0, "k.x": "", "n": {"m": []}},
    {"a": "1", "n": None},
    {"a": True, "n": {"m": [False, "x"]}},
    {"a": 2**53 + 1, "k.x": "it's 😀\n"},
    {"a": 2**63 + 1},
    {"a": -5},
    {"a": 10**25, "k": {"x": "nested"}},
    {"a": str(10**25), "k": {"x": None}, "n": {"m": {"0": True, "1": 1}}},
    {"a": -0.0, "n.m": {"0": True}, "n": {"m.0": "whole"}},
    {"a": {"": 1}, "n": {"m": [{"k.x": "é"}]}},
    [1, {"a": 1}],
    "text",
)
JSON_FILTERS: tuple[Mapping[Any, Any], ...] = (
    *({"a": value} for value in (1, 1.0, "1", True, None, 2**53, 2**53 + 1, 2**63 + 1, -5)),
    {"k.x": "a%b"},
    {"k.x": ""},
    {"k.x": "it's 😀\n", "a": 2**53 + 1},
    {("n", "m", 0): True},
    {("n", "m", -1): 2.5},
    {("n", "m", 1): None},
    {("n",): None},
    {(1, "a"): 1},
    *({path: "nested"} for path in ("k.x", ("k", "x"), ("k.x",))),
    *({path: True} for path in ("n.m.0", ("n", "m", "0"), ("n", "m", 0), ("n.m", "0"))),
    {"n.m.0": "whole"},
    {"n.m.0.k.x": "é"},
    {"n.m.-1": 2.5},
    {"1.a": 1},
    {"a.": 1},
    *({"a": value} for value in (10**25, str(10**25), 0, -0.0, float(2**53), 2**64)),
)


def at(offset_ms: int) -> datetime:
    return NOON + timedelta(milliseconds=offset_ms)


times = st.sampled_from(OFFSETS_MS).map(at)
texts = st.sampled_from(TEXTS)
documents = st.sampled_from(DOCUMENTS).map(json.dumps) | st.sampled_from(["", "not JSON"])
values = st.sampled_from([0.0, -1.5, 1.0, 2.0, 3.25, 1e300])
durations = st.none() | st.sampled_from([0, 1, 5, 70, 2**40])
status = st.sampled_from(["ok", "error", "unset"])
_LEVELS = ("debug", "info", "warn", "error")
ids = st.sampled_from(["x", "y", "it's", "z\\\n😀"])

_FIELDS: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    "trace": {
        "name": texts,
        "status": status,
        "start_time": times,
        "end_time": st.none() | times,
        "duration_ms": durations,
        "input_json": documents,
        "output_json": documents,
        "metadata_json": documents,
    },
    "span": {
        "trace_id": ids,
        "parent_span_id": st.none() | ids,
        "name": texts,
        "kind": st.sampled_from(["internal", "server", "client", "producer", "consumer"]),
        "status": status,
        "start_time": times,
        "end_time": st.none() | times,
        "duration_ms": durations,
        "attributes_json": documents,
        "events_json": documents,
    },
    "log": {
        "trace_id": st.none() | ids,
        "span_id": st.none() | ids,
        "level": st.sampled_from(_LEVELS),
        "message": texts,
        "timestamp": times,
        "attributes_json": documents,
    },
    "metric": {
        "name": texts,
        "type": st.sampled_from(["counter", "gauge", "histogram"]),
        "value": values,
        "unit": st.none() | st.sampled_from(["ms", ""]),
        "timestamp": times,
        "labels_json": documents,
    },
    "score": {
        "trace_id": st.none() | ids,
        "name": texts,
        "value": values,
        "normalized_value": st.none() | values,
        "comment": st.none() | texts,
        "timestamp": times,
        "metadata_json": documents,
    },
}


def deliveries(
    event_type: str, *, min_size: int = 0, max_size: int = 14, **fixed: st.SearchStrategy[Any]
) -> st.SearchStrategy[list[Delivery]]:
    """Deliveries of few events, so that there are many versions.

    The first two have one `ingested_at`, as have the next two and so on; these are in any order.
    """
    row = st.fixed_dictionaries(
        {
            "id": ids,
            "project_id": st.sampled_from(PROJECTS),
            "deployment_id": st.sampled_from(["", "d1"]),
            **_FIELDS[event_type],
            "recorded_at": times,
            **fixed,
        }
    )
    return st.lists(row, min_size=min_size, max_size=max_size).flatmap(
        lambda rows: st.permutations(range(len(rows))).map(
            lambda order: [
                {**row, "ingested_at": LOADED + timedelta(milliseconds=order[number // 2 * 2])}
                for number, row in enumerate(rows)
            ]
        )
    )


_PLAIN: Delivery = {
    **{"name": "n", "status": "unset", "end_time": None, "duration_ms": 1, "input_json": "", "output_json": ""},
    **{"metadata_json": "{}", "attributes_json": "{}", "events_json": "[]", "labels_json": "{}", "trace_id": None},
    **{"span_id": None, "parent_span_id": None, "kind": "internal", "level": "info", "message": "m", "type": "gauge"},
    **{"value": 1.5, "normalized_value": None, "comment": None, "unit": None, "start_time": NOON, "timestamp": NOON},
}


_MOMENTS = st.sampled_from((*[0] * 6, 1, 7_200_000)).map(at)
_MEASURE = {"trace": "duration_ms", "span": "duration_ms", "log": "level", "metric": "value", "score": "value"}


def crowded_deliveries(event_type: str) -> st.SearchStrategy[list[Delivery]]:
    """Many versions at few times, of events each of which shares parts of its identity with others."""
    plain = {name: st.just(value) for name, value in _PLAIN.items() if name in _FIELDS[event_type]}
    varied = {
        **dict.fromkeys(IDENTITY[event_type], st.sampled_from("xyz")),
        "deployment_id": st.sampled_from(["", "d1", "d2"]),
        TABLES[event_type].time_column: _MOMENTS,
        _MEASURE[event_type]: st.sampled_from(["info", "error"] if event_type == "log" else [1, 2]),
    }
    return deliveries(event_type, min_size=16, max_size=28, **{**plain, **varied})


@st.composite
def crowded_filters(draw: st.DrawFn, event_type: str) -> Filters:
    """Filters that some versions of an event meet and others do not."""
    chosen: Filters = {**draw(st.sampled_from(({}, {}, {}, {"project_id": PROJECTS[0]}, {"deployment_id": "d1"})))}
    if draw(st.sampled_from((True, True, True, False))):
        chosen |= {"level": "error"} if event_type == "log" else {f"min_{_MEASURE[event_type]}": 2}
    chosen |= draw(st.just({}) | st.fixed_dictionaries({}, optional={"start": _MOMENTS, "end": _MOMENTS}))
    return _from_first_to_last(chosen)


def row(event_type: str, **fields: Any) -> Delivery:
    """A delivery of which only some fields are of interest."""
    plain = {name: value for name, value in _PLAIN.items() if name in _FIELDS[event_type]}
    always = {"project_id": "p1", "deployment_id": "", "recorded_at": NOON, "ingested_at": LOADED}
    return {**always, **plain, **fields}


def trace(identity: str, at: datetime = NOON, version: int = 0, **fields: Any) -> Delivery:
    """A delivery of a trace of which only some fields are of interest."""
    return row("trace", id=identity, start_time=at, ingested_at=LOADED + timedelta(milliseconds=version), **fields)


def insert(client: ClickHouse, event_type: str, rows: Iterable[Delivery], block: str = "0.1.0") -> None:
    """Inserts deliveries, all at once."""
    table = TABLES[event_type]
    lineage = [("ingested_at", TIME), ("load_id", pa.string()), ("block", pa.string())]
    schema = pa.schema([*arrow_schema(event_type), *lineage, SEQUENCE])
    named = []
    for sequence, row in enumerate(rows):
        columns = {
            table.id_column if name == "id" else name.removesuffix("_json"): value for name, value in row.items()
        }
        named.append({"load_id": "l", "block": block, "sequence": sequence, **columns})
    if named:
        for column in schema.names:
            if pa.types.is_binary(schema.field(column).type):
                for row in named:
                    row[column] = row[column].encode()
        client.insert(table.table, pa.RecordBatch.from_pylist(named, schema))


@contextmanager
def migrated(config: ClickHouseConfig) -> Iterator[ClickHouse]:
    """A client on a database that has all tables, and in which nothing expires."""
    with config.connect() as client:
        make_tables(client, FOR_EVER)
        yield client


@contextmanager
def migrated_database(admin: ClickHouse) -> Iterator[ClickHouse]:
    """A client on such a database of its own."""
    with fresh_database(admin) as config, migrated(config) as client:
        yield client


def empty(client: ClickHouse, event_type: str) -> None:
    for name in (TABLES[event_type].table, TABLES[event_type].rollup):
        client.command(f"TRUNCATE TABLE {name}")


def newest(event_type: str, rows: Iterable[Delivery]) -> list[Delivery]:
    """Each event once, in its newest version."""
    found: dict[tuple[str, ...], Delivery] = {}
    for row in sorted(rows, key=lambda row: row["ingested_at"]):
        found[(row["project_id"], *(row[name] for name in IDENTITY[event_type]))] = row
    return list(found.values())


def time_of(event_type: str, row: Delivery) -> datetime:
    moment: datetime = row[TABLES[event_type].time_column]
    return moment


def in_order(event_type: str, rows: Iterable[Delivery], first: str = "newest") -> list[Delivery]:
    """By time, then by id and project."""
    ties = [*reversed(IDENTITY[event_type]), "project_id"]
    by_ties = sorted(rows, key=lambda row: [row[name] for name in ties])
    return sorted(by_ties, key=lambda row: time_of(event_type, row), reverse=first == "newest")


def current(event_type: str, rows: Iterable[Delivery], filters: Filters, moved: timedelta = MOVED) -> list[Delivery]:
    """The events that meet filters in their newest version of those that are in the range or close to it."""
    bounds: Filters = {}
    if "start" in filters:
        bounds["start"] = filters["start"] - min(moved, _CENTURY)
    if "end" in filters:
        bounds["end"] = filters["end"] + min(moved, _CENTURY)
    near = [row for row in rows if meets(event_type, row, bounds)]
    return [row for row in newest(event_type, near) if meets(event_type, row, filters)]


def listed(
    event_type: str, rows: Iterable[Delivery], filters: Filters, moved: timedelta = MOVED, first: str = "newest"
) -> list[Any]:
    """The events that a list with these filters must have, in its order."""
    found = current(event_type, rows, filters, moved)
    return [MODELS[event_type](**row) for row in in_order(event_type, found, first)]


def find(document: Any, path: Any) -> Any:
    """What is at a path; None when nothing is."""
    for keys in (
        [path] if isinstance(path, tuple) else sorted(_splits(path), key=lambda keys: [-len(key) for key in keys])
    ):
        found = document
        for key in keys:
            if isinstance(found, list) and isinstance(path, str) and key.lstrip("-").isdecimal():
                key = int(key)
            if not isinstance(found, list if isinstance(key, int) else dict):
                break
            try:
                found = found[key]
            except LookupError:
                break
        else:
            return found
    return None


def _splits(path: str) -> Iterator[list[str]]:
    parts = path.split(".")
    for cuts in range(2 ** (len(parts) - 1)):
        keys = parts[:1]
        for place, part in enumerate(parts[1:]):
            if cuts >> place & 1:
                keys.append(part)
            else:
                keys[-1] += f".{part}"
        yield keys


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _json_meets(text: str, wanted: Mapping[Any, Any]) -> bool:
    document = _document(text)

    def meets_one(path: Any, value: Any) -> bool:
        found = find(document, path)
        if isinstance(found, bool) != isinstance(value, bool):
            return False
        as_doubles = isinstance(value, float) or (isinstance(value, int) and not -(2**63) <= value < 2**64)
        if as_doubles and isinstance(found, (int, float)):
            return float(found) == float(value)
        return bool(found == value)

    return all(meets_one(path, value) for path, value in wanted.items())


def _contains(text: str, wanted: str | Sequence[str], ignore_case: bool) -> bool:
    parts = [wanted] if isinstance(wanted, str) else wanted
    return all((part.lower() in text.lower()) if ignore_case else (part in text) for part in parts)


_MEETS: Mapping[str, Callable[[Delivery, Any, bool], bool]] = {
    "name_contains": lambda row, value, ignore: _contains(row["name"], value, ignore),
    "message_contains": lambda row, value, ignore: _contains(row["message"], value, ignore),
    "min_duration_ms": lambda row, value, _: row["duration_ms"] is not None and row["duration_ms"] >= value,
    "max_duration_ms": lambda row, value, _: row["duration_ms"] is not None and row["duration_ms"] <= value,
    "min_level": lambda row, value, _: _LEVELS.index(row["level"]) >= _LEVELS.index(value),
    "min_value": lambda row, value, _: row["value"] >= value,
    "max_value": lambda row, value, _: row["value"] <= value,
    **{
        name: (lambda row, value, _, column=f"{name}_json": _json_meets(row[column], value))  # type: ignore[misc]
        for name in ("metadata", "attributes", "labels", "events")
    },
}


def meets(event_type: str, row: Delivery, filters: Filters) -> bool:
    """Whether a row meets all filters."""
    ignore_case = filters.get("ignore_case", False)
    for name, value in filters.items():
        if name == "start":
            met = time_of(event_type, row) >= value
        elif name == "end":
            met = time_of(event_type, row) <= value
        elif name == "ignore_case":
            met = True
        elif name in _MEETS:
            met = _MEETS[name](row, value, ignore_case)
        else:
            met = row["id" if name == TABLES[event_type].id_column else name] == value
        if not met:
            return False
    return True


_FILTER_VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "project_id": st.sampled_from((*PROJECTS, "absent")),
    "deployment_id": st.sampled_from(["", "d1"]),
    "name_contains": texts | st.lists(texts, min_size=1, max_size=2),
    "message_contains": texts | st.lists(texts, min_size=1, max_size=2),
    "ignore_case": st.booleans(),
    "min_duration_ms": st.sampled_from([0, 1, 2.5, 70]),
    "max_duration_ms": st.sampled_from([0, 1, 2.5, 70]),
    "min_level": st.sampled_from(_LEVELS),
    "min_value": values,
    "max_value": values,
    **dict.fromkeys(("metadata", "attributes", "labels", "events"), st.sampled_from(JSON_FILTERS)),
    **dict.fromkeys(("trace_id", "span_id", "parent_span_id"), ids),
}
_FILTERS: Mapping[str, tuple[str, ...]] = {
    "trace": (
        "trace_id",
        "status",
        "name",
        "name_contains",
        "ignore_case",
        "min_duration_ms",
        "max_duration_ms",
        "metadata",
    ),
    "span": (
        *("trace_id", "span_id", "parent_span_id", "kind", "status", "name", "name_contains", "ignore_case"),
        *("min_duration_ms", "max_duration_ms", "attributes", "events"),
    ),
    "log": ("trace_id", "span_id", "level", "min_level", "message", "message_contains", "ignore_case", "attributes"),
    "metric": ("name", "name_contains", "ignore_case", "type", "unit", "min_value", "max_value", "labels"),
    "score": ("name", "name_contains", "ignore_case", "trace_id", "min_value", "max_value", "metadata"),
}


@st.composite
def filters(draw: st.DrawFn, event_type: str, *, most: int = 3) -> Filters:
    """Some of the filters of a type."""
    names = (*_FILTERS[event_type], "project_id", "deployment_id", "start", "end")
    chosen: Filters = {}
    for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=most)):
        if name in ("start", "end"):
            chosen[name] = draw(times)
        else:
            own = _FIELDS[event_type].get(name)
            strategy = _FILTER_VALUES.get(name, texts if own is None else own.filter(lambda value: value is not None))
            chosen[name] = draw(strategy)
    return _from_first_to_last(chosen)


def _from_first_to_last(chosen: Filters) -> Filters:
    if "start" in chosen and "end" in chosen and chosen["start"] > chosen["end"]:
        chosen["start"], chosen["end"] = chosen["end"], chosen["start"]
    return chosen
