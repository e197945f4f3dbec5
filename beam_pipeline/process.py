"""The process around a command: what signals do to it, and standard streams that can always be written to.

Imports next to nothing, so that it is in force while everything else is imported.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Container
from importlib.abc import MetaPathFinder
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_DESCRIPTORS = (0, 1, 2)
_STDOUT, _STDERR = 1, 2
_OBJECTS_BETWEEN_COLLECTIONS = 50_000
_NOT_NEEDED = ("boto3", "pandas", "pymongo")
"""For features of Beam that nothing here uses."""
_NOT_NEEDED_LOCALLY = (
    "apache_beam.io.aws.s3filesystem",
    "apache_beam.io.gcp.bigquery",
    "apache_beam.io.gcp.gcsfilesystem",
    "apache_beam.io.gcp.gcsio",
    "apitools",
    "google.cloud.dataflow",
)
"""What Beam's local runner does without, as where Beam is installed without its extras."""


def end_on_signals() -> None:
    """Makes SIGINT and SIGTERM end the process at once and without a traceback.

    Nothing needs an orderly end: what was begun is in the load log. A signal that our parent ignores stays ignored.
    """
    for signum in SIGNALS:
        if signal.getsignal(signum) != signal.SIG_IGN:
            # The kernel does it itself, also in the middle of an import or of a long query, except to process 1 of a
            # container, which it spares.
            signal.signal(signum, _end if os.getpid() == 1 else signal.SIG_DFL)


class _LeftOut(MetaPathFinder):
    """Modules that are found by accident count as not installed."""

    def __init__(self, names: Container[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in self._names:
            raise ModuleNotFoundError(f"{name} is left out of this process", name=name)


def leave_out_what_is_not_needed(*, runs_here: bool) -> None:
    """Makes Beam do without modules that it takes when they are there, and that double the time of its import.

    `runs_here`: the pipeline runs in this process, on Beam's local runner.
    """
    sys.meta_path.insert(0, _LeftOut((*_NOT_NEEDED, *(_NOT_NEEDED_LOCALLY if runs_here else ()))))


def keep_libraries_small() -> None:
    """Makes libraries that are not loaded yet do without what nothing here uses.

    Arrow shares the process's memory: its own default keeps some 40 MB for itself. numpy's OpenBLAS starts no thread for each
    core to wait for matrices.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def keep_engine_memory_low() -> None:
    """Makes an embedded engine that is not loaded yet give back soon what it has freed, a tenth of the memory of a run.

    Its allocator otherwise has an arena for each core and keeps freed pages for five seconds. Queries, which may use many
    cores at once, are better off with that.
    """
    os.environ.setdefault("JE_MALLOC_CONF", "percpu_arena:disabled,narenas:1,dirty_decay_ms:300")


def collect_garbage_seldom() -> None:
    """Spares the collections that Python makes while it imports some thousand modules, a tenth of that time."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


def prepare_streams() -> None:
    """Replaces standard output and standard error by streams that fail in a way that can be told.

    A stream that is closed leads nowhere: otherwise the next file that is opened, such as one of the database, would get
    its number and with it all that is printed.
    """
    for descriptor in _DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            # It gets the lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = _text(_Output(_STDOUT, "wb", closefd=False), sys.stdout)
    sys.stderr = _text(_Messages(_STDERR, "wb", closefd=False), sys.stderr)


def flush_output(code: int) -> int:
    """Writes what is left of standard output. Returns the exit code, which says so when it cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        # Keeps the interpreter from trying it once more, and complaining, at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
        return code or 1
    return code


class _Output(io.FileIO):
    """Standard output. Its errors say that they are about it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = "standard output"
            raise


class _Messages(io.FileIO):
    """Standard error. What it does not take is dropped: a load must not fail because nobody hears of it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _text(raw: io.FileIO, before: Any) -> io.TextIOWrapper:
    """A text stream that is buffered as the interpreter's own, and never fails on a name that is not text."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=getattr(before, "line_buffering", False) or getattr(before, "write_through", False),
    )


def _end(signum: int, _: FrameType | None) -> None:
    os._exit(128 + signum)
