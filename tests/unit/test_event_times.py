from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.event_lines import times
from transforms.event_times import MAX_MS, MIN_MS, months, parse_time, parse_times

GOOD = {
    "2026-11-20T12:00:00.000Z": 1_795_176_000_000,
    "2026-11-20T12:00:00Z": 1_795_176_000_000,
    "2026-11-20t12:00:00z": 1_795_176_000_000,
    "2026-11-20 12:00:00": 1_795_176_000_000,
    "2026-11-20T12:00Z": 1_795_176_000_000,
    "2026-11-20T14:00:00+02:00": 1_795_176_000_000,
    "2026-11-20T14:00:00+0200": 1_795_176_000_000,
    "2026-11-20T06:30:00.000-05:30": 1_795_176_000_000,
    "2026-11-20T12:00:00.000999999Z": 1_795_176_000_000,
    "2026-11-20T12:00:00,5Z": 1_795_176_000_500,
    "2026-11-20": 1_795_132_800_000,
    "1900-01-01T00:00:00Z": MIN_MS,
    "2299-12-31T23:59:59.999Z": MAX_MS,
    "1969-12-31T23:59:59.999Z": -1,
    "1969-12-31T23:59:59.9999Z": -1,
    0: 0,
    -1: -1,
    1_795_176_000_000.0: 1_795_176_000_000,
    MAX_MS: MAX_MS,
}
BAD = [
    *(
        "",
        "now",
        "2026",
        "2026-11",
        "20261120",
        "2026-02-29",
        "2026-13-01",
        "2026-11-20T24:00:00Z",
        "2026-11-20T12:60Z",
    ),
    *("2026-11-20T12:00:00+24:00", "2026-11-20T12:00:00Z ", " 2026-11-20", "2026-11-20T12:00:00 UTC", "1899-12-31"),
    *("2300-01-01", "2299-12-31T23:59:59.999-00:01", "２０２６-11-20", 1.5, float("inf"), float("nan"), MIN_MS - 1),
    *(MAX_MS + 1, 2**63, 10**30),
]


@pytest.mark.parametrize(("value", "milliseconds"), GOOD.items())
def test_a_time_one_by_one_and_with_others(value: object, milliseconds: int) -> None:
    assert parse_time(value) == milliseconds
    for others in ([], [value], ["2026-11-20T12:00:00.000Z"], [0]):
        parsed = parse_times([value, *others])
        assert parsed is not None and parsed[0] == milliseconds


@pytest.mark.parametrize("value", BAD)
def test_what_is_not_a_time_is_not_one_among_others(value: object) -> None:
    assert parse_time(value) is None
    for others in ([], ["2026-11-20T12:00:00.000Z"], [0]):
        assert parse_times([value, *others]) is None


@given(st.lists(times(), min_size=1, max_size=5))
def test_many_times_are_read_like_each(said: list[tuple[str, int]]) -> None:
    values = [
        text.strip('"') if text.startswith('"') else float(text) if "." in text else int(text) for text, _ in said
    ]
    parsed = parse_times(values)
    assert parsed is not None and parsed.tolist() == [meant for _, meant in said]


def test_months_are_calendar_months_before_and_after_1970() -> None:
    times = parse_times(
        ["1900-01-01", "1969-12-31T23:59:59.999Z", "1970-01-01", "2026-11-30T23:59:59.999Z", "2299-12-31"]
    )
    assert times is not None and months(times).tolist() == [190001, 196912, 197001, 202611, 229912]
