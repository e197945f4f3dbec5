"""IngestionWorker: the Python API, on both transports."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipeline import IngestionWorker, SchemaOutOfDate
from beam_pipeline.generate import GenerateOptions, generate
from tests.support.databases import make_tables
from tests.support.dataset import Dataset, event, make_dataset, wrongs
from tests.support.stages import Worker
from transforms import load_parser
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.config import IngestConfig
from transforms.events import TABLES
from transforms.finalize_files import FinalizeFiles
from transforms.listing import Page
from transforms.loads import Load, Slice
from transforms.loads.journal import JOURNAL_TABLE, Holding
from transforms.loads.lines import RangeLines, read_lines
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE
from transforms.parse_jsonl import ParseJsonl
from transforms.storage import StorageError
from transforms.storage.contents import Contents
from transforms.storage.local import LocalStorage
from transforms.write_to_clickhouse import WriteToClickHouse


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def config(root: Path, clickhouse: ClickHouse) -> IngestConfig:
    """A database with all tables, once embedded and once over HTTP."""
    make_tables(clickhouse)
    return IngestConfig(input=str(root), clickhouse=clickhouse.config)


@pytest.fixture
def worker(config: IngestConfig) -> Iterator[IngestionWorker]:
    worker = IngestionWorker(config)
    worker.init()
    yield worker
    worker.close()


def write(root: Path, count: int, *, kind: str = "trace", name: str = "20261120T120000Z_00.jsonl") -> Path:
    path = root / kind / "p" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(event(kind, f"{name}-{n}") + "\n" for n in range(count)) + "broken\n")
    return path


def recorded_loads(client: ClickHouse, config: IngestConfig) -> list[Load]:
    """The loads of an input as they were recorded."""
    entries = client.query(
        "SELECT load_id, number, run_id, attempt, toUnixTimestamp64Milli(created_at) AS created_ms, block_bytes, block_rows "
        f"FROM {JOURNAL_TABLE} WHERE input = {{input:String}}",
        {"input": config.name},
    )
    return config.load_log(client).read(Holding(**entry) for entry in entries)


def test_everything_arrives_once(root: Path, clickhouse_config: ClickHouseConfig) -> None:
    """In a database that the worker makes its tables in."""
    dataset: Dataset = make_dataset(root)
    worker = IngestionWorker(IngestConfig(input=str(root), clickhouse=clickhouse_config))
    worker.init()
    result = worker.process_once()
    assert (result.errors, result.files_processed) == ([], len(dataset.files))
    assert result.events_by_type == {kind: len(ids) for kind, ids in dataset.events.items()}
    assert (result.events_ingested, result.rejected) == (sum(result.events_by_type.values()), len(dataset.rejected))
    assert wrongs(worker.client, dataset) == []
    worker.close()


def test_a_program_that_loads_sees_no_warnings_but_those_of_importing_beam(root: Path) -> None:
    """Beam itself warns when it is imported without its extras; that is neither ours nor about us."""
    write(root, 3)
    config = f"IngestConfig(input={str(root)!r}, clickhouse=ClickHouseConfig(url='chdb://{root}.clickhouse'))"
    loads = (
        "from beam_pipeline import ClickHouseConfig, IngestConfig, IngestionWorker\n"
        f"worker = IngestionWorker({config})\n"
        "worker.init(), print(worker.process_once().events_ingested), worker.close()"
    )
    told = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        for program in ("import apache_beam", loads)
    ]
    assert told[1].stdout == "3\n"
    assert told[1].stderr == told[0].stderr


def test_ten_thousand_events_and_more(worker: IngestionWorker, root: Path) -> None:
    written = generate(GenerateOptions(output=str(root), events=12_000, bad_ratio=0.01, seed=3))
    result = worker.process_once()
    assert result.events_by_type == written.events
    assert (result.rejected, result.files_processed, result.bytes_read) == (
        *(written.bad_lines, written.files),
        written.bytes,
    )
    for kind, table in TABLES.items():
        (row,) = worker.client.query(f"SELECT uniqExact({table.id_column}) AS n FROM {table.table}")
        assert row["n"] == written.events[kind]


def test_a_bundle_that_is_retried_after_its_load_was_finished_changes_nothing(
    worker: IngestionWorker, root: Path, config: IngestConfig
) -> None:
    dataset: Dataset = make_dataset(root)
    worker.config = replace(config, load_files=8)
    run_id = worker.process_once().run_id
    logged = [
        f"SELECT load_id, state, lines, inserted, rejected, events FROM {LOADS_TABLE} FINAL ORDER BY ALL",
        f"SELECT load_id, position, state, moved_to, lines, rejected, error FROM {FILES_TABLE} FINAL ORDER BY ALL",
    ]
    before = [worker.client.query(sql) for sql in logged]
    config = replace(config, run_id=run_id)
    # As the runner has them: elements that came out of RecordLoads, before anything of them was inserted.
    loads = recorded_loads(worker.client, config)
    assert len(loads) > 1
    with beam.Pipeline(FnApiRunner()) as pipeline:
        (pipeline | beam.Create(loads) | ParseJsonl(config) | WriteToClickHouse(config) | FinalizeFiles(config))
    assert [worker.client.query(sql) for sql in logged] == before
    assert wrongs(worker.client, dataset) == []


def test_a_worker_that_the_runner_gave_up_finishes_the_load_while_it_is_retried(
    worker: IngestionWorker, root: Path, config: IngestConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset(str(root))
    for file in range(4):
        lines: list[tuple[str, str | None]] = [(event("log", f"{file}-{line}"), f"{file}-{line}") for line in range(9)]
        dataset.add_file("log", "p", f"20261120T12000{file}Z_00.jsonl", lines)
    config = replace(config, run_id="r", block_bytes=1_000)
    (load,) = Worker(worker.client, config).record()

    def run() -> None:
        with beam.Pipeline(FnApiRunner()) as pipeline:
            (pipeline | beam.Create([load]) | ParseJsonl(config) | WriteToClickHouse(config) | FinalizeFiles(config))

    reads = []

    def read_behind_the_other(contents: Contents, part: Slice, limit: int, etag: str) -> RangeLines:
        reads.append(part)
        if len(reads) == 2:
            monkeypatch.undo()
            run()  # the one that was given up: it commits the load and moves its files
        return read_lines(contents, part, limit, etag)

    monkeypatch.setattr(load_parser, "read_lines", read_behind_the_other)
    run()
    assert len(reads) == 2
    assert wrongs(worker.client, dataset) == []


def test_the_status_counts_over_all_runs(worker: IngestionWorker, root: Path) -> None:
    assert worker.get_status().started_at is None
    before = datetime.now(timezone.utc)
    write(root, 3)
    worker.process_once()
    write(root, 2, kind="log")
    worker.process_once()
    status = worker.get_status()
    assert (status.total_files_processed, status.total_events_ingested) == (2, 5)
    assert status.total_events_by_type == {"trace": 3, "log": 2}
    assert (status.is_running, status.is_processing, status.current_errors) == (False, False, [])
    assert status.started_at and status.last_processed_at
    assert before <= status.started_at <= status.last_processed_at <= datetime.now(timezone.utc)


def test_errors_are_those_of_the_last_run(worker: IngestionWorker, root: Path) -> None:
    directory = root / "trace" / "p" / "20261120T120000Z_dir.jsonl"
    directory.mkdir(parents=True)
    worker.process_once()
    assert [error.name for error in worker.get_status().current_errors] == [str(directory)]
    directory.rmdir()
    worker.process_once()
    assert worker.get_status().current_errors == []


def test_a_second_thread_is_turned_away(worker: IngestionWorker, root: Path, config: IngestConfig) -> None:
    write(root, 1)
    inside, go_on = threading.Event(), threading.Event()

    def wait(page: Page) -> None:
        inside.set()
        assert go_on.wait(30)

    slow = IngestionWorker(config, on_page=wait)
    thread = threading.Thread(target=slow.process_once)
    thread.start()
    assert inside.wait(30)
    assert slow.get_status().is_processing
    with pytest.raises(RuntimeError, match="already running"):
        slow.process_once()
    go_on.set()
    thread.join(60)
    slow.close()
    assert slow.get_status().total_events_ingested == 1


def test_pages_are_taken_up_one_after_another_oldest_first_by_one_listing(
    config: IngestConfig, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    list_pending = LocalStorage.list_pending

    def noting(storage: LocalStorage, *arguments: Any, **named: Any) -> Any:
        listed.append(storage.root)
        return list_pending(storage, *arguments, **named)

    monkeypatch.setattr(LocalStorage, "list_pending", noting)
    for number in (3, 1, 4, 0, 2):
        write(root, 1, name=f"2026112{number}T000000Z_00.jsonl")
    pages: list[Page] = []
    worker = IngestionWorker(config, page_files=2, on_page=pages.append)
    worker.init()
    result = worker.process_once()
    worker.close()
    assert (result.files_processed, result.errors) == (5, [])
    assert [(page.files, Path(page.last[1]).name[:8]) for page in pages] == [
        (2, "20261121"),
        (2, "20261123"),
        (1, "20261124"),
    ]
    assert listed == [str(root)]


def test_what_changes_while_the_pages_before_it_are_loaded_is_for_the_next_run(
    config: IngestConfig, root: Path
) -> None:
    for number in range(3):
        write(root, 1, name=f"2026112{number}T000000Z_00.jsonl")
    last = next(root.glob("*/*/20261122T000000Z_00.jsonl"))

    def grow(page: Page) -> None:
        if page.members[0].path != str(last):
            with open(last, "a") as output:
                output.write(event("trace", f"new-{page.members[0].path}") + "\n")

    worker = IngestionWorker(config, page_files=1, on_page=grow)
    worker.init()
    result = worker.process_once()
    assert (result.files_processed, result.errors, last.exists()) == (2, [], True)
    assert worker.process_once().events_ingested == 3
    worker.close()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"since_ms": 1_795_132_800_000}, {"20261120", "20261121"}),
        ({"until_ms": 1_795_132_800_000}, {"20261119"}),
        ({"project_id": "other"}, set()),
        ({"event_types": ("log",)}, set()),
        ({"min_file_age_s": 3600.0}, set()),
    ],
)
def test_only_the_files_that_are_asked_for(
    config: IngestConfig, root: Path, options: dict[str, object], names: set[str]
) -> None:
    for day in (19, 20, 21):
        write(root, 1, name=f"202611{day}T000000Z_00.jsonl")
    worker = IngestionWorker(replace(config, **options))  # type: ignore[arg-type]
    worker.init()
    worker.process_once()
    worker.close()
    assert {path.name[:8] for path in root.glob("*/*/processed/*")} == names


def test_files_are_deleted_when_that_is_asked_for(config: IngestConfig, root: Path) -> None:
    path = write(root, 2)
    worker = IngestionWorker(replace(config, delete_after_process=True))
    worker.init()
    assert worker.process_once().files_processed == 1
    worker.close()
    assert not path.exists() and not (path.parent / "processed").exists()


def test_nothing_is_loaded_into_tables_that_are_not_fit_for_it(config: IngestConfig, root: Path) -> None:
    path = write(root, 1)
    with config.connect() as client:
        setting = "non_replicated_deduplication_window"
        client.command(f"ALTER TABLE {TABLES['trace'].rollup} MODIFY SETTING {setting} = 0")
        worker = IngestionWorker(config)
        with pytest.raises(SchemaOutOfDate, match=f"{TABLES['trace'].rollup}.*{setting}(?s:.*)migrate"):
            worker.process_once()
        worker.close()
        assert client.query(f"SELECT count() AS n FROM {TABLES['trace'].table}") == [{"n": 0}]
    assert path.exists()


def test_a_directory_that_is_not_there(config: IngestConfig) -> None:
    worker = IngestionWorker(replace(config, input="/nowhere/at/all"))
    with pytest.raises(StorageError, match="--input: /nowhere/at/all does not exist"):
        worker.init()


def test_expired_events_are_loaded_counted_and_not_loaded_again(
    worker: IngestionWorker, root: Path, clickhouse: ClickHouse
) -> None:
    path = root / "log" / "p" / "20261120T120000Z_00.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(event("log", "old", at="2020-01-01T00:00:00Z") + "\n" + event("log", "young") + "\n")
    result = worker.process_once()
    assert (result.events_ingested, result.expired, result.errors) == (2, 1, [])
    clickhouse.command(f"OPTIMIZE TABLE {TABLES['log'].table} FINAL")
    assert worker.process_once().events_ingested == 0


@pytest.mark.parametrize(
    ("options", "may_repeat"), [([], False), (["--runner=FlinkRunner"], True), (["--runner=PrismRunner"], True)]
)
def test_only_the_local_runner_is_known_to_run_each_bundle_once(
    config: IngestConfig, root: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], may_repeat: bool
) -> None:
    given: list[IngestConfig] = []

    def run(config: IngestConfig, flags: Sequence[str], *, local: bool) -> Counter[str]:
        given.append(config)
        return Counter()

    monkeypatch.setattr("beam_pipeline.run_pipeline.run_pipeline", run)
    write(root, 1)
    worker = IngestionWorker(config, runner_options=options)
    worker.init()
    worker.process_once()
    worker.close()
    assert {config.bundles_may_repeat for config in given} == {may_repeat}
