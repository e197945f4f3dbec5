"""Checks for arguments of any kind. All raise BadArgument."""

from __future__ import annotations

import math
from typing import Any

from beam_pipeline.query.errors import BadArgument


def text(argument: str, value: Any) -> str:
    """A string that can be encoded in UTF-8."""
    if not isinstance(value, str):
        raise BadArgument(argument, value, "a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadArgument(argument, value, "valid Unicode, without lone surrogates") from None
    return value


def number(argument: str, value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadArgument(argument, value, "a number")
    try:
        if math.isfinite(float(value)):
            return float(value)
    except OverflowError:
        pass
    raise BadArgument(argument, value, "a finite number")


def whole(argument: str, value: Any, least: int, most: int) -> int:
    """A whole number within limits."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadArgument(argument, value, f"a whole number from {least} to {most}")
    return value
