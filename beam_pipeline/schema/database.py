"""The database that holds the tables: opened, made when it is asked for, or found not to be there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from transforms.clickhouse import ClickHouseConfig, SchemaError
from transforms.clickhouse.errors import UNKNOWN_DATABASE

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse


def connect_or_create(config: ClickHouseConfig, *, cluster: str | None = None) -> ClickHouse:
    """A client on the configured database, which is made when the server does not have it. Raises ClickHouseError."""
    try:
        return config.connect(create=True)
    except SchemaError as error:
        if error.code != UNKNOWN_DATABASE:
            raise
    with replace(config, database="default").connect() as client:
        client.command(
            f"CREATE DATABASE IF NOT EXISTS `{config.database}`" + (f" ON CLUSTER `{cluster}`" if cluster else "")
        )
    return config.connect()


def connect_if_there(config: ClickHouseConfig) -> ClickHouse | None:
    """A client on the configured database, or None when it was never made. Makes nothing; raises ClickHouseError."""
    try:
        return config.connect()
    except SchemaError as error:
        if error.code != UNKNOWN_DATABASE:
            raise
        return None
