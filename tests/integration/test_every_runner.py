"""What must hold on every runner: what is stored, bad input, a kill in the middle, a load that fails.

The streaming job's other ways to end are in test_streaming.py.
"""

from __future__ import annotations

import gzip
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from beam_pipeline.worker import IngestionWorker
from tests.conftest import NO_PASSWORD
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.command_line import CommandLine, Finished, pending
from tests.support.databases import FOR_EVER, fresh_database, make_tables
from tests.support.dataset import Dataset, event, make_dataset, row_wrongs, wrongs
from tests.support.flink_session import SessionCluster
from tests.support.runners import Flink, Prism, Runner, StreamingFlink
from tests.support.waiting import eventually
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE, TABLES

pytestmark = [pytest.mark.flink, pytest.mark.timeout(600)]

EVENTS = "INSERT INTO `mastra_admin_(traces|spans|logs|metrics|scores)`"
SMALL_LOADS = ("--load_bytes=20000", "--block_bytes=6000")

BOUNDED = ["local", "prism", "flink"]
ALL = [*BOUNDED, "flink-streaming"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SessionCluster]:
    with SessionCluster(tmp_path_factory.mktemp("flink"), slots=1, task_managers=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def runner(request: pytest.FixtureRequest) -> Runner:
    if not request.param.startswith("flink"):
        return Prism() if request.param == "prism" else Runner()
    cluster = request.getfixturevalue("cluster")
    return Flink(cluster) if request.param == "flink" else StreamingFlink(cluster)


@contextmanager
def database(endpoint: ClickHouseEndpoint) -> Iterator[ClickHouse]:
    """A client on a new database with all tables."""
    with (
        ClickHouseConfig(endpoint.url, password=NO_PASSWORD, retry_delay_s=0.2).connect() as admin,
        fresh_database(admin) as config,
        config.connect() as client,
    ):
        make_tables(client, FOR_EVER)
        yield client


@pytest.fixture
def client(endpoint: ClickHouseEndpoint) -> Iterator[ClickHouse]:
    """A client on a database of this test alone, on the endpoint that has faults when asked to."""
    with database(endpoint) as client:
        yield client


@pytest.fixture
def line(client: ClickHouse) -> CommandLine:
    config = client.config
    return CommandLine(
        [
            f"--clickhouse_url={config.url}",
            f"--clickhouse_database={config.database}",
            f"--clickhouse_password_from={NO_PASSWORD}",
        ]
    )


Stored = dict[str, list[dict[str, Any]]]
"""Rows by table."""


def stored(client: ClickHouse) -> Stored:
    """All rows that were loaded, by table, without what depends on when they came and in which load."""
    tables = [(table.table, table.id_column) for table in TABLES.values()]
    found = {
        name: client.query(f"SELECT * EXCEPT (ingested_at, load_id, block, sequence) FROM {name} ORDER BY {key}")
        for name, key in tables
    }
    rejected = f"SELECT * EXCEPT (load_id, block, rejected_at) FROM {REJECTED_TABLE} ORDER BY file, byte_offset"
    return found | {REJECTED_TABLE: client.query(rejected)}


def mixed_dataset(directory: Path) -> Dataset:
    """Files of all types, plain and compressed, with a broken line here and there."""
    return make_dataset(directory / "observability", files=1, suffixes=("", ".gz", ".zst"))


@pytest.fixture(scope="module")
def expected(session_endpoint: ClickHouseEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """What a worker in this process stores of `mixed_dataset`, in one load."""
    dataset = mixed_dataset(tmp_path_factory.mktemp("expected"))
    with database(session_endpoint) as client:
        worker = IngestionWorker(IngestConfig(dataset.root, client.config))
        assert worker.process_once().errors == []
        worker.close()
        return stored(client)


def load(runner: Runner, line: CommandLine, root: str, *left: str) -> Finished:
    """Loads what is pending on a runner, but for the files that must be `left`."""
    return runner.end(runner.start(line, f"--input={root}", *SMALL_LOADS), lambda: names(root) == sorted(left))


def names(root: str) -> list[str]:
    """The files that are pending."""
    return sorted(path.name for path in Path(root).glob("*/*/*.jsonl*"))


# On every runner


@pytest.mark.parametrize("runner", ALL, indirect=True, scope="module")
def test_every_line_becomes_one_row(
    runner: Runner, line: CommandLine, client: ClickHouse, expected: Stored, tmp_path: Path
) -> None:
    """The same rows wherever they are made. A broken line is no failure."""
    dataset = mixed_dataset(tmp_path)
    finished = load(runner, line, dataset.root)
    assert finished.code == 0, finished.err + runner.log()
    assert f"warning: {len(dataset.rejected)} lines were rejected; see: " in finished.err, finished
    assert "error: " not in finished.err
    assert wrongs(client, dataset) == []
    found = stored(client)
    for name, rows in expected.items():
        assert found[name] == rows, name


@pytest.mark.parametrize("runner", ALL, indirect=True, scope="module")
def test_bad_input_is_named_and_keeps_nothing_else_back(
    runner: Runner, line: CommandLine, client: ClickHouse, tmp_path: Path
) -> None:
    dataset = Dataset(str(tmp_path / "observability"))
    bad = ["no JSON", "[1]", '{"type": "event"}', event("trace", "x", at="1850-01-01"), event("trace", "", name="n")]
    dataset.add_file("trace", "p0", "20261120T120000Z_0.jsonl", [(text, None) for text in bad])
    dataset.add_file("log", "p0", "20261120T120001Z_1.jsonl", [(event("log", "a"), "a"), ("{", None)])
    damaged = Path(dataset.root, "span", "p0", "20261120T120002Z_2.jsonl.gz")
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(gzip.compress(event("span", "b").encode())[:5])

    finished = load(runner, line, dataset.root, damaged.name)
    assert finished.code == 1, finished.err + runner.log()
    assert f"warning: {len(dataset.rejected)} lines were rejected; see: " in finished.err, finished
    (named,) = [said for said in finished.err.splitlines() if said.startswith("error: ")]
    assert named.startswith(f"error: {damaged}: is cut off"), finished
    assert row_wrongs(client, dataset) == []
    assert names(dataset.root) == [damaged.name]


@pytest.mark.parametrize("runner", ALL, indirect=True, scope="module")
def test_a_kill_in_the_middle_of_a_load_loses_and_doubles_nothing(
    runner: Runner, line: CommandLine, client: ClickHouse, endpoint: ClickHouseEndpoint, tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "observability", files=1)
    arguments = [f"--input={dataset.root}", *SMALL_LOADS]
    # What is inserted before is there already when the process dies that waits for these.
    held = endpoint.fault("hold", EVENTS, nth=4, times=0)
    running = runner.start(line, *arguments)
    running.wait_for(lambda: endpoint.struck(held) > 0, timeout=240)
    runner.kill(running)
    endpoint.clear_faults()
    assert names(dataset.root) != []
    if not runner.goes_on:
        running = runner.start(line, *arguments)
    finished = runner.end(running, lambda: not names(dataset.root))
    assert finished.code == 0, finished.err + runner.log()
    assert runner.goes_on or "left unfinished by an earlier run and taken up by this one" in finished.out
    assert wrongs(client, dataset) == []


@pytest.mark.parametrize("runner", BOUNDED, indirect=True, scope="module")
def test_a_load_that_fails_is_named_and_is_the_next_run_s(
    runner: Runner, line: CommandLine, client: ClickHouse, endpoint: ClickHouseEndpoint, tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "observability", files=1, lines=10)
    arguments = [f"--input={dataset.root}", "--retry_attempts=1"]
    endpoint.fault("status", "INSERT INTO `mastra_admin_spans`", times=0, code=241)
    finished = runner.end(runner.start(line, *arguments), lambda: True)
    assert finished.code == 1
    (named,) = [said for said in finished.err.splitlines() if said.startswith("error: load ")]
    assert "a fault that a test asked for" in named
    assert names(dataset.root) != []
    endpoint.clear_faults()
    finished = runner.end(runner.start(line, *arguments), lambda: True)
    assert finished.code == 0, finished.err + runner.log()
    assert wrongs(client, dataset) == []


# On Prism


def test_prism_streams_until_the_command_is_interrupted(
    line: CommandLine, client: ClickHouse, endpoint: ClickHouseEndpoint, tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "observability", files=1, lines=10)
    running = Prism().start(line, f"--input={dataset.root}", "--streaming", "--poll_interval=1s")
    running.wait_for(lambda: not names(dataset.root), timeout=240)
    dataset.add_file("log", "p0", "20261121T120000Z_0.jsonl", [(event("log", "later"), "later"), ("{", None)])
    running.wait_for(lambda: not names(dataset.root), timeout=240)
    running.process.send_signal(signal.SIGINT)
    finished = running.finish()
    assert finished.code == 128 + signal.SIGINT
    assert "the job has ended with this command; the next run takes up what it had begun" in finished.err
    # The last load may be one whose files have moved, and no more.
    assert Runner().start(line, f"--input={dataset.root}").finish().code == 0
    assert wrongs(client, dataset) == []


def test_a_prism_that_is_not_there_is_named(line: CommandLine, tmp_path: Path) -> None:
    finished = line.run("ingest", f"--input={tmp_path}", "--runner=PrismRunner", "--prism_location=/no/prism")
    assert finished.code == 2
    assert finished.err.startswith("error: --prism_location: there is no file /no/prism; give the program")


# On Flink, what only a cluster can meet


def test_each_task_manager_has_workers_of_its_own_and_one_may_be_killed(
    cluster: SessionCluster, client: ClickHouse, endpoint: ClickHouseEndpoint, tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "observability", files=4)
    worker = make_worker(dataset.root, client, cluster)
    slow = endpoint.fault("delay", EVENTS, times=0, seconds=0.3)
    restarts = cluster.restarts()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(worker.process_once)
        eventually(lambda: endpoint.struck(slow) >= 4, timeout_s=240)
        assert len({one.ppid() for one in cluster.workers()}) == 2
        cluster.kill_task_manager()
        cluster.start_task_manager()
        result = run.result()
    assert result.errors == [], cluster.log("job-manager")
    assert cluster.restarts() > restarts
    assert wrongs(worker.client, dataset) == []
    assert worker.process_once().events_ingested == 0
    worker.close()


def test_a_job_that_was_cancelled_is_submitted_again(
    cluster: SessionCluster, client: ClickHouse, endpoint: ClickHouseEndpoint, tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "observability", files=4)
    worker = make_worker(dataset.root, client, cluster)
    slow = endpoint.fault("delay", EVENTS, times=0, seconds=0.3)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(worker.process_once)
        eventually(lambda: endpoint.struck(slow) >= 4, timeout_s=240)
        cluster.cancel(cluster.jobs("RUNNING")[0])
        with pytest.raises(RuntimeError, match="cancelled"):
            run.result()
    assert pending(Path(dataset.root)) != []
    endpoint.clear_faults()
    results = []

    def all_loaded() -> bool:
        # What is still ending of the first run may have its loads until its lease is over.
        results.append(worker.process_once())
        return not pending(Path(dataset.root))

    eventually(all_loaded, timeout_s=300)
    assert sum(result.adopted for result in results) > 0
    assert wrongs(worker.client, dataset) == []
    worker.close()


def make_worker(root: str, client: ClickHouse, cluster: SessionCluster) -> IngestionWorker:
    config = IngestConfig(root, client.config, lease_s=3, load_bytes=20_000, block_bytes=6_000)
    return IngestionWorker(config, runner_options=cluster.pipeline_options())
