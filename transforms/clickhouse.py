"""One client for both ways to ClickHouse: a server over HTTP, and the engine embedded in this process (chDB)."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
import tenacity
from clickhouse_connect.driver import exceptions as driver
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from transforms.clickhouse_embedded import insert_embedded, open_embedded
from transforms.clickhouse_errors import (
    AccessDenied,
    ClickHouseError,
    DataError,
    EmbeddedBusy,
    SchemaError,
    Unavailable,
    translate,
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

Result = TypeVar("Result")

_MAX_BLOCK_ROWS = 4_000_000
_MAX_BLOCK_BYTES = 2 << 30
INSERT_SETTINGS: Mapping[str, Any] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "materialized_views_ignore_errors": 0,
    "max_insert_threads": 1,
    # One block in, one part out, in the table and in its rollup.
    "max_insert_block_size": _MAX_BLOCK_ROWS,
    "min_insert_block_size_rows": _MAX_BLOCK_ROWS,
    "min_insert_block_size_bytes": _MAX_BLOCK_BYTES,
    "min_insert_block_size_rows_for_materialized_views": _MAX_BLOCK_ROWS,
    "min_insert_block_size_bytes_for_materialized_views": _MAX_BLOCK_BYTES,
}
_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_REFERENCE = re.compile(r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$")
_MAX_DELAY_S = 30.0

# The driver's warnings say nothing that our errors do not; they go where an application sends them, not to its stderr.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class ClickHouseConfig:
    """Where ClickHouse is and how to get in. Holds no secret: `password` is a reference that is resolved in `connect`."""

    url: str
    """`chdb:///path` for the embedded engine, `http(s)://host[:port]` for a server."""
    user: str = "default"
    database: str = "default"
    password: str = "env:CLICKHOUSE_PASSWORD"
    """`env:NAME` (unset means no password) or `file:/path` (its content without the final newline)."""
    retry_attempts: int = 3
    """How often an operation is tried that fails in a way that may pass."""
    retry_delay_s: float = 1.0
    """Seconds before the second try; doubles with each further one, up to 30."""
    timeout_s: float = 300.0
    """Seconds that an answer of the server may take."""
    max_server_memory_bytes: int | None = None
    """Bound on the embedded engine's own memory; None leaves it to the engine."""

    @property
    def embedded(self) -> bool:
        """Whether the engine runs in this process."""
        return self.url.startswith("chdb://")

    @property
    def path(self) -> str | None:
        """The embedded database's directory."""
        return os.path.abspath(self.url.removeprefix("chdb://")) if self.embedded else None

    def problems(self) -> list[str]:
        """Every reason why this cannot work, each naming the option, its value and what would be right."""
        found = []
        if not self.embedded:
            found += self._url_problems()
        elif not self.url.removeprefix("chdb://"):
            found.append("--clickhouse_url: 'chdb://' lacks a path; give chdb:///path/to/directory")
        if not _IDENTIFIER.match(self.database):
            found.append(
                f"--clickhouse_database: {self.database!r} must be letters, digits and _, not beginning with a digit"
            )
        if not _REFERENCE.match(self.password):
            found.append(
                "--clickhouse_password_from: must be env:NAME or file:/path, a place where the password is, "
                "never the password itself"
            )
        if self.retry_attempts < 1:
            found.append(f"--retry_attempts: {self.retry_attempts} must be at least 1")
        if self.retry_delay_s < 0:
            found.append(f"--retry_delay: {self.retry_delay_s} must be at least 0")
        return found

    def _url_problems(self) -> list[str]:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            return ["--clickhouse_url: is not a URL; give chdb:///path or http(s)://host:port"]
        if parts.password is not None or parts.username is not None or "password=" in parts.query:
            return [
                "--clickhouse_url: must not hold a user or a password; give --clickhouse_user, and the password in "
                "CLICKHOUSE_PASSWORD"
            ]
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            return [f"--clickhouse_url: {self.url!r} is not chdb:///path or http(s)://host:port"]
        return []

    def connect(self) -> ClickHouse:
        """A client, checked to be working. Blocks; raises ClickHouseError, EmbeddedBusy for a database that is in use."""
        return ClickHouse(self)

    def resolve_password(self) -> str:
        """The password itself. Raises AccessDenied when the file it should be in cannot be read."""
        kind, _, place = self.password.partition(":")
        if kind == "env":
            return os.environ.get(place, "")
        try:
            with open(place, encoding="utf-8") as file:
                return file.read().rstrip("\r\n")
        except OSError as error:
            raise AccessDenied(f"--clickhouse_password_from: {place} cannot be read: {error.strerror}") from None


class ClickHouse:
    """A client that threads may share: each has a connection of its own inside, all closed by `close`.

    Every method blocks, raises `ClickHouseError`, and is tried again as configured when the failure may pass.
    """

    def __init__(self, config: ClickHouseConfig) -> None:
        self.config = config
        self._local = threading.local()
        self._clients: weakref.WeakSet[Client] = weakref.WeakSet()
        self._closed = False
        self.server_version: str = self._retrying(lambda client: client.server_version)

    def __repr__(self) -> str:
        return f"ClickHouse({self.config.url!r}, database={self.config.database!r})"

    def __enter__(self) -> ClickHouse:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections of all threads; waits for what they are doing. Using the client afterwards is an error."""
        self._closed = True
        for client in list(self._clients):
            _close(client)

    def query(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The rows of a query, as dictionaries by column. Parameters are bound by the server: `{name:Type}`.

        All rows are in memory at once. A String that is not UTF-8 comes as its hexadecimal digits: use `query_arrow`,
        or have the server encode it, where that can be.
        """
        return self._retrying(
            lambda client: list(
                client.query(sql, parameters=_dict(parameters), settings=_dict(settings)).named_results()
            )
        )

    def query_arrow(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """The result of a query as an Arrow table."""
        return self._retrying(
            lambda client: client.query_arrow(sql, parameters=_dict(parameters), settings=_dict(settings))
        )

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Runs a statement that may be repeated without harm, such as CREATE … IF NOT EXISTS."""
        self._retrying(lambda client: client.command(sql, parameters=_dict(parameters), settings=_dict(settings)))

    def insert(
        self,
        table: str,
        rows: pa.RecordBatch | pa.Table,
        *,
        token: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Inserts rows with one synchronous INSERT, which makes one part in each partition that they are of.

        With a token the insert is tried again after a failure that may pass, since the server drops what it has already;
        without one it is not, except when the server cannot have got it.
        """
        if not rows.num_rows:
            return
        options = {**INSERT_SETTINGS, **(settings or {})}
        if token is not None:
            options["insert_deduplication_token"] = token

        def insert(client: Client) -> None:
            if self.config.embedded:
                insert_embedded(client, table, rows, options)
            else:
                body = memoryview(_arrow_file(rows))
                client.raw_insert(quote_identifier(table), rows.schema.names, body, settings=options, fmt="Arrow")

        self._retrying(insert, repeatable=token is not None)

    def _retrying(self, operation: Callable[[Client], Result], *, repeatable: bool = True) -> Result:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.config.retry_attempts),
            wait=tenacity.wait_exponential(multiplier=self.config.retry_delay_s, max=_MAX_DELAY_S),
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, Unavailable) and (repeatable or error.unsent)
            ),
            reraise=True,
        )
        result: Result = retrying(self._attempt, operation)
        return result

    def _attempt(self, operation: Callable[[Client], Result]) -> Result:
        client: Client | None = getattr(self._local, "client", None)
        opening = client is None
        try:
            if self._closed:
                raise ClickHouseError(f"the client of {self.config.url} has been closed")
            if client is None:
                client = self._local.client = _open_client(self.config)
                self._clients.add(client)
                opening = False
            return operation(client)
        except (driver.Error, OSError) as error:
            self._discard(client)
            failure = (
                translate(error, self.config.url)
                if isinstance(error, driver.Error)
                else Unavailable(f"{self.config.url}: {error}")
            )
            if isinstance(failure, Unavailable):
                failure.unsent = failure.unsent or opening
            raise failure from None

    def _discard(self, client: Client | None) -> None:
        """A handle of the embedded engine that has failed answers the next query with rows of the failed one first."""
        if client is not None:
            self._local.client = None
            self._clients.discard(client)
            _close(client)


def _close(client: Client) -> None:
    with contextlib.suppress(driver.Error, OSError):
        client.close()


def _open_client(config: ClickHouseConfig) -> Client:
    if config.path is not None:
        return open_embedded(config.path, config.database, config.max_server_memory_bytes)
    parts = urlsplit(config.url)
    timeout_s = math.ceil(config.timeout_s)
    return clickhouse_connect.get_client(
        interface=parts.scheme,
        host=parts.hostname,
        port=parts.port or (8443 if parts.scheme == "https" else 8123),
        proxy_path=parts.path.rstrip("/"),
        username=config.user,
        password=config.resolve_password(),
        database=config.database,
        connect_timeout=min(timeout_s, 10),
        send_receive_timeout=timeout_s,
        autogenerate_session_id=False,
        query_retries=0,
        compress=False,
    )


def _arrow_file(rows: pa.RecordBatch | pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write(rows)
    return sink.getvalue()


def _dict(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(values) if values else None
