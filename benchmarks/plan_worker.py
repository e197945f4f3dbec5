"""200 files of 10 projects over HTTP, start included: this program, and what the plan's TypeScript worker does.

    python -m benchmarks.plan_worker [--events=400000] [--rounds=3] [--directory=DIR]

Both load the same files into the same kind of server on this machine, each into its own tables. `plan_worker.mjs` needs Node.
Rounds are interleaved and the median counts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.plan_tables import plan_statements
from benchmarks.processes import ROOT, generate, linked_copy, scratch_directory
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from transforms.clickhouse import ClickHouseConfig

OURS, PLAN = "this program", "the plan's worker"


def run(subject: str, events: Path) -> float:
    """Seconds from the start of the process to its end."""
    scratch = scratch_directory()
    with ClickHouseEndpoint(scratch / "clickhouse") as endpoint:
        copy = linked_copy(events, scratch / "input")
        config = ClickHouseConfig(endpoint.url, password="env:NOT_SET")
        with config.connect() as client:
            if subject == PLAN:
                for statement in plan_statements():
                    client.command(statement)
                command = ["node", str(Path(__file__).with_suffix(".mjs")), str(copy), endpoint.url]
            else:
                command = [sys.executable, "-m", "beam_pipeline", f"--input={copy}", f"--clickhouse_url={endpoint.url}"]
            started = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            seconds = time.perf_counter() - started
            (spans,) = client.query(
                "SELECT count() AS n, min(start_time) > '2020-01-01' AS right FROM mastra_admin_spans"
            )
            assert spans["n"] and spans["right"], spans
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir(), "beam_pipeline_shapes"))
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    events = arguments.directory / f"events-{arguments.events}"
    generate(events, arguments.events, projects=10)
    seconds: dict[str, list[float]] = {OURS: [], PLAN: []}
    for _ in range(arguments.rounds):
        for subject, found in seconds.items():
            found.append(run(subject, events))
    for subject, found in seconds.items():
        median = statistics.median(found)
        print(f"{subject:20}{median:8.2f} s{arguments.events / median:12,.0f} events/s")
    print(f"times as fast: {statistics.median(seconds[PLAN]) / statistics.median(seconds[OURS]):.2f}")


if __name__ == "__main__":
    main()
