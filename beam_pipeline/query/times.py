"""Times of the query API: callers use aware datetimes, queries use milliseconds since 1970.

A time may also be given as a timedelta, which counts back from now.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from beam_pipeline.query.errors import BadArgument

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS = timedelta(milliseconds=1)
_FIRST = datetime.min.replace(tzinfo=timezone.utc) - _EPOCH
_FIRST_MS = (datetime(1900, 1, 1, tzinfo=timezone.utc) - _EPOCH) // _MS
_LAST_MS = (datetime(2300, 1, 1, tzinfo=timezone.utc) - _EPOCH) // _MS - 1
HOUR_MS = 3_600_000


def from_ms(milliseconds: int) -> datetime:
    """An aware datetime in UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def first_ms(argument: str, value: object, now: datetime) -> int:
    """The first millisecond at or after a time."""
    return -(-_since_epoch(argument, value, now) // _MS)


def last_ms(argument: str, value: object, now: datetime) -> int:
    """The last millisecond at or before a time."""
    return _since_epoch(argument, value, now) // _MS


def ago_ms(value: object) -> int | None:
    """The milliseconds of a timedelta; None for other values."""
    return value // _MS if isinstance(value, timedelta) else None


def clamped(milliseconds: int) -> int:
    """The same, limited to just outside the range of times in a table, where the server's functions still work."""
    return min(max(milliseconds, _FIRST_MS - 1), _LAST_MS + 1)


def _since_epoch(argument: str, value: object, now: datetime) -> timedelta:
    if isinstance(value, timedelta) and value >= timedelta():
        return max(now - _EPOCH - value, _FIRST)
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise BadArgument(
            argument, value, "a datetime with a time zone, or a timedelta of 0 or more that counts back from now"
        )
    return value - _EPOCH
