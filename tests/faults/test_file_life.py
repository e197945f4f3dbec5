"""What happens to a file while it is being loaded: it grows, goes away, cannot be read, is mended, touched or replaced.

Whatever a run had inserted by then is neither inserted again nor given up: in the end each line is there once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.moments import after_insert, before_move, before_reads
from tests.support.command_line import processed
from tests.support.inbox import Arrived, Inbox, Line, bad, names, numbered, text

pytestmark = pytest.mark.faults

BIG = "log/p0/20261120T120000Z_0b.jsonl"
SMALL = "trace/p0/20261120T120001Z_0c.jsonl"
LINES = numbered(BIG, range(3_000))
CHUNK = 48_000
"""Bytes that are read at a time: some ten times in the big file."""
BEHIND_THE_FIRST_CHUNKS = 4 * CHUNK
BAD = 2_900
"""The line that is bad, if one is."""

both = pytest.mark.parametrize("inbox", ["embedded", "http"], indirect=True)
"""Over both transports; tests without it use the embedded engine."""


def fail_to_read() -> None:
    raise OSError(errno.EIO, "Input/output error")


def rewrite(path: Path, content: str) -> None:
    """Changes a file in place, as an editor does that keeps the inode."""
    with open(path, "r+") as file:
        file.write(content)
        file.truncate()


# It grows.


@both
def test_it_grows_after_the_first_insert(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.write(BIG, LINES)
    after_insert(monkeypatch, 1, lambda: inbox.append(BIG, numbered(BIG, range(3_000, 3_500))))
    inbox.assert_all_arrives()


def test_it_grows_in_each_run(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.write(BIG, LINES)
    for run in range(1, 4):
        if not (inbox.root / BIG).exists():
            break
        with monkeypatch.context() as patch:
            after_insert(
                patch, run, lambda run=run: inbox.append(BIG, numbered(BIG, range(3_000 * run, 3_000 * run + 999)))
            )  # type: ignore[misc]
            inbox.run()
        inbox.assert_nothing_twice()
    inbox.assert_all_arrives()


def test_it_grows_by_half_a_line_that_is_completed_before_the_next_run(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = inbox.write(BIG, LINES)
    (line,) = numbered(BIG, range(3_000, 3_001))
    whole = text([line])

    def write(part: str) -> None:
        with open(path, "a") as file:
            file.write(part)

    after_insert(monkeypatch, 1, lambda: write(whole[:50]))
    inbox.run()
    assert path.exists(), "it has grown since the run began, and so has not left pending"
    write(whole[50:])
    inbox.expect(BIG, [line])
    inbox.assert_all_arrives()


# It goes away.


@both
def test_it_is_away_in_the_middle_of_the_read_and_back_for_the_next_run(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_away_for_runs(inbox, monkeypatch, offset=BEHIND_THE_FIRST_CHUNKS, runs=1)


def test_it_is_away_from_the_first_read_on_and_back_for_the_next_run(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_away_for_runs(inbox, monkeypatch, offset=0, runs=1)


def test_it_is_away_in_the_middle_of_the_read_and_for_two_more_runs(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_away_for_runs(inbox, monkeypatch, offset=BEHIND_THE_FIRST_CHUNKS, runs=3)


def goes_away_for_runs(inbox: Inbox, monkeypatch: pytest.MonkeyPatch, *, offset: int, runs: int) -> None:
    path = inbox.write(BIG, LINES)
    other = inbox.write(SMALL, numbered(SMALL, range(40)))
    away = inbox.root.parent / "away"

    def go() -> None:
        if path.exists():
            path.rename(away)

    with monkeypatch.context() as patch:
        before_reads(patch, path, offset, go)
        assert names(inbox.run(), BIG), inbox.said()
    assert bool(inbox.arrivals()) == bool(offset), "what was read before it went away is loaded"
    for _ in range(runs - 1):
        inbox.run()
        inbox.assert_nothing_twice()
    assert not other.exists(), "the other file is loaded all the same"
    away.rename(path)
    inbox.assert_all_arrives()


# It cannot be read.


@both
def test_it_cannot_be_read_behind_the_first_chunks_for_two_runs(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    path = inbox.write(BIG, LINES)
    with monkeypatch.context() as patch:
        before_reads(patch, path, BEHIND_THE_FIRST_CHUNKS, fail_to_read)
        for _ in range(2):
            assert names(inbox.run(), BIG), inbox.said()
            inbox.assert_nothing_twice()
            assert inbox.arrivals(), "what could be read is loaded"
    inbox.assert_all_arrives()


LONG = 1_500
"""The line that is too long to be held in memory, if one is."""


def with_a_long_line() -> str:
    line = LINES[LONG][0]
    return text(LINES[:LONG]) + line[:-1] + ', "message2": "' + "x" * 5 * CHUNK + '"}\n' + text(LINES[LONG + 1 :])


@pytest.fixture
def with_long_line(inbox: Inbox) -> Path:
    """The big file with a line that is longer than can be held, of which two runs have loaded what they could."""
    inbox.configure(max_held_line_bytes=2 * CHUNK)
    path = inbox.write(BIG, LINES)
    path.write_text(with_a_long_line())
    return path


def test_a_line_that_cannot_be_held_leaves_what_is_before_it_loaded_once(inbox: Inbox, with_long_line: Path) -> None:
    """Of the chunk in which it begins, and of what is behind it, lines may be there or not."""
    whole_chunks = len(text(LINES[:LONG])) // CHUNK * CHUNK
    certain = [
        identity for number, (_, identity) in enumerate(LINES[:LONG]) if len(text(LINES[: number + 1])) < whole_chunks
    ]
    first: dict[str, Arrived] = {}
    for _ in range(3):
        assert names(inbox.run(), BIG), inbox.said()
        assert with_long_line.exists(), "it stays pending"
        inbox.assert_nothing_twice()
        there = inbox.arrivals()
        assert not [identity for identity in certain if identity not in there]
        first = first or there
        assert there == first, "another run changes nothing"


def test_a_line_that_cannot_be_held_is_shortened(inbox: Inbox, with_long_line: Path) -> None:
    inbox.run()
    inbox.run()
    rewrite(with_long_line, text(LINES))
    inbox.assert_all_arrives()


# Too many of its lines are bad.


@pytest.fixture
def with_bad_line(inbox: Inbox) -> Path:
    """The big file with a bad line near its end, which a run with max_rejected=0 has failed to load."""
    inbox.configure(max_rejected=0)
    path = inbox.write(BIG, LINES)
    rewrite(path, text([*LINES[:BAD], bad(LINES[BAD]), *LINES[BAD + 1 :]]))
    assert names(inbox.run(), BIG), inbox.said()
    assert path.exists()
    return path


def longer(line: Line) -> str:
    return line[0][:-1] + ', "attributes": {"mended": "with a longer line"}}\n'


def shorter(line: Line) -> str:
    return line[0].replace(", ", ",").replace(": ", ":") + "\n"


@both
@pytest.mark.parametrize("mended", [lambda line: text([line]), longer, shorter], ids=["same-size", "longer", "shorter"])
def test_its_one_bad_line_is_mended_in_place(inbox: Inbox, with_bad_line: Path, mended: Callable[[Line], str]) -> None:
    rewrite(with_bad_line, text(LINES[:BAD]) + mended(LINES[BAD]) + text(LINES[BAD + 1 :]))
    inbox.assert_all_arrives()
    assert processed(inbox.root) != []


def test_a_load_with_too_many_bad_lines_leaves_nothing_that_later_runs_add_again(
    inbox: Inbox, with_bad_line: Path
) -> None:
    inbox.assert_nothing_twice()
    assert names(inbox.run(), BIG), "it fails again"
    inbox.assert_nothing_twice()
    # The limit is lifted: the bad line is rejected, the others are loaded.
    inbox.configure(max_rejected=None)
    inbox.lose(BIG, [LINES[BAD]])
    inbox.dataset.lost.clear()
    inbox.dataset.rejected.append((BIG, len(text(LINES[:BAD]))))
    inbox.assert_all_arrives()


# It is touched.


@pytest.mark.parametrize("moment", ["after the first insert", "between commit and move"])
def test_it_is_touched(inbox: Inbox, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    path = inbox.write(BIG, LINES)

    def touch() -> None:
        os.utime(path, (1_790_000_000, 1_790_000_000))

    if moment == "between commit and move":
        before_move(monkeypatch, touch)
    else:
        after_insert(monkeypatch, 1, touch)
    inbox.assert_all_arrives()


# It is replaced.


@both
@pytest.mark.parametrize("size", ["as large", "larger", "smaller"])
def test_it_is_replaced_after_the_first_insert(inbox: Inbox, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    inbox.write(BIG, LINES)
    new = numbered(BIG, range(10_000, {"as large": 13_000, "larger": 14_000, "smaller": 10_100}[size]))
    after_insert(monkeypatch, 1, lambda: inbox.replace(BIG, text(new)))
    inbox.lose(BIG, LINES)
    inbox.expect(BIG, new)
    assert names(inbox.run(), BIG), inbox.said()
    inbox.assert_nothing_twice()
    inbox.assert_all_arrives()
    assert any(
        there == Arrived(1, 1) and identity in inbox.dataset.lost for identity, there in inbox.arrivals().items()
    )


def test_it_is_replaced_between_two_runs_of_which_the_first_could_not_read_it_all(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = inbox.write(BIG, LINES)
    with monkeypatch.context() as patch:
        before_reads(patch, path, BEHIND_THE_FIRST_CHUNKS, fail_to_read)
        inbox.run()
    new = numbered(BIG, range(10_000, 10_100))
    inbox.replace(BIG, text(new))
    inbox.lose(BIG, LINES)
    inbox.expect(BIG, new)
    inbox.run()
    inbox.assert_nothing_twice()
    inbox.assert_all_arrives()
