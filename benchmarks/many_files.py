"""Very many tiny files, listed, assigned and loaded: how much memory that takes, and how many statements.

    python -m benchmarks.many_files [--files=20000,200000] [--directory=DIR] [--json]

Each case is a look at the input (`--dry_run`) and a run of `python -m beam_pipeline` into an embedded database, each a process of
its own; the engine's memory is in the second. A file has one event. What grows with the number of files shows in the cases.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from benchmarks.processes import Measured, measure
from tests.support.dataset import event
from transforms.events import EVENT_TYPES

PROJECTS = 20
DAYS = 60
FIRST_DAY = datetime(2100, 1, 1, tzinfo=timezone.utc)


def write(root: Path, files: int) -> None:
    """Files of all types and of some projects and months, with names in the order of time."""
    step = timedelta(days=DAYS) / files
    directories = {
        (event_type, project): root / event_type / f"p{project}"
        for event_type in EVENT_TYPES
        for project in range(PROJECTS)
    }
    for directory in directories.values():
        directory.mkdir(parents=True)
    for number in range(files):
        event_type = EVENT_TYPES[number % len(EVENT_TYPES)]
        time = FIRST_DAY + number * step
        line = event(event_type, f"{number:08}", at=time.isoformat().replace("+00:00", "Z"))
        directory = directories[event_type, number // len(EVENT_TYPES) % PROJECTS]
        (directory / f"{time:%Y%m%dT%H%M%SZ}_{number:08x}.jsonl").write_text(line + "\n")


def result_of(measured: Measured) -> dict[str, object]:
    """What a command has printed as JSON, behind what it has said."""
    output = measured.output
    found: dict[str, object] = json.loads(output[output.index("{", output.rfind("\n{") + 1) :])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", default="20000,200000")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir(), "beam-pipeline-benchmarks"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    results = []
    for files in map(int, arguments.files.split(",")):
        with tempfile.TemporaryDirectory(dir=arguments.directory) as scratch:
            root = Path(scratch, "input")
            write(root, files)
            options = [f"--input={root}", f"--clickhouse_url=chdb://{scratch}/clickhouse", "--json"]
            look = measure("beam_pipeline", *options, "--dry_run")
            run = measure("beam_pipeline", *options)
            found, done = result_of(look), result_of(run)
            assert sum(sum(each["files"] for each in day.values()) for day in found["days"].values()) == files  # type: ignore[attr-defined]
            assert (done["files_processed"], done["events_ingested"], done["errors"]) == (files, files, []), done
            results.append(
                {
                    "files": files,
                    "look_seconds": round(look.seconds, 1),
                    "look_peak_rss_mb": look.peak_rss_mb,
                    "seconds": round(run.seconds, 1),
                    "peak_rss_mb": run.peak_rss_mb,
                    "loads": done["loads"],
                    "statements": done["statements"],
                }
            )
            print(results[-1], file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps(results))
        return
    for result in results:
        print(
            f"{result['files']:>9,} files: a look {result['look_seconds']} s, {result['look_peak_rss_mb']} MB; a run "
            f"{result['seconds']} s, {result['peak_rss_mb']} MB, {result['loads']} loads, {result['statements']:,} statements"
        )


if __name__ == "__main__":
    main()
