"""The rows of the load log's two history tables: their columns, and what is written of a load and of its slices."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from transforms.loads.load import Load, Slice

LOADS_TABLE = "mastra_admin_ingest_loads"
FILES_TABLE = "mastra_admin_ingest_files"

_STATES = {"assigned": 1, "failed": 2, "released": 3, "committed": 4, "finalized": 5}
"""Order in which a later state of one attempt replaces an earlier one."""
COMMITTED = ("committed", "finalized")
"""States of a load whose rows are all acknowledged."""
NO_NULLS: Mapping[str, int] = {"join_use_nulls": 0}
"""For joins, whatever the server's profile says: what has no partner gets the default of its type."""
_REVISION = 1 << 41

LOADS_COLUMNS = {
    "load_id": "string",
    "input": "string",
    "run_id": "string",
    "event_type": "string",
    "state": "string",
    "attempt": "uint32",
    "version": "uint64",
    "created_at": "time",
    "updated_at": "time",
    "block_bytes": "uint64",
    "block_rows": "uint64",
    "files": "uint32",
    "bytes": "uint64",
    "lines": "uint64",
    "inserted": "uint64",
    "rejected": "uint64",
    "expired": "uint64",
    "events": "counts",
    "blocks": "uint32",
    "duration_ms": "uint64",
    "error": "string",
}
FILES_COLUMNS = {
    "input": "string",
    "path": "string",
    "load_id": "string",
    "range_start": "uint64",
    "range_end": "uint64",
    "position": "uint32",
    "size": "uint64",
    "etag": "string",
    "modified_at": "time",
    "timestamp": "time",
    "project_id": "string",
    "state": "string",
    "version": "uint64",
    "at_end": "bool",
    "digest": "string",
    "lines": "uint64",
    "rejected": "uint64",
    "moved_to": "string",
    "error": "string",
    "updated_at": "time",
    "partly_in": "strings",
    "own_fault": "bool",
}


@dataclass(frozen=True, slots=True)
class SliceOutcome:
    """What became of one slice: its counts and the digest of its bytes."""

    lines: int = 0
    rejected: int = 0
    digest: str = ""
    error: str = ""
    """Why it ends before it was to end, or why it was given back."""
    left: bool = False
    """Whether an attempt that was killed has inserted lines of it which `digest` does not tell of."""
    own_fault: bool = False
    """Whether `error` is the file's own fault, and counts as one of its `--max_attempts`."""


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


@dataclass(frozen=True)
class LoadRecord:
    """A load's row, but for what the log itself fills in: whose it is."""

    load: Load
    state: str
    counts: LoadCounts = field(default_factory=LoadCounts)
    error: str = ""

    def row(self) -> dict[str, Any]:
        load, counts = self.load, self.counts
        return {
            "load_id": load.load_id,
            "event_type": load.event_type,
            "state": self.state,
            "attempt": load.attempt,
            "version": version(load.attempt, self.state),
            "created_at": load.created_ms,
            "updated_at": now(),
            "block_bytes": load.block_bytes,
            "block_rows": load.block_rows,
            "files": len(load.kept),
            "bytes": load.bytes,
            "lines": counts.lines,
            "inserted": counts.inserted,
            "rejected": counts.rejected,
            "expired": counts.expired,
            "events": list(counts.events.items()),
            "blocks": counts.blocks,
            "duration_ms": counts.duration_ms,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One slice of a file in the log. Its path is within the input."""

    path: str
    load_id: str
    start: int
    end: int
    position: int
    size: int
    etag: str
    modified_ms: int
    timestamp_ms: int
    project_id: str
    state: str
    version: int
    at_end: bool = True
    """Whether it ends where the file ended when it was loaded, perhaps in the middle of a line."""
    digest: str = ""
    lines: int = 0
    rejected: int = 0
    moved_to: str = ""
    error: str = ""
    partly_in: Sequence[str] = ()
    """Loads that have inserted lines of some content of the file which no digest tells of."""
    own_fault: bool = False
    """Whether `error` is the file's own fault, and counts as one of its `--max_attempts`."""
    load_state: str = ""
    """The state of its load; '' when the history has no row of it."""
    run_id: str = ""
    """The run that had its load last."""
    age_ms: int = 0
    """How long ago it was written."""

    @property
    def event_type(self) -> str:
        """The type of the directory that it was in."""
        return self.path.partition("/")[0]

    @property
    def committed(self) -> bool:
        """Whether all its rows are acknowledged, and are not those of a load that goes on."""
        return self.state in COMMITTED and self.load_state in COMMITTED

    def slice(self, root: str) -> Slice:
        """The slice as its load has it."""
        return Slice(
            path=os.path.join(root, self.path),
            event_type=self.event_type,
            project_id=self.project_id,
            timestamp_ms=self.timestamp_ms,
            modified_ms=self.modified_ms,
            size=self.size,
            etag=self.etag,
            start=self.start,
            end=self.end,
            position=self.position,
            partly_in=tuple(self.partly_in),
        )

    def revised(self, **changes: Any) -> FileRecord:
        """The record with other values, which replaces it whatever state it was in."""
        return replace(self, version=self.version + _REVISION, **changes)

    def row(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "load_id": self.load_id,
            "range_start": self.start,
            "range_end": self.end,
            "position": self.position,
            "size": self.size,
            "etag": self.etag,
            "modified_at": self.modified_ms,
            "timestamp": self.timestamp_ms,
            "project_id": self.project_id,
            "state": self.state,
            "version": self.version,
            "at_end": self.at_end,
            "digest": self.digest,
            "lines": self.lines,
            "rejected": self.rejected,
            "moved_to": self.moved_to,
            "error": self.error,
            "updated_at": now(),
            "partly_in": list(self.partly_in),
            "own_fault": self.own_fault,
        }


def file_record(load: Load, part: Slice, path: str, state: str, outcome: SliceOutcome | None = None) -> FileRecord:
    """A slice of a load in a state; `path` is the one within the input."""
    outcome = outcome or SliceOutcome()
    return FileRecord(
        path=path,
        load_id=load.load_id,
        start=part.start,
        end=part.end,
        position=part.position,
        size=part.size,
        etag=part.etag,
        modified_ms=part.modified_ms,
        timestamp_ms=part.timestamp_ms,
        project_id=part.project_id,
        state=state,
        version=version(load.attempt, state),
        at_end=part.end >= part.size,
        digest=outcome.digest,
        lines=outcome.lines,
        rejected=outcome.rejected,
        error=outcome.error,
        partly_in=tuple(dict.fromkeys([*part.partly_in, *([load.load_id] if outcome.left else [])])),
        own_fault=outcome.own_fault,
    )


def version(attempt: int, state: str) -> int:
    """Orders the rows of one key: committed ones last, then by attempt, then by state.

    A commit is final: what an attempt has committed stays so, also when a later attempt had begun meanwhile.
    """
    return (int(state in COMMITTED) << 40) | (attempt << 8) | (_STATES[state] << 1)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(timezone.utc)
