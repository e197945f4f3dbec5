"""What the suites share: storages, and databases that queries are asked of."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_pipeline.query import ClickHouseQueryProvider
from tests.support.places import GcsPlace, LocalPlace, MemoryPlace, Place, S3Place
from transforms.clickhouse import ClickHouse
from transforms.storage import Storage, open_storage


@pytest.fixture
def database(emptied: ClickHouse) -> ClickHouse:
    return emptied


@pytest.fixture
def provider(database: ClickHouse) -> ClickHouseQueryProvider:
    return ClickHouseQueryProvider(database)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "observability"


@pytest.fixture
def storage(root: Path) -> Storage:
    root.mkdir()
    storage = open_storage(str(root))
    storage.check_writable()
    return storage


@pytest.fixture(params=["local", "memory", "s3", "gcs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty input, of each kind."""
    if request.param == "local":
        return LocalPlace(tmp_path / "observability")
    if request.param == "memory":
        return MemoryPlace()
    return S3Place(request.getfixturevalue("s3")) if request.param == "s3" else GcsPlace(request.getfixturevalue("gcs"))
