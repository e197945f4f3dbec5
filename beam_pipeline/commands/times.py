"""Times as commands read and print them: in UTC, or in the time zone that --tz names."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from datetime import datetime, timezone, tzinfo
from zoneinfo import ZoneInfo

from beam_pipeline.option_parser import Option
from beam_pipeline.option_values import shown


def time_zone(text: str) -> tzinfo:
    """A time zone by its IANA name."""
    name = text.strip()
    if name.upper() in ("UTC", "Z"):
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ValueError, LookupError, OSError):
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is not a time zone that this machine knows; give UTC or an IANA name, such as Europe/Berlin"
        ) from None


TZ = Option(
    "tz", time_zone, timezone.utc, "time zone of printed times, and of given ones without an offset", "", "ZONE"
)


class TimeColumn:
    """How the times of one column are written: the offset is in the title where all have the same, else beside each."""

    def __init__(self, times: Iterable[datetime | None], zone: tzinfo, timespec: str = "milliseconds") -> None:
        self._zone, self._timespec = zone, timespec
        self._offsets = {_offset(time.astimezone(zone)) for time in times if time is not None}

    @property
    def note(self) -> str:
        """The offset of all times, if they have the same."""
        return next(iter(self._offsets)) if len(self._offsets) == 1 else ""

    def cell(self, time: datetime | None) -> str:
        """One of the times."""
        if time is None:
            return ""
        local = time.astimezone(self._zone)
        text = local.replace(tzinfo=None).isoformat(" ", self._timespec)
        return text if len(self._offsets) < 2 else f"{text} {_offset(local)}"


def _offset(local: datetime) -> str:
    """`UTC`, or an offset such as `+01:00`."""
    return "UTC" if not local.utcoffset() else local.isoformat()[len(local.replace(tzinfo=None).isoformat()) :]
