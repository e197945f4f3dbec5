"""Times of events: ISO 8601 text or epoch milliseconds, to epoch milliseconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Milliseconds = npt.NDArray[np.int64]

MIN_MS = -2_208_988_800_000
"""1900-01-01, the first instant of DateTime64."""
MAX_MS = 10_413_791_999_999
"""2299-12-31T23:59:59.999, the last one."""

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?\s?(?:([Zz])|([+-])(\d\d):?(\d\d)?)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)


def parse_time(value: Any) -> int | None:
    """Epoch milliseconds of a time as an event has it; None when it is none or is outside 1900 to 2299.

    Text is ISO 8601 with any offset; without one it is UTC. Digits beyond the millisecond are cut off. A number is epoch
    milliseconds and must be whole.
    """
    if isinstance(value, str):
        found = _parse_text(value)
    elif isinstance(value, float):
        found = int(value) if value.is_integer() else None
    else:
        found = value
    return found if found is not None and MIN_MS <= found <= MAX_MS else None


def _parse_text(text: str) -> int | None:
    match = _ISO.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, offset_hours, offset_minutes = match.groups()
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
    elif kinds == {int}:
        try:
            parsed = np.array(values, dtype=np.int64)
        except OverflowError:
            return None
    if parsed is None:
        single = [parse_time(value) for value in values]
        if None in single:
            return None
        return np.array(single, dtype=np.int64)
    if parsed.size and (parsed.min() < MIN_MS or parsed.max() > MAX_MS):
        return None
    return parsed


def _parse_texts(values: Sequence[str]) -> Milliseconds | None:
    """Arrow reads the usual forms much faster, all of which `parse_time` reads alike; None when one is not usual."""
    try:
        microseconds = pa.array(values, pa.string()).cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        return None
    whole: Milliseconds = microseconds.cast(pa.int64()).to_numpy() // 1000
    return whole


def months(milliseconds: Milliseconds) -> npt.NDArray[np.int64]:
    """The UTC calendar month of each time, as YYYYMM."""
    month = milliseconds.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    return (month // 12 + 1970) * 100 + month % 12 + 1
