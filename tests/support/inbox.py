"""An input directory that a test writes into between and during runs, and what must have arrived of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from beam_pipeline import IngestionWorker
from beam_pipeline.results import ProcessingResult
from tests.support.command_line import pending, processed
from tests.support.dataset import Dataset, event, row_wrongs
from transforms.clickhouse import ClickHouse
from transforms.config import IngestConfig
from transforms.events import TABLES

Line = tuple[str, str | None]
"""The text of a line, and the id of its event; None when it must be rejected."""


def numbered(path: str, numbers: range) -> list[Line]:
    """Lines of one length whose events have ids that no other file or number has, each with a rollup cell of its own."""
    kind, project, name = path.split("/")
    ids = [f"{kind}-{project}-{name.partition('.')[0]}-{number:05}" for number in numbers]
    return [(event(kind, identity, deploymentId=identity), identity) for identity in ids]


def text(lines: Sequence[Line]) -> str:
    return "".join(f"{line}\n" for line, _ in lines)


def bad(line: Line) -> Line:
    """A line of the same length that is not JSON."""
    return line[0].replace('"', "'", 1), None


@dataclass(frozen=True)
class Arrived:
    """How often the event of one line is in its table, and how often the hourly rollup has counted it."""

    rows: int = 0
    rolled_up: int = 0


def arrivals(client: ClickHouse, kind: str, project_prefix: str = "") -> dict[str, Arrived]:
    """What has arrived of `numbered` lines, by event id. Merges may have made one row of two; the rollup still counts two."""
    table = TABLES[kind]
    mine = f"WHERE startsWith(project_id, '{project_prefix}')" if project_prefix else ""
    rows = client.query(f"SELECT {table.id_column} AS id, count() AS n FROM {table.table} {mine} GROUP BY id")
    counts = client.query(
        f"SELECT toString(deployment_id) AS id, sum(count) AS n FROM {table.stats_view} {mine} GROUP BY id"
    )
    there, counted = ({row["id"]: row["n"] for row in found} for found in (rows, counts))
    return {identity: Arrived(there.get(identity, 0), counted.get(identity, 0)) for identity in there.keys() | counted}


@dataclass
class Inbox:
    """An input directory with a worker that loads it in this process."""

    worker: IngestionWorker
    dataset: Dataset
    results: list[ProcessingResult] = field(default_factory=list)
    """Of the runs so far."""

    @property
    def root(self) -> Path:
        return Path(self.dataset.root)

    @property
    def client(self) -> ClickHouse:
        return self.worker.client

    def configure(self, **options: object) -> None:
        """Changes options of the runs that follow."""
        config: IngestConfig = replace(self.worker.config, **options)  # type: ignore[arg-type]
        self.worker.config = config

    def write(self, path: str, lines: Sequence[Line]) -> Path:
        """Makes a file of lines, all of which must arrive."""
        kind, project, name = path.split("/")
        self.dataset.add_file(kind, project, name, list(lines))
        return self.root / path

    def append(self, path: str, lines: Sequence[Line]) -> None:
        """Appends lines that must arrive, too, to a file that is there already."""
        with open(self.root / path, "a") as file:
            file.write(text(lines))
        self.expect(path, lines)

    def replace(self, path: str, content: str) -> None:
        """Puts another file (another inode) in the place of a path, as `rename` does."""
        coming = self.root / path
        new = coming.with_name(f".{coming.name}.tmp")
        new.write_text(content)
        new.replace(coming)

    def expect(self, path: str, lines: Sequence[Line]) -> None:
        """Notes that lines must arrive which the test has written itself."""
        ids = [identity for _, identity in lines if identity is not None]
        self.dataset.events.setdefault(path.split("/")[0], []).extend(ids)

    def lose(self, path: str, lines: Sequence[Line]) -> None:
        """Notes that the events of these lines need not arrive any more; each may, once."""
        kind = path.split("/")[0]
        ids = Counter(identity for _, identity in lines if identity is not None)
        self.dataset.events[kind] = list((Counter(self.dataset.events[kind]) - ids).elements())
        self.dataset.lost += ids.elements()

    def run(self) -> ProcessingResult:
        self.results.append(self.worker.process_once())
        return self.results[-1]

    def arrivals(self, kind: str = "log") -> dict[str, Arrived]:
        return arrivals(self.client, kind)

    def doubles(self, kind: str = "log") -> dict[str, Arrived]:
        """Events that arrived more than once."""
        return {identity: there for identity, there in self.arrivals(kind).items() if there not in ONE_OR_NONE}

    def assert_nothing_twice(self) -> None:
        doubles = self.doubles()
        assert not doubles, f"{len(doubles)} more than once: {list(doubles.items())[:3]}, after\n{self.said()}"

    def assert_all_arrives(self, *, runs: int = 3) -> None:
        """Runs until nothing is pending; then each line is there once and the files are in processed/."""
        for _ in range(runs):
            self.run()
            if not pending(self.root):
                break
        self.assert_all_is_there()
        before = self.arrivals()
        last = self.run()
        assert not last.errors and not last.events_ingested and self.arrivals() == before, f"more, in\n{self.said()}"

    def assert_all_is_there(self) -> None:
        wrongs = row_wrongs(self.client, self.dataset)
        wrongs += [f"{path} is still pending" for path in pending(self.root)]
        moved = {path.parent for path in processed(self.root)}
        wrongs += [
            f"{path} is not in processed/" for path in self.dataset.files if self.processed_of(path) not in moved
        ]
        assert not wrongs, "\n".join([*wrongs, "after", self.said()])

    def processed_of(self, path: str) -> Path:
        return (self.root / path).parent / "processed"

    def said(self) -> str:
        """What the runs so far have reported."""
        return "\n".join(
            f"run {number}: {result.files_processed} files, {result.events_ingested} events, {result.adopted} adopted, "
            f"errors: {[f'{error.name}: {error.reason}' for error in result.errors]}"
            for number, result in enumerate(self.results, 1)
        )


ONE_OR_NONE = (Arrived(0, 0), Arrived(1, 1))


def names(result: ProcessingResult, path: str) -> bool:
    """Whether a run reported this file as failed."""
    return any(path.rpartition("/")[2] in f"{error.name} {error.reason}" for error in result.errors)
