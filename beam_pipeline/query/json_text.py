"""Reads the JSON texts of events. Filters and groups read them the same way inside ClickHouse: see `json_sql`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn

_MAX_DIGITS = 308
"""An integer with more digits exceeds the range of doubles; Python itself refuses more than 4300 digits."""
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""A surrogate pair, half of one (group 1), or any other escape."""


def read_json(text: str, empty: Any) -> Any:
    """The value of a JSON text; `empty` for an empty text, and the text itself if it is not JSON.

    If a key appears twice, the first value counts. A number beyond the range of doubles, such as 1e400, is None. Half a
    surrogate pair is U+FFFD. NaN and Infinity are not JSON.
    """
    if not text:
        return empty
    try:
        return _DECODER.decode(_without_halves(text))
    except (ValueError, RecursionError):
        return text


def _without_halves(text: str) -> str:
    if "\\ud" not in text and "\\uD" not in text:
        return text
    return _ESCAPE.sub(lambda escape: r"\ufffd" if escape[1] else escape[0], text)


def _first_values(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        found.update(reversed(pairs))
    return found


def _whole(digits: str) -> int | float | None:
    return int(digits) if len(digits) <= _MAX_DIGITS else _finite(digits)


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_first_values, parse_int=_whole, parse_float=_finite, parse_constant=_refuse
)
