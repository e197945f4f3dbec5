"""One client for both ways to ClickHouse: a server over HTTP, and the engine embedded in this process (chDB)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
import tenacity
from clickhouse_connect.driver import exceptions as driver
from clickhouse_connect.driver.client import Client

from transforms.clickhouse_errors import (
    AccessDenied,
    ClickHouseError,
    DataError,
    EmbeddedBusy,
    SchemaError,
    Unavailable,
    error_class,
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
        self._clients: list[Client] = []
        self._lock = threading.Lock()
        self.server_version: str = self._retrying(lambda: self._client().server_version)

    def __enter__(self) -> ClickHouse:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections of all threads."""
        with self._lock:
            clients, self._clients = self._clients, []
        self._local = threading.local()
        for client in clients:
            with contextlib.suppress(driver.Error, OSError):
                client.close()

    def query(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The rows of a query, as dictionaries by column. Parameters are bound by the server: `{name:Type}`."""
        return self._retrying(
            lambda: list(
                self._client().query(sql, parameters=_dict(parameters), settings=_dict(settings)).named_results()
            )
        )

    def query_arrow(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """The result of a query as an Arrow table."""
        return self._retrying(
            lambda: self._client().query_arrow(sql, parameters=_dict(parameters), settings=_dict(settings))
        )

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Runs a statement that may be repeated without harm, such as CREATE … IF NOT EXISTS."""
        self._retrying(lambda: self._client().command(sql, parameters=_dict(parameters), settings=_dict(settings)))

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
        without one it is not, except when no connection could be made.
        """
        if not rows.num_rows:
            return
        options = {**INSERT_SETTINGS, **(settings or {})}
        if token is not None:
            options["insert_deduplication_token"] = token
        body = _arrow_file(rows)

        def insert() -> None:
            self._client().raw_insert(f"`{table}`", rows.schema.names, memoryview(body), settings=options, fmt="Arrow")

        self._retrying(insert, repeatable=token is not None)

    def _client(self) -> Client:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = _open_client(self.config)
            self._local.client = client
            with self._lock:
                self._clients.append(client)
        return client

    def _retrying(self, operation: Callable[[], Result], *, repeatable: bool = True) -> Result:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.config.retry_attempts if repeatable else 1),
            wait=tenacity.wait_exponential(multiplier=self.config.retry_delay_s, max=_MAX_DELAY_S),
            retry=tenacity.retry_if_exception_type(Unavailable),
            reraise=True,
        )
        result: Result = retrying(self._translated, operation)
        return result

    def _translated(self, operation: Callable[[], Result]) -> Result:
        try:
            return operation()
        except ClickHouseError:
            raise
        except driver.Error as error:
            raise translate(error, self.config) from None
        except OSError as error:
            raise Unavailable(f"{self.config.url}: {error}") from None


def translate(error: driver.Error, config: ClickHouseConfig) -> ClickHouseError:
    """The driver's error as one of ours, by the server's code, without the driver's trailers."""
    message = str(error).strip()
    if error.code is not None:
        return error_class(error.code)(_short(message), error.code)
    if config.embedded and "chdb engine" in message:
        return EmbeddedBusy(f"the embedded database {config.path} cannot be opened: {_short(message)}")
    if isinstance(error, driver.OperationalError):
        return Unavailable(f"{config.url} cannot be reached: {_short(message)}")
    return DataError(_short(message))


def _refuse_if_busy(path: str) -> None:
    """Raises EmbeddedBusy when another process has the database open; the engine says so on standard error only."""
    with contextlib.suppress(FileNotFoundError), open(os.path.join(path, "status"), encoding="utf-8") as status:
        try:
            fcntl.flock(status, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = re.search(r"PID: (\d+)", status.read())
            if pid and pid[1] == str(os.getpid()):
                return
            raise EmbeddedBusy(
                f"the embedded database {path} is in use{f' by process {pid[1]}' if pid else ''}; one process at a "
                "time can have it. Wait until that one ends, or run a ClickHouse server and give its --clickhouse_url"
            ) from None


def _short(message: str) -> str:
    message = re.sub(r"\s*\(version [^()]*(\([^()]*\))?[^()]*\)", "", message)
    message = re.sub(r"^HTTPDriver for \S+ ", "", message)
    return message.strip()


def _open_client(config: ClickHouseConfig) -> Client:
    if config.path is not None:
        options = {}
        if config.max_server_memory_bytes:
            options["max_server_memory_usage"] = config.max_server_memory_bytes
        os.makedirs(config.path, exist_ok=True)
        _refuse_if_busy(config.path)
        return clickhouse_connect.get_client(
            interface="chdb", path=config.path, database=config.database, chdb_options=options
        )
    parts = urlsplit(config.url)
    return clickhouse_connect.get_client(
        interface=parts.scheme,
        host=parts.hostname,
        port=parts.port or (8443 if parts.scheme == "https" else 8123),
        username=config.user,
        password=config.resolve_password(),
        database=config.database,
        send_receive_timeout=int(config.timeout_s),
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
