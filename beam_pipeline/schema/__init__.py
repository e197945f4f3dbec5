"""The ClickHouse schema: tables, rollups, and the migrations that create them."""

from beam_pipeline.schema.database import connect_if_there, connect_or_create
from beam_pipeline.schema.migrations import (
    TABLE_NAMES,
    VIEW_NAMES,
    MigrationReport,
    SchemaStatus,
    check_schema_status,
    drop_all_tables,
    run_migrations,
)
from beam_pipeline.schema.options import SchemaOptions

__all__ = [
    "TABLE_NAMES",
    "VIEW_NAMES",
    "MigrationReport",
    "SchemaOptions",
    "SchemaStatus",
    "check_schema_status",
    "connect_if_there",
    "connect_or_create",
    "drop_all_tables",
    "run_migrations",
]
