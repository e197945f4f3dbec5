"""How fast a bounded run is on a Flink session cluster, with parallelism 1 and 2, beside the local runner on the same files.

    python -m benchmarks.flink_bounded --events=400000

Each run loads into a database of its own over HTTP. Seconds are those of the whole command, submitting the job included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.flink_session import SessionCluster

PROGRAM = [sys.executable, "-m", "beam_pipeline"]


def run(files: Path, directory: Path, name: str, options: list[str]) -> float:
    """Loads a copy of the files; seconds."""
    root = directory / name / "observability"
    shutil.copytree(files, root, copy_function=os.link)
    with ClickHouseEndpoint(directory / name / "clickhouse") as endpoint:
        command = [*PROGRAM, f"--input={root}", f"--clickhouse_url={endpoint.url}", "--quiet", *options]
        started = time.perf_counter()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=400_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        files = directory / "files"
        subprocess.run([*PROGRAM, "generate", f"--output={files}", f"--events={arguments.events}"], check=True)
        print("| runner | seconds | events/s |\n|---|---|---|")
        with SessionCluster(directory / "flink") as cluster:
            for name, options in {
                "local": [],
                "Flink, parallelism 1": cluster.pipeline_options(1),
                "Flink, parallelism 2": cluster.pipeline_options(2),
            }.items():
                seconds = run(
                    files, directory, name.replace(" ", "-"), [*options, "--load_bytes=16M", "--block_bytes=16M"]
                )
                print(f"| {name} | {seconds:.1f} | {arguments.events / seconds:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
