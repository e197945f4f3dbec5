"""Peak memory of a run over more and more input, of one big file and of many small ones: it must not follow the input.

    python -m benchmarks.memory [--gigabytes=1,2,4] [--directory=DIR] [--json]

Each case is a run of `python -m beam_pipeline` into an embedded database, so that the engine's own memory is included.
The shapes (one big file, 20,000 small ones) have the size of the first case.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.processes import generate, measure

BYTES_PER_EVENT = 430
SMALL_FILES = 20_000


def part_of(events: Path, target: Path, size: int) -> Path:
    """The first files of each type, about `size` bytes together, as links."""
    total = 0
    by_type = [sorted(directory.glob("*/*.jsonl")) for directory in sorted(events.iterdir())]
    for file in itertools.chain.from_iterable(itertools.zip_longest(*by_type)):
        if file is None:
            continue
        if total >= size:
            break
        link = target / file.relative_to(events)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(file)
        total += file.stat().st_size
    return target


def one_big_file(source: Path, target: Path) -> Path:
    """All files in one: a file may hold every type."""
    big = target / "span" / "p1" / "20261120T120000Z_00.jsonl"
    big.parent.mkdir(parents=True)
    with big.open("wb") as out:
        for file in sorted(source.glob("*/*/*.jsonl")):
            with file.open("rb") as data:
                shutil.copyfileobj(data, out)
    return target


def small_files(source: Path, target: Path) -> Path:
    """The same lines in SMALL_FILES files."""
    files = sorted(source.glob("*/*/*.jsonl"))
    pieces = -(-SMALL_FILES // len(files))
    for file in files:
        lines = file.read_bytes().splitlines(keepends=True)
        step = -(-len(lines) // pieces)
        for number, start in enumerate(range(0, len(lines), step)):
            part = target / file.relative_to(source).with_name(f"{file.stem}{number:04x}.jsonl")
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(b"".join(lines[start : start + step]))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", default="1,2,4")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir(), "beam-pipeline-benchmarks"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    sizes = [float(size) for size in arguments.gigabytes.split(",")]
    arguments.directory.mkdir(parents=True, exist_ok=True)
    events = arguments.directory / f"memory-{max(sizes)}"
    generate(events, int(max(sizes) * 1e9 / BYTES_PER_EVENT))
    results = {}
    for name in [*sizes, "one big file", f"{SMALL_FILES:,} small files"]:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as scratch:
            root = Path(scratch, "input")
            if isinstance(name, float):
                part_of(events, root, int(name * 1e9))
            else:
                source = part_of(events, Path(scratch, "source"), int(sizes[0] * 1e9))
                one_big_file(source, root) if name == "one big file" else small_files(source, root)
            files = [file.stat().st_size for file in root.glob("*/*/*.jsonl")]
            measured = measure(
                "beam_pipeline", f"--input={root}", f"--clickhouse_url=chdb://{scratch}/clickhouse", "--json"
            )
            ingested = json.loads(measured.output[measured.output.index("{") :])
            assert ingested["files_processed"] == len(files), ingested
            case = f"{name:g} GB" if isinstance(name, float) else f"{sizes[0]:g} GB in {name}"
            results[case] = {
                "bytes": sum(files),
                "files": len(files),
                "events": ingested["events_ingested"],
                "seconds": round(measured.seconds, 1),
                "peak_rss_mb": measured.peak_rss_mb,
            }
            print(case, results[case], file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps(results))
        return
    for case, result in results.items():
        print(
            f"{case:28} {result['files']:>7,} files {result['events']:>11,} events {result['seconds']:>7} s"
            f" {result['peak_rss_mb']:>6} MB at most"
        )


if __name__ == "__main__":
    main()
