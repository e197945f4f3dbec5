"""Comma-separated values for programs, byte for byte, and for a terminal, which would obey some bytes."""

from __future__ import annotations

import csv
import io
import sys
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipeline.commands.csv_output import CsvWriter

UTC = timezone.utc
texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\r\n",\x1b\x00\x9b'))


class Output(io.TextIOWrapper):
    """Standard output as Python makes it, in a terminal or not."""

    def __init__(self, is_terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="backslashreplace")
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def written(self) -> bytes:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue()


def written(rows: list[list[object]], *, is_terminal: bool = False, encoding: str = "utf-8") -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        output = Output(is_terminal, encoding)
        patch.setattr(sys, "stdout", output)
        CsvWriter(["a", "b"], UTC).write(rows)
        return output.written()


@given(st.lists(st.lists(texts, min_size=2, max_size=2), max_size=5))
def test_a_file_has_the_stored_text_as_it_is(rows: list[list[object]]) -> None:
    read = list(csv.reader(io.StringIO(written(rows).decode(), newline="")))
    assert read == [["a", "b"], *rows]


def test_a_file_is_in_utf_8_whatever_the_locale() -> None:
    assert written([["é😀", "x"]], encoding="ascii").decode() == "a,b\né😀,x\n"


def test_a_terminal_gets_control_characters_escaped() -> None:
    assert written([["a\x1b[31m\r\n\x9bb", "é"]], is_terminal=True).decode() == "a,b\na\\x1b[31m\\r\\n\\x9bb,é\n"


def test_times_have_an_offset_and_nothing_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    CsvWriter(["a", "b", "c"], ZoneInfo("Asia/Tokyo")).write([[datetime(2026, 11, 20, 12, tzinfo=UTC), None, 1.5]])
    assert capsys.readouterr().out == "a,b,c\n2026-11-20T21:00:00.000+09:00,,1.5\n"


def test_it_tells_how_much_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    writer = CsvWriter(["a", "b"], UTC)
    assert writer.write([["x", "y\nz"], ["", ""]]) == len('x,"y\nz"\n,\n')
