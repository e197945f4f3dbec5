from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipeline.option_values import MAX_WHOLE, instant, moment, number, seconds, size, whole

NOON = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
LONG = "9" * 5000


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (size, "1048576", 1 << 20),
        (size, "512K", 512 << 10),
        (size, "16m", 16 << 20),
        (size, "2GiB", 2 << 30),
        (size, "3 MB", 3 << 20),
        (seconds, "10", 10.0),
        (seconds, "1.5", 1.5),
        (seconds, "500ms", 0.5),
        (seconds, "5m", 300.0),
        (seconds, "2h", 7200.0),
        (seconds, "1d", 86400.0),
        (instant, "1970-01-01", 0),
        (instant, "1970-01-01T00:00:01Z", 1000),
        (instant, "1970-01-01T01:00:00+01:00", 0),
        (instant, "1970-01-01T00:00:01.0019", 1001),
        (instant, "9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        (whole, " 7 ", 7),
        (whole, str(-MAX_WHOLE), -MAX_WHOLE),
        (number, "0.25", 0.25),
    ],
)
def test_values_are_understood(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T12:00:00.000Z",
        "2026-11-20T12:00Z",
        "2026-11-20T12",
        "2026-11-20 12:00",
        "2026-11-20t12:00z",
        "2026-11-20T13:00+01:00",
        "2026-11-20T13:00+01",
        "20261120T120000Z",
        "20261120T120000",
        "20261120T1200",
        "20261120T130000+0100",
        "20261120T120000.000Z",
        "2026-W47-5T12:00Z",
        "2026W475T12",
        "2026-324T12:00",
        "2026-11-20T12:00:00,0Z",
    ],
)
def test_every_form_of_iso_8601_is_a_time(text: str) -> None:
    assert datetime.fromtimestamp(instant(text) / 1000, timezone.utc) == NOON
    time = moment(text)
    assert isinstance(time, datetime)
    has_offset = re.search(r"T.*(Z|[+-])", text.upper()) is not None
    assert time == (NOON if has_offset else NOON.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("20261120", "2026-11-20"),
        ("2026-11-20", "2026-11-20"),
        ("2026-W47", "2026-11-16"),
        ("2026-11", "2026-11-01"),
        ("2026-11-19T24:00", "2026-11-20"),
    ],
)
def test_a_day_begins_at_midnight(text: str, day: str) -> None:
    assert moment(text) == datetime.fromisoformat(day)


@pytest.mark.parametrize(
    ("text", "ago"), [("2h", timedelta(hours=2)), ("7d", timedelta(days=7)), ("90 s", timedelta(0, 90))]
)
def test_how_long_ago(text: str, ago: timedelta) -> None:
    assert moment(text) == ago


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (size, "16X"),
        (size, "-1"),
        (size, ""),
        (size, "8388608T"),
        (seconds, "soon"),
        (seconds, "-1s"),
        (seconds, "36501d"),
        (seconds, "9" * 70),
        (instant, "yesterday"),
        (instant, ""),
        (instant, "2026"),
        (instant, "202611"),
        (instant, "3600"),
        (instant, "1795176000"),
        (instant, "1795176000000"),
        (instant, "9999999999999999"),
        (instant, "2026-02-30"),
        (instant, "2026-11-20T12:00 UTC"),
        (instant, "0001-01-01T00:00+14:00"),
        (instant, "9999-12-31T23:59:59-01:00"),
        (instant, "7d"),
        (moment, "9999999999999999"),
        (moment, "3600"),
        (moment, "yesterday"),
        (moment, "99999999999d"),
        (whole, "1.5"),
        (whole, str(MAX_WHOLE + 1)),
        (number, "half"),
        (number, "nan"),
        (number, "1e999"),
    ],
)
def test_values_that_are_not_understood_are_told_back(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="^" + re.escape(repr(text))):
        parse(text)


@pytest.mark.parametrize("parse", [size, seconds, instant, moment, whole, number])
def test_a_long_value_is_told_back_in_part(parse: Callable[[str], Any]) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"^'9{79}… ") as caught:
        parse(LONG)
    assert len(str(caught.value)) < 250


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))
def test_times_of_every_year_are_read_to_the_millisecond(at: datetime) -> None:
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    expected = (at - datetime(1970, 1, 1)) // timedelta(milliseconds=1)
    for text in (
        at.isoformat(),
        f"{at.isoformat(timespec='milliseconds')}Z",
        at.isoformat().replace("-", "").replace(":", ""),
    ):
        assert instant(text) == expected
