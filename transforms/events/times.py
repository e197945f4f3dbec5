"""Times of events: ISO 8601 text or epoch milliseconds, to epoch milliseconds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.events.types import MAX_MS, MIN_MS

Milliseconds = npt.NDArray[np.int64]

MISTAKEN: Mapping[str, tuple[int, int]] = {
    "a date": (19_000_101, 22_991_232),
    "seconds": (10**9, 10**10),
    "microseconds": (10**15, 10**16),
    "nanoseconds": (10**18, 10**19),
}
"""What numbers (from, below) are rather than milliseconds: YYYYMMDD, or a time from 2001-09-09 to 2286-11-20 in another unit.
As milliseconds, dates and seconds would be in the first four months of 1970, and the others out of range."""


def _iso(dash: str, colon: str) -> re.Pattern[str]:
    return re.compile(
        rf"(\d{{4}}){dash}(\d\d){dash}(\d\d)(?:[Tt ](\d\d)(?:{colon}(\d\d)(?:{colon}(\d\d)(?:[.,](\d+))?)?)?"
        r"(?: ?(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?))?)?",
        re.ASCII,
    )


_EXTENDED, _BASIC = _iso("-", ":"), _iso("", "")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)
_MICROSECONDS = pa.timestamp("us", "UTC")
_BASIC_SECONDS = r"^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)"


def parse_time(value: Any) -> int | None:
    """Epoch milliseconds of a time as an event has it; None when it is none or is outside 1900 to 2299.

    Text is ISO 8601 in the extended or the basic form, with any offset; without one it is UTC. A number is epoch
    milliseconds. What is beyond the millisecond is cut off, so that a time is never later than it was given.
    """
    if not isinstance(value, str) and _looks_like(value):
        return None
    found = _parse_text(value) if isinstance(value, str) else whole_milliseconds(value)
    return found if found is not None and is_in_range(found) else None


def time_problem(value: Any) -> str:
    """Why `parse_time` does not take a value."""
    mistaken = None if isinstance(value, str) else _looks_like(value)
    if mistaken:
        return f"looks like {mistaken}; give text in ISO 8601, or epoch milliseconds"
    return "is not a time from 1900 to 2299, in ISO 8601 or epoch milliseconds"


def _looks_like(number: int | float) -> str | None:
    return next((what for what, (start, end) in MISTAKEN.items() if start <= number < end), None)


def is_in_range(milliseconds: int) -> bool:
    """Whether a time can be stored."""
    return MIN_MS <= milliseconds <= MAX_MS


def whole_milliseconds(number: int | float) -> int | None:
    """A number without its fraction, rounded down like the digits of a text that are cut off; None for inf and nan."""
    return None if isinstance(number, float) and not math.isfinite(number) else math.floor(number)


def _parse_text(text: str) -> int | None:
    match = _EXTENDED.fullmatch(text) or _BASIC.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    try:
        parsed = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=timezone.utc
        )
    except ValueError:
        return None
    milliseconds = (parsed - _EPOCH) // _MILLISECOND + int(((fraction or "") + "000")[:3])
    if sign:
        if int(offset_hours) > 23 or int(offset_minutes or 0) > 59:
            return None
        shift = (int(offset_hours) * 60 + int(offset_minutes or 0)) * 60_000
        milliseconds += -shift if sign == "+" else shift
    return milliseconds


def parse_times(values: Sequence[Any]) -> Milliseconds | None:
    """`parse_time` of many values, none of which may be None; None when any of them is not a time."""
    kinds = set(map(type, values))
    parsed: Milliseconds | None = None
    if kinds == {str}:
        parsed = _parse_texts(values)
    elif kinds <= {int, float}:
        parsed = _parse_numbers(values, whole_numbers=float not in kinds)
    if parsed is not None:
        return parsed
    single = [parse_time(value) for value in values]
    return None if None in single else np.array(single, dtype=np.int64)


def _parse_texts(values: Sequence[str]) -> Milliseconds | None:
    """Arrow reads the usual forms much faster, all of which `parse_time` reads alike; None when one is not usual."""
    texts = pa.array(values, pa.string())
    try:
        microseconds = texts.cast(_MICROSECONDS)
    except pa.ArrowInvalid:
        try:
            microseconds = pc.replace_substring_regex(texts, _BASIC_SECONDS, r"\1-\2-\3T\4:\5:\6").cast(_MICROSECONDS)
        except pa.ArrowInvalid:
            return None
    whole: Milliseconds = microseconds.cast(pa.int64()).to_numpy() // 1000
    return whole if whole.size == 0 or (whole.min() >= MIN_MS and whole.max() <= MAX_MS) else None


def _parse_numbers(values: Sequence[int | float], *, whole_numbers: bool) -> Milliseconds | None:
    """None when one is not a time. Floats are exact for whatever is in range."""
    try:
        whole = np.array(values, np.int64) if whole_numbers else np.floor(np.array(values, np.float64))
    except OverflowError:
        return None
    good = (whole >= MIN_MS) & (whole <= MAX_MS)
    for start, end in (MISTAKEN["a date"], MISTAKEN["seconds"]):  # the others are out of range
        good &= (whole < start) | (whole >= end)
    return whole.astype(np.int64) if good.all() else None


def months(milliseconds: Milliseconds) -> npt.NDArray[np.int64]:
    """The UTC calendar month of each time, as YYYYMM."""
    month = milliseconds.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    return (month // 12 + 1970) * 100 + month % 12 + 1
