"""The journal: which run has which load. What all workers on an input agree on, without locks and without clocks.

The entries of an input are numbered. To append, a worker reads the last number n, decides, and inserts its entry as n + 1
under the deduplication token `input:n+1`. Of several such inserts ClickHouse takes the first and drops the others without
an error, so that the worker reads n + 1 back: if it is its own, the entry stands, and nothing was decided by anybody since
n. Otherwise it reads what was added and decides anew. Where nothing is at n + 1, a server has died between writing
the token down and committing the part; then the next number is tried.

An entry has a row for each load that it gives to a run: a new load (attempt 1), or one that another run has left (a later
attempt). Each also says which entry is the oldest that is not finished, the low-water mark: a look reads the journal
from there on, and not what was loaded before.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transforms.clickhouse.batches import batch_of
from transforms.loads.load import Load
from transforms.loads.rows import COMMITTED, LOADS_TABLE, NO_NULLS

if TYPE_CHECKING:
    import pyarrow as pa

    from transforms.clickhouse import ClickHouse

JOURNAL_TABLE = "mastra_admin_ingest_journal"

_COLUMNS = {
    "input": "string",
    "number": "uint64",
    "writer": "string",
    "low": "uint64",
    "versions_end": "uint64",
    "run_id": "string",
    "load_id": "string",
    "attempt": "uint32",
    "created_at": "time",
    "block_bytes": "uint64",
    "block_rows": "uint64",
}
_WRITE: Mapping[str, Any] = {"insert_quorum": "auto", "insert_quorum_parallel": 0}
_READ: Mapping[str, Any] = {"select_sequential_consistency": 1}
"""What it takes on a cluster, so that a worker reads what another one has written through another replica."""
_VERSIONS_END = (
    "(SELECT max(toUnixTimestamp64Milli(created_at) + 3 + intDiv(6 * bytes, greatest(block_bytes, 1)) "
    f"+ intDiv(bytes, 32 * greatest(block_rows, 1))) FROM {LOADS_TABLE})"
)
_TRIED_AT_ONCE = 3
"""Attempts that follow each other without a wait: most failures are over by then."""
_FIRST_WAIT_MS = 30_000
_LAST_WAIT_MS = 3_600_000
_HOLES = 1000
"""Numbers without an entry that are skipped at most, each of which is a crash of the server."""


@dataclass(frozen=True, slots=True)
class Holding:
    """The last entry of a load that is not finished, and how far the load is."""

    load_id: str
    number: int
    run_id: str
    attempt: int
    created_ms: int
    block_bytes: int
    block_rows: int
    state: str = "assigned"
    error: str = ""
    wait_ms: int = 0
    """How long the load is not to be tried again, by the server's clock."""
    age_ms: int = field(default=0, compare=False)
    """How long ago its entry was written, by the server's clock."""


@dataclass(frozen=True)
class Tail:
    """The journal from its low-water mark on."""

    head: int = 0
    """The last number; 0 for an empty journal."""
    versions_end_ms: int = 0
    """What the `ingested_at` of all rows of all loads of the input stays below."""
    unfinished: Mapping[str, Holding] = field(default_factory=dict)
    """By load id, oldest first."""


def wait_ms(attempt: int) -> int:
    """How long after an attempt has begun that failed the next may begin: at once, after the third 30 s, doubled up to 1 h."""
    if attempt < _TRIED_AT_ONCE:
        return 0
    return int(min(_FIRST_WAIT_MS * 2.0 ** (attempt - _TRIED_AT_ONCE), _LAST_WAIT_MS))


class Journal:
    """Reads and appends. Every method blocks on the server and may raise ClickHouseError."""

    def __init__(self, client: ClickHouse, input: str, run_id: str, *, replicated: bool = False) -> None:
        self._client = client
        self.input = input
        self._run_id = run_id
        self._write = _WRITE if replicated else {}
        self._read = _READ if replicated else {}
        self._older: Tail | None = None
        """What there is before the first entry, once it is known that version 0.1 has left nothing unfinished."""

    def look(self) -> Tail:
        """Everything that is not finished, with one statement; one more until the first entry is written."""
        since = (
            f"input = {{input:String}} AND number >= "
            f"(SELECT low FROM {JOURNAL_TABLE} WHERE input = {{input:String}} ORDER BY number DESC LIMIT 1)"
        )
        rows = self._client.query(
            f"""
            SELECT j.number AS number, j.writer AS writer, j.run_id AS run_id, j.load_id AS load_id, j.attempt AS attempt,
                   toUnixTimestamp64Milli(j.created_at) AS created_ms, j.block_bytes AS block_bytes,
                   j.block_rows AS block_rows, j.low AS low, j.versions_end AS versions_end,
                   l.state AS state, l.attempt AS seen_attempt, l.error AS error,
                   toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(j.at) AS age_ms
            FROM (SELECT * FROM {JOURNAL_TABLE} WHERE {since}) AS j
            LEFT JOIN (
                SELECT load_id, toString(state) AS state, attempt, error
                FROM {LOADS_TABLE} FINAL WHERE load_id IN (SELECT load_id FROM {JOURNAL_TABLE} WHERE {since})
            ) AS l ON j.load_id = l.load_id
            ORDER BY number, j.at, writer, created_ms, load_id
            """,
            {"input": self.input},
            settings={**self._read, **NO_NULLS},
        )
        rows = _first_of_each_number(rows)
        unfinished: dict[str, Holding] = {}
        older = self._older
        if rows[-1]["low"] == 0 if rows else older is None:
            older = self._before_the_journal()
            unfinished |= older.unfinished
        for row in rows:
            unfinished.pop(row["load_id"], None)
            if row["state"] == "finalized":
                continue
            # A load's history is written after its entry, and so may be of the attempt before.
            is_current = row["state"] in COMMITTED or row["seen_attempt"] >= row["attempt"]
            state = row["state"] if is_current and row["state"] else "assigned"
            unfinished[row["load_id"]] = Holding(
                load_id=row["load_id"],
                number=row["number"],
                run_id=row["run_id"],
                attempt=row["attempt"],
                created_ms=row["created_ms"],
                block_bytes=row["block_bytes"],
                block_rows=row["block_rows"],
                state=state,
                error=row["error"] if is_current else "",
                wait_ms=max(wait_ms(row["attempt"]) - int(row["age_ms"]), 0) if state == "failed" else 0,
                age_ms=int(row["age_ms"]),
            )
        if rows:
            return Tail(rows[-1]["number"], rows[-1]["versions_end"], unfinished)
        assert older is not None
        self._older = None if older.unfinished else older
        return older

    def append(self, tail: Tail, loads: Iterable[Load]) -> bool:
        """Gives loads to this run, in the attempt that they say; False when another entry was written since `tail`."""
        writer = uuid.uuid4().hex
        given = list(loads)
        for number in range(tail.head + 1, tail.head + 1 + _HOLES):
            rows = self._rows(tail, given, number, writer)
            token = f"{self.input}:{number}"
            self._client.insert(JOURNAL_TABLE, rows, token=token, settings=self._write)
            stands = self._writer(number)
            if stands:
                return stands == writer
        raise RuntimeError(f"the journal of {self.input} has no entry from {tail.head + 1} on, and takes none")

    def holder(self, load_id: str) -> tuple[str, int]:
        """The run that has a load now, and the attempt; ('', 0) when no entry is of it."""
        rows = self._client.query(
            f"""
            SELECT run_id, attempt FROM {JOURNAL_TABLE} WHERE input = {{input:String}} AND load_id = {{load_id:String}}
            AND (number, writer) IN (
                SELECT number, argMin(writer, (at, writer)) FROM {JOURNAL_TABLE}
                WHERE input = {{input:String}} AND number IN (
                    SELECT number FROM {JOURNAL_TABLE} WHERE input = {{input:String}} AND load_id = {{load_id:String}}
                ) GROUP BY number
            )
            ORDER BY number DESC LIMIT 1
            """,
            {"input": self.input, "load_id": load_id},
            settings=self._read,
        )
        return (rows[0]["run_id"], rows[0]["attempt"]) if rows else ("", 0)

    def _rows(self, tail: Tail, loads: Sequence[Load], number: int, writer: str) -> pa.RecordBatch:
        given = {load.load_id for load in loads}
        low = min(
            (holding.number for holding in tail.unfinished.values() if holding.load_id not in given), default=number
        )
        common = {
            "input": self.input,
            "number": number,
            "writer": writer,
            "low": low,
            "versions_end": max(tail.versions_end_ms, *(load.end_ms for load in loads)),
            "run_id": self._run_id,
        }
        return batch_of(
            [
                common
                | {
                    "load_id": load.load_id,
                    "attempt": load.attempt,
                    "created_at": load.created_ms,
                    "block_bytes": load.block_bytes,
                    "block_rows": load.block_rows,
                }
                for load in loads
            ],
            _COLUMNS,
        )

    def _writer(self, number: int) -> str:
        """Whose entry a number is; '' when there is none. Should a token have been forgotten, the first of two counts."""
        rows = self._client.query(
            f"SELECT writer FROM {JOURNAL_TABLE} WHERE input = {{input:String}} AND number = {{number:UInt64}} "
            "ORDER BY at, writer LIMIT 1",
            {"input": self.input, "number": number},
            settings=self._read,
        )
        return rows[0]["writer"] if rows else ""

    def _before_the_journal(self) -> Tail:
        """What version 0.1 has left, which wrote no journal, and a bound of the versions that it has given to rows."""
        rows = self._client.query(
            f"""
            SELECT * FROM (
            SELECT load_id, run_id, attempt, toUnixTimestamp64Milli(created_at) AS created_ms, block_bytes, block_rows,
                   toString(state) AS state_name, error,
                   {_VERSIONS_END} AS versions_end
            FROM {LOADS_TABLE} FINAL WHERE input = {{input:String}} AND state != 'finalized'
            AND load_id NOT IN (SELECT load_id FROM {JOURNAL_TABLE} WHERE input = {{input:String}})
            UNION ALL
            SELECT '', '', 0, 0, 0, 0, '', '', {_VERSIONS_END}
            ) ORDER BY created_ms, load_id
            """,
            {"input": self.input},
        )
        holdings = [
            Holding(
                load_id=row["load_id"],
                number=0,
                run_id=row["run_id"],
                attempt=row["attempt"],
                created_ms=row["created_ms"],
                block_bytes=row["block_bytes"],
                block_rows=row["block_rows"],
                state=row["state_name"],
                error=row["error"],
            )
            for row in rows
            if row["load_id"]
        ]
        return Tail(0, int(rows[0]["versions_end"]), {holding.load_id: holding for holding in holdings})


def _first_of_each_number(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without late entries: should a token have been forgotten, what the server wrote down first is the number's entry."""
    writers: dict[int, str] = {}
    return [row for row in rows if writers.setdefault(row["number"], row["writer"]) == row["writer"]]
