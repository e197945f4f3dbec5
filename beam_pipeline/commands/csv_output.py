"""Comma-separated values on standard output, after RFC 4180, but for lines that end with a line feed alone.

A file or another program gets the stored text byte for byte, in UTF-8; a terminal gets control characters escaped.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from typing import Any

from beam_pipeline.commands.base import printable
from beam_pipeline.commands.tables import is_terminal


class CsvWriter:
    """Writes a header, and then rows as they come."""

    def __init__(self, titles: Sequence[str], zone: tzinfo) -> None:
        self._zone = zone
        self._escapes = is_terminal()
        if not self._escapes:
            getattr(sys.stdout, "reconfigure", lambda **_: None)(encoding="utf-8", newline="")
        self._writer = csv.writer(_LineFeeds(), lineterminator="\r\n")
        self.write([titles])

    def write(self, rows: Iterable[Sequence[Any]]) -> int:
        """Writes rows, and returns how many characters they are of. Times are ISO 8601; nothing stands for None."""
        return sum(self._writer.writerow([self._value(value) for value in row]) for row in rows)

    def _value(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(self._zone).isoformat(timespec="milliseconds")
        return printable(value) if self._escapes and isinstance(value, str) else value


class _LineFeeds:
    """Standard output for a writer whose lines end with CR LF, for only then it quotes text with a CR in it."""

    def write(self, line: str) -> int:
        return sys.stdout.write(line.removesuffix("\r\n") + "\n")
