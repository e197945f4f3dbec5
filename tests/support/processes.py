"""Processes of their own that need not import everything first: that alone takes each of them two seconds of a processor.

They are forked from a server that has imported Beam and the commands, but has opened nothing: no engine, no connection.
"""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

PRELOADED = ["tests.support.preloaded"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


def start(
    main: Callable[[list[str]], int],
    arguments: Sequence[str],
    out: Path,
    err: Path | None = None,
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Starts `main(arguments)`, whose value becomes the exit code, with its output in files; without `err` in one.

    `environment` are all the variables that it sees; without it they are those of this process.
    """
    variables = dict(os.environ if environment is None else environment)
    process = _context.Process(
        target=_child, args=(main, list(arguments), str(out), err and str(err), directory and str(directory), variables)
    )
    process.start()
    return process


def _child(
    main: Callable[[list[str]], int],
    arguments: list[str],
    out: str,
    err: str | None,
    directory: str | None,
    variables: dict[str, str],
) -> None:
    """Makes the process as one that was just started, and runs `main` in it."""
    for descriptor, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666) if path else os.dup(1)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), encoding="utf-8", line_buffering=True
    )
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
    tempfile.tempdir = None
    logging.root.handlers.clear()  # Beam logs at import
    if directory:
        os.chdir(directory)
    sys.exit(main(arguments))
