"""Tables for people: as wide as the terminal, in colour where it has any, with nothing in them that it would obey."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Union

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from beam_pipeline.commands.base import printable

_GAP = 2
"""Letters between columns."""
_LONGEST = 1000
"""Letters of a text that a table shows; --json and --csv have all of it."""
_SHORTEST = 10
"""Letters that a text has, however narrow the terminal is."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Bar:
    """A bar that begins at a part of its column's width, from 0 to 1, and is as long as another."""

    length: float
    start: float = 0.0

    def draw(self, width: int) -> str:
        """Anything more than nothing can be seen."""
        before = min(int(self.start * width), width - 1)
        eighths = min(round(self.length * width * 8), width * 8)
        if self.length > 0:
            eighths = max(eighths, 1)
        return " " * before + "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


Cell = Union[str, Bar]


@dataclass(frozen=True)
class Column:
    """How a column is set. By default its cells are of one line each, whatever the width of the terminal."""

    right: bool = False
    least: int | None = None
    """How many letters wide it is at least where it is of text, which takes several lines, or of bars."""
    most: int = _LONGEST
    """How many letters wide it is at most in that case."""
    cut: bool = False
    """Whether text is cut off, instead of taking several lines."""
    note: str = ""
    """What stands in brackets behind the title."""
    rank: int = 0
    """Where there is no room for all columns those of the least rank are shown, and those of 0 always."""
    styles: Mapping[str, str] = field(default_factory=dict)
    """Colours of some values."""


FIXED, NUMBER, TEXT = Column(), Column(right=True), Column(least=_SHORTEST)
_PLAIN = {"left": TEXT, "right": NUMBER}


def print_table(
    headers: Mapping[str, Column | str], rows: Sequence[Sequence[Cell]], *, more: str = "--json has all"
) -> None:
    """Prints a table on standard output.

    `headers` are columns by their titles; "left" is one of text and "right" one of numbers. Says below it which columns
    there was no room for, and `more`: how to see them.
    """
    columns = [_PLAIN[column] if isinstance(column, str) else column for column in headers.values()]
    names = list(headers)
    titles = [f"{name} ({column.note})" if column.note else name for name, column in zip(names, columns, strict=True)]
    shown = [[_shown(cell, column) for cell, column in zip(row, columns, strict=True)] for row in rows]
    natural = [
        max([cell_len(title), *(_width(row[place], column) for row in shown)])
        for place, (title, column) in enumerate(zip(titles, columns, strict=True))
    ]
    widths = _fit(columns, natural, list(map(cell_len, titles)), output_width())
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for place, width in widths.items():
        column = columns[place]
        table.add_column(
            titles[place],
            justify="right" if column.right else "left",
            overflow="ellipsis" if column.cut else "fold",
            no_wrap=column.cut or column.least is None,
            width=width,
        )
    for row in shown:
        table.add_row(*(_styled(row[place], columns[place], width) for place, width in widths.items()))
    console = _console()
    console.width = sum(widths.values()) + _GAP * (len(widths) - 1)
    with console.capture() as printed:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in printed.get().splitlines()))
    left_out = [name for place, name in enumerate(names) if place not in widths and name]
    if left_out:
        sys.stdout.write(f"no room for {', '.join(left_out)} ({more})\n")


def output_width() -> float:
    """How many letters a line on standard output may have; infinite where it is not read on a screen."""
    console = _console()
    return console.width if console.is_terminal else math.inf


def is_terminal() -> bool:
    """Whether standard output is a terminal, which would obey control characters."""
    return sys.stdout.isatty()


def _console() -> Console:
    # NO_COLOR means no styles at all to us; to rich it means bold only. https://no-color.org
    return Console(markup=False, highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")


def _shown(cell: Cell, column: Column) -> Cell:
    if isinstance(cell, Bar):
        return cell
    if column.least is not None and len(cell) > _LONGEST:
        cell = f"{cell[:_LONGEST]}…"
    return printable(cell)


def _width(cell: Cell, column: Column) -> int:
    return column.most if isinstance(cell, Bar) else cell_len(cell)


def _styled(cell: Cell, column: Column, width: int) -> Text:
    if isinstance(cell, Bar):
        return Text(cell.draw(width))
    return Text(cell, style=column.styles.get(cell, ""))


def _fit(columns: Sequence[Column], natural: Sequence[int], titles: Sequence[int], width: float) -> dict[int, int]:
    """The places of the columns that there is room for, and their widths."""
    narrow = [
        found if column.least is None else min(found, max(column.least, title))
        for column, found, title in zip(columns, natural, titles, strict=True)
    ]
    kept: list[int] = []
    for place in sorted(range(len(columns)), key=lambda place: columns[place].rank):
        if not columns[place].rank or sum(narrow[other] + _GAP for other in kept) + narrow[place] <= width:
            kept.append(place)
    widths = {place: narrow[place] for place in sorted(kept)}
    least = {place: min(found, max(_SHORTEST, titles[place])) for place, found in widths.items()}
    room = width - _total(widths)
    # What is left is shared out among the columns that take several lines; or what is lacking is taken from them.
    wanted = {
        place: (natural if room > 0 else least)[place] - widths[place]
        for place in widths
        if columns[place].least is not None
    }
    share = min(1.0, room / sum(wanted.values())) if any(wanted.values()) else 0.0
    return widths | {place: widths[place] + math.floor(want * share) for place, want in wanted.items()}


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)
