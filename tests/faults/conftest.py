"""A database and a dataset for each test. A process that is killed takes its embedded engine along, so each has its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_pipeline import IngestionWorker
from tests.conftest import NO_PASSWORD
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.databases import copy_database, fresh_database, make_tables
from tests.support.dataset import Dataset, make_dataset
from tests.support.inbox import Inbox
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.config import IngestConfig


@pytest.fixture
def server(tmp_path: Path, database_to_copy: Path) -> Iterator[ClickHouseEndpoint]:
    """A server that the test may break. Its default database has all tables."""
    copy_database(database_to_copy, tmp_path / "clickhouse")
    with ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def endpoint_admin(session_endpoint: ClickHouseEndpoint) -> Iterator[ClickHouse]:
    with ClickHouseConfig(session_endpoint.url, password=NO_PASSWORD).connect() as client:
        yield client


@pytest.fixture
def on_endpoint(endpoint_admin: ClickHouse) -> Iterator[ClickHouseConfig]:
    """A database without tables on the server that tests share, where runs may be killed."""
    with fresh_database(endpoint_admin) as config:
        yield config


@pytest.fixture(params=["embedded", "http"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> ClickHouseConfig:
    """A database without tables, on each transport. The embedded one is not there yet."""
    if request.param == "embedded":
        return ClickHouseConfig(f"chdb://{tmp_path}/clickhouse")
    config: ClickHouseConfig = request.getfixturevalue("on_endpoint")
    return config


@pytest.fixture
def database(empty_database: ClickHouseConfig, database_to_copy: Path) -> ClickHouseConfig:
    """A database with all tables, on each transport."""
    if empty_database.path is not None:
        copy_database(database_to_copy, Path(empty_database.path))
    else:
        with empty_database.connect() as client:
            make_tables(client)
    return empty_database


@pytest.fixture
def server_database(on_endpoint: ClickHouseConfig) -> ClickHouseConfig:
    """A database with all tables on the server that tests share."""
    with on_endpoint.connect() as client:
        make_tables(client)
    return on_endpoint


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
