"""A small input directory with known content, and the check that all of it arrived exactly once."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.support.compress import compress
from transforms.clickhouse import ClickHouse
from transforms.events import REJECTED_TABLE, TABLES

DAY = "2100-11-20"
"""In the future, so that no TTL deletes anything while a test counts."""


@dataclass
class Dataset:
    """What was written below a directory: events by type and file, and lines that must be rejected."""

    root: str
    files: list[str] = field(default_factory=list)
    """Paths below the root."""
    events: dict[str, list[str]] = field(default_factory=dict)
    """Event ids by type, as often as they were delivered."""
    rejected: list[tuple[str, int]] = field(default_factory=list)
    """(path below the root, byte offset)."""
    lost: list[str] = field(default_factory=list)
    """Ids of events whose file was taken away in the middle: each may be there, once."""
    lost_files: list[str] = field(default_factory=list)
    """Paths whose rejected lines may be there, once."""

    def save(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path

    @staticmethod
    def load(path: Path) -> Dataset:
        values = json.loads(path.read_text())
        values["rejected"] = [tuple(value) for value in values["rejected"]]
        return Dataset(**values)

    def lose(self, path: str) -> None:
        """Forgets a file that is taken away: what was loaded of it by then may be there."""
        kind, project, name = path.split("/")
        file = int(name.partition("_")[2].partition(".")[0], 16)
        prefix = f"{kind}-{project.removeprefix('p')}-{file}-"
        self.lost += [identity for identity in self.events[kind] if identity.startswith(prefix)]
        self.events[kind] = [identity for identity in self.events[kind] if not identity.startswith(prefix)]
        self.rejected = [place for place in self.rejected if place[0] != path]
        self.lost_files.append(path)
        self.files.remove(path)

    def add_file(self, event_type: str, project: str, name: str, lines: list[tuple[str, str | None]]) -> str:
        """Writes a file of (line, event id or None for a line that must be rejected); returns its path below the root.

        It is compressed as its name says, in a member for each third of its lines.
        """
        path = f"{event_type}/{project}/{name}"
        offset = 0
        for line, identity in lines:
            if identity is None:
                self.rejected.append((path, offset))
            else:
                self.events.setdefault(event_type, []).append(identity)
            offset += len(line.encode()) + 1
        target = Path(self.root, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        coming = target.with_name(f".{name}.tmp")  # a run may be looking: it must find the whole file or none
        content = "".join(f"{line}\n" for line, _ in lines).encode()
        suffix = target.suffix
        coming.write_bytes(
            compress(content, suffix, cuts=(offset // 3, offset * 2 // 3)) if suffix != ".jsonl" else content
        )
        coming.replace(target)
        self.files.append(path)
        return path


def event(event_type: str, identity: str, *, at: str = f"{DAY}T12:00:00.000Z", **fields: Any) -> str:
    """A line with an event that has all its required fields."""
    values: dict[str, Any] = {"type": event_type, "id": identity}
    if event_type in ("trace", "span"):
        values |= {"name": "n", "startTime": at, "durationMs": len(identity)}
    else:
        values |= {"timestamp": at}
    if event_type == "span":
        values |= {"traceId": "t1"}
    if event_type == "log":
        values |= {"level": "info", "message": "m"}
    if event_type in ("metric", "score"):
        values |= {"name": "n", "value": 1.5}
    return json.dumps(values | fields)


def make_dataset(
    root: Path, *, files: int = 3, lines: int = 60, projects: int = 2, suffixes: Sequence[str] = ("",)
) -> Dataset:
    """`files` files of `lines` lines for each type and project, one line in thirty broken, two hours and two months.

    The files have these suffixes in turn, and are compressed as they say.
    """
    dataset = Dataset(str(root))
    root.mkdir(parents=True, exist_ok=True)
    for event_type in TABLES:
        for project in range(projects):
            for file in range(files):
                made: list[tuple[str, str | None]] = []
                for line in range(lines):
                    identity = f"{event_type}-{project}-{file}-{line}"
                    month = "10" if line % 20 == 7 else "11"
                    at = f"2100-{month}-20T1{line % 2}:00:{file:02d}.000Z"
                    made.append(
                        ('{"broken', None)
                        if line % 30 == 3
                        else (event(event_type, identity, at=at, status="ok" if line % 3 else "error"), identity)
                        if event_type in ("trace", "span")
                        else (event(event_type, identity, at=at), identity)
                    )
                suffix = suffixes[len(dataset.files) % len(suffixes)]
                name = f"20261120T12{project:02d}{file:02d}Z_{file:04x}.jsonl{suffix}"
                dataset.add_file(event_type, f"p{project}", name, made)
    return dataset


def wrongs(client: ClickHouse, dataset: Dataset) -> list[str]:
    """Everything that is not as it must be after all of the dataset was loaded; [] when each line arrived exactly once."""
    return row_wrongs(client, dataset) + _file_wrongs(client, dataset)


def row_wrongs(client: ClickHouse, dataset: Dataset) -> list[str]:
    """What of the tables, the rollups and the rejected lines is not as it must be after all of the dataset was loaded."""
    found: list[str] = []
    lost = set(dataset.lost)
    for event_type, table in TABLES.items():
        expected = Counter(dataset.events.get(event_type, []))
        rows = client.query(f"SELECT {table.id_column} AS id, count() AS n FROM {table.table} GROUP BY id")
        actual = Counter({row["id"]: row["n"] for row in rows if row["id"] not in lost or row["n"] > 1})
        if actual != expected:
            missing, extra = expected - actual, actual - expected
            found.append(
                f"{table.table}: {missing.total()} missing ({list(missing)[:3]}), {extra.total()} extra ({list(extra)[:3]})"
            )
        found += _rollup_wrongs(client, event_type)
    rows = client.query(f"SELECT file, byte_offset, count() AS n FROM {REJECTED_TABLE} GROUP BY file, byte_offset")
    rejected = Counter({(row["file"], row["byte_offset"]): row["n"] for row in rows})
    for place in [place for place, times in rejected.items() if place[0] in dataset.lost_files and times == 1]:
        del rejected[place]
    if rejected != Counter(dataset.rejected):
        expected_rejected = Counter(dataset.rejected)
        found.append(f"rejected: missing {expected_rejected - rejected}, extra {rejected - expected_rejected}")
    return found


def _rollup_wrongs(client: ClickHouse, event_type: str) -> list[str]:
    table = TABLES[event_type]
    keys = "project_id, deployment_id, hour"
    view = client.query(f"SELECT {keys}, sum(count) AS n FROM {table.stats_view} GROUP BY {keys}")
    recomputed = client.query(
        f"SELECT project_id, deployment_id, toStartOfHour({table.time_column}) AS hour, count() AS n "
        f"FROM {table.table} GROUP BY {keys}"
    )
    counted, right = (
        Counter({(row["project_id"], row["deployment_id"], str(row["hour"])[:13]): row["n"] for row in rows})
        for rows in (view, recomputed)
    )
    if dict(counted) == dict(right):
        return []
    missing, extra = right - counted, counted - right
    return [
        f"{table.stats_view}: counts {counted.total()} of {right.total()} rows, "
        f"too few in {list(missing.items())[:3]}, too many in {list(extra.items())[:3]}"
    ]


def _file_wrongs(client: ClickHouse, dataset: Dataset) -> list[str]:
    found = []
    for path in dataset.files:
        directory, name = os.path.split(os.path.join(dataset.root, path))
        if os.path.exists(os.path.join(directory, name)):
            found.append(f"{path} is still pending")
        if not os.path.exists(os.path.join(directory, "processed", name)):
            found.append(f"{path} is not in processed/")
    processed = [name for _, _, names in os.walk(dataset.root) for name in names if ".jsonl" in name]
    if len(processed) != len(dataset.files):
        found.append(f"{len(processed)} files are there, {len(dataset.files)} were written")
    loads = client.query(
        "SELECT state, count() AS n, sum(lines) AS lines, sum(inserted) AS inserted, sum(rejected) AS rejected "
        "FROM mastra_admin_ingest_loads FINAL GROUP BY state"
    )
    if [row["state"] for row in loads] != ["finalized"]:
        found.append(f"loads are not all finalized: {loads}")
    elif not dataset.lost:
        events = sum(len(ids) for ids in dataset.events.values())
        sums = (loads[0]["inserted"], loads[0]["rejected"], loads[0]["lines"])
        if sums != (events, len(dataset.rejected), events + len(dataset.rejected)):
            found.append(f"the load log says (inserted, rejected, lines) = {sums}")
    return found
