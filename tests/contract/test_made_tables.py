"""Tables that tests are given without running the migrations are those that the migrations make."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipeline.schema import SchemaOptions, check_schema_status, run_migrations
from tests.conftest import fresh_database
from tests.support.tables import make_tables
from transforms.clickhouse import ClickHouse

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


@pytest.mark.parametrize(
    "options", [None, SchemaOptions(ttl_days=0, logs_ttl_days=0), SchemaOptions(dedup_window=1000, logs_ttl_days=7)]
)
def test_copies_are_what_the_migrations_make(clickhouse: ClickHouse, options: SchemaOptions | None) -> None:
    run_migrations(clickhouse, options)
    migrated = everything(clickhouse)
    assert all(migrated)
    for _ in range(2):
        with fresh_database(clickhouse) as config, config.connect() as client:
            make_tables(client, options)
            assert everything(client) == migrated
            assert check_schema_status(client).up_to_date
            report = run_migrations(client, options)
            assert (report.applied, report.changed) == ([], [])
