"""The same pipeline on a real Flink, over HTTP, with one of its workers killed in the middle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beam_pipeline.worker import IngestionWorker
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.dataset import make_dataset, wrongs
from tests.support.flink import FlinkCluster
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig

pytestmark = [pytest.mark.flink, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    with FlinkCluster(tmp_path_factory.mktemp("flink")) as cluster:
        yield cluster


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[ClickHouseEndpoint]:
    with ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint:
        yield endpoint


def config(root: str, url: str) -> IngestConfig:
    return IngestConfig(root, ClickHouseConfig(url, retry_delay_s=0.2), run_id="", load_bytes=20_000, block_bytes=6_000)


@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "worker-killed"])
def test_every_event_once_on_flink(
    cluster: FlinkCluster, endpoint: ClickHouseEndpoint, tmp_path: Path, kill: bool
) -> None:
    dataset = make_dataset(tmp_path / "observability", files=4, lines=60)
    worker = IngestionWorker(config(dataset.root, endpoint.url), runner_options=cluster.pipeline_options())
    worker.init()
    restarts = cluster.restarts()
    with ThreadPoolExecutor(1) as pool:
        if kill:
            # Slow inserts, so that the kill comes between the first and the last of them.
            endpoint.fault(
                "delay", "INSERT INTO `mastra_admin_(traces|spans|logs|metrics|scores)`", times=0, seconds=0.3
            )
            killed = pool.submit(kill_after_first_insert, cluster, endpoint)
        result = worker.process_once()
        if kill:
            killed.result()
    assert result.errors == [], cluster.log("job-server")
    assert (cluster.restarts() > restarts) == kill
    assert wrongs(worker.client, dataset) == []
    assert result.events_ingested > 0
    assert worker.process_once().events_ingested == 0
    worker.close()


def kill_after_first_insert(cluster: FlinkCluster, endpoint: ClickHouseEndpoint) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if len(endpoint.requests("INSERT INTO `mastra_admin_spans`")) >= 2:
            cluster.kill_worker()
            return
        time.sleep(0.05)
    raise AssertionError("nothing was inserted")
