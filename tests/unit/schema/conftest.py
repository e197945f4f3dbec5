"""Migrated databases that the tests of a module share, embedded and over HTTP; their events are of different projects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beam_pipeline.schema import SchemaOptions
from tests.support.databases import fresh_database, make_tables
from transforms.clickhouse import ClickHouse


@pytest.fixture(scope="module", params=["embedded_admin", "server_admin"])
def kept_for_ever(request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """A client on a migrated database without TTLs."""
    with fresh_database(request.getfixturevalue(request.param)) as config, config.connect() as client:
        make_tables(client, SchemaOptions(ttl_days=0, logs_ttl_days=0, embedded=config.embedded))
        yield client
