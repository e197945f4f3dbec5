"""A streaming job on a Flink session cluster, while files keep coming: killed, stopped with a savepoint, restored."""

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


def test_every_event_once_in_a_job_that_is_killed_stopped_and_restored(tmp_path: Path) -> None:
    with (
        SessionCluster(tmp_path / "flink") as cluster,
        ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint,
        ClickHouseConfig(endpoint.url).connect() as client,
    ):
        line = CommandLine([f"--clickhouse_url={endpoint.url}", f"--clickhouse_password_from={NO_PASSWORD}"])
        arrivals = Arrivals(Dataset(str(tmp_path / "observability")))
        arrivals.write(5)
        running, job = start_job(line, cluster, arrivals.dataset.root)
        eventually(lambda: all_moved(arrivals.dataset), timeout_s=240)

        with arrivals.going_on():
            eventually(lambda: cluster.checkpoints(job)["counts"]["completed"] > 0, timeout_s=240)
            # Between two inserts, so that a load is half loaded.
            fault = endpoint.fault("delay", "INSERT INTO `mastra_admin_", times=0, seconds=0.3)
            eventually(lambda: endpoint.struck(fault) > 3, timeout_s=240)
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
        assert wrongs(client, arrivals.dataset) == []
