"""Events as Arrow rows, with no more said of them than a test is about."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

import pyarrow as pa

from transforms.events import TABLES
from transforms.events.schemas import arrow_schema

_SAID_OF_ALL = {"deployment_id": "d", "name": "n", "status": "ok", "kind": "server", "level": "info", "type": "gauge"}
_OF_A_BLOCK = [("load_id", pa.string()), ("block", pa.string())]
_number = itertools.count()


def event(
    event_type: str, at: datetime, *, project: str = "p", value: float | None = 1, **columns: Any
) -> dict[str, Any]:
    """An event with an id of its own; `value` is its duration, for traces and spans."""
    table = TABLES[event_type]
    return {
        **{name: text for name, text in _SAID_OF_ALL.items() if name in table.columns},
        "project_id": project,
        table.id_column: f"{event_type}-{next(_number)}",
        table.time_column: at,
        "recorded_at": at,
        "duration_ms" if "duration_ms" in table.columns else "value": value,
        **columns,
    }


def batch(event_type: str, events: list[dict[str, Any]], *, load_id: str = "", block: str = "") -> pa.RecordBatch:
    """The rows of one insert; columns that no event names are left to their defaults."""
    said = {name for row in events for name in row}
    schema = pa.schema([*(field for field in arrow_schema(event_type) if field.name in said), *_OF_A_BLOCK])
    return pa.RecordBatch.from_pylist([{"load_id": load_id, "block": block, **row} for row in events], schema)
