"""The engine embedded in this process (chDB): opening it, telling who has it open, and handing it rows.

The engine takes one directory a process and one process a directory; any number of handles in that process are fine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import clickhouse_connect
from clickhouse_connect.driver import exceptions as driver
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from transforms.clickhouse.errors import UNKNOWN_DATABASE, ClickHouseError, EmbeddedBusy, SchemaError, Unavailable

if TYPE_CHECKING:
    import pyarrow as pa

_ENGINE_WORDS = re.compile(
    r"^.*?e\.what\(\) = |^(Failed to create connection: )?(Code: \d+\. DB::Exception: )+", re.DOTALL
)
"""What the engine says before the reason itself."""


def open_embedded(path: str, database: str, max_server_memory_bytes: int | None, *, create: bool) -> Client:
    """A handle on the database in a directory, which is made if it is not there and `create` says so.

    Raises SchemaError when it is not there, EmbeddedBusy when another process has it open, ClickHouseError when it cannot
    be opened at all. The memory limit is the whole engine's: the first handle of the process sets it.
    """
    try:
        if create:
            os.makedirs(path, exist_ok=True)
        elif not _is_database(path):
            raise FileNotFoundError
        _refuse_if_busy(path)
    except FileNotFoundError:
        raise SchemaError(f"the embedded database {path} does not exist", UNKNOWN_DATABASE) from None
    except (FileExistsError, NotADirectoryError):
        raise ClickHouseError(
            f"the embedded database {path} cannot be opened: it must be a directory, and a file is in the way"
        ) from None
    except OSError as error:
        raise ClickHouseError(f"the embedded database {path} cannot be opened: {error.strerror}") from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ClickHouseError(
            f"the embedded database {path} cannot be opened: it is not writable, which the engine needs also to read"
        )
    options = {} if max_server_memory_bytes is None else {"max_server_memory_usage": max_server_memory_bytes}
    try:
        return clickhouse_connect.get_client(interface="chdb", path=path, database=database, chdb_options=options)
    except (driver.ProgrammingError, RuntimeError, OSError) as error:
        # The engine does not start, or, where it is a RuntimeError or an OSError, cannot even be loaded. That another
        # process is the reason is told on standard error only.
        _refuse_if_busy(path)
        raise ClickHouseError(f"the embedded database {path} cannot be opened: {_reason(error)}") from None
    except ImportError:
        raise ClickHouseError(
            "the embedded engine is not installed: pip install 'observability-beam-pipeline[embedded]', "
            "or give the --clickhouse_url of a server"
        ) from None


def insert_embedded(client: Client, table: str, columns: Sequence[str], path: str, settings: Mapping[str, Any]) -> None:
    """Inserts the rows at a path, as `RowFiles` puts them there."""
    names = ", ".join(quote_identifier(name) for name in columns)
    options = ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items())
    client.command(
        f"INSERT INTO {quote_identifier(table)} ({names}) FROM INFILE '{path}' SETTINGS {options} FORMAT Arrow"
    )


class RowFiles:
    """Files at which the engine finds rows in Arrow's file format: of all ways into the engine the fastest.

    They are in memory, or temporary and without a name where there are none such: nothing is ever left behind.
    """

    def __init__(self) -> None:
        self._free: list[BinaryIO] | None = None
        """Files that are kept and that no insert uses."""

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps the files of inserts and writes them again for later ones, which saves the kernel a tenth of its time."""
        free: list[BinaryIO] = []
        before, self._free = self._free, free  # a run that looks once more does so within its first look
        try:
            yield
        finally:
            self._free = before
            for file in free:
                file.close()

    @contextlib.contextmanager
    def holding(self, rows: pa.RecordBatch | pa.Table) -> Iterator[str]:
        """The path of a file that holds rows. Raises Unavailable when there is no room for it."""
        free = self._free
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(_free_or_new(free))
                _write(rows, file)
            except OSError as error:
                raise Unavailable(
                    f"rows cannot be handed to the embedded engine: {os.strerror(error.errno or 0)}"
                ) from None
            yield f"/dev/fd/{file.fileno()}"
            if free is not None and free is self._free:
                free.append(file)
                stack.pop_all()


def _free_or_new(free: list[BinaryIO] | None) -> BinaryIO:
    with contextlib.suppress(IndexError):  # of several threads one gets the last
        if free:
            return free.pop()
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("rows"), "wb", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _write(rows: pa.RecordBatch | pa.Table, file: BinaryIO) -> None:
    """Writes rows in place of what was in the file."""
    import pyarrow as pa

    file.seek(0)
    sink = pa.PythonFile(file, "w")
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write(rows)
    file.truncate()  # a reader looks for the end of the rows at the end of the file
    file.seek(0)  # where opening the path shares the descriptor's position


def _is_database(path: str) -> bool:
    """Whether the engine has been here. Raises OSError."""
    names = set(os.listdir(path))
    # It makes the first when it is told to create something, the others when it is opened.
    return "metadata" in names or (bool(names) and names <= {"tmp", "status"})


def _reason(error: Exception) -> str:
    """Why the engine does not start, in one line: it adds its stack, and often nests one exception in another."""
    told = _ENGINE_WORDS.sub("", str(error.__cause__ or error).split(", Stack trace")[0]).strip()
    reason = told.splitlines()[0] if told else type(error).__name__
    temporary = os.environ.get("TMPDIR") or "/tmp"
    if not os.access(temporary, os.W_OK):
        return (
            f"{reason}; the engine needs a directory for temporary files, and {temporary} is not writable: set TMPDIR"
        )
    return reason


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


def _literal(value: Any) -> str:
    if isinstance(value, (bool, int, float)):
        return str(int(value) if isinstance(value, bool) else value)
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
