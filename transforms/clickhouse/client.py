"""One client for both ways to ClickHouse: a server over HTTP, and the engine embedded in this process (chDB)."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import clickhouse_connect
import tenacity
import urllib3
from clickhouse_connect.driver import exceptions as driver
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from transforms.clickhouse.config import ClickHouseConfig
from transforms.clickhouse.embedded import RowFiles, insert_embedded, open_embedded
from transforms.clickhouse.errors import ClickHouseError, Unavailable
from transforms.clickhouse.merges import WaitingMerges
from transforms.clickhouse.parameters import in_parts
from transforms.clickhouse.translate import translate

if TYPE_CHECKING:
    import pyarrow as pa

Result = TypeVar("Result")

_MAX_BLOCK_ROWS = 4_000_000
_MAX_BLOCK_BYTES = 2 << 30
INSERT_SETTINGS: Mapping[str, Any] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "materialized_views_ignore_errors": 0,
    "max_insert_threads": 1,
    # A process that loads for minutes does not get back what the engine spends on compiling the views' expressions.
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    # Rows of one key stay until a merge, as those of two inserts do: to look for them took a fifth of an insert's CPU time.
    "optimize_on_insert": 0,
    # One block in, one part out, in the table and in its rollup.
    "max_insert_block_size": _MAX_BLOCK_ROWS,
    "min_insert_block_size_rows": _MAX_BLOCK_ROWS,
    "min_insert_block_size_bytes": _MAX_BLOCK_BYTES,
    "min_insert_block_size_rows_for_materialized_views": _MAX_BLOCK_ROWS,
    "min_insert_block_size_bytes_for_materialized_views": _MAX_BLOCK_BYTES,
}
OPTIONAL_SETTINGS = frozenset({"use_skip_indexes_on_data_read"})
"""Settings that only make a query faster: they are left out where a server is too old to know them."""
_MAX_DELAY_S = 30.0
_CONNECT_TIMEOUT_S = 10

# The driver's warnings say nothing that our errors do not; they go where an application sends them, not to its stderr.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())


class ClickHouse:
    """A client that threads may share: they share its connections to a server, and have one each to an embedded engine.

    Every method blocks, raises `ClickHouseError`, and is tried again as configured when the failure may pass. After one
    that was given up, what follows is tried only once until something succeeds: a server that is away costs the retries
    of one operation, not of each.
    """

    def __init__(self, config: ClickHouseConfig, *, create: bool = False) -> None:
        self._config = config
        self._create = create
        problems = config.problems()
        if problems:
            raise ClickHouseError("; ".join(problems))
        self._local: threading.local | SimpleNamespace = _place(config)
        self._clients: weakref.WeakSet[Client] = weakref.WeakSet()
        """Those of threads that have ended are gone with them."""
        self._lock = threading.Lock()
        self._opening = threading.Lock() if not config.embedded else contextlib.nullcontext()
        self._closed = False
        self._away = False
        self.retries = 0
        """Statements that were tried again."""
        self._statements = 0
        self._merges: WaitingMerges | None = None
        self._row_files = RowFiles()
        self.server_version: str = self._retrying(lambda client: client.server_version)
        self._statements = 0

    @property
    def statements(self) -> int:
        """How many statements it has sent, repeated ones too. What the driver asks when it connects is not among them."""
        return self._statements

    @property
    def config(self) -> ClickHouseConfig:
        """What it was made of; it stays connected to that."""
        return self._config

    def __repr__(self) -> str:
        return f"ClickHouse({self.config.place!r}, database={self.config.database!r})"

    def __enter__(self) -> ClickHouse:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections of all threads; waits for what they are doing. Using the client afterwards is an error."""
        with self._lock:
            self._closed = True
            self._local = _place(self.config)
            clients = list(self._clients)
        for client in clients:
            _close(client)

    def query(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The rows of a query, as dictionaries by column. Parameters are bound by the server: `{name:Type}`.

        All rows are in memory at once. A String that is not UTF-8 comes as its hexadecimal digits: use `query_arrow`,
        or have the server encode it, where that can be.
        """
        sql, bound = self._bound(sql, parameters)
        return self._retrying(
            lambda client: list(client.query(sql, parameters=bound, settings=_known(client, settings)).named_results())
        )

    def query_arrow(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """The result of a query as an Arrow table."""
        sql, bound = self._bound(sql, parameters)
        return self._retrying(lambda client: client.query_arrow(sql, parameters=bound, settings=_dict(settings)))

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
        idempotent: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> bool:
        """Inserts rows with one synchronous INSERT, which makes one part in each partition that they are of.

        Returns whether that took more than one attempt, of which the first may have reached the server.

        With a token the insert is tried again after a failure that may pass, since the server drops what it has already.
        So are `idempotent` rows, which mean the same when they are there twice, as in a ReplacingMergeTree with versions.
        Others are not, except when the server cannot have got them.
        """
        if not rows.num_rows:
            return False
        options = {**INSERT_SETTINGS, **(settings or {})}
        if token is not None:
            options["insert_deduplication_token"] = token
        elif idempotent:
            # A server that dies may remember rows that it does not have, and drop them when they come again.
            options["insert_deduplicate"] = 0
        names, repeatable = rows.schema.names, token is not None or idempotent
        attempts = 0

        def attempt(client: Client) -> None:
            nonlocal attempts
            attempts += 1
            if self.config.embedded:
                insert_embedded(client, table, names, place, options)
            else:
                client.raw_insert(quote_identifier(table), names, body, settings=options, fmt="Arrow")

        if self.config.embedded:
            with self._row_files.holding(rows) as place:
                self._retrying(attempt, repeatable)
            merges = self._merges  # the run may end in another thread
            if merges is not None:
                merges.note_insert()
        else:
            body = memoryview(_arrow_file(rows, _compression(self.config.url)))
            self._retrying(attempt, repeatable)
        return attempts > 1

    @contextlib.contextmanager
    def inserts_first(self) -> Iterator[None]:
        """Has the embedded engine insert now and merge later; a server decides that itself. Raises ClickHouseError."""
        if not self.config.embedded:
            yield
            return
        merges = WaitingMerges(self)
        merges.begin()
        self._merges = merges
        try:
            with self._row_files.kept():
                yield
        finally:
            self._merges = None
            merges.end()

    def insert_nothing(self, table: str) -> None:
        """Reads from a table and inserts into it, no rows: shows whether this user may, with the settings of inserts."""
        quoted = quote_identifier(table)
        self.command(f"INSERT INTO {quoted} SELECT * FROM {quoted} WHERE 0", settings=INSERT_SETTINGS)

    def _bound(self, sql: str, parameters: Mapping[str, Any] | None) -> tuple[str, dict[str, Any] | None]:
        if not parameters:
            return sql, None
        return (sql, dict(parameters)) if self.config.embedded else in_parts(sql, parameters)

    def _retrying(self, operation: Callable[[Client], Result], repeatable: bool = True) -> Result:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(1 if self._away else self.config.retry_attempts),
            wait=tenacity.wait_exponential(multiplier=self.config.retry_delay_s, max=_MAX_DELAY_S),
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, Unavailable) and (repeatable or error.unsent)
            ),
            before_sleep=self._count_retry,
            reraise=True,
        )
        try:
            result: Result = retrying(self._attempt, operation)
        except Unavailable:
            self._away = True
            raise
        self._away = False
        return result

    def _count_retry(self, _: tenacity.RetryCallState) -> None:
        self.retries += 1

    def _attempt(self, operation: Callable[[Client], Result]) -> Result:
        client: Client | None = getattr(self._local, "client", None)
        opened = client is not None
        try:
            if client is None:
                with self._opening:
                    client = getattr(self._local, "client", None) or self._open()
            opened = True
            with self._lock:
                self._statements += 1
            return operation(client)
        except (driver.Error, urllib3.exceptions.HTTPError, OSError) as error:
            failure = translate(error, self.config.place)
            if self.config.embedded or isinstance(failure, Unavailable):
                self._discard(client)
            if isinstance(failure, Unavailable):
                failure.unsent = failure.unsent or not opened
            raise failure from None

    def _open(self) -> Client:
        client = None if self._closed else _open_client(self.config, create=self._create)
        with self._lock:
            if client is not None and not self._closed:
                self._local.client = client
                self._clients.add(client)
                return client
        if client is not None:  # closed by another thread in the meantime
            _close(client)
        raise ClickHouseError(f"the client of {self.config.place} has been closed")

    def _discard(self, client: Client | None) -> None:
        """Drops a connection that has failed.

        A handle of the embedded engine would answer the next query with rows of the failed one first. Other threads may be
        using the connections to a server: `close` closes these.
        """
        if client is not None and getattr(self._local, "client", None) is client:
            self._local.client = None
        if client is not None and self.config.embedded:
            with self._lock:
                self._clients.discard(client)
            _close(client)


def _place(config: ClickHouseConfig) -> threading.local | SimpleNamespace:
    """Where the connection is kept that a thread uses."""
    return threading.local() if config.embedded else SimpleNamespace()


def _close(client: Client) -> None:
    with contextlib.suppress(driver.Error, OSError):
        client.close()


def _open_client(config: ClickHouseConfig, *, create: bool) -> Client:
    if config.path is not None:
        return open_embedded(config.path, config.database, config.max_server_memory_bytes, create=create)
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
        connect_timeout=min(timeout_s, _CONNECT_TIMEOUT_S),
        send_receive_timeout=timeout_s,
        autogenerate_session_id=False,
        query_retries=0,
        compress=False,
    )


def _compression(url: str) -> str | None:
    """What rows are compressed with on their way: on a network it saves two thirds of the bytes, inside a machine nothing."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        return None if ipaddress.ip_address(host).is_loopback else "lz4"
    return None if host == "localhost" else "lz4"


def _arrow_file(rows: pa.RecordBatch | pa.Table, compression: str | None) -> pa.Buffer:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write(rows)
    return sink.getvalue()


def _known(client: Client, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        name: value
        for name, value in (settings or {}).items()
        if name not in OPTIONAL_SETTINGS or name in client.server_settings
    }


def _dict(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(values) if values else None
