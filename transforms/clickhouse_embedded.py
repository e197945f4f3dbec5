"""The engine embedded in this process (chDB): opening it, telling who has it open, and handing it rows.

The engine takes one directory a process and one process a directory; any number of handles in that process are fine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver import exceptions as driver
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from transforms.clickhouse_errors import ClickHouseError, EmbeddedBusy


def open_embedded(path: str, database: str, max_server_memory_bytes: int | None) -> Client:
    """A handle on the database in a directory, which is made if it is not there.

    Raises EmbeddedBusy when another process has it open, ClickHouseError when it cannot be opened at all. The memory
    limit is the whole engine's: the first handle of the process sets it.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise ClickHouseError(f"the embedded database {path} cannot be made: {error.strerror}") from None
    _refuse_if_busy(path)
    options = {} if max_server_memory_bytes is None else {"max_server_memory_usage": max_server_memory_bytes}
    try:
        return clickhouse_connect.get_client(interface="chdb", path=path, database=database, chdb_options=options)
    except driver.ProgrammingError as error:
        # The engine does not start. It tells why another process is the reason on standard error only.
        _refuse_if_busy(path)
        raise ClickHouseError(f"the embedded database {path} cannot be opened: {error}") from None
    except ImportError:
        raise ClickHouseError(
            "the embedded engine is not installed: pip install 'observability-beam-pipeline[embedded]', "
            "or give the --clickhouse_url of a server"
        ) from None


def insert_embedded(client: Client, table: str, rows: pa.RecordBatch | pa.Table, settings: Mapping[str, Any]) -> None:
    """Inserts rows through a file in memory: of all ways into the engine the fastest, and no trace is left on a disk."""
    columns = ", ".join(quote_identifier(name) for name in rows.schema.names)
    options = ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items())
    with _as_file(rows) as path:
        client.command(
            f"INSERT INTO {quote_identifier(table)} ({columns}) FROM INFILE '{path}' SETTINGS {options} FORMAT Arrow"
        )


def _refuse_if_busy(path: str) -> None:
    """Raises EmbeddedBusy when another process has the database open, which it shows by a lock on a file."""
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


@contextlib.contextmanager
def _as_file(rows: pa.RecordBatch | pa.Table) -> Iterator[str]:
    """A path at which the engine finds rows in Arrow's file format, gone with the process at the latest."""
    with contextlib.ExitStack() as stack:
        if hasattr(os, "memfd_create"):
            file = stack.enter_context(open(os.memfd_create("rows"), "wb", buffering=0))
        else:
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        path = f"/dev/fd/{file.fileno()}"
        with pa.PythonFile(file, "w") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write(rows)
            writer.close()
            os.lseek(file.fileno(), 0, os.SEEK_SET)  # where opening the path shares the descriptor's position
            yield path


def _literal(value: Any) -> str:
    if isinstance(value, (bool, int, float)):
        return str(int(value) if isinstance(value, bool) else value)
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
