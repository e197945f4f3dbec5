"""The client, for a server over HTTP and for the engine embedded in this process, and its errors."""

from transforms.clickhouse.client import ClickHouse, ClickHouseConfig
from transforms.clickhouse.errors import (
    AccessDenied,
    ClickHouseError,
    DataError,
    EmbeddedBusy,
    SchemaError,
    Unavailable,
)

__all__ = [
    "AccessDenied",
    "ClickHouse",
    "ClickHouseConfig",
    "ClickHouseError",
    "DataError",
    "EmbeddedBusy",
    "SchemaError",
    "Unavailable",
]
