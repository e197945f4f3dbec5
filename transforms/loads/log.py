"""The load log: which load owns which part of which file, and how far it is. Two tables, written row by state.

A load's rows in `mastra_admin_ingest_files` are written before its row in `mastra_admin_ingest_loads`, and only the
latter makes it exist: file rows whose load row was never written count for nothing. A commit is written in the same
order, and the load's row alone makes it one. Both tables are ReplacingMergeTree(version); a version is made of the
attempt and the state, so that later states win whatever the order of merges, and writing the same state twice changes
nothing. So every write is tried again when it may have failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from transforms.clickhouse import ClickHouse
from transforms.loads import Load, Slice
from transforms.loads.rows import (
    COMMITTED,
    FILES_SCHEMA,
    FILES_TABLE,
    LOADS_SCHEMA,
    LOADS_TABLE,
    LoadCounts,
    SliceOutcome,
    attempt_of,
    file_rows,
    load_row,
    now,
    version,
)
from transforms.storage import PendingFile

_END_MS = (
    "toUnixTimestamp64Milli(created_at) + 3 + intDiv(6 * bytes, greatest(block_bytes, 1))"
    " + intDiv(bytes, 32 * greatest(block_rows, 1))"
)
"""No less than `Load.end_ms`, of which the log knows no chunks: on average they are at least half full."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """One slice of a file in the log, with the state of the load that it belongs to."""

    path: str
    load_id: str
    run_id: str
    attempt: int
    load_state: str
    state: str
    etag: str
    size: int
    start: int
    end: int
    digest: str


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """Who had a load last, and how far it got."""

    load_id: str
    shard: str
    run_id: str
    attempt: int
    state: str


class LoadLog:
    """Reads and writes the load log through one client. Every method blocks on the server and may raise ClickHouseError."""

    def __init__(self, client: ClickHouse, *, input_root: str, run_id: str) -> None:
        self._client = client
        self._input = input_root
        self._run_id = run_id

    def ownership(self, paths: Sequence[str]) -> dict[str, list[Ownership]]:
        """What the log knows of these files; a file that no load ever owned is not in the result."""
        found: dict[str, list[Ownership]] = {}
        for record in self._records("path", paths):
            found.setdefault(record.path, []).append(record)
        return found

    def paths_by_etag(self, etags: Sequence[str]) -> dict[str, set[str]]:
        """Under which names loads have files of these etags, or have had them before these were moved."""
        found: dict[str, set[str]] = {}
        for record in self._records("etag", etags):
            if record.state != "released":
                found.setdefault(record.etag, set()).add(record.path)
        return found

    def _records(self, column: str, values: Sequence[str]) -> Iterator[Ownership]:
        rows = self._client.query(
            f"""
            SELECT f.path AS path, f.load_id AS load_id, l.run_id AS run_id, l.attempt AS attempt,
                   l.state AS load_state, f.state AS state, f.etag AS etag, f.size AS size,
                   f.range_start AS start, f.range_end AS end, f.digest AS digest
            FROM (SELECT * FROM {FILES_TABLE} FINAL WHERE {column} IN {{values:Array(String)}}) AS f
            INNER JOIN (
                SELECT load_id, run_id, attempt, state FROM {LOADS_TABLE} FINAL
                WHERE load_id IN (SELECT load_id FROM {FILES_TABLE} WHERE {column} IN {{values:Array(String)}})
            ) AS l ON f.load_id = l.load_id
            ORDER BY path, start, load_id
            """,
            {"values": list(values)},
        )
        return (Ownership(**row) for row in rows)

    def versions_end_ms(self) -> int:
        """What the `ingested_at` of all rows of all loads, of any input, stays below: a bound of the greatest `end_ms`.

        Rows that are delivered from now on count from there when the clock has gone back, or has been put right.
        """
        (row,) = self._client.query(f"SELECT max({_END_MS}) AS end_ms FROM {LOADS_TABLE}")
        return int(row["end_ms"])

    def unfinished(self) -> list[LoadSummary]:
        """The loads of this input that are not finalized, oldest first."""
        rows = self._client.query(
            f"""
            SELECT load_id, shard, run_id, attempt, state FROM {LOADS_TABLE} FINAL
            WHERE input = {{input:String}} AND state != 'finalized' ORDER BY created_at, load_id
            """,
            {"input": self._input},
        )
        return [LoadSummary(**row) for row in rows]

    def state(self, load_id: str) -> LoadSummary:
        """Who has a load now, and how far it is."""
        (row,) = self._client.query(
            f"SELECT load_id, shard, run_id, attempt, state FROM {LOADS_TABLE} FINAL WHERE load_id = {{load_id:String}}",
            {"load_id": load_id},
        )
        return LoadSummary(**row)

    def is_committed(self, load_id: str) -> bool:
        """Whether every row of a load is acknowledged, so that it must not be inserted again."""
        return self.state(load_id).state in COMMITTED

    def read(self, load_id: str) -> Load:
        """A load exactly as it was recorded, with what it has released since."""
        (load,) = self._client.query(
            f"SELECT * FROM {LOADS_TABLE} FINAL WHERE load_id = {{load_id:String}}", {"load_id": load_id}
        )
        files = self._client.query(
            f"SELECT * FROM {FILES_TABLE} FINAL WHERE load_id = {{load_id:String}} ORDER BY position",
            {"load_id": load_id},
        )
        return Load(
            load_id=load_id,
            event_type=load["event_type"],
            shard=load["shard"],
            slices=tuple(
                Slice(
                    path=row["path"],
                    project_id=row["project_id"],
                    timestamp_ms=_epoch_ms(row["timestamp"]),
                    modified_ms=_epoch_ms(row["modified_at"]),
                    size=row["size"],
                    etag=row["etag"],
                    start=row["range_start"],
                    end=row["range_end"],
                    position=row["position"],
                )
                for row in files
            ),
            block_bytes=load["block_bytes"],
            block_rows=load["block_rows"],
            created_ms=_epoch_ms(load["created_at"]),
            attempt=load["attempt"],
            committed=load["state"] in COMMITTED,
            released=frozenset(row["position"] for row in files if row["state"] == "released"),
        )

    def assign(self, load: Load) -> None:
        """Records a new load and that this run has it. A crash before the last write leaves no load."""
        self._write_files(load, load.slices, "assigned", {})
        self._write_load(load, "assigned", LoadCounts())

    def adopt(self, load: Load) -> None:
        """Records that this run takes up a load of another run that is no more (`load.attempt` is already the new one)."""
        if load.committed:
            self._copy_load(load, "committed", "")  # keeps the counts
        else:
            self._write_load(load, "assigned", LoadCounts())

    def release(self, load: Load, released: Mapping[int, str]) -> None:
        """Gives slices back (by position, with the reason): they are no longer this load's and may be loaded by another."""
        outcomes = {position: SliceOutcome(error=reason) for position, reason in released.items()}
        self._write_files(load, [load.slices[position] for position in released], "released", outcomes)

    def commit(self, load: Load, counts: LoadCounts, outcomes: Mapping[int, SliceOutcome]) -> None:
        """Records that every row of the load is acknowledged. From here on it is never inserted again."""
        kept = [part for part in load.slices if part.position not in load.released]
        self._write_files(load, kept, "committed", outcomes)
        self._write_load(load, "committed", counts)

    def fail(self, load: Load, counts: LoadCounts, error: str) -> None:
        """Records why the load could not be finished in this run; a later run takes it up as it was recorded."""
        self._write_load(load, "failed", counts, error)

    def finalize(self, load: Load, counts: LoadCounts | None = None) -> None:
        """Records that nothing is left to do for the load; without counts it keeps those that its commit recorded."""
        if counts is None:
            self._copy_load(load, "finalized", "")
        else:
            self._write_load(load, "finalized", counts)

    def keep_committed(self, load: Load, error: str) -> None:
        """Records why files of a committed load could not be moved; a later run moves them, and inserts nothing."""
        self._copy_load(load, "committed", error)

    def record_moves(
        self,
        load: Load,
        outcomes: Mapping[int, SliceOutcome],
        moves: Mapping[str, str],
        errors: Mapping[str, str],
    ) -> None:
        """Records for files of a load (by path) where they went, or why not, in the rows of every load that has a part."""
        paths = {*moves, *errors}
        if load.committed or not all(part.whole for part in load.slices):
            rows = self._shared_rows(load, paths)
        else:
            rows = file_rows(load, [part for part in load.slices if part.path in paths], "finalized", outcomes)
        changed = []
        for row in rows:
            moved = row["path"] in moves
            row["state"] = "finalized" if moved else "committed"
            row["moved_to"] = moves.get(row["path"], "")
            row["error"] = errors.get(row["path"], "")
            row["version"] = version(attempt_of(row["version"]), row["state"], again=not moved)
            row["updated_at"] = now()
            changed.append(row)
        self._insert_files(changed)

    def _shared_rows(self, load: Load, paths: set[str]) -> list[dict[str, Any]]:
        """The rows of all loads that have a part of these files as they are now."""
        etags = {part.path: part.etag for part in load.slices}
        rows = self._client.query(
            f"SELECT * FROM {FILES_TABLE} FINAL "
            "WHERE path IN {paths:Array(String)} AND state IN ('committed', 'finalized')",
            {"paths": sorted(paths)},
        )
        return [row for row in rows if row["etag"] == etags[row["path"]]]

    def loaded_bytes(self, files: Mapping[str, str]) -> dict[str, int]:
        """For files (path to etag), how many bytes of each belong to committed loads."""
        rows = self._client.query(
            f"""
            SELECT path, etag, range_start AS start, range_end AS end FROM {FILES_TABLE} FINAL
            WHERE path IN {{paths:Array(String)}} AND load_id IN (
                SELECT load_id FROM {LOADS_TABLE} FINAL
                WHERE state IN {{committed:Array(String)}}
                AND load_id IN (SELECT load_id FROM {FILES_TABLE} WHERE path IN {{paths:Array(String)}})
            ) AND state IN {{committed:Array(String)}}
            ORDER BY path, start
            """,
            {"paths": list(files), "committed": list(COMMITTED)},
        )
        loaded = dict.fromkeys(files, 0)
        for row in rows:
            # Loads commit in any order: count up to the first gap.
            if row["etag"] == files[row["path"]] and row["start"] <= loaded[row["path"]]:
                loaded[row["path"]] = max(loaded[row["path"]], row["end"])
        return loaded

    def attest_growth(self, grown: Sequence[tuple[Ownership, PendingFile]]) -> None:
        """Records that loaded ranges are part of files as they are now: a file was appended to after it was loaded."""
        if not grown:
            return
        files = {(record.load_id, record.path, record.start): file for record, file in grown}
        rows = self._client.query(
            f"SELECT * FROM {FILES_TABLE} FINAL WHERE path IN {{paths:Array(String)}} AND state = 'committed'",
            {"paths": sorted({record.path for record, _ in grown})},
        )
        changed = []
        for row in rows:
            file = files.get((row["load_id"], row["path"], row["range_start"]))
            if file is not None:
                row |= {"etag": file.etag, "size": file.size, "updated_at": now(), "error": ""}
                row["version"] = version(attempt_of(row["version"]), "committed", again=True)
                changed.append(row)
        self._insert_files(changed)

    def _write_load(self, load: Load, state: str, counts: LoadCounts, error: str = "") -> None:
        row = load_row(load, state, counts, error) | {"input": self._input, "run_id": self._run_id}
        self._insert_load(row)

    def _copy_load(self, load: Load, state: str, error: str) -> None:
        (row,) = self._client.query(
            f"SELECT * FROM {LOADS_TABLE} FINAL WHERE load_id = {{load_id:String}}", {"load_id": load.load_id}
        )
        again = row["state"] == state and row["attempt"] == load.attempt
        row |= {"state": state, "error": error, "updated_at": now(), "run_id": self._run_id, "attempt": load.attempt}
        row["version"] = version(load.attempt, state, again=again)
        row["events"] = list(row["events"].items())
        self._insert_load(row)

    def _write_files(
        self, load: Load, slices: Iterable[Slice], state: str, outcomes: Mapping[int, SliceOutcome]
    ) -> None:
        self._insert_files(file_rows(load, slices, state, outcomes))

    def _insert_load(self, row: dict[str, Any]) -> None:
        self._client.insert(LOADS_TABLE, pa.RecordBatch.from_pylist([row], LOADS_SCHEMA), idempotent=True)

    def _insert_files(self, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            self._client.insert(FILES_TABLE, pa.RecordBatch.from_pylist(list(rows), FILES_SCHEMA), idempotent=True)


def _epoch_ms(value: datetime) -> int:
    if value.tzinfo is None:
        value = value.replace(tzinfo=timezone.utc)
    return round(value.timestamp() * 1000)
