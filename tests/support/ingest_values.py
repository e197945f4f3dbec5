"""The values of the options of `ingest`."""

from __future__ import annotations

from typing import Any

from beam_pipeline.option_parser import read_values
from beam_pipeline.options import INGEST


def values(*arguments: str) -> dict[str, Any]:
    """By name; there must be no argument that is none of them."""
    found, rest = read_values(INGEST, arguments)
    assert rest == []
    return found
