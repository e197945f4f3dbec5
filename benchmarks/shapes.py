"""Speed by the shape of the input, against the engine's own limit and against another version of this program.

    python -m benchmarks.shapes [--against=CHECKOUT] [--rounds=3] [--events=400000] [--directory=DIR]

* small: 250 files of 20 lines, of 5 types and 50 projects, which a worker that is up finds all at once; over HTTP
* medium: 400,000 events in 200 files of 10 projects, `python -m beam_pipeline` from the start of the process to its end, into
  an embedded database; against the engine's own INSERT … SELECT … FROM file(…) of the same files, at its best with several
  statements at once into the plan's tables and into ours, and one statement at a time into ours

`--against` is a checkout of another version with its own .venv. Rounds are interleaved and the median counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.engine_limit import AT_ONCE, OURS, PLAN, best_limit
from benchmarks.processes import ROOT, generate, linked_copy, scratch_directory

ENGINE = {
    "medium, the engine, the plan's tables": (PLAN, AT_ONCE),
    "medium, the engine, our tables": (OURS, AT_ONCE),
    "medium, one statement, our tables": (OURS, (1,)),
}
"""Layouts, and how many statements at once are tried."""

_SMALL = """
import json, sys, time
from pathlib import Path
from beam_pipeline import ClickHouseConfig, IngestConfig, IngestionWorker
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.dataset import event

scratch = Path(sys.argv[1])
root = scratch / "input"

def write(round):
    for event_type in ("trace", "span", "log", "metric", "score"):
        for project in range(50):
            directory = root / event_type / f"p{project}"
            directory.mkdir(parents=True, exist_ok=True)
            lines = (event(event_type, f"{round}-{project}-{line}") + "\\n" for line in range(20))
            (directory / f"20261120T12{round:02}00Z_{project:04x}.jsonl").write_text("".join(lines))

found = []
with ClickHouseEndpoint(scratch / "clickhouse") as endpoint:
    write(0)
    worker = IngestionWorker(IngestConfig(str(root), ClickHouseConfig(endpoint.url, password="env:NOT_SET")))
    worker.init()
    for round in range(3):
        write(round)
        before, started = len(endpoint.requests()), time.perf_counter()
        result = worker.process_once()
        seconds = time.perf_counter() - started
        assert (result.files_processed, result.errors) == (250, []), result
        found.append((seconds, len(endpoint.requests()) - before, result.loads))
    worker.close()
print(json.dumps(found))
"""


def run(checkout: Path, *arguments: str | Path) -> str:
    """Runs Python with another checkout's packages; returns what it prints."""
    done = subprocess.run(
        [checkout / ".venv/bin/python", *arguments],
        cwd=checkout,
        env={"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def small(checkout: Path) -> float:
    """Seconds of a look that finds 250 small files, once the worker has done so before."""
    rounds = json.loads(run(checkout, "-c", _SMALL, scratch_directory()).splitlines()[-1])
    seconds, statements, loads = rounds[-1]
    print(f"  {checkout}: {seconds:.2f} s, {statements} statements, {loads} loads", file=sys.stderr)
    return float(seconds)


def medium(checkout: Path, events: Path) -> float:
    """Seconds of a process that loads all of the events."""
    scratch = scratch_directory(events.parent)
    place = f"--input={linked_copy(events, scratch / 'input')}", f"--clickhouse_url=chdb://{scratch}/clickhouse"
    started = time.perf_counter()
    run(checkout, "-m", "beam_pipeline", *place)
    return time.perf_counter() - started


def engine(events: Path, layout: str, at_once: Sequence[int]) -> float:
    """Seconds of the engine alone."""
    return best_limit(events, layout, at_once).seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir(), "beam_pipeline_shapes"))
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    events = arguments.directory / f"events-{arguments.events}"
    generate(events, arguments.events, projects=10)

    subjects: dict[str, Callable[[], float]] = {
        "small, this version": lambda: small(ROOT),
        "medium, this version": lambda: medium(ROOT, events),
        **{name: partial(engine, events, layout, at_once) for name, (layout, at_once) in ENGINE.items()},
    }
    if arguments.against:
        other = arguments.against.resolve()
        subjects |= {
            "small, other version": lambda: small(other),
            "medium, other version": lambda: medium(other, events),
        }
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(arguments.rounds):
        for name, subject in subjects.items():
            seconds[name].append(subject())
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:40}{value:8.2f} s   ({', '.join(f'{one:.2f}' for one in seconds[name])})")
    for name in ENGINE:
        print(
            f"medium, of the speed of {name.removeprefix('medium, ')}: {median[name] / median['medium, this version']:.2f}"
        )
    if arguments.against:
        for shape in ("small", "medium"):
            ratio = median[f"{shape}, this version"] / median[f"{shape}, other version"]
            print(f"{shape}, of the other version's time: {ratio:.2f}")


if __name__ == "__main__":
    main()
