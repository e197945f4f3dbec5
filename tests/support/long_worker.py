"""A worker in a process of its own under continuous arrival, and what it and its server hold: for a benchmark and a test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.dataset import DAY, Dataset, event
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.events import TABLES
from transforms.loads.inputs import INPUTS_TABLE
from transforms.loads.journal import JOURNAL_TABLE
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE
from transforms.loads.runs import RUNS_TABLE

LOG_TABLES = (JOURNAL_TABLE, LOADS_TABLE, FILES_TABLE, RUNS_TABLE, INPUTS_TABLE)
PROJECTS = 2
FILES = len(TABLES) * PROJECTS
"""That come at a time."""
IDLE_EVERY = 4
"""Of so many intervals nothing comes in one."""
_NOBODY = "env:A_VARIABLE_THAT_IS_NOT_SET"
_ROOT = Path(__file__).parents[2]


@dataclass
class Arrivals:
    """Writes a file of each type and project at each interval but every fourth, from `start` to `stop`, in a thread."""

    dataset: Dataset
    interval_s: float
    lines: int = 50
    times: int = 0
    """How often files have come."""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._write, name="arrivals", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _write(self) -> None:
        first = time.monotonic()
        interval = 0
        while not self._stopping.wait(max(first + interval * self.interval_s - time.monotonic(), 0)):
            interval += 1
            if interval % IDLE_EVERY:
                self.add()

    def add(self) -> None:
        """Files of all types and projects, with one line in each that must be rejected."""
        number, self.times = self.times, self.times + 1
        at = f"{DAY}T{number // 360 % 24:02}:{number // 6 % 60:02}:00.000Z"
        name = f"20261120T{number // 3600 % 24:02}{number // 60 % 60:02}{number % 60:02}Z_{number:06x}.jsonl"
        for kind in TABLES:
            for project in range(PROJECTS):
                ids = [f"{kind}-{project}-{number}-{line}" for line in range(self.lines)]
                lines: list[tuple[str, str | None]] = [(event(kind, one, at=at), one) for one in ids]
                self.dataset.add_file(kind, f"p{project}", name, [*lines, ('{"broken', None)])


@dataclass(frozen=True)
class Held:
    """What the worker's process and the tables hold at one moment."""

    seconds: float
    """Since the worker was started."""
    looks: int
    files: int
    """That were loaded."""
    rss_mb: int
    open_files: int
    threads: int
    temporary_files: int
    rows: dict[str, int]
    """Of the tables of the load log, as they are stored."""
    final_rows: dict[str, int]
    """The same once all versions are merged."""
    parts: dict[str, int]
    """Active parts of all tables, by name."""
    inactive_parts: int
    """Parts that were merged into others and wait for being deleted."""
    server_rss_mb: int

    @property
    def most_parts(self) -> int:
        """Of the table that has the most."""
        return max(self.parts.values(), default=0)


class LongWorker:
    """A `--continuous` worker on `root`, with `TMPDIR` for itself and metrics served, while it is entered."""

    def __init__(
        self, endpoint: ClickHouseEndpoint, scratch: Path, *, poll_interval: str, options: Sequence[str] = ()
    ) -> None:
        self.root = scratch / "observability"
        self._endpoint = endpoint
        self._temporary = scratch / "temporary"
        self._said = scratch / "said.txt"
        self._options = [f"--clickhouse_url={endpoint.url}", f"--clickhouse_password_from={_NOBODY}"]
        self._of_looks = [f"--poll_interval={poll_interval}", *options]

    def __enter__(self) -> LongWorker:
        self.root.mkdir(parents=True)
        self._temporary.mkdir()
        program = [sys.executable, "-m", "beam_pipeline"]
        subprocess.run([*program, "migrate", *self._options], check=True, capture_output=True, cwd=_ROOT)
        command = [*program, "--continuous", f"--input={self.root}", *self._of_looks]
        with self._said.open("wb") as said:
            self.process = psutil.Popen(
                [*command, "--metrics_port=0", *self._options],
                cwd=_ROOT,
                stdout=said,
                stderr=said,
                env=os.environ | {"TMPDIR": str(self._temporary)},
            )
        self._started = time.monotonic()
        self._url = ""
        self.client: ClickHouse = ClickHouseConfig(self._endpoint.url, password=_NOBODY).connect()
        self.wait_for(self._serves)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def said(self) -> str:
        """What it has printed."""
        return self._said.read_text(encoding="utf-8")

    def stop(self) -> int:
        """Ends it as systemd does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return int(self.process.wait(120))

    def wait_for(self, happened: Callable[[], bool], *, timeout_s: float = 300) -> None:
        """Waits until something is so while it runs."""
        end = time.monotonic() + timeout_s
        while not happened():
            assert self.process.poll() is None, f"the worker has ended:\n{self.said}"
            assert time.monotonic() < end, f"it did not come to that in {timeout_s} s:\n{self.said}"
            time.sleep(0.05)

    def _serves(self) -> bool:
        found = re.search(r"^metrics: (\S+)$", self.said, re.MULTILINE)
        self._url = found[1] if found else ""
        return bool(found)

    def counter(self, name: str) -> int:
        """A counter of those that it serves, of all labels."""
        with urllib.request.urlopen(self._url, timeout=120) as answer:
            text = answer.read().decode()
        families = text_string_to_metric_families(text)
        return int(sum(one.value for found in families for one in found.samples if one.name == f"beam_pipeline_{name}"))

    def held(self) -> Held:
        """What it and its server hold now. Waits for the end of a run that is under way, so that moments can be compared."""
        self.wait_for(lambda: not self.counter("processing"))
        tables = self.client.query(
            "SELECT table, countIf(active) AS parts, countIf(NOT active) AS merged FROM system.parts "
            "WHERE database = currentDatabase() GROUP BY table"
        )
        with self.process.oneshot():
            return Held(
                seconds=time.monotonic() - self._started,
                looks=self.counter("runs_total"),
                files=self.counter("files_loaded_total"),
                rss_mb=self.process.memory_info().rss >> 20,
                open_files=self.process.num_fds(),
                threads=self.process.num_threads(),
                temporary_files=sum(1 for path in self._temporary.rglob("*") if path.is_file()),
                rows={name: self._rows(name) for name in LOG_TABLES},
                final_rows={name: self._rows(name, " FINAL" * (name != JOURNAL_TABLE)) for name in LOG_TABLES},
                parts={row["table"]: row["parts"] for row in tables},
                inactive_parts=sum(row["merged"] for row in tables),
                server_rss_mb=psutil.Process(self._endpoint.pid).memory_info().rss >> 20,
            )

    def _rows(self, table: str, final: str = "") -> int:
        return int(self.client.query(f"SELECT count() AS n FROM {table}{final}")[0]["n"])
