"""The rows of the load log's two tables: their columns, and what is written of a load and of its slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from transforms.loads import Load, Slice

LOADS_TABLE = "mastra_admin_ingest_loads"
FILES_TABLE = "mastra_admin_ingest_files"

_STATES = {"assigned": 1, "failed": 2, "released": 3, "committed": 4, "finalized": 5}
"""Order in which a later state of one attempt replaces an earlier one."""
COMMITTED = ("committed", "finalized")
"""States of a load whose rows are all acknowledged."""

_TIME = pa.timestamp("ms", "UTC")
LOADS_SCHEMA = pa.schema(
    [
        ("load_id", pa.string()),
        ("input", pa.string()),
        ("run_id", pa.string()),
        ("event_type", pa.string()),
        ("shard", pa.string()),
        ("state", pa.string()),
        ("attempt", pa.uint32()),
        ("version", pa.uint64()),
        ("created_at", _TIME),
        ("updated_at", _TIME),
        ("block_bytes", pa.uint64()),
        ("block_rows", pa.uint64()),
        ("files", pa.uint32()),
        ("bytes", pa.uint64()),
        ("lines", pa.uint64()),
        ("inserted", pa.uint64()),
        ("rejected", pa.uint64()),
        ("expired", pa.uint64()),
        ("events", pa.map_(pa.string(), pa.uint64())),
        ("blocks", pa.uint32()),
        ("duration_ms", pa.uint64()),
        ("error", pa.string()),
    ]
)
FILES_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("load_id", pa.string()),
        ("range_start", pa.uint64()),
        ("range_end", pa.uint64()),
        ("position", pa.uint32()),
        ("size", pa.uint64()),
        ("etag", pa.string()),
        ("modified_at", _TIME),
        ("timestamp", _TIME),
        ("project_id", pa.string()),
        ("state", pa.string()),
        ("version", pa.uint64()),
        ("digest", pa.string()),
        ("lines", pa.uint64()),
        ("rejected", pa.uint64()),
        ("moved_to", pa.string()),
        ("error", pa.string()),
        ("updated_at", _TIME),
    ]
)


@dataclass(frozen=True, slots=True)
class SliceOutcome:
    """What became of one slice: its counts, the digest of its bytes, or why it was given back."""

    lines: int = 0
    rejected: int = 0
    digest: str = ""
    error: str = ""


@dataclass(frozen=True)
class LoadCounts:
    """What a load did. `lines` were read, `inserted` and `rejected` are where they went; `expired` are older than the TTL."""

    lines: int = 0
    inserted: int = 0
    rejected: int = 0
    expired: int = 0
    blocks: int = 0
    duration_ms: int = 0
    events: Mapping[str, int] = field(default_factory=dict)


def load_row(load: Load, state: str, counts: LoadCounts, error: str) -> dict[str, Any]:
    """A load in a state, without the columns that say whose it is."""
    return {
        "load_id": load.load_id,
        "event_type": load.event_type,
        "shard": load.shard,
        "state": state,
        "attempt": load.attempt,
        "version": version(load.attempt, state),
        "created_at": load.created_ms,
        "updated_at": now(),
        "block_bytes": load.block_bytes,
        "block_rows": load.block_rows,
        "files": len(load.slices) - len(load.released),
        "bytes": load.bytes,
        "lines": counts.lines,
        "inserted": counts.inserted,
        "rejected": counts.rejected,
        "expired": counts.expired,
        "events": list(counts.events.items()),
        "blocks": counts.blocks,
        "duration_ms": counts.duration_ms,
        "error": error,
    }


def file_rows(
    load: Load, slices: Iterable[Slice], state: str, outcomes: Mapping[int, SliceOutcome]
) -> list[dict[str, Any]]:
    """Slices of a load in a state, with what became of each, by position."""
    updated_at = now()
    rows: list[dict[str, Any]] = []
    for part in slices:
        outcome = outcomes.get(part.position, SliceOutcome())
        rows.append(
            {
                "path": part.path,
                "load_id": load.load_id,
                "range_start": part.start,
                "range_end": part.end,
                "position": part.position,
                "size": part.size,
                "etag": part.etag,
                "modified_at": part.modified_ms,
                "timestamp": part.timestamp_ms,
                "project_id": part.project_id,
                "state": state,
                "version": version(load.attempt, state),
                "digest": outcome.digest,
                "lines": outcome.lines,
                "rejected": outcome.rejected,
                "moved_to": "",
                "error": outcome.error,
                "updated_at": updated_at,
            }
        )
    return rows


def version(attempt: int, state: str, *, again: bool = False) -> int:
    """Orders the rows of one key: committed ones last, then by attempt, then by state; `again` for a new error in one state.

    A commit is final: what an attempt has committed stays so, also when a later attempt had begun meanwhile.
    """
    return (int(state in COMMITTED) << 40) | (attempt << 8) | (_STATES[state] << 1) | int(again)


def attempt_of(version: int) -> int:
    """The attempt that wrote the row of a version."""
    return (version >> 8) & 0xFFFF_FFFF


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(timezone.utc)
