"""What commands have in common: what they are told, what they print with, and how they end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from beam_pipeline.options import Option, OptionsError, clickhouse_config, connection_problems
from transforms.clickhouse import ClickHouseConfig

OK, FAILED, USAGE = 0, 1, 2
"""Exit codes; a run that a signal ended has 128 and the signal's number."""


class CommandError(Exception):
    """A command cannot do what it was asked for; the message says why and what to do."""


@dataclass(frozen=True)
class Invocation:
    """A command with what it was told."""

    values: Mapping[str, Any]
    action: str = ""
    beam_flags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Command:
    """A command of the command line."""

    name: str
    options: tuple[Option, ...]
    run: Callable[[Invocation], int]
    """Returns the exit code. May raise OptionsError, CommandError, ClickHouseError, StorageError and OSError."""
    actions: tuple[str, ...] = ()
    """Words that may follow the command; the first is taken when there is none."""
    operands: Mapping[str, str] = field(default_factory=dict)
    """Actions that may be followed by the value of an option, and which."""
    details: str = ""
    """Printed below the options in the help."""
    takes_beam_options: bool = False


def log_console() -> Console:
    """For what people read beside the result: standard error."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Prints one JSON value on standard output; times become ISO 8601."""
    sys.stdout.write(json.dumps(value, default=_to_json) + "\n")


def print_text(text: str) -> None:
    """Prints a line on standard output as it is."""
    sys.stdout.write(text + "\n")


def print_table(headers: Mapping[str, str], rows: Sequence[tuple[str, ...]]) -> None:
    """Prints a table on standard output. `headers` are column titles with `left` or `right`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, side in headers.items():
        table.add_column(title, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    console = Console(markup=False, highlight=False)
    console.width = output_width()
    console.print(table)


def output_width() -> int:
    """How many letters a line on standard output may have."""
    console = Console()
    # Where nobody watches, lines are not broken to fit a screen.
    return console.width if console.is_terminal else 500


def printable(text: str) -> str:
    """Text without control characters, which a file name or a bad line may hold and a terminal would obey."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def where(config: ClickHouseConfig) -> str:
    """A database in words: the path of an embedded one, or URL and database."""
    if config.embedded:
        return f"the embedded database {config.path} ({config.database})"
    return f"{config.url} ({config.database})"


def checked_connection(values: Mapping[str, Any]) -> ClickHouseConfig:
    """The connection that the options describe. Raises OptionsError."""
    problems = connection_problems(values)
    if problems:
        raise OptionsError(problems)
    return clickhouse_config(values)


def _to_json(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    raise TypeError(f"{type(value).__name__} has no JSON form")
