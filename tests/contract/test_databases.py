"""Databases that tests are given are as if the migrations had just made them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from beam_pipeline.schema import SchemaOptions, check_schema_status, run_migrations
from tests.support.databases import Made, empty_tables, fresh_database
from tests.unit.schema.rows import batch, event
from transforms.clickhouse import ClickHouse
from transforms.events import TABLES

LOOKS = (
    "SELECT * EXCEPT (uuid, data_paths, metadata_path, metadata_modification_time, dependencies_database, "
    "loading_dependencies_database, loading_dependent_database, total_bytes, total_bytes_uncompressed, parts, total_marks, "
    "active_parts) FROM system.tables WHERE database = currentDatabase() ORDER BY name",
    "SELECT * EXCEPT (database, data_compressed_bytes, data_uncompressed_bytes, marks_bytes) FROM system.columns "
    "WHERE database = currentDatabase() ORDER BY table, position",
    "SELECT * EXCEPT (database, data_compressed_bytes, data_uncompressed_bytes, marks_bytes) "
    "FROM system.data_skipping_indices WHERE database = currentDatabase() ORDER BY table, name",
    "SELECT version, name, state FROM mastra_admin_schema_migrations ORDER BY ALL",
)
"""Queries that tell all there is in a database, but for how large it is and where it lies."""


def everything(client: ClickHouse) -> list[list[dict[str, Any]]]:
    """What the looks tell, with the database's name left out."""
    return [
        [
            {
                name: value.replace(client.config.database, "") if isinstance(value, str) else value
                for name, value in row.items()
            }
            for row in client.query(look)
        ]
        for look in LOOKS
    ]


@pytest.mark.parametrize("options", [None, SchemaOptions(dedup_window=1000, ttl_days=0, logs_ttl_days=7)])
def test_copies_are_what_the_migrations_make(clickhouse: ClickHouse, options: SchemaOptions | None) -> None:
    run_migrations(clickhouse, options)
    with fresh_database(clickhouse) as config, config.connect() as client:
        Made.read(clickhouse).make(client)
        assert everything(client) == everything(clickhouse)
        assert check_schema_status(client).up_to_date
        report = run_migrations(client, options)
        assert (report.applied, report.changed) == ([], [])


def test_tables_that_were_emptied_have_forgotten_what_was_inserted(shared: ClickHouse) -> None:
    before = everything(shared)
    for event_type, table in TABLES.items():
        rows = batch(event_type, [event(event_type, datetime(2100, 11, 20, tzinfo=timezone.utc))])
        counts = f"SELECT (SELECT count() FROM {table.table}) AS rows, (SELECT sum(count) FROM {table.stats_view}) AS counted"
        for token in ("a token", "a token", None, None):
            for _ in range(2):
                shared.insert(table.table, rows, token=token)
            assert shared.query(counts) == [{"rows": 1, "counted": 1}]
            empty_tables(shared)
    assert everything(shared) == before
