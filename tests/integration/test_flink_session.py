"""The bounded pipeline on a Flink session cluster, whose TaskManagers and jobs are killed in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beam_pipeline.worker import IngestionWorker
from tests.conftest import NO_PASSWORD
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.command_line import CommandLine, pending
from tests.support.dataset import make_dataset, wrongs
from tests.support.flink_session import SessionCluster
from tests.support.waiting import eventually
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig

pytestmark = [pytest.mark.flink, pytest.mark.timeout(600)]

EVENTS = "INSERT INTO `mastra_admin_(traces|spans|logs|metrics|scores)`"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SessionCluster]:
    with SessionCluster(tmp_path_factory.mktemp("flink")) as cluster:
        yield cluster


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[ClickHouseEndpoint]:
    with ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint:
        yield endpoint


def make_worker(root: str, endpoint: ClickHouseEndpoint, cluster: SessionCluster) -> IngestionWorker:
    clickhouse = ClickHouseConfig(endpoint.url, retry_delay_s=0.2)
    config = IngestConfig(root, clickhouse, lease_s=3, load_bytes=20_000, block_bytes=6_000)
    worker = IngestionWorker(config, runner_options=cluster.pipeline_options())
    worker.init()
    return worker


def wait_for_inserts(endpoint: ClickHouseEndpoint) -> None:
    eventually(lambda: len(endpoint.requests("INSERT INTO `mastra_admin_spans`")) >= 2, timeout_s=180)


def test_every_event_once_with_a_task_manager_killed_in_the_middle(
    cluster: SessionCluster, endpoint: ClickHouseEndpoint, tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "observability", files=4)
    worker = make_worker(dataset.root, endpoint, cluster)
    endpoint.fault("delay", EVENTS, times=0, seconds=0.3)
    restarts = cluster.restarts()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(worker.process_once)
        wait_for_inserts(endpoint)
        cluster.kill_task_manager()
        cluster.start_task_manager()
        result = run.result()
    assert result.errors == [], cluster.log("job-manager")
    assert cluster.restarts() > restarts
    assert wrongs(worker.client, dataset) == []
    assert worker.process_once().events_ingested == 0
    worker.close()


def test_every_event_once_with_a_job_cancelled_and_submitted_again(
    cluster: SessionCluster, endpoint: ClickHouseEndpoint, tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "observability", files=4)
    worker = make_worker(dataset.root, endpoint, cluster)
    fault = endpoint.fault("delay", EVENTS, times=0, seconds=0.3)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(worker.process_once)
        wait_for_inserts(endpoint)
        cluster.cancel(cluster.jobs("RUNNING")[0])
        with pytest.raises(RuntimeError, match="cancelled"):
            run.result()
    assert endpoint.struck(fault) > 0
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


def test_a_load_that_fails_is_named_by_the_submitting_process(
    cluster: SessionCluster, endpoint: ClickHouseEndpoint, tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "observability", files=1, lines=10)
    line = CommandLine(
        [f"--clickhouse_url={endpoint.url}", f"--clickhouse_password_from={NO_PASSWORD}", "--retry_attempts=1"]
    )
    assert line.run("migrate").code == 0
    endpoint.fault("status", "INSERT INTO `mastra_admin_spans`", times=0, code=241)
    arguments = ["ingest", f"--input={dataset.root}", "--lease=3s", *cluster.pipeline_options()]
    finished = line.run(*arguments, noise=True, timeout=300)
    assert finished.code == 1
    (named,) = [said for said in finished.err.splitlines() if "error: load " in said]
    assert "a fault that a test asked for" in named
    assert pending(Path(dataset.root)) != []
    endpoint.clear_faults()
    assert line.run(*arguments, noise=True, timeout=300).code == 0
    with ClickHouseConfig(endpoint.url).connect() as client:
        assert wrongs(client, dataset) == []
