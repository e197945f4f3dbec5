"""Workers in processes of their own: stopped and continued, held while they live, with a wrong clock, or in a loop."""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import sys
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import psutil

from beam_pipeline import ClickHouseConfig, IngestConfig, IngestionWorker
from beam_pipeline.cli import main as cli
from tests.faults.points import Point, always, into_events
from tests.faults.runs import SMALL, Run
from tests.support import processes
from tests.support.dataset import Dataset
from transforms.clickhouse import ClickHouse
from transforms.storage.local import LocalStorage

LEASE_S = 3
"""How long a run that gives no sign of life keeps its loads, in seconds."""

MOMENTS = {
    "before an insert": Point(ClickHouse, "insert", "before", nth=4, condition=into_events),
    "after an insert": Point(ClickHouse, "insert", "after", nth=4, condition=into_events),
    "before a move": Point(LocalStorage, "move", "before", nth=2),
    "after a move": Point(LocalStorage, "move", "after", nth=2),
}


def moment(name: str) -> Point:
    """A named moment, or `before statement 17`."""
    if name in MOMENTS:
        return MOMENTS[name]
    when, _, number = name.split(" ")
    return Point(ClickHouse, "_attempt", when, int(number), always)


def ingest(arguments_given: list[str]) -> int:
    """[--stop=MOMENT] [--hold=MOMENT,FILE] [--clock=SECONDS] -- <arguments of beam_pipeline>"""
    split = arguments_given.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--stop")
    parser.add_argument("--hold")
    parser.add_argument("--clock", type=float, default=0.0)
    arguments = parser.parse_args(arguments_given[:split])
    if arguments.clock:
        _put_clock(arguments.clock)
    if arguments.stop:
        moment(arguments.stop).arm(lambda: os.kill(os.getpid(), signal.SIGSTOP))
    if arguments.hold:
        name, file = arguments.hold.split(",")
        moment(name).arm(functools.partial(_hold, Path(file)))
    return cli(arguments_given[split + 1 :])


def _put_clock(seconds: float) -> None:
    """Makes the clock of our modules differ from that of all others, but not how long things take.

    Not `time.time` itself, which Beam pickles by that name.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("beam_pipeline", "transforms"):
            for attribute, other in (("time", _Time(seconds)), ("datetime", _datetime(seconds))):
                if getattr(module, attribute, None) in (time, datetime):
                    setattr(module, attribute, other)


class _Time:
    """The module `time`, with another time of day."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + self._seconds

    def time_ns(self) -> int:
        return time.time_ns() + int(self._seconds * 1e9)


def _datetime(seconds: float) -> type[datetime]:
    """The class `datetime`, with another time of day."""

    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Datetime(datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=seconds)

    return Datetime


def _hold(file: Path) -> None:
    """Says that the moment has come, and goes on when the file is taken away. The other threads of the process go on."""
    file.touch()
    while file.exists():
        time.sleep(0.01)


def loop(arguments: list[str]) -> int:
    """Looks for files and loads them until a file is there that says that it is enough: INPUT URL FILE."""
    root, url, enough = arguments
    clickhouse = ClickHouseConfig(url, retry_delay_s=0.1)
    worker = IngestionWorker(IngestConfig(root, clickhouse, load_bytes=20_000, block_bytes=6_000, lease_s=LEASE_S))
    worker.init()
    while not Path(enough).exists():
        result = worker.process_once()
        if result.files_processed or result.errors:
            errors = [f"{error.name}: {error.reason}" for error in result.errors]
            print(
                json.dumps({"files": result.files_processed, "adopted": result.adopted, "errors": errors}), flush=True
            )
    worker.close()
    return 0


def start(
    url: str, dataset: Dataset, *options: str, stop: str = "", hold: tuple[str, Path] | None = None, clock: float = 0.0
) -> Run:
    """Starts an ingest with a short lease: stopped as by SIGSTOP at a moment, or held there while its file is there."""
    arguments = [f"--stop={stop}"] if stop else []
    arguments += [f"--hold={hold[0]},{hold[1]}"] if hold else []
    arguments += [f"--clock={clock}", "--", "ingest", f"--input={dataset.root}", f"--clickhouse_url={url}"]
    arguments += [*SMALL, f"--lease={LEASE_S}s"]
    return _start(ingest, [*arguments, *options], Path(dataset.root).parent)


def start_loop(url: str, dataset: Dataset, enough: Path, *, input: str = "") -> Run:
    """Starts a worker that looks again and again; `input` is a bucket that the dataset was uploaded to, if it was."""
    return _start(loop, [input or dataset.root, url, str(enough)], Path(dataset.root).parent)


def _start(main: object, arguments: list[str], directory: Path) -> Run:
    output = directory / f"output-{len(list(directory.glob('output-*')))}.txt"
    output.touch()  # its number is taken
    return Run(processes.start(main, arguments, output), output)  # type: ignore[arg-type]


def is_stopped(run: Run) -> bool:
    """Whether a process waits for SIGCONT; not if it has ended."""
    try:
        return psutil.Process(run.process.pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False
