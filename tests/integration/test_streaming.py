"""A streaming job on a Flink session cluster, while files keep coming: killed, stopped with a savepoint, restored, cancelled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import NO_PASSWORD
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.command_line import CommandLine, Running, pending
from tests.support.dataset import Dataset, event, wrongs
from tests.support.flink_session import SessionCluster
from tests.support.waiting import eventually
from transforms.clickhouse import ClickHouseConfig
from transforms.events import TABLES

pytestmark = [pytest.mark.flink, pytest.mark.timeout(900)]

LOOKS = 40
BYTES_A_LOOK = 500
"""What the state may grow by with each look: a tenth of what a splittable DoFn that puts itself off adds."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SessionCluster]:
    with SessionCluster(tmp_path_factory.mktemp("flink")) as cluster:
        yield cluster


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[ClickHouseEndpoint]:
    with ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint:
        yield endpoint


@pytest.fixture
def line(endpoint: ClickHouseEndpoint) -> CommandLine:
    return CommandLine([f"--clickhouse_url={endpoint.url}", f"--clickhouse_password_from={NO_PASSWORD}"])


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    return Arrivals(Dataset(str(tmp_path / "observability")))


@dataclass
class Arrivals:
    """Files that keep coming: of each type in turn, one line in ten broken."""

    dataset: Dataset
    numbers: Iterator[int] = field(default_factory=count)

    def write(self, files: int = 1) -> None:
        for number in [next(self.numbers) for _ in range(files)]:
            kind = list(TABLES)[number % len(TABLES)]
            ids = [f"{kind}-{number}-{line}" for line in range(20)]
            lines = [(event(kind, one), one) if line % 10 else ("{", None) for line, one in enumerate(ids)]
            name = f"20261120T12{number // 60 % 60:02}{number % 60:02}Z_{number:06x}.jsonl"
            self.dataset.add_file(kind, f"p{number % 3}", name, lines)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        stopping = threading.Event()

        def write() -> None:
            while not stopping.wait(0.2):
                self.write()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


def start_job(line: CommandLine, cluster: SessionCluster, root: str, *more: str) -> tuple[Running, str]:
    """The submitting process, and the job that it has started."""
    before = set(cluster.jobs())
    options = [*cluster.pipeline_options(), "--checkpointing_interval=2000", "--poll_interval=1s", "--lease=3s"]
    running = line.start("ingest", "--streaming", f"--input={root}", *options, *more)
    running.wait_for(lambda: bool(set(cluster.jobs("RUNNING")) - before), timeout=180)
    (job,) = set(cluster.jobs("RUNNING")) - before
    return running, job


def all_moved(dataset: Dataset) -> bool:
    return not pending(Path(dataset.root))


def wait_for_half_loaded(endpoint: ClickHouseEndpoint) -> None:
    """Returns between two inserts of a load, and makes all inserts slow until faults are cleared."""
    fault = endpoint.fault("delay", "INSERT INTO `mastra_admin_", times=0, seconds=0.3)
    eventually(lambda: endpoint.struck(fault) > 3, timeout_s=240)


def wait_for_looks(endpoint: ClickHouseEndpoint, count: int) -> None:
    """Returns when so many more looks have begun. Each asks the journal twice: what to take up, and what is free."""
    endpoint.clear_faults()  # and what was asked before
    eventually(lambda: len(endpoint.requests("j.at) AS age_ms")) >= 2 * count, timeout_s=300)


def state_size(cluster: SessionCluster, job: str) -> int:
    """Bytes of a checkpoint that begins from now on."""

    def completed() -> int:
        count: int = cluster.checkpoints(job)["counts"]["completed"]
        return count

    before = completed()
    eventually(lambda: completed() > before + 1, timeout_s=240)
    size: int = cluster.checkpoints(job)["latest"]["completed"]["state_size"]
    return size


def test_every_event_once_in_a_job_that_is_killed_stopped_and_restored(
    cluster: SessionCluster, endpoint: ClickHouseEndpoint, line: CommandLine, arrivals: Arrivals
) -> None:
    arrivals.write(5)
    running, job = start_job(line, cluster, arrivals.dataset.root)
    eventually(lambda: all_moved(arrivals.dataset), timeout_s=240)

    with arrivals.going_on():
        eventually(lambda: cluster.checkpoints(job)["counts"]["completed"] > 0, timeout_s=240)
        wait_for_half_loaded(endpoint)
        restarts = cluster.restarts()
        cluster.kill_task_manager()
        cluster.start_task_manager()
        eventually(lambda: cluster.restarts() > restarts, timeout_s=240)
        endpoint.clear_faults()
        struck = len(list(arrivals.dataset.files))
        eventually(lambda: len(arrivals.dataset.files) > struck + 5, timeout_s=240)
    eventually(lambda: all_moved(arrivals.dataset), timeout_s=240)
    arrivals.write(3)
    savepoint = cluster.stop_with_savepoint(job)
    finished = running.finish(timeout=120)
    assert finished.code == 0, finished.err

    arrivals.write(10)
    running, job = start_job(line, cluster, arrivals.dataset.root, f"--savepoint_path={savepoint}")
    eventually(lambda: all_moved(arrivals.dataset), timeout_s=240)
    cluster.stop_with_savepoint(job)
    finished = running.finish(timeout=120)
    assert finished.code == 0, finished.err
    with ClickHouseConfig(endpoint.url).connect() as client:
        assert wrongs(client, arrivals.dataset) == []


def test_the_state_of_a_job_does_not_grow_with_its_looks_and_a_cancelled_job_is_followed_by_another(
    cluster: SessionCluster, endpoint: ClickHouseEndpoint, line: CommandLine, arrivals: Arrivals
) -> None:
    arrivals.write(5)
    running, job = start_job(line, cluster, arrivals.dataset.root)
    eventually(lambda: all_moved(arrivals.dataset), timeout_s=240)
    before = state_size(cluster, job)
    wait_for_looks(endpoint, LOOKS)
    assert state_size(cluster, job) - before < LOOKS * BYTES_A_LOOK

    with arrivals.going_on():
        wait_for_half_loaded(endpoint)
        cluster.cancel(job)
    assert running.finish(timeout=120).code == 1
    endpoint.clear_faults()

    running, job = start_job(line, cluster, arrivals.dataset.root)
    eventually(lambda: all_moved(arrivals.dataset), timeout_s=240)
    cluster.stop_with_savepoint(job)
    finished = running.finish(timeout=120)
    assert finished.code == 0, finished.err
    with ClickHouseConfig(endpoint.url).connect() as client:
        assert wrongs(client, arrivals.dataset) == []
