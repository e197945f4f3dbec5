"""Cursors: a position in a list and the time range of the list, encoded for use in a URL.

A range that starts some time ago is a different one at each request. A cursor therefore holds the range of its page and
continues in that range. Of the other filters it only holds a digest, to check that they are the same.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.errors import BadArgument, shown
from beam_pipeline.query.lists.order import Order, Position
from beam_pipeline.query.times import from_ms

_TYPES = ((int, int), (int, type(None)), (type(None), type(None)))


def encode_cursor(conditions: Conditions, order: Order, position: Position) -> str:
    """Encodes a position in the list with these conditions, in this order."""
    bounds = [(bound.ms, bound.ago_ms) for bound in _bounds(conditions)]
    text = json.dumps([_digest(conditions, order), *bounds, *position], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: Any, conditions: Conditions, order: Order) -> tuple[Conditions, Position]:
    """The conditions with the time range of the cursor, and its position.

    Raises BadArgument unless the cursor belongs to a list with the same conditions and order; the range may be left out.
    """
    problem = BadArgument(
        "cursor", cursor, "the next_cursor of a page of the same list, with the same filters and order"
    )
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        digest, start, end, *position = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        start, end = _Bound(*start), _Bound(*end)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise problem from None
    types = [*(int for _ in order.keys), *(str for _ in order.ties)]
    if (
        not (start.is_valid and end.is_valid)
        or digest != _digest(conditions, order)
        or [type(value) for value in position] != types
    ):
        raise problem
    if any(not -(2**63) <= value < 2**63 for value in position if isinstance(value, int)):
        raise problem
    try:
        "".join(value for value in position if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        raise problem from None
    for name, given, own in zip(("start", "end"), _bounds(conditions), (start, end), strict=True):
        if not own.agrees_with(given):
            right = "left out" if own.ms is None else f"{shown(own.value)} or left out"
            raise BadArgument(name, given.value, f"{right}, as for the page that the cursor comes from")
    asked = replace(conditions.between(start.ms, end.ms), start_ago_ms=start.ago_ms, end_ago_ms=end.ago_ms)
    return asked, tuple(position)


def _digest(conditions: Conditions, order: Order) -> str:
    """A digest that a cursor shares with the list it belongs to."""
    return f"{conditions.digest}-{order.first}"


@dataclass(frozen=True)
class _Bound:
    """One end of a time range; `ms` is None if the range is open."""

    ms: int | None
    ago_ms: int | None
    """How long ago it is, if it was given that way."""

    @property
    def is_valid(self) -> bool:
        """Whether a caller could have given it."""
        if (type(self.ms), type(self.ago_ms)) not in _TYPES:
            return False
        try:
            return self.value is not None or self.ms is None
        except OverflowError:
            return False

    @property
    def value(self) -> datetime | timedelta | None:
        """The value as the caller gave it."""
        if self.ago_ms is not None:
            return timedelta(milliseconds=self.ago_ms)
        return None if self.ms is None else from_ms(self.ms)

    def agrees_with(self, given: _Bound) -> bool:
        """Whether `given`, passed along with the cursor, is the same or open."""
        return given.ago_ms == self.ago_ms if given.ago_ms is not None else given.ms in (None, self.ms)


def _bounds(conditions: Conditions) -> tuple[_Bound, _Bound]:
    return _Bound(conditions.start_ms, conditions.start_ago_ms), _Bound(conditions.end_ms, conditions.end_ago_ms)
