"""Columns of events in Arrow. Apart from the types of events, so that whoever only asks for names does not wait for Arrow."""

from __future__ import annotations

from functools import cache

import pyarrow as pa

from transforms.events import types

TIME = pa.timestamp("ms", "UTC")
SEQUENCE = pa.field("sequence", pa.uint32())
"""Orders the rows of a chunk as their lines were delivered: of two, the one delivered later has the greater number."""
_TYPES = {
    types.TIME: TIME,
    "text": pa.string(),
    "json": pa.binary(),
    "integer": pa.int64(),
    "number": pa.float64(),
}
REJECTED_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("line", pa.uint64()),
        ("byte_offset", pa.uint64()),
        ("event_type", pa.string()),
        ("project_id", pa.string()),
        ("reason", pa.string()),
        ("raw", pa.binary()),
    ]
)


@cache
def arrow_schema(event_type: str) -> pa.Schema:
    """The columns of an event type, without those that say when and by which load."""
    return pa.schema([(name, _TYPES[kind]) for name, kind in types.TABLES[event_type].columns.items()])
