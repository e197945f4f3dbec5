"""The client, for a server over HTTP and for the engine embedded in this process, and its errors.

The client itself, and with it the driver, is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transforms.clickhouse.config import ClickHouseConfig
from transforms.clickhouse.errors import (
    AccessDenied,
    ClickHouseError,
    DataError,
    EmbeddedBusy,
    SchemaError,
    Unavailable,
)

if TYPE_CHECKING:
    from transforms.clickhouse.client import ClickHouse

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


def __getattr__(name: str) -> Any:
    if name == "ClickHouse":
        from transforms.clickhouse.client import ClickHouse

        return ClickHouse
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
