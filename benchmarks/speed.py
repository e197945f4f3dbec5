"""How fast, against the engine's own limit: everything on the same files and tables, in one run on one machine.

    python -m benchmarks.speed [--events=4000000] [--rounds=1] [--directory=DIR] [--json]

* engine, into the plan's tables and into ours: INSERT … SELECT … FROM file(…), which validates nothing, with as many statements
  at once as are fastest; only the inserts are timed
* embedded, http: `python -m beam_pipeline`, from the start of the process to its end; also with large blocks, and with two
  processes over HTTP
* plain beam: a pipeline with an element for each event, on a twentieth of the files, since it is slow

Over HTTP the server is the tests' endpoint (chDB behind ClickHouse's HTTP interface, with merges at low priority, as
docs/running.md advises for a server that shares its cores), unless --clickhouse_url names one, whose database must be
new. Rounds are interleaved and the median counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.engine_limit import AT_ONCE, OURS, PLAN, Limit, limit
from benchmarks.processes import Measured, generate, linked_copy, measure, scratch_directory
from tests.support.clickhouse_endpoint import ClickHouseEndpoint

PLAIN_SHARE = 20
LARGE_BLOCKS = ("--block_bytes=64M", "--load_bytes=256M")
TWO_PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
LIMITS = {"engine, plan's tables": PLAN, "engine, our tables": OURS}


def ingest(events: Path, url: str, scratch: Path, *options: str) -> tuple[Measured, int]:
    """Loads a copy of the files; how it went, and the rows."""
    copy = linked_copy(events, scratch / "input")
    measured = measure("beam_pipeline", f"--input={copy}", f"--clickhouse_url={url}", "--json", *options)
    result = json.loads(measured.output[measured.output.index("{") :])
    assert not result["errors"] and not result["rejected"], result
    return measured, result["events_ingested"]


def embedded(events: Path, scratch: Path, *options: str) -> dict[str, Any]:
    measured, rows = ingest(events, f"chdb://{scratch}/clickhouse", scratch, *options)
    return summary(rows, measured.seconds, measured)


def http(events: Path, scratch: Path, url: str, *options: str) -> dict[str, Any]:
    if url:
        measured, rows = ingest(events, url, scratch, *options)
    else:
        with ClickHouseEndpoint(scratch / "clickhouse", low_merges=True) as endpoint:
            measured, rows = ingest(events, endpoint.url, scratch, *options)
    return summary(rows, measured.seconds, measured)


def engine(events: Path, layout: str, at_once: int) -> dict[str, Any]:
    found = limit(events, layout, at_once)
    return summary(found.rows, found.seconds, found)


def plain_beam(events: Path, scratch: Path) -> dict[str, Any]:
    for number, file in enumerate(sorted(events.glob("*/*/*.jsonl"))):
        if number % PLAIN_SHARE == 0:
            link = scratch / "share" / file.relative_to(events)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(file)
    measured = measure("benchmarks.plain_beam", f"--input={scratch / 'share'}")
    return summary(json.loads(measured.output.splitlines()[-1])["rows"], measured.seconds, measured)


def limit_name(name: str, at_once: int) -> str:
    return f"{name}, {at_once} at once"


def summary(rows: int, seconds: float, measured: Measured | Limit) -> dict[str, Any]:
    return {
        "rows": rows,
        "seconds": round(seconds, 1),
        "rows_per_s": round(rows / seconds),
        "cpu_seconds": round(measured.cpu_seconds, 1),
        "peak_rss_mb": measured.peak_rss_mb,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir(), "beam-pipeline-benchmarks"))
    parser.add_argument("--clickhouse_url", default="")
    parser.add_argument("--only", default="", help="those whose names contain one of these words, with commas between")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    arguments.directory.mkdir(parents=True, exist_ok=True)
    events = arguments.directory / f"flat-{arguments.events}"
    size = generate(events, arguments.events)
    subjects: dict[str, Callable[[Path], dict[str, Any]]] = {
        **{
            limit_name(name, number): lambda _, layout=layout, number=number: engine(events, layout, number)
            for name, layout in LIMITS.items()
            for number in AT_ONCE
        },
        "embedded": lambda scratch: embedded(events, scratch),
        "embedded, large blocks": lambda scratch: embedded(events, scratch, *LARGE_BLOCKS),
        "http": lambda scratch: http(events, scratch, arguments.clickhouse_url),
        "http, 2 processes": lambda scratch: http(events, scratch, arguments.clickhouse_url, *TWO_PROCESSES),
        "plain beam": lambda scratch: plain_beam(events, scratch),
    }
    words = arguments.only.split(",")
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in subjects if any(word in name for word in words)}
    for _ in range(arguments.rounds):
        for name, rounds in results.items():
            rounds.append(subjects[name](scratch_directory(arguments.directory)))
            print(name, rounds[-1], file=sys.stderr, flush=True)
    medians = {
        name: {key: statistics.median(result[key] for result in rounds) for key in rounds[0]}
        for name, rounds in results.items()
    }
    for name in reversed(LIMITS):
        # The number with the best median: the best of each round would be the luckiest of three measurements.
        found = [medians.pop(limit_name(name, number)) for number in AT_ONCE if limit_name(name, number) in medians]
        if found:
            medians = {name: max(found, key=lambda median: float(median["rows_per_s"])), **medians}
    if arguments.json:
        print(json.dumps({"events": arguments.events, "bytes": size, "results": medians}))
        return
    print(f"{arguments.events:,} events, {size / 1e6:,.0f} MB")
    limits = [name for name in LIMITS if name in medians]
    for name, result in medians.items():
        shares = "".join(f"{result['rows_per_s'] / medians[limit]['rows_per_s']:6.2f}" for limit in limits)
        print(
            f"{name:24} {result['rows_per_s']:>9,} rows/s {shares} {result['seconds']:>7} s"
            f"  {result['cpu_seconds']:>7} s of CPU  {result['peak_rss_mb']:>6} MB"
        )
    if limits:
        print(f"behind rows/s, the share of the speed of: {'; '.join(limits)}")


if __name__ == "__main__":
    main()
