"""Times are read alike one by one and many at once, and numbers that look like something else are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.event_lines import times
from tests.support.event_times import iso_like, numbers
from transforms.events.times import MAX_MS, MIN_MS, months, parse_time, parse_times, time_problem

NOON = 1_795_176_000_000
GOOD = {
    "2026-11-20T12:00:00.000Z": NOON,
    "2026-11-20T12:00:00Z": NOON,
    "2026-11-20t12:00:00z": NOON,
    "2026-11-20 12:00:00": NOON,
    "2026-11-20T12:00Z": NOON,
    "2026-11-20T12Z": NOON,
    "2026-11-20T14:00:00+02:00": NOON,
    "2026-11-20T14:00:00+0200": NOON,
    "2026-11-20T14:00:00+02": NOON,
    "2026-11-20 14:00:00 +0200": NOON,
    "2026-11-20T06:30:00.000-05:30": NOON,
    "2026-11-20T12:00:00.000999999Z": NOON,
    "2026-11-20T12:00:00,5Z": NOON + 500,
    "2026-11-20": 1_795_132_800_000,
    "20261120T120000Z": NOON,
    "20261120T120000": NOON,
    "20261120T120000.5Z": NOON + 500,
    "20261120T120000,000999999Z": NOON,
    "20261120T140000+0200": NOON,
    "20261120T140000+02:00": NOON,
    "20261120t140000.000+02": NOON,
    "20261120 120000Z": NOON,
    "20261120T1200Z": NOON,
    "20261120T12Z": NOON,
    "20261120": 1_795_132_800_000,
    "1900-01-01T00:00:00Z": MIN_MS,
    "19000101T000000Z": MIN_MS,
    "2299-12-31T23:59:59.999Z": MAX_MS,
    "2299-12-31T23:59:59.9999Z": MAX_MS,
    "22991231T235959.999Z": MAX_MS,
    "1969-12-31T23:59:59.999Z": -1,
    "1969-12-31T23:59:59.9995Z": -1,
    "19691231T235959.9985Z": -2,
    "1970-02-01T00:00:00Z": 2_678_400_000,
    0: 0,
    -1: -1,
    1000: 1000,
    1.5: 1,
    -0.5: -1,
    -1.5: -2,
    NOON + 0.0: NOON,
    NOON + 0.9: NOON,
    -(10**9): -(10**9),
    19_000_100: 19_000_100,
    22_991_232: 22_991_232,
    10**9 - 1: 10**9 - 1,
    10**9 - 0.5: 10**9 - 1,
    10**10: 10**10,
    MIN_MS: MIN_MS,
    MAX_MS: MAX_MS,
    MAX_MS + 0.5: MAX_MS,
}
SECONDS = [10**9, 1_763_640_000, 1_763_640_000.123, 10**10 - 1, 10**10 - 0.5]
MICROSECONDS = [10**15, 1_763_640_000_000_000, 1.763640000000123e15, 10**16 - 1]
NANOSECONDS = [10**18, 1_763_640_000_000_000_000, 1.763640000000123e18, 10**19 - 1]
DATES = [20_261_120, 20_261_120.0, 19_000_101, 22_991_231]
BAD: list[Any] = [
    *("", "now", "2026", "2026-11", "202611", "2026-02-29", "20260229", "2026-13-01", "20261301", "2026112"),
    *("2026-11-20T24:00:00Z", "20261120T240000Z", "2026-11-20T23:59:60Z", "2026-11-20T12:60Z", "20261120T1260Z"),
    *("2026-11-20T12:00:00+24:00", "2026-11-20T12:00:00+02:", "2026-11-20T12:00:00+2", "20261120T120000+02:60"),
    *(
        "2026-11-20T12:00:00Z ",
        "2026-11-20T12:00:00 ",
        "2026-11-20T12:00:00\n",
        " 2026-11-20",
        "2026-11-20T",
        "20261120T",
    ),
    *(
        "2026-11-20T12:00:00 UTC",
        "2026-11-20T120000Z",
        "20261120T12:00:00Z",
        "202611-20",
        "2026-1120",
        "20261120T1200000",
    ),
    *("1899-12-31", "18991231T235959.999Z", "0000-01-01", "00010101T000000Z", "2300-01-01", "99991231T235959Z"),
    *("2299-12-31T23:59:59.999-00:01", "２０２６-11-20", "２０２６1120", "1795176000000", "1763640000"),
    *(math.inf, -math.inf, math.nan, MIN_MS - 1, MIN_MS - 0.5, MAX_MS + 1, 2**63, -(2**63), 10**30, -(10**400), 1e300),
    *(*SECONDS, *MICROSECONDS, *NANOSECONDS, *DATES),
]


@pytest.mark.parametrize(("value", "milliseconds"), GOOD.items())
def test_a_time_one_by_one_and_with_others(value: object, milliseconds: int) -> None:
    assert parse_time(value) == milliseconds
    for others in ([], [value], ["2026-11-20T12:00:00.000Z"], ["20261120T120000Z"], [0], [0.5]):
        parsed = parse_times([value, *others])
        assert parsed is not None and parsed[0] == milliseconds


@pytest.mark.parametrize("value", BAD)
def test_what_is_not_a_time_is_not_one_among_others(value: object) -> None:
    assert parse_time(value) is None
    for others in ([], ["2026-11-20T12:00:00.000Z"], ["20261120T120000Z"], [0], [0.5]):
        assert parse_times([value, *others]) is None


@pytest.mark.parametrize(
    ("values", "unit"),
    [(SECONDS, "seconds"), (MICROSECONDS, "microseconds"), (NANOSECONDS, "nanoseconds"), (DATES, "a date")],
)
def test_a_number_in_another_unit_is_told_what_it_looks_like(values: list[float], unit: str) -> None:
    for value in values:
        assert time_problem(value) == f"looks like {unit}; give text in ISO 8601, or epoch milliseconds"


@pytest.mark.parametrize("value", ["soon", "1763640000", 10**13 * 2, 10**400, math.nan, -1_763_640_000_000_000])
def test_another_value_is_told_what_a_time_is(value: object) -> None:
    assert time_problem(value) == "is not a time from 1900 to 2299, in ISO 8601 or epoch milliseconds"


@given(st.lists(times(), min_size=1, max_size=5))
def test_many_times_are_read_like_each(said: list[tuple[str, int]]) -> None:
    values = [
        text.strip('"') if text.startswith('"') else float(text) if "." in text else int(text) for text, _ in said
    ]
    parsed = parse_times(values)
    assert parsed is not None and parsed.tolist() == [meant for _, meant in said]


@given(st.lists(iso_like, max_size=3) | st.lists(numbers, max_size=3) | st.lists(iso_like | numbers, max_size=3))
@example(["2026-11-20T12:00:00", "20261120T120000.5"])
def test_whatever_the_values_are_many_are_read_like_each(values: list[Any]) -> None:
    single = [parse_time(value) for value in values]
    parsed = parse_times(values)
    assert (None if parsed is None else parsed.tolist()) == (None if None in single else single)


@given(st.integers(MIN_MS * 8, MAX_MS * 8))
def test_a_number_with_a_fraction_is_the_time_of_the_text_with_these_digits(eighths: int) -> None:
    whole = parse_time(eighths / 8)
    seconds, rest = divmod(eighths, 8000)
    text = str(np.datetime64(seconds, "s")) + f".{rest * 125:06d}Z"
    assert whole == parse_time(text) or time_problem(eighths / 8).startswith("looks like")


def test_months_are_calendar_months_before_and_after_1970() -> None:
    times = parse_times(
        ["1900-01-01", "1969-12-31T23:59:59.999Z", "1970-01-01", "2026-11-30T23:59:59.999Z", "2299-12-31"]
    )
    assert times is not None and months(times).tolist() == [190001, 196912, 197001, 202611, 229912]
