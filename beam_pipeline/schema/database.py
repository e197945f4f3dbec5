"""The database that holds the tables: opened, made when it is asked for, or found not to be there."""

from __future__ import annotations

import os
from dataclasses import replace

from transforms.clickhouse import ClickHouse, ClickHouseConfig, SchemaError

_UNKNOWN_DATABASE = 81


def connect_or_create(config: ClickHouseConfig, *, cluster: str | None = None) -> ClickHouse:
    """A client on the configured database, which is made when the server does not have it. Raises ClickHouseError."""
    try:
        return config.connect()
    except SchemaError as error:
        if error.code != _UNKNOWN_DATABASE:
            raise
    with replace(config, database="default").connect() as client:
        client.command(
            f"CREATE DATABASE IF NOT EXISTS `{config.database}`" + (f" ON CLUSTER `{cluster}`" if cluster else "")
        )
    return config.connect()


def connect_if_there(config: ClickHouseConfig) -> ClickHouse | None:
    """A client on the configured database, or None when it was never made. Makes nothing; raises ClickHouseError."""
    if config.path is not None and not (os.path.isdir(config.path) and os.listdir(config.path)):
        return None
    try:
        return config.connect()
    except SchemaError as error:
        if error.code != _UNKNOWN_DATABASE:
            raise
        return None
