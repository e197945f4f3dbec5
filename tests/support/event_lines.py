"""Hypothesis strategies for lines of JSON whose meaning is known, since each is put together from values with a meaning.

So the expectation needs no second parser: a line is made of (JSON text, what it means) pairs, field by field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

WRONG = object()
"""What a value means that cannot be stored in its field."""

PROJECT = "from-the-path"
RECORDED_MS = 1_790_000_000_123

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_CHOICES = {
    "status": ("ok", "error", "unset"),
    "kind": ("internal", "server", "client", "producer", "consumer"),
    "level": ("debug", "info", "warn", "error"),
    "metricType": ("counter", "gauge", "histogram"),
}
_TEXTS = ("projectId", "deploymentId", "name", "parentSpanId", "traceId", "spanId", "message", "unit", "comment")
_JSON = ("input", "output", "metadata", "attributes", "events", "labels")
_ALL = ("projectId", "deploymentId", "recordedAt")
_TIMES = ("startTime", "endTime", "timestamp", "recordedAt")

FIELDS: Mapping[str, tuple[str, ...]] = {
    "trace": (*_ALL, "name", "status", "startTime", "endTime", "durationMs", "input", "output", "metadata"),
    "span": (
        *(*_ALL, "traceId", "parentSpanId", "name", "kind", "status", "startTime", "endTime", "durationMs"),
        *("attributes", "events"),
    ),
    "log": (*_ALL, "traceId", "spanId", "level", "message", "timestamp", "attributes"),
    "metric": (*_ALL, "name", "metricType", "value", "unit", "timestamp", "labels"),
    "score": (*_ALL, "traceId", "name", "value", "normalizedValue", "comment", "timestamp", "metadata"),
}
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "trace": ("name", "startTime"),
    "span": ("traceId", "name", "startTime"),
    "log": ("level", "message", "timestamp"),
    "metric": ("name", "value", "timestamp"),
    "score": ("name", "value", "timestamp"),
}
IDENTITY: Mapping[str, str] = {"trace": "traceId", "span": "spanId", "log": "id", "metric": "id", "score": "id"}
"""What the id is called in an envelope; in a flat line it is `id`. Both are taken in both."""

_DEFAULTS: Mapping[str, Any] = {
    "deploymentId": "",
    "status": "unset",
    "kind": "internal",
    "metricType": "gauge",
    "input": b"",
    "output": b"",
    "metadata": b"{}",
    "attributes": b"{}",
    "events": b"[]",
    "labels": b"{}",
}


@dataclass(frozen=True)
class EventLine:
    """A line, the row that it means by field name, and the names of fields that keep it from being stored."""

    text: str
    event_type: str
    row: Mapping[str, Any]
    wrong: frozenset[str]


def _text(value: Any, form: str) -> str:
    """A value as JSON, with escapes or without; half a character can only be escaped."""
    text = json.dumps(value, ensure_ascii=form == "ascii")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        text = json.dumps(value)
    return f" {text} " if form == "blanks" else text


def _meant(value: Any) -> Any:
    """What is stored of a value: half a character becomes U+FFFD."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value


def _said(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    """Values, written down in one way or another, and what they mean."""
    forms = st.sampled_from(["ascii", "utf-8"])
    return st.builds(lambda value, form: (_text(value, form), _meant(value)), values, forms)


_words = st.text(max_size=8) | st.text("a\\u\ud83d\ude00", max_size=5)
"""Also with halves of characters."""


_moments = st.datetimes(datetime(1900, 1, 1), datetime(2299, 12, 31, 23, 59, 59))
_microseconds = st.sampled_from([0, 7_000, 120_000, 999_999])
_FORMS = ("Z", "offset", "naive", "date", "blank", "basic", "basic date")
_other_forms = st.sampled_from(_FORMS)
_time_forms = st.sampled_from([*_FORMS, "number", "whole float", "float"])
_UNLIKE_TIMES = ((19_000_101, 22_991_232), (10**9, 10**10))
"""Numbers that look like a date or seconds."""
_offsets = st.integers(-14 * 60, 14 * 60)


@st.composite
def times(draw: st.DrawFn) -> tuple[str, int]:
    moment = draw(_moments)
    moment = moment.replace(microsecond=draw(_microseconds), tzinfo=timezone.utc)
    milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    form = draw(_other_forms if any(low <= milliseconds < high for low, high in _UNLIKE_TIMES) else _time_forms)
    if form == "number":
        return str(milliseconds), milliseconds
    if form == "whole float":
        return f"{milliseconds}.0", milliseconds
    if form == "float":  # a number with a fraction is cut as the text of the same time is: to the millisecond before
        return repr(milliseconds + 0.5), milliseconds
    if "date" in form:
        return json.dumps(moment.strftime("%Y%m%d" if "basic" in form else "%Y-%m-%d")), (
            moment.replace(hour=0, minute=0, second=0, microsecond=0) - _EPOCH
        ) // timedelta(milliseconds=1)
    if form == "basic":
        return json.dumps(f"{moment:%Y%m%dT%H%M%S.%f}Z"), milliseconds
    if form == "offset" and 1901 < moment.year < 2299:
        shift = timedelta(minutes=draw(_offsets))
        return json.dumps(moment.astimezone(timezone(shift)).isoformat()), milliseconds
    text = moment.replace(tzinfo=None).isoformat(" " if form == "blank" else "T")
    return json.dumps(text + ("Z" if form == "Z" else "")), milliseconds


def _json(value: Any, form: str) -> tuple[str, bytes]:
    text = _text(value, form)
    return text, text.strip().encode()


_json_values = st.builds(
    _json,
    st.recursive(
        st.none() | st.booleans() | st.integers() | _words,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_words, inner, max_size=2),
        max_leaves=4,
    ).filter(lambda value: value is not None),
    st.sampled_from(["ascii", "utf-8", "blanks"]),
)
_values: dict[str, st.SearchStrategy[tuple[str, Any]]] = {
    **{name: _said(_words) for name in _TEXTS},
    **{name: _said(st.sampled_from(choices)) for name, choices in _CHOICES.items()},
    **{name: times() for name in _TIMES},
    **dict.fromkeys(_JSON, _json_values),
    "durationMs": st.integers(-(2**63), 2**63 - 1).map(lambda n: (str(n), n))
    | st.integers(-(2**50), 2**50).map(lambda n: (f"{n}.0", n))
    | st.integers(-(2**50), 2**50).map(lambda n: (repr(n + 0.5), n)),
    "value": st.floats(allow_nan=False, allow_infinity=False).map(lambda x: (json.dumps(x), x))
    | st.integers(-(2**80), 2**80).map(lambda n: (str(n), float(n))),
}
_values["normalizedValue"] = _values["value"]

_wrong: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_TEXTS, ("5", "true", "[]", "{}", '["a"]')),
    **dict.fromkeys(_CHOICES, ('"elsewhere"', "1", '"OK"', '""')),
    **dict.fromkeys(
        _TIMES,
        (
            *('"soon"', '"2026-02-30"', '"2026-11-20T25:00Z"', '"20261320T000000Z"', '"1899-12-31"', "99999999999999"),
            *("true", '""', "1790000000", "1790000000.5", "1790000000000000", "1790000000000000000", "20261120"),
        ),
    ),
    "durationMs": ('"3"', "1e30", "9223372036854775808", "[1]"),
    "value": ('"3"', "true", "[]"),
    "normalizedValue": ('"3"', "{}"),
}


# Made once: a strategy that is made for each draw costs more than the draw.
_states = {
    all_good: st.sampled_from(["there"] * 6 + ["absent", "null"] + ["wrong"] * (not all_good))
    for all_good in (False, True)
}
_types = st.sampled_from(sorted(FIELDS))
_wrong_texts = {name: st.sampled_from(texts) for name, texts in _wrong.items()}
_identities = {all_good: st.text("abc0-", min_size=int(all_good), max_size=6) for all_good in (False, True)}
_unheard_of = st.sampled_from(['{"a": [1, "]}"]}', '"x"', "null", "[[[]]]", r'{"\ud83d": "\udc00"}'])


@st.composite
def event_lines(draw: st.DrawFn, *, all_good: bool = False) -> EventLine:
    """One event of any type in either dialect, with any of its fields absent, null or wrong."""
    event_type = draw(_types)
    envelope = draw(st.booleans())
    texts: dict[str, str] = {}
    row: dict[str, Any] = {}
    wrong: set[str] = set()

    identity = draw(_identities[all_good])
    texts[draw(st.sampled_from(["id", IDENTITY[event_type]]))] = json.dumps(identity)
    row["id"] = identity
    if not identity:
        wrong.update(("id", IDENTITY[event_type]))
    for name in FIELDS[event_type]:
        state = draw(_states[all_good])
        if all_good and name in REQUIRED[event_type]:
            state = "there"
        said = "type" if name == "metricType" and envelope and draw(st.booleans()) else name
        row[name] = _DEFAULTS.get(name)
        if state == "wrong" and name in _wrong:
            texts[said] = draw(_wrong_texts[name])
            wrong.add(said)
        elif state == "there":
            texts[said], row[name] = draw(_values[name])
            if name == "projectId" and row[name] == "":
                wrong.add(name)
            if name == "traceId" and event_type == "span" and row[name] == "":
                wrong.add(name)
        elif name in REQUIRED[event_type]:
            wrong.add(name)
        if state == "null":
            texts[said] = "null"
    row["projectId"] = PROJECT if row["projectId"] is None else row["projectId"]
    row["recordedAt"] = RECORDED_MS if row["recordedAt"] is None else row["recordedAt"]
    if row.get("durationMs", 0) is None and None not in (row["startTime"], row["endTime"]):
        row["durationMs"] = row["endTime"] - row["startTime"]
    if draw(st.booleans()):
        texts["unheardOf"] = draw(_unheard_of)

    names = draw(st.permutations(sorted(texts)))
    body = ", ".join(f"{json.dumps(name)}: {texts[name]}" for name in names)
    text = f'{{"type": "{event_type}", "data": {{{body}}}}}' if envelope else f'{{"type": "{event_type}", {body}}}'
    return EventLine(text, event_type, row, frozenset(wrong))
