"""How the text of an option becomes a value. Each function raises ArgumentTypeError with the text and what would be right."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from dateutil.parser import isoparser

from transforms.events import EVENT_TYPES
from transforms.storage.urls import url_problem

MAX_WHOLE = (1 << 63) - 1
MAX_DAYS = 36_500
"""No duration is longer, so that every sum of a time and a duration is a time."""

SHOWN = 80
"""Letters of a value that a message repeats."""

_SIZE = re.compile(r"(\d+)\s*([kmgt]?)(i?b)?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FULL_DATE = re.compile(r"\d{8}|.*\D.*", re.ASCII)
"""Digits alone are a date only if there are eight of them: fewer or more may be meant as seconds, milliseconds or a year."""
_ISO = isoparser(sep="T")


def whole(text: str) -> int:
    """A whole number."""
    try:
        found = int(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a whole number of at most 19 digits") from None
    if abs(found) > MAX_WHOLE:
        raise argparse.ArgumentTypeError(f"{shown(text)} must be at most {MAX_WHOLE}, and at least {-MAX_WHOLE}")
    return found


def number(text: str) -> float:
    """A number, such as 0.1."""
    try:
        found = float(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a number") from None
    if not math.isfinite(found):
        raise argparse.ArgumentTypeError(f"{shown(text)} must be a finite number, such as 0.5")
    return found


def size(text: str) -> int:
    """A number of bytes: 1048576, 512K, 16M, 2G (powers of 1024)."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is not a size; give bytes, or a number with K, M or G, such as 64M"
        )
    found = whole(match[1]) << (10 * " kmgt".index(match[2].lower() or " "))
    if found > MAX_WHOLE:
        raise argparse.ArgumentTypeError(f"{shown(text)} must be less than 8388608T")
    return found


def seconds(text: str) -> float:
    """A duration in seconds: 10, 1.5, 500ms, 30s, 5m, 2h, 1d."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is not a duration; give seconds, or a number with ms, s, m, h or d"
        )
    found = float(match[1]) * _UNITS[match[2] or "s"]
    if found > MAX_DAYS * _UNITS["d"]:
        raise argparse.ArgumentTypeError(f"{shown(text)} must be at most {MAX_DAYS}d")
    return found


def instant(text: str) -> int:
    """A time as epoch milliseconds: ISO 8601 in any of its forms (no offset means UTC), such as 2026-11-20T12:00Z."""
    time = _parsed(text, "give ISO 8601, such as 2026-11-20 or 2026-11-20T12:00:00Z")
    return (_in_utc(time) - _EPOCH) // timedelta(milliseconds=1)


def moment(text: str) -> datetime | timedelta:
    """A time: ISO 8601, or how long ago, such as 2h, always with a unit.

    The latter stays relative, so that a cursor may say from when. One without an offset is naive: --tz says what it means.
    """
    if (match := _DURATION.fullmatch(text.strip())) and match[2]:
        return timedelta(seconds=seconds(text))
    return _parsed(text, "give ISO 8601, such as 2026-11-20T12:00Z, or how long ago with its unit, such as 2h or 7d")


def event_types(text: str) -> tuple[str, ...]:
    """Event types with commas between."""
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [part for part in chosen if part not in EVENT_TYPES]
    if unknown or not chosen:
        raise argparse.ArgumentTypeError(f"{shown(text)} must be some of {','.join(EVENT_TYPES)}, with commas between")
    return chosen


def place(text: str) -> str:
    """A directory, or the URL of a bucket."""
    if problem := url_problem(text):
        raise argparse.ArgumentTypeError(problem)
    return text


def choice(*words: str) -> Callable[[str], str]:
    """One of some words."""

    def parse(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"{shown(text)} is not one of {', '.join(words)}")
        return text

    return parse


def shown(text: str) -> str:
    """A value as messages repeat it: quoted, and cut where it is long."""
    quoted = repr(text)
    return quoted if len(quoted) <= SHOWN else f"{quoted[:SHOWN]}…"


def _in_utc(time: datetime) -> datetime:
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)


def _parsed(text: str, expected: str) -> datetime:
    """A time as it was written: without a zone when the text has no offset."""
    plain = text.strip().upper().replace(" ", "T", 1)
    try:
        if not _FULL_DATE.fullmatch(plain):
            raise ValueError
        parsed: datetime = _ISO.isoparse(plain)
        _in_utc(parsed)  # beyond the years 1 to 9999 in UTC there are no times
        return parsed
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a time; {expected}") from None
