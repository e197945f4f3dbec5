"""What the suites share: storages, and databases that queries are asked of.

The databases are migrated once for a module, on each transport, and emptied for each test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_pipeline.query import ClickHouseQueryProvider
from tests.support import query_events as events
from transforms.clickhouse import ClickHouse
from transforms.storage import Storage, open_storage


@pytest.fixture(scope="module", params=["embedded_admin", "server_admin"])
def shared(request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    with events.migrated_database(request.getfixturevalue(request.param)) as client:
        yield client


@pytest.fixture
def database(shared: ClickHouse) -> ClickHouse:
    """With empty tables."""
    for event_type in events.MODELS:
        events.empty(shared, event_type)
    return shared


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
