"""Events one by one and many together: the same are taken, with the same values, and each that is not has a reason."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.event_times import iso_like, numbers
from transforms.events import STRUCTS, Raw
from transforms.events.columns import FIELDS, Fallback, InvalidEvents, columns, problem
from transforms.events.times import MAX_MS, MIN_MS

_TEXTS = st.none() | st.sampled_from(["", "a", "\0", "é" * 100])
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("identity", "project", "nullable", "text", "required_text"), _TEXTS),
    **dict.fromkeys(("required_time", "time", "recorded"), st.none() | iso_like | numbers),
    **dict.fromkeys(("number", "required_number"), st.none() | st.floats(allow_nan=False)),
    "duration": st.none()
    | st.integers(-(2**63) - 1, 2**63)
    | st.floats()
    | st.sampled_from([2**63, -(2**63), 2.0**63, -(2.0**63), 0.5, -0.5, 10**400, math.inf, math.nan]),
    "json": st.sampled_from([Raw(b""), Raw(b"null"), Raw(b"{}"), Raw(b" [1]")]),
}


@st.composite
def decoded(draw: st.DrawFn, event_type: str) -> Any:
    """An event as it may be decoded, each field with any value of its type; most are good."""
    good = {"identity": "i", "required_text": "t", "required_time": 0, "required_number": 1.5}
    values = {}
    for field in FIELDS[event_type]:
        usual = good.get(field.kind, Raw(b"") if field.kind == "json" else None)
        name = field.attribute.partition(" ")[0]
        values[name] = draw(st.just(usual) | st.just(usual) | _VALUES[field.kind])
    return STRUCTS[event_type](**values)


file_times = st.sampled_from([0, MIN_MS, MAX_MS, MIN_MS - 1, MAX_MS + 1, 253_402_300_799_000, 1_763_640_000])


def made(event_type: str, events: list[Any], file_ms: int) -> list[dict[str, Any]] | None:
    """The rows of events; None when one of them cannot be a row."""
    fallback = Fallback(lambda: ["p"] * len(events), lambda: [file_ms] * len(events))
    try:
        batch, times = columns(event_type, events, fallback)
    except InvalidEvents:
        return None
    rows = pa.Table.from_batches([batch])
    for number, column in enumerate(rows.schema):
        if pa.types.is_timestamp(column.type):
            rows = rows.set_column(number, column.name, rows.column(number).cast(pa.int64()))
    assert rows.column("start_time" if "start_time" in rows.schema.names else "timestamp").to_pylist() == times.tolist()
    found: list[dict[str, Any]] = rows.to_pylist()
    return found


@settings(deadline=None)
@given(
    st.sampled_from(sorted(STRUCTS)).flatmap(
        lambda kind: st.tuples(st.just(kind), st.lists(decoded(kind), max_size=4))
    ),
    file_times,
)
@example(("trace", [STRUCTS["trace"](id="i", name="n", start_time="20261120", duration_ms=1.5)]), 0)
def test_together_and_alone_the_same_events_are_taken_with_the_same_values(
    said: tuple[str, list[Any]], file_ms: int
) -> None:
    event_type, events = said
    reasons = [problem(event_type, event, file_ms) for event in events]
    alone = [made(event_type, [event], file_ms) for event in events]
    assert [reason is None for reason in reasons] == [rows is not None for rows in alone]
    if events and None in alone:
        assert made(event_type, events, file_ms) is None
    good = [event for event, reason in zip(events, reasons, strict=True) if reason is None]
    if good:
        assert made(event_type, good, file_ms) == [row for rows in alone if rows is not None for row in rows]


@pytest.mark.parametrize(
    ("given_ms", "stored"),
    [
        *((0, 0), (1.5, 1), (1.999, 1), (0.5, 0), (-0.5, -1), (-1.5, -2), (2.0**53, 2**53), (-(2.0**63), -(2**63))),
        *((2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)), (1e15 + 0.5, 10**15)),
    ],
)
def test_a_duration_with_a_fraction_is_rounded_down_like_a_time(given_ms: float, stored: int) -> None:
    events = [
        STRUCTS["trace"](id="i", name="n", start_time=0, duration_ms=value) for value in (given_ms, None, 2**63 - 1)
    ]
    for together in (events[:1], events):
        rows = made("trace", together, 0)
        assert rows is not None and rows[0]["duration_ms"] == stored
        assert [row["duration_ms"] for row in rows[1:]] == ([None, 2**63 - 1] if rows[1:] else [])


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2.0**63, 1e300, -1e300, 10**400, math.inf, -math.inf, math.nan])
def test_a_duration_beyond_64_bits_is_none(value: float) -> None:
    event = STRUCTS["span"](id="i", trace_id="t", name="n", start_time=0, duration_ms=value)
    other = STRUCTS["span"](id="i", trace_id="t", name="n", start_time=0, duration_ms=0.5)
    assert made("span", [event], 0) is None and made("span", [event, other], 0) is None
    assert (problem("span", event, 0) or "").startswith("durationMs: ")


def test_the_time_of_a_file_is_never_taken_for_seconds() -> None:
    """It comes from the file's name or from the file system, not from a writer that may have the wrong unit."""
    event = STRUCTS["log"](id="i", level="info", message="m", timestamp=0)
    rows = made("log", [event], 1_763_640_000)
    assert rows is not None and rows[0]["recorded_at"] == 1_763_640_000
