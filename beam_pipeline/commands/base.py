"""What commands have in common: what they are told, what they print with, and how they end."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from functools import partial
from typing import Any

from rich.console import Console

from beam_pipeline.option_parser import Option, OptionsError
from beam_pipeline.options import clickhouse_config, connection_problems
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


def print_json(value: Any, zone: tzinfo = timezone.utc) -> None:
    """Prints one JSON value on standard output.

    Times become ISO 8601 with the offset of a time zone; numbers that JSON does not have become null.
    """
    default = partial(_to_json, zone=zone)
    try:
        text = json.dumps(value, default=default, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_infinity(value), default=default, allow_nan=False)
    sys.stdout.write(text + "\n")


def print_text(text: str) -> None:
    """Prints one or more lines on standard output, without what a terminal would obey."""
    sys.stdout.write(printable_lines(text) + "\n")


def printable(text: str) -> str:
    """Text without control characters, which a file name or a bad line may hold and a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def printable_lines(text: str) -> str:
    """Lines of text without other control characters."""
    return "\n".join(map(printable, text.split("\n")))


def where(config: ClickHouseConfig) -> str:
    """A database in words: the path of an embedded one, or URL and database."""
    if config.embedded:
        return f"the embedded database {printable(config.path or '')} ({config.database})"
    return f"{config.url} ({config.database})"


def checked_connection(values: Mapping[str, Any]) -> ClickHouseConfig:
    """The connection that the options describe. Raises OptionsError."""
    problems = connection_problems(values)
    if problems:
        raise OptionsError(problems)
    return clickhouse_config(values)


def _without_infinity(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_infinity(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_infinity(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _to_json(value: object, zone: tzinfo) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(zone).isoformat(timespec="milliseconds")
    raise TypeError(f"{type(value).__name__} has no JSON form")
