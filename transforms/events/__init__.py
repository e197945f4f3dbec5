"""What a line is: event types, times, columns, parsing."""

from transforms.events.types import (
    EVENT_TYPES,
    REJECTED_TABLE,
    STRUCTS,
    TABLES,
    Line,
    LineSource,
    Raw,
)

__all__ = [
    "EVENT_TYPES",
    "REJECTED_TABLE",
    "STRUCTS",
    "TABLES",
    "Line",
    "LineSource",
    "Raw",
]
