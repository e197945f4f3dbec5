"""How ClickHouse's HTTP interface reads a statement: where an INSERT's data begins and where its file name would go."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""(?P<space>[\s\0]+) | (?P<comment>--[^\n]*(?:\n|$) | \#[^\n]*(?:\n|$) | /\*.*?\*/)
    | (?P<quoted>'(?:[^'\\]|\\.|'')*' | `(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*")
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*) | (?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)
_TRAILING_FORMAT = re.compile(rb"\bFORMAT\s+([A-Za-z0-9_]+)\s*;?\s*(?:SETTINGS\s[^']*)?$", re.IGNORECASE)
_WITHOUT_RESULT = re.compile(
    r"^\s*(?:INSERT|CREATE|DROP|ALTER|TRUNCATE|RENAME|EXCHANGE|ATTACH|DETACH|SET|USE|SYSTEM|GRANT|REVOKE|DELETE|UPDATE|"
    r"OPTIMIZE|UNDROP)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class DataInsert:
    """An INSERT with its rows behind `FORMAT name`: the statement can be run as `before FROM INFILE … behind`."""

    before: bytes
    """`INSERT INTO t (a, b) `"""
    behind: bytes
    """`SETTINGS … FORMAT name`"""
    data_at: int
    """Where in the text the rows begin."""


def data_insert(head: bytes) -> DataInsert | None:
    """The parts of an INSERT that its rows follow, from the first bytes of statement and rows; None for all else."""
    depth, first, place = 0, True, None
    tokens = _TOKEN.finditer(head)
    for token in tokens:
        if token.lastgroup in ("space", "comment"):
            continue
        text = token[0].upper()
        if first and text != b"INSERT":
            return None
        first = False
        depth += (text == b"(") - (text == b")")
        if depth or token.lastgroup != "word":
            continue
        if text in (b"SELECT", b"WITH", b"VALUES", b"FROM", b"WATCH"):
            return None
        if text == b"SETTINGS":
            place = token.start()
        if text == b"FORMAT":
            name = next((name for name in tokens if name.lastgroup == "word"), None)
            if name is None or name[0].upper() == b"VALUES":
                return None
            at = place if place is not None else token.start()
            return DataInsert(head[:at], head[at : name.end()], _skip_one_newline(head, name.end()))
    return None


def _skip_one_newline(head: bytes, at: int) -> int:
    """Rows may begin with a byte that looks like white space: after the format's name only one newline is not theirs."""
    while head[at : at + 1] in (b" ", b"\t", b"\f"):
        at += 1
    if head[at : at + 1] == b"\r":
        at += 1
    return at + 1 if head[at : at + 1] == b"\n" else at


def output_format(statement: bytes, default: str) -> str | None:
    """The format of the answer: the one that the statement names, or the default; None when there is no answer."""
    found = _TRAILING_FORMAT.search(statement.strip())
    if found:
        return found[1].decode()
    return None if _WITHOUT_RESULT.match(_TOKEN.sub(_spaced, statement[:4096]).decode(errors="replace")) else default


def _spaced(token: re.Match[bytes]) -> bytes:
    return b" " if token.lastgroup == "comment" else token[0]
