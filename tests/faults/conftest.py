"""A database and a dataset for each test: killing a process kills its embedded engine, so nothing can be shared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_pipeline import IngestionWorker
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.dataset import Dataset, make_dataset
from tests.support.inbox import Inbox
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouseEndpoint]:
    """A server that the test may break."""
    with ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint:
        yield endpoint


@pytest.fixture(params=["embedded", "http"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own, on each transport."""
    if request.param == "embedded":
        return f"chdb://{tmp_path}/clickhouse"
    endpoint: ClickHouseEndpoint = request.getfixturevalue("server")
    return endpoint.url


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = make_dataset(tmp_path / "observability", files=2, lines=40, projects=1)
    dataset.save(tmp_path / "dataset.json")
    return dataset


@pytest.fixture
def inbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Inbox]:
    """An empty input directory that a worker in this process loads into a fresh database.

    The database is embedded unless `request.param` says `http`. A big file is one load of some ten chunks of 48,000 bytes.
    """
    clickhouse: ClickHouseConfig = request.getfixturevalue(f"{getattr(request, 'param', 'embedded')}_config")
    root = tmp_path / "in"
    root.mkdir()
    worker = IngestionWorker(IngestConfig(input=str(root), clickhouse=clickhouse, block_bytes=48_000))
    worker.init()
    yield Inbox(worker, Dataset(str(root)))
    worker.close()
