"""Runs `python -m beam_pipeline` as a user does: a process of its own, its output looked at.

`CommandLine.run` forks that process from one that has imported everything, which is what `python -m` spends most of its
time on; `start`, and `run` with a wrapper or with `interpreter=True`, run the real `python -m beam_pipeline`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from beam_pipeline.cli import main
from tests.support import processes

ROOT = Path(__file__).parents[2]
SECRET = "hush-4f1d7c"
"""The password that every command is run with; no output may hold it."""

_NOISE = ("Traceback", "WARNING:", "ERROR:", "INFO:", "apache_beam", "absl::", "gRPC", "DeprecationWarning")


def _refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON value and nothing else. Infinity and NaN are not JSON."""
        return json.loads(self.out, parse_constant=_refuse)


@dataclass
class CommandLine:
    """Runs commands against one database. `connection` are the options that say where it is."""

    connection: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        *arguments: str,
        wrapper: Sequence[str] = (),
        timeout: float = 120,
        noise: bool = False,
        interpreter: bool = False,
        **env: str,
    ) -> Finished:
        """Runs a command to its end. Its output must be for people: no traceback, no library's log, no secret."""
        if not wrapper and not interpreter:
            return self._run_forked(self.command(*arguments)[3:], env, timeout, noise)
        process = subprocess.run(
            [*wrapper, *self.command(*arguments)],
            capture_output=True,
            env=self._env(env),
            cwd=ROOT,
            timeout=timeout,
            check=False,
        )
        return self._finished(process.returncode, process.stdout, process.stderr, noise)

    def on_terminal(self, *arguments: str, width: int = 80, timeout: float = 120) -> str:
        """Runs a command whose standard output is a terminal, and returns what the terminal got."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, width, 0, 0))
        env = {
            name: value for name, value in self._env({"TERM": "xterm"}).items() if name not in ("COLUMNS", "NO_COLOR")
        }
        process = subprocess.Popen(
            self.command(*arguments), stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=env, cwd=ROOT
        )
        os.close(theirs)
        received = b""
        # Once nobody has the terminal open any more, reading from it fails.
        with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as terminal:
            while part := terminal.read(1 << 16):
                received += part
        _, err = process.communicate(timeout=timeout)
        return self._finished(process.returncode, received.replace(b"\r\n", b"\n"), err, noise=False).out

    def _run_forked(self, arguments: list[str], env: Mapping[str, str], timeout: float, noise: bool) -> Finished:
        with tempfile.TemporaryDirectory() as directory:
            out, err = Path(directory, "out"), Path(directory, "err")
            process = processes.start(main, arguments, out, err, directory=ROOT, environment=self._env(env))
            process.join(timeout)
            if process.exitcode is None:
                process.kill()
                process.join()
                raise subprocess.TimeoutExpired(arguments, timeout)
            return self._finished(process.exitcode, out.read_bytes(), err.read_bytes(), noise)

    def start(self, *arguments: str, **env: str) -> Running:
        """Starts a command."""
        process = subprocess.Popen(
            self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self._env(env), cwd=ROOT
        )
        return Running(process, self)

    def command(self, *arguments: str) -> list[str]:
        """The words of the command line. Where the database is comes with every command that may connect."""
        connection = self.connection if arguments[:1] != ("generate",) else ()
        return [sys.executable, "-m", "beam_pipeline", *arguments, *connection]

    def _env(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLICKHOUSE_", "INGEST_"))}
        return kept | {"CLICKHOUSE_PASSWORD": SECRET} | dict(self.environment) | dict(more)

    def _finished(self, code: int, out: bytes, err: bytes, noise: bool) -> Finished:
        finished = Finished(code, out.decode(), err.decode())
        for text in (finished.out, finished.err):
            assert SECRET not in text
            assert noise or not [word for word in _NOISE if word in text], text
        return finished


@dataclass
class Running:
    """A command that runs."""

    process: subprocess.Popen[bytes]
    line: CommandLine

    def wait_for(self, happened: Callable[[], bool], timeout: float = 60) -> None:
        """Waits until something is so while the command runs."""
        end = time.monotonic() + timeout
        while not happened():
            assert self.process.poll() is None, f"ended before that: {self.finish()}"
            assert time.monotonic() < end, "it did not come to that"
            time.sleep(0.01)

    def finish(self, timeout: float = 120) -> Finished:
        """Waits for its end."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.line._finished(self.process.returncode, out, err, noise=False)


def pending(directory: Path) -> list[Path]:
    """The event files below a directory that are not loaded."""
    return sorted(directory.glob("*/*/*.jsonl"))


def processed(directory: Path) -> list[Path]:
    """The event files below a directory that are loaded."""
    return sorted(directory.glob("*/*/processed/*.jsonl"))


def with_own_mounts(script: str) -> list[str] | None:
    """Words before a command that run `script` first, with mounts that only the command sees; None if not allowed."""
    if shutil.which("unshare"):
        for unshare in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
            if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0:
                return [*unshare, "sh", "-ec", f'{script}\nexec "$@"', "sh"]
    return None
