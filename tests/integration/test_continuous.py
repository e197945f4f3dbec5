"""The worker that loads again and again: as a command, and as a Python object."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from beam_pipeline import ClickHouseConfig, IngestConfig, IngestionWorker
from beam_pipeline.results import ProcessingResult
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.command_line import CommandLine, Running, pending, processed
from tests.support.databases import make_tables
from tests.support.dataset import Dataset, event, wrongs
from tests.support.waiting import eventually
from transforms.clickhouse import ClickHouse
from transforms.config import InvalidConfig


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def config(root: Path, clickhouse: ClickHouse) -> IngestConfig:
    make_tables(clickhouse)
    return IngestConfig(input=str(root), clickhouse=clickhouse.config)


def add_file(dataset: Dataset, number: int, lines: int = 20) -> None:
    ids = [f"{number}-{line}" for line in range(lines)]
    dataset.add_file(
        "log",
        "p",
        f"20261120T12{number // 60:02}{number % 60:02}Z_{number:04x}.jsonl",
        [(event("log", i), i) for i in ids],
    )


# The Python object


def test_loads_what_comes_until_it_is_stopped(root: Path, config: IngestConfig) -> None:
    dataset = Dataset(str(root))
    results: list[ProcessingResult | Exception] = []
    worker = IngestionWorker(config, poll_interval_s=0.05, on_run=results.append)
    worker.init()
    assert not worker.get_status().is_running
    worker.start()
    for number in range(3):
        add_file(dataset, number)
        eventually(lambda: not pending(root))
        eventually(lambda number=number: worker.get_status().total_files_processed == number + 1)
    status = worker.get_status()
    assert status.is_running
    assert worker.stop()
    assert not worker.get_status().is_running
    assert (status.total_files_processed, status.total_events_ingested) == (3, 60)
    assert (status.total_events_by_type, status.current_errors) == ({"log": 60}, [])
    assert status.started_at is not None and status.last_processed_at is not None
    assert status.started_at <= status.last_processed_at
    assert wrongs(worker.client, dataset) == []
    assert all(isinstance(result, ProcessingResult) for result in results)
    worker.close()


def test_can_be_stopped_twice_and_started_again(root: Path, config: IngestConfig) -> None:
    dataset = Dataset(str(root))
    worker = IngestionWorker(config, poll_interval_s=0.05)
    assert worker.stop()
    worker.init()
    worker.start()
    with pytest.raises(RuntimeError, match="started already"):
        worker.start()
    assert worker.stop() and worker.stop()
    add_file(dataset, 0)
    worker.start()
    eventually(lambda: worker.get_status().total_files_processed == 1)
    worker.close()
    assert not worker.get_status().is_running


def test_one_worker_is_stopped_and_the_other_goes_on(root: Path, config: IngestConfig, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    workers = [
        IngestionWorker(replace(config, input=str(path)), poll_interval_s=0.05, on_run=lambda result: None)
        for path in (root, other)
    ]
    workers[0].init()
    workers[0].start()
    assert workers[0].stop()
    add_file(Dataset(str(other)), 0)
    assert not workers[1].process_once().interrupted
    assert pending(other) == []
    for worker in workers:
        worker.close()


def test_an_interval_must_be_more_than_nothing(config: IngestConfig) -> None:
    with pytest.raises(InvalidConfig, match="poll_interval: 0 s must be more than 0"):
        IngestionWorker(config, poll_interval_s=0)


def test_an_error_that_keeps_a_run_from_being_begun_is_told_and_waited_for(root: Path, config: IngestConfig) -> None:
    results: list[ProcessingResult | Exception] = []
    worker = IngestionWorker(config, poll_interval_s=0.02, on_run=results.append)
    worker.init()
    away = root.with_name("away")
    root.rename(away)
    worker.start()
    eventually(lambda: len(results) > 1)
    assert "does not exist" in worker.get_status().current_errors[0].reason
    away.rename(root)
    eventually(lambda: isinstance(results[-1], ProcessingResult))
    worker.close()
    assert worker.get_status().current_errors == []


def test_looks_that_find_nothing_leave_nothing_behind(root: Path, config: IngestConfig) -> None:
    """Memory, threads, open files and rows: what 300 looks do not add, ten thousand do not either."""
    worker = IngestionWorker(config)
    worker.init()
    add_file(Dataset(str(root)), 0)
    worker.process_once()

    def rows() -> list[dict[str, object]]:
        names = worker.client.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0"
        )
        return [
            {"table": one["name"]} | worker.client.query(f"SELECT count() AS rows FROM `{one['name']}`")[0]
            for one in sorted(names, key=str)
        ]

    def held() -> tuple[int, int, int]:
        gc.collect()
        return len(gc.get_objects()), psutil.Process().num_fds(), threading.active_count()

    for _ in range(20):
        worker.process_once()
    tables, before = rows(), held()
    tracemalloc.start()
    for _ in range(300):
        assert worker.process_once().errors == []
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    after = held()
    assert rows() == tables
    assert taken < 1_000_000
    assert after[0] - before[0] < 300 and after[1] <= before[1] + 3 and after[2] <= before[2] + 1
    worker.close()


# The command


@pytest.fixture
def own_endpoint(tmp_path: Path) -> Iterator[ClickHouseEndpoint]:
    with ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint:
        yield endpoint


@pytest.fixture
def command(own_endpoint: ClickHouseEndpoint) -> CommandLine:
    return CommandLine(
        [f"--clickhouse_url={own_endpoint.url}", "--retry_attempts=1", "--clickhouse_password_from=env:NOT_SET"]
    )


Start = Callable[..., Running]


@pytest.fixture
def started(command: CommandLine, root: Path) -> Iterator[Start]:
    """Starts workers; those that still run after the test, which it has failed then, are killed."""
    running: list[Running] = []

    def start(*options: str) -> Running:
        running.append(command.start(f"--input={root}", "--continuous", "--poll_interval=100ms", *options))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.wait()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_exit_code_0(
    started: Start, root: Path, own_endpoint: ClickHouseEndpoint, signum: signal.Signals
) -> None:
    dataset = Dataset(str(root))
    add_file(dataset, 0)
    running = started("--json")
    running.wait_for(lambda: len(processed(root)) == 1)
    add_file(dataset, 1)
    running.wait_for(lambda: len(processed(root)) == 2)
    running.process.send_signal(signum)
    done = running.finish()
    assert done.code == 0
    results = [json.loads(line) for line in done.out.splitlines()]
    assert [(result["files_processed"], result["events_ingested"]) for result in results] == [(1, 20), (1, 20)]
    said = done.err.splitlines()
    assert said[0].endswith("every 0.1 s") and said[-1].endswith(
        "stopped; loaded 2 files, 40 events since it was started"
    )
    assert [line for line in said if "error" in line or "warning" in line] == []
    with ClickHouseConfig(own_endpoint.url, password="env:NOT_SET").connect() as client:
        assert wrongs(client, dataset) == []


def test_the_loads_in_hand_are_finished_when_it_is_stopped(
    started: Start, root: Path, own_endpoint: ClickHouseEndpoint
) -> None:
    dataset = Dataset(str(root))
    running = started()
    eventually(lambda: bool(own_endpoint.requests("mastra_admin_ingest_journal")))
    fault = own_endpoint.fault("hold", "INSERT INTO `mastra_admin_logs`")
    add_file(dataset, 0)
    eventually(lambda: own_endpoint.struck(fault) == 1)
    running.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert running.process.poll() is None
    own_endpoint.clear_faults()
    done = running.finish()
    assert done.code == 0 and "finishing the loads in hand" in done.err
    assert len(processed(root)) == 1
    with ClickHouseConfig(own_endpoint.url, password="env:NOT_SET").connect() as client:
        assert wrongs(client, dataset) == []


def test_a_second_interrupt_ends_it_at_once(started: Start, root: Path, own_endpoint: ClickHouseEndpoint) -> None:
    running = started()
    eventually(lambda: bool(own_endpoint.requests("mastra_admin_ingest_journal")))
    fault = own_endpoint.fault("hold", "INSERT INTO `mastra_admin_logs`")
    add_file(Dataset(str(root)), 0)
    eventually(lambda: own_endpoint.struck(fault) == 1)
    for _ in range(20):  # two that come at once may count as one
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        if running.process.poll() is not None:
            break
    assert running.finish().code == 128 + signal.SIGTERM
    assert len(pending(root)) == 1


def test_a_server_that_is_away_is_said_once_and_waited_for(
    started: Start, root: Path, own_endpoint: ClickHouseEndpoint
) -> None:
    dataset = Dataset(str(root))
    add_file(dataset, 0)
    running = started()
    assert running.process.stderr is not None
    said = iter(running.process.stderr.readline, b"")
    assert next(line for line in said if b"loaded 20 events" in line)
    own_endpoint.fault("refuse")
    assert next(line for line in said if b"error" in line).rstrip().endswith(b"trying again until it is over")
    add_file(dataset, 1)
    time.sleep(2)  # several looks, each of which finds it away
    own_endpoint.accept_again()
    running.wait_for(lambda: len(processed(root)) == 2)
    running.process.send_signal(signal.SIGTERM)
    done = running.finish()
    assert done.code == 0 and "error" not in done.err and "going on after" in done.err
    with ClickHouseConfig(own_endpoint.url, password="env:NOT_SET").connect() as client:
        assert wrongs(client, dataset) == []


def test_what_stays_wrong_is_said_once(started: Start, root: Path) -> None:
    (root / "logs/p").mkdir(parents=True)
    (root / "logs/p/20261120T120000Z_00.jsonl").write_text("{}\n")
    (root / "log/p").mkdir(parents=True)
    os.mkfifo(root / "log/p/20261120T120000Z_01.jsonl")
    dataset = Dataset(str(root))
    running = started("--quiet")
    for number in range(3):
        add_file(dataset, number)
        running.wait_for(lambda number=number: len(processed(root)) == number + 1)
    running.process.send_signal(signal.SIGTERM)
    done = running.finish()
    said = [line.partition(" ")[2] for line in done.err.splitlines()]
    assert done.code == 0 and len(said) == 3
    assert said[0].startswith("warning: 1 file ignored: the directory is not an event type")
    assert said[1].endswith("20261120T120000Z_01.jsonl: is not a regular file")


def test_options_that_do_not_go_with_it_are_refused(root: Path) -> None:
    done = CommandLine().run(
        f"--input={root}", "--continuous", "--once", "--dry_run", "--poll_interval=0", "--runner=FlinkRunner"
    )
    assert done.code == 2
    assert [line.partition(":")[2].split(":")[0].strip() for line in done.err.splitlines()] == [
        "--poll_interval",
        "--continuous",
        "--continuous",
        "--continuous",
        "--clickhouse_url",
    ]
