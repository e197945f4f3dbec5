"""A database and an input directory as version 0.1 left them when all of its runs were killed at once.

`restore` puts them into a fresh database and a directory; `wrongs` tells what is missing or double once a later version
has finished what 0.1 had begun. What is in them, and how they were made: `make_fixture.py` and `expected.json`.

A restored database differs from the one that 0.1 left in two respects. The server remembers no deduplication tokens, as
if all of them were older than its window. And receipts, of which ClickHouse deletes those of more than 400 days, are of
today, so that the fixture does not expire.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import tarfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transforms.clickhouse import ClickHouse
from transforms.events import REJECTED_TABLE, TABLES

DIRECTORY = Path(__file__).parent
INPUT = "/INPUT"
"""The input directory in the rows as they are kept."""
LOADS_TABLE = "mastra_admin_ingest_loads"
FILES_TABLE = "mastra_admin_ingest_files"
COUNTED = ("rows", "rolled_up", "rejected")
_PATHS = {FILES_TABLE: ("path", "moved_to", "error"), LOADS_TABLE: ("input", "error"), REJECTED_TABLE: ("file",)}
"""The columns that hold paths."""


@dataclass(frozen=True)
class File:
    """What was written into one file."""

    path: str
    """Where it is to be in the end, below the input directory."""
    project: str
    """The scenario."""
    lines: int
    events: dict[str, list[str]]
    """Ids by table, in the order of the lines."""
    rejected: list[int]
    """Byte offsets of lines that must be rejected."""


@dataclass(frozen=True)
class Expected:
    """The contents of `expected.json`. Paths are below the input directory."""

    files: list[File]
    """All files, whatever state they are in."""
    left: dict[str, str]
    """What 0.1 leaves in its place, with the reason that it gives: other names of loaded files, and what holds no events."""
    counted_twice: dict[str, str]
    """Scenarios of which 0.1 itself inserts lines again when it takes them up, with the reason. A later version that does not
    can leave them out of `wrongs(but_for=…)`."""
    runs: dict[str, str]
    """The run that was killed, by scenario. Its lock is `INPUT/.ingest/runs/RUN`."""
    states: dict[str, dict[str, Any]]
    """How far each scenario is: `loads` in the log, `rows` in the tables, of them `rolled_up`, and lines `rejected`."""
    etags: dict[str, str]
    """What the log calls the files by."""

    def events(self, but_for: Collection[str] = ()) -> dict[str, list[str]]:
        """The ids of all events by table, but for those of some scenarios."""
        found: dict[str, list[str]] = {table.table: [] for table in TABLES.values()}
        for file in self.files:
            for table, ids in file.events.items():
                found[table] += ids if file.project not in but_for else []
        return found

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """What `counts` says of the database as it was left."""
        return {project: {what: state[what] for what in COUNTED} for project, state in self.states.items()}


def read_expected() -> Expected:
    values = json.loads((DIRECTORY / "expected.json").read_text())
    return Expected(**{**values, "files": [File(**file) for file in values["files"]]})


def restore(client: ClickHouse, input_dir: Path) -> Expected:
    """Makes the tables of 0.1 with all rows in the client's database, which must be empty, and its files in a directory.

    Paths in the rows become those below `input_dir`, which is made if it is not there. An etag is made of a file's inode,
    modification time and size, and the inodes here are new ones: so the etags in the log become those that the files have
    now, or else all of them would be taken for files that have changed. Etags of what is not there any more, such as a
    file's before it grew, stay as they are, and fit nothing.
    """
    expected = read_expected()
    with tarfile.open(DIRECTORY / "input.tar.gz") as tar:
        tar.extractall(input_dir, filter="data")
    root = os.path.abspath(input_dir)
    tables: list[str] = []
    views: list[str] = []
    for statement in (DIRECTORY / "schema.sql").read_text().split(";\n"):
        (tables if statement.lstrip().startswith("CREATE TABLE") else views).append(statement)
    for statement in tables:
        client.command(statement)
    for path in sorted((DIRECTORY / "rows").iterdir()):
        _insert(client, path.name.partition(".")[0], gzip.decompress(path.read_bytes()), root, expected.etags)
    # Last, so that nothing is rolled up twice.
    for statement in views:
        client.command(statement)
    return expected


def _insert(client: ClickHouse, table: str, rows: bytes, root: str, etags: dict[str, str]) -> None:
    """Inserts rows as they were stored: superseded ones, too, and states of aggregate functions."""
    parameters: dict[str, Any] = {"old": INPUT, "new": root}
    changed = [f"replaceAll({column}, {{old:String}}, {{new:String}}) AS {column}" for column in _PATHS.get(table, ())]
    if table == FILES_TABLE:
        parameters |= {"etags": list(etags.values()), "now": [_etag(os.path.join(root, path)) for path in etags]}
        changed.append("transform(etag, {etags:Array(String)}, {now:Array(String)}) AS etag")
    if table.endswith("_hourly"):
        changed.append("if(receipt = '', receipt_at, now('UTC')) AS receipt_at")
    replaced = f" REPLACE ({', '.join(changed)})" if changed else ""
    client.command(
        f"INSERT INTO {table} SELECT *{replaced} FROM format('Native', base64Decode('{base64.b64encode(rows).decode()}'))",
        parameters if table in _PATHS else None,
        {"optimize_on_insert": 0, "insert_deduplicate": 0},
    )


def _etag(path: str) -> str:
    """What 0.1 calls a file by."""
    status = os.stat(path)
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def counts(client: ClickHouse) -> dict[str, dict[str, int]]:
    """By scenario: the rows in the tables, the events that the rollups count, the rejected lines."""
    found = {project: dict.fromkeys(COUNTED, 0) for project in read_expected().states}
    for what, count, tables in (
        ("rows", "count()", [table.table for table in TABLES.values()]),
        ("rolled_up", "sum(count)", [table.stats_view for table in TABLES.values()]),
        ("rejected", "count()", [REJECTED_TABLE]),
    ):
        for table in tables:
            for row in client.query(f"SELECT project_id, {count} AS n FROM {table} GROUP BY project_id"):
                found[row["project_id"]][what] += row["n"]
    return found


def wrongs(client: ClickHouse, input_dir: Path, *, but_for: Collection[str] = ()) -> list[str]:
    """Everything that is not as it must be once nothing of the fixture is unfinished; [] when each line is there once.

    Of scenarios in `but_for` lines may be there more than once. Of the load log this asks nothing but the documented columns
    of `mastra_admin_ingest_loads`. The file of a rejected line may be named by its path or by what of it is below the input
    directory.
    """
    expected = read_expected()
    strict, every = expected.events(but_for), expected.events()
    found: list[str] = []
    for table in TABLES.values():
        rows = client.query(f"SELECT project_id, {table.id_column} AS id, count() AS n FROM {table.table} GROUP BY ALL")
        once = Counter({row["id"]: row["n"] for row in rows if row["project_id"] not in but_for})
        found += _differences(table.table, once, Counter(strict[table.table]))
        found += _differences(table.table, Counter({row["id"] for row in rows}), Counter(every[table.table]))
        found += _rollup_wrongs(client, table.table, table.stats_view, table.time_column, but_for)
    rows = client.query(f"SELECT file, byte_offset, count() AS n FROM {REJECTED_TABLE} GROUP BY ALL")
    rejected = Counter({(_within(row["file"], input_dir), row["byte_offset"]): row["n"] for row in rows})
    bad = Counter((_pending(file.path), offset) for file in expected.files for offset in file.rejected)
    found += _differences(REJECTED_TABLE, rejected, bad)
    found += _load_wrongs(client, expected.files, but_for)
    return found + _file_wrongs(expected, input_dir)


def _differences(what: str, there: Counter[Any], expected: Counter[Any]) -> list[str]:
    return [
        f"{what}: {sorted(found.elements())} {is_wrong}"
        for found, is_wrong in ((expected - there, "missing"), (there - expected, "too many"))
        if found
    ]


def _rollup_wrongs(client: ClickHouse, table: str, view: str, time: str, but_for: Collection[str]) -> list[str]:
    """Whether the rollup is what the rows of the table add up to."""
    sql = "SELECT project_id, toString({}) AS hour, {} AS n FROM {} GROUP BY ALL"
    hours = [
        Counter({(row["project_id"], row["hour"]): row["n"] for row in rows if row["project_id"] not in but_for})
        for rows in (
            client.query(sql.format("toDateTime(toStartOfHour(hour))", "sum(count)", view)),
            client.query(sql.format(f"toDateTime(toStartOfHour({time}))", "count()", table)),
        )
    ]
    return _differences(view, *hours)


def _load_wrongs(client: ClickHouse, files: list[File], but_for: Collection[str]) -> list[str]:
    """Whether all loads are finalized, account for each of their lines, and have all lines that there are."""
    loads = client.query(
        f"SELECT load_id, toString(state) AS state, lines, inserted, rejected FROM {LOADS_TABLE} FINAL"
    )
    bad = [
        load for load in loads if load["state"] != "finalized" or load["lines"] != load["inserted"] + load["rejected"]
    ]
    lines, written = sum(load["lines"] for load in loads), sum(file.lines for file in files)
    if not written <= lines <= written + sum(file.lines for file in files if file.project in but_for):
        bad.append({"lines": lines, "written": written})
    return [f"{LOADS_TABLE}: {load}" for load in bad]


def _file_wrongs(expected: Expected, input_dir: Path) -> list[str]:
    """Whether all files are where they must be in the end, and none is pending."""
    found = [f"{file.path} is not there" for file in expected.files if not (input_dir / file.path).is_file()]
    names = {path.relative_to(input_dir).as_posix() for path in input_dir.glob("[!.]*/*/*") if not path.is_dir()}
    return [*found, *(f"{name} is pending" for name in sorted(names - set(expected.left)))]


def _within(path: str, input_dir: Path) -> str:
    return os.path.relpath(path, os.path.abspath(input_dir)) if os.path.isabs(path) else path


def _pending(path: str) -> str:
    """Where a file was before it was moved to this path."""
    directory, name = os.path.split(path)
    return os.path.join(os.path.dirname(directory), name.replace(".2.jsonl", ".jsonl"))
