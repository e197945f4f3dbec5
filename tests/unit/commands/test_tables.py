"""Tables in terminals of any width."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipeline.commands.tables import FIXED, NUMBER, TEXT, Bar, Column, _fit, print_table

Printed = Callable[..., list[str]]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """Prints a table as in a terminal so many letters wide, or as into a pipe, and returns its lines."""

    def print_in(width: int | None, *table: Any, **options: Any) -> list[str]:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        if width is not None:
            monkeypatch.setenv("FORCE_COLOR", "1")
            monkeypatch.setenv("COLUMNS", str(width))
        print_table(*table, **options)
        return capsys.readouterr().out.splitlines()

    return print_in


def plain(lines: list[str]) -> list[str]:
    return [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]


HEADERS = {
    "time": Column(note="UTC"),
    "id": FIXED,
    "text": Column(least=20),
    "ms": Column(right=True, rank=1),
    "project": Column(rank=2),
}
TIME, ID = "2026-11-25 14:05:25.200", "t0000007000003e7"
ROWS = [(TIME, ID, "one two three four five six seven", "1,234,567", "project-0")]


@pytest.mark.parametrize(
    ("width", "missing"), [(60, ["ms", "project"]), (70, ["ms", "project"]), (80, ["project"]), (100, [])]
)
def test_ids_times_and_numbers_never_fold_and_what_there_is_no_room_for_is_named(
    printed: Printed, width: int, missing: list[str]
) -> None:
    lines = plain(printed(width, HEADERS, ROWS, more="how to see them"))
    assert TIME in lines[2] and ID in lines[2]
    for name, value in zip(HEADERS, ROWS[0], strict=True):
        if name != "text":
            assert (value in lines[2]) == (name not in missing)
    assert all(len(line) <= max(width, 61) for line in lines[:3])
    if missing:
        assert lines[-1] == f"no room for {', '.join(missing)} (how to see them)"
    else:
        assert lines[-1].startswith(TIME) or "no room" not in lines[-1]


def test_a_text_takes_as_many_lines_as_it_needs(printed: Printed) -> None:
    lines = plain(printed(60, {"id": FIXED, "text": TEXT}, [(ID, "word " * 20)]))
    assert " ".join(" ".join(line.split()[-8:]) for line in lines[2:]).split().count("word") == 20
    assert sum(ID in line for line in lines) == 1


def test_in_a_pipe_each_row_is_one_line_with_all_columns(printed: Printed) -> None:
    lines = printed(None, HEADERS, [(TIME, ID, "word " * 100, "1", "p")])
    assert len(lines) == 3 and lines[2].startswith(TIME) and lines[2].endswith("p") and "\x1b" not in lines[2]


def test_no_line_ends_in_spaces(printed: Printed) -> None:
    assert not [
        line for line in printed(None, {"text": TEXT, "more": TEXT}, [("a", ""), ("", "b")]) if line[-1:] == " "
    ]


def test_colours_only_in_a_terminal_and_not_with_no_color(
    printed: Printed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = ({"level": Column(styles={"error": "red"})}, [("error",), ("info",)])
    assert printed(None, *table)[2] == "error"
    coloured = printed(80, *table)
    assert coloured[2].startswith("\x1b[31m") and "\x1b" not in coloured[3]
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(*table)
    assert "\x1b" not in capsys.readouterr().out


def test_nothing_that_a_terminal_would_obey_gets_through(printed: Printed) -> None:
    stored = "a\x1b[31mb\x9bc\r\n\t\u202ed"
    for width in (None, 80):
        text = "".join(plain(printed(width, {"text": TEXT, "id": FIXED}, [(stored, stored)])))
        assert "\\x1b[31mb\\x9bc\\r\\n\\t\\u202ed" in text
        assert not [letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf")]


def test_a_very_long_text_is_cut_off_and_shows_it(printed: Printed) -> None:
    lines = printed(None, {"text": TEXT}, [("x" * 100_000,)])
    assert lines[2] == "x" * 1000 + "…"


def test_bars_take_what_is_left_of_a_line(printed: Printed) -> None:
    headers = {"n": NUMBER, "": Column(least=8, most=20, rank=9)}
    for width, length in ((80, 20), (20, 17), (13, 10)):
        lines = plain(printed(width, headers, [("1", Bar(1.0)), ("2", Bar(0.5, 0.5))]))
        assert lines[2].count("█") == length
    assert plain(printed(8, headers, [("1", Bar(1.0))]))[2:] == ["1"]  # a bar is not missed


widths = st.lists(
    st.tuples(st.integers(1, 60), st.sampled_from([None, 8, 16]), st.integers(0, 4)), min_size=1, max_size=8
)


@given(widths, st.integers(10, 200))
def test_columns_fit_wherever_they_can(given_columns: list[tuple[int, int | None, int]], width: int) -> None:
    columns = [Column(least=least, rank=rank) for _, least, rank in given_columns]
    natural = [found for found, _, _ in given_columns]
    fitted = _fit(columns, natural, [1] * len(columns), width)
    assert {place for place, column in enumerate(columns) if not column.rank} <= fitted.keys()
    for place, found in fitted.items():
        assert 0 < found <= natural[place]
        assert found == natural[place] or columns[place].least is not None
    least = [natural[place] if columns[place].least is None else min(natural[place], 10) for place in fitted]
    assert sum(fitted.values()) + 2 * (len(fitted) - 1) <= max(width, sum(least) + 2 * (len(fitted) - 1))
