"""Speed from a bucket against the same files in a directory, in one run on one machine.

    python -m benchmarks.bucket_speed [--events=400000] [--files=200,4000] [--rounds=3] [--directory=DIR]

`python -m beam_pipeline` from the start of the process to its end, into an embedded database. The buckets are moto's S3 and
fake-gcs-server on loopback, in processes of their own on the same cores: they take processor time that a real store does not, and
answer sooner. So their processor time is printed, too. Rounds are interleaved and the median counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processes import generate, linked_copy, measure
from tests.support import object_stores

_SERVE_S3 = """
import sys
from tests.support.object_stores import s3_server
with s3_server() as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def s3_in_a_process() -> Iterator[tuple[str, psutil.Process]]:
    """moto's S3 in a process of its own; its URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE_S3], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def gcs_in_a_process() -> Iterator[tuple[str, psutil.Process]]:
    """fake-gcs-server; its URL."""
    with object_stores.gcs_server() as url:
        (child,) = [one for one in psutil.Process().children() if "fake-gcs" in one.name()]
        yield url, child


def load(url: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Loads an input into a database of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(environment)
        flags = (f"--input={url}", f"--clickhouse_url=chdb://{scratch}/clickhouse", "--json", "--profile")
        measured = measure("beam_pipeline", *flags)
    result = json.loads(measured.output[measured.output.index("{") :].splitlines()[0])
    assert not result["errors"] and result["events_ingested"], result
    return {
        "events": result["events_ingested"],
        "seconds": measured.seconds,
        "cpu": measured.cpu_seconds,
        "peak": measured.peak_rss_mb,
        "requests": sum(result["requests"].values()),
        "spent": result["seconds"],
    }


def from_directory(events: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=events.parent) as scratch:
        return load(str(linked_copy(events, Path(scratch) / "input")), {}) | {"store_cpu": 0.0}


def from_bucket(events: Path, scheme: str) -> dict[str, Any]:
    serve = s3_in_a_process if scheme == "s3" else gcs_in_a_process
    with serve() as (url, process):
        if scheme == "s3":
            bucket, environment = object_stores.new_s3_bucket(url), object_stores.s3_environment(url)
        else:
            bucket, environment = object_stores.new_gcs_bucket(url), object_stores.gcs_environment(url)
        upload(events, scheme, bucket, url)
        before = process.cpu_times()
        found = load(f"{scheme}://{bucket}", environment)
        after = process.cpu_times()
    return found | {"store_cpu": after.user + after.system - before.user - before.system}


def upload(events: Path, scheme: str, bucket: str, url: str) -> None:
    """Puts the files into a bucket, as they are in the directory."""
    if scheme == "s3":
        from s3fs import S3FileSystem

        fs = S3FileSystem(**object_stores.s3_options(url), skip_instance_cache=True)
    else:
        from gcsfs import GCSFileSystem

        fs = GCSFileSystem(**object_stores.gcs_options(url), skip_instance_cache=True)
    for file in events.glob("*/*/*.jsonl"):
        fs.pipe_file(f"{bucket}/{file.relative_to(events)}", file.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--files", default="200,4000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir(), "beam-pipeline-benchmarks"))
    arguments = parser.parse_args()
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for files in map(int, arguments.files.split(",")):
        events = arguments.directory / f"bucket-{arguments.events}-{files}"
        generate(events, arguments.events, events_per_file=-(-arguments.events // files), projects=10)
        subjects = {
            "directory": lambda events=events: from_directory(events),
            "S3 (moto)": lambda events=events: from_bucket(events, "s3"),
            "GCS (fake-gcs-server)": lambda events=events: from_bucket(events, "gs"),
        }
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in subjects}
        for _ in range(arguments.rounds):
            for name, subject in subjects.items():
                found[name].append(subject())
        report(files, found)


def report(files: int, found: Mapping[str, list[dict[str, Any]]]) -> None:
    print(f"{found['directory'][0]['events']:,} events in {files:,} files")
    for name, rounds in found.items():
        median = {
            key: statistics.median(one[key] for one in rounds)
            for key in ("seconds", "cpu", "store_cpu", "peak", "requests")
        }
        spent = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in rounds[-1]["spent"].items())
        print(
            f"{name:22} {median['seconds']:6.2f} s, {median['cpu']:6.2f} s of CPU, the store's {median['store_cpu']:6.2f} s, "
            f"{median['peak']:.0f} MB, {median['requests']:,.0f} requests; {spent}",
            flush=True,
        )


if __name__ == "__main__":
    main()
