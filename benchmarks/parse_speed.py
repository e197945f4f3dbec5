"""Where parsing spends its time: decoding, columns, blocks, in Python and in Rust; against json.loads of the same lines.

    python -m benchmarks.parse_speed [--events=200000] [--rounds=5]

One thread, files in memory; the best round of each counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from beam_pipeline.generate import GenerateOptions, generate
from transforms.blocks.row_block import cut_blocks
from transforms.events import Line, LineSource
from transforms.events.compiled import is_built
from transforms.events.parsing import ChunkParser, ParsedChunk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        generate(GenerateOptions(output=directory, events=arguments.events, dialect="mixed"))
        files = [file.read_bytes() for file in sorted(Path(directory).glob("*/*/*.jsonl"))]
    decoder = msgspec.json.Decoder(Line)

    def parse(*, compiled: bool = True) -> ParsedChunk:
        chunk, sequence = ChunkParser(compiled=compiled), 0
        for data in files:
            chunk.add(data, LineSource("f", "trace", "p", 0, 0, 1, sequence))
            sequence += len(data)
        return chunk.finish()

    subjects: dict[str, Callable[[], object]] = {
        "json.loads of each line": lambda: [json.loads(line) for data in files for line in data.splitlines()],
        "msgspec, typed": lambda: [decoder.decode_lines(data) for data in files],
        "rows, in Python alone": lambda: parse(compiled=False),
        "rows, with Rust" if is_built() else "rows (Rust is not built)": parse,
        "blocks, with digests": lambda: list(cut_blocks("l", 0, parse(), ingested_at_ms=0, block_rows=250_000)),
    }
    best = dict.fromkeys(subjects, float("inf"))
    for _ in range(arguments.rounds):
        for name, subject in subjects.items():
            started = time.perf_counter()
            subject()
            best[name] = min(best[name], time.perf_counter() - started)
    size = sum(map(len, files))
    for name, seconds in best.items():
        print(f"{name:26} {seconds / arguments.events * 1e6:6.2f} µs/event {size / seconds / 1e6:8,.0f} MB/s")


if __name__ == "__main__":
    main()
