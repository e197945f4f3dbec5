"""The load log: the history of loads and of the slices of files that they own. Two tables, written row by state.

Which load belongs to which run is the journal's to say (`transforms.loads.journal`); what became of it is here. A load's
rows in `mastra_admin_ingest_files` are written before its entry in the journal, which alone makes the load exist: file rows
of a load that has none count for nothing. A commit is written in the same order, and the load's row alone makes it
one. Both tables are ReplacingMergeTree(version); a version is made of the attempt and the state, so that later states win
whatever the order of merges, and writing the same state twice changes nothing. So every write is tried again when it
may have failed. Everything is asked and written for many loads at once.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from transforms.clickhouse.batches import batch_of
from transforms.loads.journal import Holding
from transforms.loads.load import Load, Slice
from transforms.loads.rows import (
    COMMITTED,
    FILES_COLUMNS,
    FILES_TABLE,
    LOADS_COLUMNS,
    LOADS_TABLE,
    NO_NULLS,
    FileRecord,
    LoadRecord,
    SliceOutcome,
    file_record,
    now,
    version,
)

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

_FILE_COLUMNS = """
    f.path AS path, f.load_id AS load_id, f.range_start AS start, f.range_end AS end, f.position AS position,
    f.size AS size, f.etag AS etag, toUnixTimestamp64Milli(f.modified_at) AS modified_ms,
    toUnixTimestamp64Milli(f.timestamp) AS timestamp_ms, f.project_id AS project_id, toString(f.state) AS state,
    f.version AS version, f.at_end AS at_end, f.digest AS digest, f.lines AS lines, f.rejected AS rejected,
    f.moved_to AS moved_to, f.error AS error,
    f.partly_in AS partly_in, f.own_fault AS own_fault
"""


class LoadLog:
    """Reads and writes the history of one input. Every method blocks on the server and may raise ClickHouseError.

    `root` is where the input is now; paths in the log are within it, so that it may be elsewhere the next time.
    """

    def __init__(self, client: ClickHouse, *, input: str, root: str, run_id: str) -> None:
        self._client = client
        self._input = input
        self._root = root
        self._prefix = os.path.join(root, "")
        self._run_id = run_id

    def within(self, path: str) -> str:
        """A path within the input."""
        return path.removeprefix(self._prefix)

    def files(self, paths: Sequence[str]) -> dict[str, list[FileRecord]]:
        """What the log knows of these files, by path; a file that no load ever had is not in the result."""
        found: dict[str, list[FileRecord]] = {}
        for record in self._records("path", [self.within(path) for path in paths]):
            found.setdefault(os.path.join(self._root, record.path), []).append(record)
        return found

    def paths_by_etag(self, etags: Sequence[str], unfinished: Container[str] = ()) -> dict[str, set[str]]:
        """Under which names loads have files of these etags, or have had them before these were moved.

        Loads whose history is not written yet count when they are among the unfinished ones.
        """
        found: dict[str, set[str]] = {}
        for record in self._records("etag", etags):
            if record.state != "released" and (record.load_state or record.load_id in unfinished):
                found.setdefault(record.etag, set()).add(os.path.join(self._root, record.path))
        return found

    def _records(self, column: str, values: Sequence[str]) -> list[FileRecord]:
        mine = f"input = {{input:String}} AND {column} IN {{values:Array(String)}}"
        rows = self._client.query(
            f"""
            SELECT {_FILE_COLUMNS}, l.state AS load_state, l.run_id AS run_id,
                   toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(f.updated_at) AS age_ms
            FROM (SELECT * FROM {FILES_TABLE} FINAL WHERE {mine}) AS f
            LEFT JOIN (
                SELECT load_id, toString(state) AS state, run_id FROM {LOADS_TABLE} FINAL
                WHERE load_id IN (SELECT load_id FROM {FILES_TABLE} WHERE {mine})
            ) AS l ON f.load_id = l.load_id
            ORDER BY path, start, load_id
            """,
            {"input": self._input, "values": list(values)},
            settings=NO_NULLS,
        )
        return [FileRecord(**row) for row in rows]

    def states(self, load_ids: Sequence[str]) -> dict[str, str]:
        """How far loads are; those that no history is written of are left out."""
        rows = self._client.query(
            f"SELECT load_id, toString(state) AS state_name FROM {LOADS_TABLE} FINAL "
            "WHERE load_id IN {load_ids:Array(String)}",
            {"load_ids": list(load_ids)},
        )
        return {row["load_id"]: row["state_name"] for row in rows}

    def is_committed(self, load_id: str) -> bool:
        """Whether every row of a load is acknowledged, so that it must not be inserted again."""
        return self.states([load_id]).get(load_id) in COMMITTED

    def read(self, holdings: Iterable[Holding]) -> list[Load]:
        """Loads exactly as they were recorded, with what they have released since."""
        held = list(holdings)
        if not held:
            return []
        slices: dict[str, list[FileRecord]] = {}
        rows = self._client.query(
            f"SELECT {_FILE_COLUMNS} FROM (SELECT * FROM {FILES_TABLE} FINAL "
            "WHERE load_id IN {load_ids:Array(String)} AND input = {input:String}) AS f ORDER BY load_id, position",
            {"load_ids": [holding.load_id for holding in held], "input": self._input},
        )
        for row in rows:
            slices.setdefault(row["load_id"], []).append(FileRecord(**row))
        return [
            Load(
                load_id=holding.load_id,
                slices=tuple(record.slice(self._root) for record in slices.get(holding.load_id, ())),
                block_bytes=holding.block_bytes,
                block_rows=holding.block_rows,
                created_ms=holding.created_ms,
                attempt=holding.attempt,
                committed=holding.state in COMMITTED,
                released=frozenset(r.position for r in slices.get(holding.load_id, ()) if r.state == "released"),
            )
            for holding in held
        ]

    def write_slices(self, loads: Iterable[Load]) -> None:
        """Writes down what new loads consist of, before the journal makes them exist."""
        self.write_files(self._record(load, part, "assigned") for load in loads for part in load.slices)

    def write_loads(self, records: Iterable[LoadRecord]) -> None:
        """Writes how far loads are."""
        rows = [record.row() | {"input": self._input, "run_id": self._run_id} for record in records]
        if rows:
            self._client.insert(LOADS_TABLE, batch_of(rows, LOADS_COLUMNS), idempotent=True)

    def write_files(self, records: Iterable[FileRecord]) -> None:
        """Writes how far slices are."""
        rows = [record.row() | {"input": self._input} for record in records]
        if rows:
            self._client.insert(FILES_TABLE, batch_of(rows, FILES_COLUMNS), idempotent=True)

    def release(
        self,
        load: Load,
        released: Mapping[int, str],
        partly_inserted: Container[int] = (),
        own_faults: Container[int] = (),
    ) -> None:
        """Gives slices back (by position, with the reason): they are no longer this load's and may be loaded by another.

        Of those that it has `partly_inserted` it is written down that this load may have some of their rows,
        and of those with `own_faults` that this was an attempt at them.
        """
        self.write_files(
            self._record(
                *(load, load.slices[position], "released"),
                SliceOutcome(error=reason, left=position in partly_inserted, own_fault=position in own_faults),
            )
            for position, reason in released.items()
        )

    def commit(self, loads: Iterable[tuple[LoadRecord, Mapping[int, SliceOutcome]]]) -> None:
        """Records how loads ended: those that are committed, with their slices, are never inserted again."""
        ended = list(loads)
        self.write_files(
            self._record(record.load, part, record.state, outcomes.get(part.position))
            for record, outcomes in ended
            if record.state in COMMITTED
            for part in record.load.kept
        )
        self.write_loads(record for record, _ in ended)

    def copy_loads(self, states: Mapping[str, str], errors: Mapping[str, str], attempts: Mapping[str, int]) -> None:
        """Records the state of loads (by id) whose counts stay as their commit has recorded them."""
        if not states:
            return
        rows = self._client.query(
            f"SELECT {', '.join(name for name in LOADS_COLUMNS)} FROM {LOADS_TABLE} FINAL "
            "WHERE load_id IN {load_ids:Array(String)}",
            {"load_ids": list(states)},
        )
        changed = []
        for row in rows:
            load_id, state = row["load_id"], states[row["load_id"]]
            attempt = attempts.get(load_id, row["attempt"])
            again = row["version"] >= version(attempt, state)
            row |= {"state": state, "error": errors.get(load_id, ""), "updated_at": now(), "run_id": self._run_id}
            row |= {"attempt": attempt, "version": version(attempt, state) | int(again)}
            row["events"] = list(row["events"].items())
            changed.append(row)
        self._client.insert(LOADS_TABLE, batch_of(changed, LOADS_COLUMNS), idempotent=True)

    def _record(self, load: Load, part: Slice, state: str, outcome: SliceOutcome | None = None) -> FileRecord:
        return file_record(load, part, self.within(part.path), state, outcome)


def loaded_bytes(records: Iterable[FileRecord], etag: str) -> int:
    """How many bytes of a file, from its beginning on, belong to committed loads of its present content."""
    reached = 0
    for record in sorted(records, key=lambda record: record.start):
        # Loads commit in any order: count up to the first gap.
        if record.committed and record.etag == etag and record.start <= reached:
            reached = max(reached, record.end)
    return reached
