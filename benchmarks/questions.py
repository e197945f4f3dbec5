"""How long the questions take that a person asks most, on what `generate` and `ingest` make.

    python -m benchmarks.questions [--events=500000] [--rounds=15] [--only=TEXT] [--directory=DIR] [--json]

Each question is a method of `ClickHouseQueryProvider`, called as `python -m beam_pipeline query` calls it: of one project,
without a time range. Told are the milliseconds of the first call and of the median one, the processor's milliseconds of the
median one (of all threads of this process, the embedded engine's among them), the statements, and the rows read. Nothing is
remembered of a condition from one call to the next (the query condition cache is off). With --directory the events and the
database are made there, and used again by the next run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from beam_pipeline.query import ClickHouseQueryProvider
from benchmarks.processes import generate, measure
from benchmarks.query_reads import Forgetful
from tests.support.query_reads import CountingClient
from transforms.clickhouse import ClickHouse, ClickHouseConfig

PROJECTS = 3
PERCENTILES = (0.5, 0.9, 0.95, 0.99)
"""What the command line asks for by default."""
HOUR = timedelta(hours=1)
PROJECT = {"project_id": "project-1"}

Ask = Callable[[ClickHouseQueryProvider], Any]

QUESTIONS: dict[str, Ask] = {
    "metrics by name": lambda api: api.metric_series(
        interval=HOUR, group_by=["name"], percentiles=PERCENTILES, **PROJECT
    ),
    "a metric by name": lambda api: api.metric_series(
        interval=HOUR, name="queue.depth", percentiles=PERCENTILES, **PROJECT
    ),
    "a metric by label": lambda api: api.metric_series(
        interval=HOUR, name="queue.depth", group_by_labels=["host"], percentiles=PERCENTILES, **PROJECT
    ),
    "spans by attribute, many": lambda api: api.list_spans(attributes={"model": "gpt-5"}, **PROJECT),
    "spans by attribute, few": lambda api: api.list_spans(attributes={"tokens": 7}, **PROJECT),
    "spans by attribute, none": lambda api: api.list_spans(attributes={"model": "none"}, **PROJECT),
    "logs by attribute, many": lambda api: api.list_logs(attributes={"thread": "worker-3"}, **PROJECT),
    "logs by attribute, few": lambda api: api.list_logs(attributes={"thread": "worker-3", "attempt": 1}, **PROJECT),
    "logs by attribute, none": lambda api: api.list_logs(attributes={"thread": "worker-99"}, **PROJECT),
    "percentiles by name": lambda api: api.latency_percentiles(of="span", group_by=["name"], **PROJECT),
    "slowest spans": lambda api: api.slowest_spans(10, **PROJECT),
    "slowest traces": lambda api: api.slowest_traces(10, **PROJECT),
    "log volume by text": lambda api: api.log_volume(interval=HOUR, message_contains="payload", **PROJECT),
    "error rate by name": lambda api: api.error_rate(of="span", group_by=["name"], **PROJECT),
}


def asked(client: ClickHouse, ask: Ask, rounds: int) -> dict[str, Any]:
    """The milliseconds of a question, and what it reads."""
    forgetful: Any = Forgetful(client)
    with ClickHouseQueryProvider(forgetful) as provider:
        times, processor = list[float](), list[float]()
        for _ in range(rounds + 1):
            started, busy = time.perf_counter(), time.process_time()
            ask(provider)
            times.append(1000 * (time.perf_counter() - started))
            processor.append(1000 * (time.process_time() - busy))
    counting: Any = CountingClient(client)
    with ClickHouseQueryProvider(counting) as provider:
        ask(provider)
    return {
        "first_ms": round(times[0], 1),
        "ms": round(statistics.median(times[1:]), 1),
        "processor_ms": round(statistics.median(processor[1:]), 1),
        "statements": len(counting.statements),
        "rows": counting.rows,
        "bytes": counting.bytes,
    }


def prepare(directory: Path, events: int) -> str:
    """Makes the events and loads them, unless they are there; the database's URL."""
    made, url = directory / f"{events}", f"chdb://{directory / f'{events}' / 'database'}"
    if not made.exists():
        generate(made / "input", events, projects=PROJECTS)
        measure("beam_pipeline", f"--input={made / 'input'}", f"--clickhouse_url={url}")
    return url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="ask only the questions whose name contains this")
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        url = prepare((arguments.directory or Path(temporary)).absolute(), arguments.events)
        with ClickHouseConfig(url).connect() as client:
            for name, ask in QUESTIONS.items():
                if arguments.only in name:
                    results[name] = found = asked(client, ask, arguments.rounds)
                    print(
                        f"{name:26} {found['ms']:>7} ms (first {found['first_ms']:>7}), processor {found['processor_ms']:>7} ms"
                        f" {found['statements']:>3} statements {found['rows']:>9,} rows {found['bytes'] / 1e6:>7.2f} MB",
                        file=sys.stderr if arguments.json else sys.stdout,
                        flush=True,
                    )
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
