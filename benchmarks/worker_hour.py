"""A worker for an hour under arrival, over HTTP: memory, open files, rows of the load log and parts must stay flat.

    python -m benchmarks.worker_hour [--minutes=60] [--poll_interval=10] [--lines=50] [--samples=6]
    python -m benchmarks.worker_hour --idle_cycles=10000

Files come at each interval but every fourth: one of each type and project. `--minutes=6 --poll_interval=1` is an hour of
looks in a tenth of the time. Ends with exit code 1 when an event is not there exactly once. With `--idle_cycles` a worker in
this process looks so often at an input from which everything is loaded, without a pause.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from beam_pipeline import IngestConfig, IngestionWorker
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.dataset import Dataset, wrongs
from tests.support.long_worker import LOG_TABLES, Arrivals, Held, LongWorker
from transforms.clickhouse import ClickHouseConfig


def _print_row(cells: Sequence[object]) -> None:
    print("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |", flush=True)


def _short(table: str) -> str:
    return table.removeprefix("mastra_admin_").removeprefix("ingest_")


def print_head() -> None:
    """The titles of what `print_held` prints, as a table of Markdown."""
    logs = [f"{_short(name)}: rows (FINAL), parts" for name in LOG_TABLES]
    titles = ["minute", "looks", "files", "memory MB", "open files", "threads", "temporary files", *logs]
    titles += ["most parts of an event table", "parts in all", "merged away", "server MB"]
    _print_row(titles)
    _print_row(["---"] * len(titles))


def print_held(held: Held) -> None:
    logs = [
        f"{held.rows[name]:,} ({held.final_rows[name]:,}), {held.parts.get(name, 0)}"  # the table may be empty
        for name in LOG_TABLES
    ]
    events = [parts for name, parts in held.parts.items() if name not in LOG_TABLES]
    own = [held.looks, held.files, held.rss_mb, held.open_files, held.threads, held.temporary_files]
    _print_row(
        [
            *(f"{held.seconds / 60:.1f}", *own, *logs),
            *(max(events, default=0), sum(held.parts.values()), held.inactive_parts, held.server_rss_mb),
        ]
    )


def print_parts(samples: Sequence[Held]) -> None:
    """Active parts of each table at each sample."""
    titles = ["active parts", *(f"{held.seconds / 60:.0f} min" for held in samples)]
    _print_row(titles)
    _print_row(["---"] * len(titles))
    for table in sorted({table for held in samples for table in held.parts}):
        _print_row([table, *(held.parts.get(table, 0) for held in samples)])


def under_arrival(scratch: Path, *, minutes: float, poll_interval: float, lines: int, samples: int) -> int:
    with (
        ClickHouseEndpoint(scratch / "clickhouse") as endpoint,
        LongWorker(endpoint, scratch, poll_interval=f"{poll_interval:g}s") as worker,
    ):
        arrivals = Arrivals(Dataset(str(worker.root)), poll_interval, lines)
        arrivals.start()
        worker.wait_for(lambda: worker.counter("files_loaded_total") > 0)
        print_head()
        all_held = [worker.held()]
        print_held(all_held[0])
        started = time.monotonic()
        for sample in range(1, samples + 1):
            time.sleep(max(started + minutes * 60 * sample / samples - time.monotonic(), 0))
            all_held.append(worker.held())
            print_held(all_held[-1])
        print_parts(all_held)
        arrivals.stop()
        files = len(arrivals.dataset.files)
        worker.wait_for(lambda: worker.counter("files_loaded_total") == files)
        code = worker.stop()
        print(f"{files:,} files, {files * lines:,} events; the worker ended with exit code {code}")
        print(worker.said.splitlines()[-1])
        found = wrongs(worker.client, arrivals.dataset)
        print("\n".join(found) or "every event once")
        return int(bool(found or code))


def idle(scratch: Path, *, cycles: int, samples: int) -> int:
    with ClickHouseEndpoint(scratch / "clickhouse") as endpoint:
        dataset = Dataset(str(scratch / "observability"))
        config = IngestConfig(dataset.root, ClickHouseConfig(endpoint.url, password="env:NOT_SET"))
        Arrivals(dataset, 1).add()
        worker = IngestionWorker(config)
        worker.init()
        worker.process_once()
        process = psutil.Process()
        titles = ["looks", "memory MB", "open files", "threads", "objects", "statements a look", "ms CPU a look"]
        _print_row(titles)
        _print_row(["---"] * len(titles))
        done = 0
        for sample in range(samples + 1):
            looks = 20 if sample == 0 else cycles * sample // samples - cycles * (sample - 1) // samples
            statements, cpu = worker.client.statements, time.process_time()
            for _ in range(looks):
                result = worker.process_once()
                assert not result.files_processed and not result.errors, result
            spent = time.process_time() - cpu
            done += looks
            gc.collect()
            of_process = process.memory_info().rss >> 20, process.num_fds(), threading.active_count()
            each = (worker.client.statements - statements) / looks
            _print_row([done, *of_process, len(gc.get_objects()), f"{each:g}", f"{spent / looks * 1000:.1f}"])
        worker.close()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--poll_interval", type=float, default=10, help="seconds, also from one arrival to the next")
    parser.add_argument("--lines", type=int, default=50, help="events of a file")
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--idle_cycles", type=int, default=0)
    arguments = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"{time.strftime('%F %T')}, {commit.stdout.strip()}, {' '.join(sys.argv[1:])}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.idle_cycles:
            return idle(Path(scratch), cycles=arguments.idle_cycles, samples=arguments.samples)
        return under_arrival(
            Path(scratch),
            minutes=arguments.minutes,
            poll_interval=arguments.poll_interval,
            lines=arguments.lines,
            samples=arguments.samples,
        )


if __name__ == "__main__":
    sys.exit(main())
