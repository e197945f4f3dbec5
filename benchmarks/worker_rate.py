"""A worker over HTTP at a steady rate of arrival: processor time, inserts, parts, memory and how long files wait.

    python -m benchmarks.worker_rate [--events_per_second=11600] [--minutes=5] [--poll_interval=10] [-- OPTIONS OF THE WORKER]

The default rate is a billion events a day. Files of up to 2,000 events are made first, and some come each second. Each
insert of a block makes two parts, one in the table and one in its rollup; of those of the load log only the ones count that
ClickHouse has not deleted yet.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.processes import generate
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.long_worker import LOG_TABLES, LongWorker
from transforms.events import TABLES

PER_FILE = 2_000


def spent(process: psutil.Process) -> float:
    """Seconds of processor time."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> int:
    own, _, of_worker = " ".join(sys.argv[1:]).partition("-- ")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events_per_second", type=int, default=11_600)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--poll_interval", type=float, default=10, help="seconds")
    arguments = parser.parse_args(own.split())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"{time.strftime('%F %T')}, {commit.stdout.strip()}, {' '.join(sys.argv[1:])}", flush=True)
    seconds = round(arguments.minutes * 60)
    events = seconds * arguments.events_per_second
    with tempfile.TemporaryDirectory() as temporary, ClickHouseEndpoint(Path(temporary, "clickhouse")) as endpoint:
        scratch = Path(temporary)
        source = scratch / "made"
        size = generate(source, events, events_per_file=PER_FILE, projects=10)
        files = sorted(source.glob("*/*/*.jsonl"), key=lambda path: path.name)
        with LongWorker(
            endpoint, scratch, poll_interval=f"{arguments.poll_interval:g}s", options=of_worker.split()
        ) as worker:
            server = psutil.Process(endpoint.pid)
            worker.wait_for(lambda: worker.counter("runs_total") > 0)
            before = spent(worker.process), spent(server), worker.counter("statements_total")
            started = time.monotonic()
            arrived: list[float] = []
            waited: list[float] = []
            most_parts = most_memory = most_of_server = 0
            while len(waited) < len(files):
                second = min(int(time.monotonic() - started) + 1, seconds)
                for file in files[len(arrived) : len(files) * second // seconds]:
                    target = worker.root / file.relative_to(source)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    file.rename(target)
                    arrived.append(time.monotonic())
                loaded = worker.counter("files_loaded_total")  # the oldest first, that is, in this order
                now = time.monotonic()
                waited += [now - since for since in arrived[len(waited) : loaded]]
                most_memory = max(most_memory, worker.process.memory_info().rss >> 20)
                most_of_server = max(most_of_server, server.memory_info().rss >> 20)
                parts = worker.client.query(
                    "SELECT max(parts) AS n FROM (SELECT countIf(active) AS parts FROM system.parts "
                    "WHERE database = currentDatabase() GROUP BY table, partition)"
                )
                most_parts = max(most_parts, parts[0]["n"])
                time.sleep(0.5)
            took = time.monotonic() - started
            (made,) = worker.client.query(
                "SELECT countIf(level = 0) AS n FROM system.parts "
                "WHERE database = currentDatabase() AND has({logs:Array(String)}, table)",
                {"logs": list(LOG_TABLES)},
            )
            rows = sum(
                worker.client.query(f"SELECT count() AS n FROM {table.table}")[0]["n"] for table in TABLES.values()
            )
            figures = {
                "events": f"{rows:,} in {len(files):,} files of {size / 1e6:,.0f} MB",
                "seconds": f"{took:.0f}",
                "events/s": f"{rows / took:,.0f}",
                "looks": f"{worker.counter('runs_total')}",
                "cores of the worker": f"{(spent(worker.process) - before[0]) / took:.2f}",
                "cores of the server": f"{(spent(server) - before[1]) / took:.2f}",
                "inserts of blocks a second": f"{worker.counter('blocks_inserted_total') / took:.2f}",
                "statements a second": f"{(worker.counter('statements_total') - before[2]) / took:.2f}",
                "parts of the load log a second, at least": f"{made['n'] / took:.2f}",
                "most parts of a partition": f"{most_parts}",
                "MB of the worker": f"{most_memory}",
                "MB of the server": f"{most_of_server}",
                "from file to row, seconds (p50, p95)": ", ".join(
                    f"{one:.1f}" for one in np.percentile(waited, (50, 95))
                ),
            }
            for name, value in figures.items():
                print(f"| {name} | {value} |")
            code = worker.stop()
    return int(code != 0 or rows != events)


if __name__ == "__main__":
    sys.exit(main())
