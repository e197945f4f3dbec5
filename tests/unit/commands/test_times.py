from __future__ import annotations

import argparse
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from beam_pipeline.commands.times import TimeColumn, time_zone

BERLIN = ZoneInfo("Europe/Berlin")
UTC = timezone.utc
CHANGE = datetime(2026, 10, 25, 1, tzinfo=UTC)
"""When Berlin goes back from 03:00 to 02:00."""


def test_the_offset_is_in_the_title_where_all_times_have_it() -> None:
    times = [CHANGE, None, CHANGE + timedelta(hours=1, milliseconds=5)]
    column = TimeColumn(times, UTC)
    assert column.note == "UTC"
    assert list(map(column.cell, times)) == ["2026-10-25 01:00:00.000", "", "2026-10-25 02:00:00.005"]
    assert TimeColumn(times, BERLIN).note == "+01:00"


def test_times_on_both_sides_of_a_change_of_the_clock_have_their_offsets() -> None:
    times = [CHANGE - timedelta(minutes=30), CHANGE + timedelta(minutes=30)]
    column = TimeColumn(times, BERLIN, "minutes")
    assert column.note == ""
    assert list(map(column.cell, times)) == ["2026-10-25 02:30 +02:00", "2026-10-25 02:30 +01:00"]


def test_an_offset_of_seconds_is_whole() -> None:
    assert TimeColumn([datetime(1901, 1, 1, tzinfo=UTC)], ZoneInfo("Asia/Kolkata")).note == "+05:21:10"


def test_time_zones_by_name() -> None:
    assert time_zone("utc") is UTC and time_zone(" Europe/Berlin ") == BERLIN


@pytest.mark.parametrize("text", ["", "Mars", "Europe", "../passwd", "/etc/passwd", "a\0b", "Ünknown", "x" * 5000])
def test_what_is_no_time_zone(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a time zone"):
        time_zone(text)
