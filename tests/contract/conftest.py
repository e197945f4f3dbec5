"""Databases that queries are asked of: migrated once for a module, on each transport, and emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beam_pipeline.query import ClickHouseQueryProvider
from tests.support import query_events as events
from transforms.clickhouse import ClickHouse


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
