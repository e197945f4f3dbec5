"""What was loaded, what was not and why: typed queries on the load log and on the rejected events."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from transforms.events import REJECTED_TABLE
from transforms.loads.inputs import INPUTS_TABLE, find_input
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE
from transforms.storage import open_storage

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

_BATCH_BYTES = 32 * 1024 * 1024
_BATCH_LINES = 1000
"""Rejected lines, and bytes of them, fetched at a time."""

_OF_INPUT = (
    f"({{input:String}} = '' OR load_id IN (SELECT load_id FROM {LOADS_TABLE} FINAL WHERE input = {{input:String}}))"
)


@dataclass(frozen=True, slots=True)
class StateTotals:
    """The loads that are in one state. Of assigned and failed loads, no row count is acknowledged yet."""

    state: str
    loads: int
    files: int
    bytes: int
    lines: int
    inserted: int
    rejected: int


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """One load as the log has it."""

    load_id: str
    input: str
    run_id: str
    event_type: str
    state: str
    attempt: int
    created_at: datetime
    updated_at: datetime
    files: int
    bytes: int
    lines: int
    inserted: int
    rejected: int
    expired: int
    duration_ms: int
    error: str


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that a load gave back or could not move, and why. Its path is within the input."""

    path: str
    state: str
    error: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RejectedFilter:
    """Which rejected lines are meant; '' and None mean any.

    `file` is a path, or the end of one from a directory or file name on; `reason` is a part of the reason, in any case.
    """

    input: str = ""
    file: str = ""
    line: int | None = None
    reason: str = ""
    project_id: str = ""
    event_type: str = ""
    load_id: str = ""


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that could not be stored as an event, without its bytes."""

    file: str
    line: int
    byte_offset: int
    event_type: str
    project_id: str
    reason: str
    rejected_at: datetime
    load_id: str
    block: str
    size: int


class History:
    """Reads what the load log and the rejected events say. Every method blocks and may raise ClickHouseError.

    `input` limits an answer to one input directory, as the log knows it; '' means all of the database.
    """

    def __init__(self, client: ClickHouse) -> None:
        self._client = client

    def exists(self) -> bool:
        """Whether the database has the tables that are read here."""
        (row,) = self._client.query(
            "SELECT count() AS n FROM system.tables WHERE database = currentDatabase() AND name IN {names:Array(String)}",
            {"names": [LOADS_TABLE, FILES_TABLE, INPUTS_TABLE, REJECTED_TABLE]},
        )
        return bool(row["n"] == 4)

    def inputs(self) -> dict[str, str]:
        """The inputs that anything was ever loaded from, by name, and where each was last."""
        rows = self._client.query(
            f"""
            SELECT l.input AS name, if(i.root = '', l.input, i.root) AS root FROM (SELECT DISTINCT input FROM {LOADS_TABLE}) AS l
            LEFT JOIN (SELECT name, argMax(root, seen_at) AS root FROM {INPUTS_TABLE} GROUP BY name) AS i ON l.input = i.name
            ORDER BY name
            """
        )
        return {row["name"]: row["root"] for row in rows}

    def name_of(self, root: str) -> str:
        """What the input in a directory is called; the directory itself when nothing was loaded from there."""
        return find_input(self._client, root, open_storage(root).identity())[0]

    def states(self, input: str = "") -> list[StateTotals]:
        """How many loads are in each state, and what they hold together; states that none is in are left out."""
        rows = self._client.query(
            f"""
            SELECT toString(state) AS state_name, count() AS loads, sum(files) AS all_files, sum(bytes) AS all_bytes,
                   sum(lines) AS all_lines, sum(inserted) AS all_inserted, sum(rejected) AS all_rejected
            FROM {LOADS_TABLE} FINAL WHERE {{input:String}} = '' OR input = {{input:String}}
            GROUP BY state ORDER BY state
            """,
            {"input": input},
        )
        return [
            StateTotals(
                state=row["state_name"],
                loads=int(row["loads"]),
                files=int(row["all_files"]),
                bytes=int(row["all_bytes"]),
                lines=int(row["all_lines"]),
                inserted=int(row["all_inserted"]),
                rejected=int(row["all_rejected"]),
            )
            for row in rows
        ]

    def rows_by_type(self, input: str = "") -> dict[str, int]:
        """Events of each type that loads have committed."""
        rows = self._client.query(
            f"""
            SELECT event.1 AS name, sum(event.2) AS n FROM {LOADS_TABLE} FINAL
            ARRAY JOIN CAST(events, 'Array(Tuple(String, UInt64))') AS event
            WHERE state IN ('committed', 'finalized') AND ({{input:String}} = '' OR input = {{input:String}})
            GROUP BY name ORDER BY name
            """,
            {"input": input},
        )
        return {row["name"]: int(row["n"]) for row in rows}

    def unfinished(self, input: str = "", limit: int = 1000) -> list[LoadRecord]:
        """Loads that are not finalized, oldest first: at work, failed, or with files that could not be moved."""
        return self._loads("state != 'finalized'", "created_at, load_id", input, limit)

    def last_loads(self, input: str = "", limit: int = 10) -> list[LoadRecord]:
        """The loads that were committed last, newest first."""
        return self._loads("state IN ('committed', 'finalized')", "updated_at DESC, load_id", input, limit)

    def _loads(self, condition: str, order: str, input: str, limit: int) -> list[LoadRecord]:
        rows = self._client.query(
            f"""
            SELECT load_id, input, run_id, toString(event_type) AS event_type, toString(state) AS state, attempt,
                   created_at, updated_at, files, bytes, lines, inserted, rejected, expired, duration_ms, error
            FROM (
                SELECT * FROM {LOADS_TABLE} FINAL
                WHERE {condition} AND ({{input:String}} = '' OR input = {{input:String}})
            )
            ORDER BY {order} LIMIT {{limit:UInt32}}
            """,
            {"input": input, "limit": limit},
        )
        return [LoadRecord(**_aware(row)) for row in rows]

    def first_files(self, load_ids: Iterable[str]) -> dict[str, str]:
        """For loads, the path of the first file of each."""
        rows = self._client.query(
            f"SELECT load_id, argMin(path, position) AS first FROM {FILES_TABLE} FINAL "
            "WHERE load_id IN {load_ids:Array(String)} GROUP BY load_id",
            {"load_ids": list(load_ids)},
        )
        return {row["load_id"]: row["first"] for row in rows}

    def file_problems(self, input: str = "", limit: int = 1000) -> list[FileProblem]:
        """Files that were given back and that nothing has loaded since, or that are loaded and could not be moved."""
        rows = self._client.query(
            f"""
            SELECT path, argMax(toString(state), updated_at) AS last_state, argMax(error, updated_at) AS last_error,
                   max(updated_at) AS last_at
            FROM {FILES_TABLE} FINAL WHERE {_OF_INPUT}
            GROUP BY path HAVING last_error != '' ORDER BY last_at DESC, path LIMIT {{limit:UInt32}}
            """,
            {"input": input, "limit": limit},
        )
        return [FileProblem(row["path"], row["last_state"], row["last_error"], _utc(row["last_at"])) for row in rows]

    def top_reasons(self, input: str = "", limit: int = 10) -> list[tuple[str, int]]:
        """The reasons for which most lines were rejected, each with how many."""
        rows = self._client.query(
            f"""
            SELECT reason, count() AS n FROM {REJECTED_TABLE} WHERE {_OF_INPUT}
            GROUP BY reason ORDER BY n DESC, reason LIMIT {{limit:UInt32}}
            """,
            {"input": input, "limit": limit},
        )
        return [(row["reason"], int(row["n"])) for row in rows]

    def rejected(self, wanted: RejectedFilter, limit: int = 50) -> list[RejectedLine]:
        """Rejected lines in the order of files and lines, those of the files that were rejected last first."""
        condition, parameters = _condition(wanted)
        rows = self._client.query(
            f"""
            SELECT file, line, byte_offset, toString(event_type) AS event_type, project_id, reason, rejected_at,
                   toString(load_id) AS load_id, toString(block) AS block, length(raw) AS size
            FROM {REJECTED_TABLE} WHERE {condition}
            ORDER BY rejected_at DESC, file, byte_offset LIMIT {{limit:UInt64}}
            """,
            parameters | {"limit": limit},
        )
        return [RejectedLine(**_aware(row)) for row in rows]

    def count_rejected(self, wanted: RejectedFilter) -> int:
        """How many rejected lines there are of these."""
        condition, parameters = _condition(wanted)
        (row,) = self._client.query(f"SELECT count() AS n FROM {REJECTED_TABLE} WHERE {condition}", parameters)
        return int(row["n"])

    def raw(self, lines: Iterable[RejectedLine]) -> Iterator[tuple[RejectedLine, bytes]]:
        """The bytes of rejected lines as they were in their files, without line ends. Holds about 32 MiB at a time."""
        batch: list[RejectedLine] = []
        size = 0
        for line in lines:
            if batch and (size + line.size > _BATCH_BYTES or len(batch) >= _BATCH_LINES):
                yield from self._raw(batch)
                batch, size = [], 0
            batch.append(line)
            size += line.size
        if batch:
            yield from self._raw(batch)

    def _raw(self, lines: list[RejectedLine]) -> Iterator[tuple[RejectedLine, bytes]]:
        # In base64, since a String of ClickHouse holds any bytes and a client may take it for text.
        rows = self._client.query(
            f"""
            SELECT load_id, file, byte_offset, base64Encode(raw) AS encoded FROM {REJECTED_TABLE}
            WHERE file IN {{files:Array(String)}} AND load_id IN {{load_ids:Array(String)}}
              AND byte_offset IN {{offsets:Array(UInt64)}}
            """,
            {
                "files": sorted({line.file for line in lines}),
                "load_ids": sorted({line.load_id for line in lines}),
                "offsets": sorted({line.byte_offset for line in lines}),
            },
        )
        found = {(row["load_id"], row["file"], row["byte_offset"]): row["encoded"] for row in rows}
        for line in lines:
            yield line, base64.b64decode(found[line.load_id, line.file, line.byte_offset])


def _condition(wanted: RejectedFilter) -> tuple[str, dict[str, Any]]:
    conditions = ["1"]
    parameters: dict[str, Any] = {}
    if wanted.input:
        conditions.append(_OF_INPUT)
        parameters["input"] = wanted.input
    if wanted.file:
        # Its path within the input, the end of that, or the whole path; version 0.1 wrote down the latter.
        conditions.append(
            "(file = {file:String} OR endsWith(file, concat('/', {file:String})) "
            "OR endsWith({file:String}, concat('/', file)))"
        )
        parameters["file"] = wanted.file
    if wanted.line is not None:
        conditions.append("line = {line:UInt64}")
        parameters["line"] = wanted.line
    if wanted.reason:
        conditions.append("positionCaseInsensitiveUTF8(reason, {reason:String}) > 0")
        parameters["reason"] = wanted.reason
    for name in ("project_id", "event_type", "load_id"):
        if value := getattr(wanted, name):
            conditions.append(f"{name} = {{{name}:String}}")
            parameters[name] = value
    return " AND ".join(conditions), parameters


def _aware(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _utc(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
