"""Lines through Python's columns, against the same lines validated in Python and read by the engine itself.

    python -m benchmarks.engine_reader [--events=400000] [--block_mb=16,64] [--rounds=3] [--directory=DIR]

* columns: what this program does. msgspec decodes, columns are made of it, the engine gets Arrow
* engine: msgspec decodes with the same types and all times are parsed, which tells the lines that may be stored; then the engine
  reads their bytes (JSONEachRow) and inserts what it found. This is the least that such a design has to do: envelopes,
  fields that fall back to the file's, and lines that the two read differently would come on top

Both take chunks of a type's lines of `--block_mb`, insert into the tables as they are with the settings of every insert, and have
two inserts under way, in a process of their own with a new embedded database. That both have stored the same is checked by a
digest of all rows; lines are of the flat dialect, which the engine can read.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

from beam_pipeline.schema import run_migrations
from benchmarks.engine_limit import select_from
from benchmarks.processes import generate, measure
from transforms.blocks.row_block import cut_blocks
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.clickhouse.client import INSERT_SETTINGS
from transforms.events import EVENT_TYPES, TABLES, LineSource
from transforms.events.columns import FIELDS
from transforms.events.decode_line import decoder
from transforms.events.parsing import ChunkParser
from transforms.events.times import parse_times

COLUMNS, ENGINE = "columns", "engine"
_TIMES = ("required_time", "time", "recorded")
_GROUP_BYTES = 512 * 1024
_IN_FLIGHT = 2


@dataclass(frozen=True)
class Found:
    """What one way took for all lines."""

    rows: int
    seconds: float
    cpu_us: float
    """Microseconds of CPU an event, of the engine's merges too."""
    here_us: float
    """Those of the thread that parses or validates."""
    peak_rss_mb: int
    digest: int
    """Of all rows, whatever their order."""


def chunks(events: Path, event_type: str, block_bytes: int) -> Iterator[bytes]:
    """The lines of a type's files, whole files together."""
    gathered: list[bytes] = []
    for file in sorted(events.glob(f"{event_type}/*/*.jsonl")):
        gathered.append(file.read_bytes())
        if sum(map(len, gathered)) >= block_bytes:
            yield b"".join(gathered)
            gathered = []
    if gathered:
        yield b"".join(gathered)


def by_columns(client: ClickHouse, event_type: str, data: bytes, number: int) -> list[Callable[[], None]]:
    """The inserts of a chunk, as this program makes them."""
    parser = ChunkParser()
    parser.add(data, LineSource("file", event_type, "project", 0, 0, 1))
    blocks = cut_blocks("load", number, parser.finish(), ingested_at_ms=1_700_000_000_000, block_rows=1 << 20)
    return [lambda block=block: client.insert(block.table, block.rows, token=block.token) for block in blocks]


def by_engine(client: ClickHouse, event_type: str, data: bytes, number: int) -> list[Callable[[], None]]:
    """The insert of a chunk that the engine reads, once it is known that all its lines are good."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + _GROUP_BYTES) + 1
        events = decoder.decode_lines(data[start:end])
        for field in FIELDS[event_type]:
            if field.kind in _TIMES:
                values = [value for value in (getattr(event, field.attribute) for event in events) if value is not None]
                assert not values or parse_times(values) is not None
        start = end
    constants = {
        "ingested_at": "fromUnixTimestamp64Milli(1700000000000)",
        "load_id": "'load'",
        "block": f"'{number}'",
        "sequence": "toUInt32(rowNumberInAllBlocks())",
    }

    def insert() -> None:
        with open(os.memfd_create("lines"), "wb", buffering=0) as file:
            file.write(data)
            file.seek(0)
            settings = {**INSERT_SETTINGS, "insert_deduplication_token": f"{event_type}-{number}", "max_threads": 1}
            client.command(select_from(event_type, f"/dev/fd/{file.fileno()}", constants), settings=settings)

    return [insert]


def measure_here(events: Path, way: str, block_bytes: int) -> Found:
    """Measures in this process, which must not have used the embedded engine before."""
    make = by_columns if way == COLUMNS else by_engine
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(dir=events.parent))
        with ClickHouseConfig(f"chdb://{scratch}/clickhouse").connect(create=True) as client:
            run_migrations(client)
            before, started, here = _cpu_seconds(), time.perf_counter(), 0.0
            under_way: set[Future[None]] = set()
            with ThreadPoolExecutor(_IN_FLIGHT) as threads:
                for event_type in EVENT_TYPES:
                    for number, data in enumerate(chunks(events, event_type, block_bytes)):
                        began = time.thread_time()
                        inserts = make(client, event_type, data, number)
                        here += time.thread_time() - began
                        for insert in inserts:
                            while len(under_way) >= _IN_FLIGHT:
                                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                                for one in done:
                                    one.result()
                            under_way.add(threads.submit(insert))
                for one in under_way:
                    one.result()
            seconds, cpu = time.perf_counter() - started, _cpu_seconds() - before
            rows, digest = _stored(client)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Found(rows, round(seconds, 3), round(cpu / rows * 1e6, 2), round(here / rows * 1e6, 2), peak, digest)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _stored(client: ClickHouse) -> tuple[int, int]:
    """How many rows there are, and a digest of them without the columns that say by which insert they came."""
    count = digest = 0
    for table in TABLES.values():
        columns = ", ".join(table.columns)
        (found,) = client.query(
            f"SELECT count() AS n, sum(cityHash64(toString(tuple({columns})))) AS digest FROM {table.table}"
        )
        count, digest = count + found["n"], (digest + found["digest"]) % 2**64
    return count, digest


def compare(events: Path, block_mb: Sequence[int], rounds: int) -> None:
    """Prints the medians of both ways for each size of a block."""
    found: dict[tuple[str, int], list[Found]] = {(way, size): [] for size in block_mb for way in (COLUMNS, ENGINE)}
    for _ in range(rounds):
        for (way, size), measured in found.items():
            done = measure("benchmarks.engine_reader", f"--events={events}", f"--way={way}", f"--block_mb={size}")
            measured.append(Found(**json.loads(done.output.splitlines()[-1])))
    stored = {(one.rows, one.digest) for measured in found.values() for one in measured}
    print(f"all have stored the same: {'yes' if len(stored) == 1 else f'no, {stored}'}")
    for (way, size), measured in found.items():
        seconds, cpu, here, peak = (
            statistics.median(getattr(one, name) for one in measured)
            for name in ("seconds", "cpu_us", "here_us", "peak_rss_mb")
        )
        print(
            f"{way:8} {size:3} MB blocks {measured[0].rows / seconds:>9,.0f} events/s, {cpu:5.2f} µs of CPU an event, "
            f"{here:4.2f} of them in Python, {peak:,.0f} MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", default="400000", help="how many")
    parser.add_argument("--block_mb", default="16,64", help="sizes of a block, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir(), "beam_pipeline_reader"))
    # What the processes that measure are told; then --events is where they are.
    parser.add_argument("--way", choices=(COLUMNS, ENGINE), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.block_mb.split(",")]
    if arguments.way:
        print(json.dumps(asdict(measure_here(Path(arguments.events), arguments.way, sizes[0] << 20))))
        return
    arguments.directory.mkdir(parents=True, exist_ok=True)
    events = arguments.directory / f"events-{arguments.events}"
    generate(events, int(arguments.events))
    compare(events, sizes, arguments.rounds)


if __name__ == "__main__":
    main()
