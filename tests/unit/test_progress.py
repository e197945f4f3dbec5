from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from beam_pipeline.progress import LiveDisplay, LogDisplay, QuietDisplay, Snapshot, Tracker, duration, make_display
from transforms import metrics
from transforms.listing import Page

HALF = Snapshot(
    files=3, total_files=10, bytes=500, total_bytes=1000, events=12_000, rejected=2, errors=1, elapsed_s=60.0
)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.4, "59s"), (59.6, "1m00s"), (185, "3m05s"), (3600, "1h00m"), (7800, "2h10m")]
)
def test_durations_read_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_snapshot_says_what_is_done_and_what_is_left() -> None:
    assert HALF.describe() == "3/10 files, 500 bytes of 1.0 kB, 1m00s left, 12,000 events, 200/s, 2 rejected, 1 error"


def test_nothing_is_foretold_before_there_is_a_pace() -> None:
    assert Snapshot().remaining_s is None
    assert Snapshot().fraction is None
    assert replace(HALF, bytes=5).remaining_s is None
    assert "left" not in replace(HALF, bytes=1000).describe()


def test_more_bytes_than_were_listed_are_not_more_than_everything() -> None:
    assert replace(HALF, bytes=1500).fraction == 1


def test_the_tracker_knows_from_the_first_page_on_what_there_is_to_do() -> None:
    now = [100.0]
    tracker = Tracker(lambda: now[0])
    assert tracker.snapshot({}, errors=0) == Snapshot()
    now[0] = 160.0  # the listing took its time
    tracker.add_page(Page(files=5, bytes=50, last=(0, "a"), listed_files=7, listed_bytes=70))
    tracker.add_page(Page(files=2, bytes=20, last=(0, "b"), number=1, listed_files=7, listed_bytes=70))
    now[0] = 164.0
    counts = {
        metrics.FILES_LOADED.name: 3,
        metrics.BYTES_READ.name: 35,
        metrics.LINES_REJECTED.name: 1,
        metrics.EVENTS_BY_TYPE["span"].name: 6,
        metrics.EVENTS_BY_TYPE["log"].name: 2,
    }
    assert tracker.snapshot(counts, errors=4) == Snapshot(
        files=3, total_files=7, bytes=35, total_bytes=70, events=8, rejected=1, errors=4, elapsed_s=4.0
    )


def test_of_a_run_that_loads_not_all_the_rest_is_not_waited_for() -> None:
    tracker = Tracker(max_files=5)
    tracker.add_page(Page(files=5, bytes=60, last=(0, "a"), listed_files=20, listed_bytes=200))
    snapshot = tracker.snapshot({}, errors=0)
    assert (snapshot.total_files, snapshot.total_bytes) == (5, 50)


def test_compressed_files_count_with_what_they_hold_once_that_is_known() -> None:
    tracker = Tracker(lambda: 0.0)
    tracker.add_page(Page(files=2, bytes=50, last=(0, "a"), listed_files=2, listed_bytes=50))
    counts = {metrics.BYTES_EXPANDED.name: 150, metrics.BYTES_READ.name: 100}
    assert tracker.snapshot(counts, errors=0).fraction == 0.5


def test_a_log_gets_a_line_every_so_often() -> None:
    now = [0.0]
    stream = io.StringIO()
    with LogDisplay(Console(file=stream), every_s=10, clock=lambda: now[0]) as display:
        for now[0] in (1.0, 9.9, 10.0, 12.0, 19.9, 20.0):
            display.show(HALF)
    assert stream.getvalue().splitlines() == [f"50%, {HALF.describe()}"] * 2


def test_a_terminal_gets_one_line_that_changes_and_is_gone_at_the_end() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, _environ={"TERM": "xterm"})
    with LiveDisplay(console) as display:
        display.show(HALF)
        display.say("a line that stays [not markup]")
    shown = stream.getvalue()
    assert " 50% 3/10 files, 500 bytes of 1.0 kB, 1m00s left, 12,000 events" in shown
    assert "a line that stays [not markup]\n" in shown
    assert shown.endswith("\x1b[2K")


@pytest.mark.parametrize(
    ("console", "quiet", "kind"),
    [
        (Console(file=io.StringIO()), False, LogDisplay),
        (Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"}), False, LiveDisplay),
        (Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"}), False, LogDisplay),
        (Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"}), True, QuietDisplay),
    ],
)
def test_the_display_fits_the_console(console: Console, quiet: bool, kind: type[object]) -> None:
    assert type(make_display(console, quiet=quiet)) is kind


def test_a_quiet_display_shows_nothing_but_what_is_said() -> None:
    stream = io.StringIO()
    with QuietDisplay(Console(file=stream), every_s=0) as display:
        display.show(HALF)
        display.say("said")
    assert stream.getvalue() == "said\n"
