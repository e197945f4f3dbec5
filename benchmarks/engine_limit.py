"""The engine's own limit: INSERT … SELECT … FROM file(…) of the same files, with no validation, into the plan's tables and ours.

    python -m benchmarks.engine_limit [--events=400000] [--files=200] [--projects=10] [--rounds=3] [--directory=DIR]

One such statement uses one core, since the view behind the table takes its rows one block after the other. So several run
at once, each of other files, and the number that is fastest on this machine counts. The columns are all that a loader fills:
in the plan's tables those of the event, in ours also those that say by which load it came. Each measurement is in a process
of its own, as there is one embedded engine a process; rounds are interleaved and the median counts. Start-up is not timed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from beam_pipeline.schema import run_migrations
from benchmarks.plan_tables import plan_statements
from benchmarks.processes import generate, measure, scratch_directory
from transforms.clickhouse import ClickHouseConfig
from transforms.clickhouse.client import INSERT_SETTINGS
from transforms.events import EVENT_TYPES, TABLES
from transforms.events.columns import FIELDS

PLAN, OURS = "the plan's tables", "our tables"
AT_ONCE = (1, 2, 3)
"""Numbers of statements that are tried: past the number of cores they only take turns."""

_READ = {"required_number": "Nullable(Float64)", "number": "Nullable(Float64)", "duration": "Nullable(Int64)"}
_TIMES = ("required_time", "time", "recorded")
_LINEAGE = {
    "ingested_at": "now64(3)",
    "load_id": "'01k5x7w3v9q2'",
    "block": "'0.202611.0'",
    "sequence": "toUInt32(rowNumberInAllBlocks())",
}
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    PLAN: {},
    OURS: {"optimize_on_insert": INSERT_SETTINGS["optimize_on_insert"]},
}
"""What each is loaded with. Sizes of blocks, which a loader sets as it cuts them, are the engine's own here."""


@dataclass(frozen=True)
class Limit:
    """What the engine took for all of the files."""

    layout: str
    statements: int
    """How many ran at once."""
    rows: int
    seconds: float
    cpu_seconds: float
    peak_rss_mb: int

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU an event."""
        return self.cpu_seconds / self.rows * 1e6


def limit(events: Path, layout: str, statements: int) -> Limit:
    """Measures in a process of its own."""
    options = (f"--layout={layout}", f"--statements={statements}", f"--directory={scratch_directory(events.parent)}")
    done = measure("benchmarks.engine_limit", f"--events={events}", *options)
    return Limit(**json.loads(done.output.splitlines()[-1]))


def best_limit(events: Path, layout: str, at_once: Sequence[int] = AT_ONCE) -> Limit:
    """The fastest of several numbers of statements at once."""
    return max((limit(events, layout, statements) for statements in at_once), key=lambda found: found.rows_per_s)


def select_from(event_type: str, path: str, more: Mapping[str, str]) -> str:
    """Inserts the columns of one event type from files, by the names of the flat dialect; `more` columns by expression."""
    names, columns, structure = [], [], []
    for field in FIELDS[event_type]:
        nullable = field.kind in ("nullable", "number", "duration", "time")
        column = f"`{field.json}`"
        if field.kind in _TIMES:
            column = f"parseDateTime64BestEffortOrNull({column}, 3, 'UTC')"
            column = column if nullable else f"ifNull({column}, fromUnixTimestamp64Milli(0, 'UTC'))"
        elif field.kind not in _READ and not nullable:
            default = field.default.decode() if isinstance(field.default, bytes) else field.default or ""
            column = f"ifNull({column}, '{default}')"
        elif field.kind == "required_number":
            column = f"ifNull({column}, 0)"
        names.append(field.column)
        columns.append(column)
        structure.append(f"`{field.json}` {_READ.get(field.kind, 'Nullable(String)')}")
    return (
        f"INSERT INTO {TABLES[event_type].table} ({', '.join([*names, *more])}) "
        f"SELECT {', '.join([*columns, *more.values()])} FROM file('{path}', JSONEachRow, '{', '.join(structure)}')"
    )


def insert_statements(events: Path, scratch: Path, layout: str, shares: int) -> Iterator[str]:
    """Statements that together read all files: as many for each event type as run at once."""
    for event_type in EVENT_TYPES:
        files = sorted(events.glob(f"{event_type}/*/*.jsonl"))
        for share in range(min(shares, len(files))):
            # A pattern cannot name files of several directories: they get names in one.
            directory = scratch / f"{event_type}-{share}"
            directory.mkdir()
            for number, file in enumerate(files[share::shares]):
                (directory / f"{number}.jsonl").hardlink_to(file)
            yield select_from(event_type, f"{directory}/*.jsonl", _LINEAGE if layout == OURS else {})


def measure_here(events: Path, scratch: Path, layout: str, statements: int) -> Limit:
    """Measures in this process, which must not have used the embedded engine before."""
    inserts = list(insert_statements(events, scratch, layout, statements))
    with ClickHouseConfig(f"chdb://{scratch}/clickhouse").connect(create=True) as client:
        if layout == OURS:
            run_migrations(client)
        else:
            for statement in plan_statements():
                client.command(statement)
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        with ThreadPoolExecutor(statements) as threads:
            list(threads.map(partial(client.command, settings=_SETTINGS[layout]), inserts))
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
        rows = sum(client.query(f"SELECT count() AS n FROM {table.table}")[0]["n"] for table in TABLES.values())
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Limit(layout, statements, rows, round(seconds, 3), round(cpu, 3), after.ru_maxrss // 1024)


def compare(events: Path, rounds: int) -> None:
    """Prints every number of statements, and the best of each layout."""
    found: dict[tuple[str, int], list[Limit]] = {(layout, n): [] for layout in (PLAN, OURS) for n in AT_ONCE}
    for _ in range(rounds):
        for (layout, statements), limits in found.items():
            limits.append(limit(events, layout, statements))
    speed = {key: statistics.median(one.rows_per_s for one in limits) for key, limits in found.items()}
    cpu = {key: statistics.median(one.cpu_us for one in limits) for key, limits in found.items()}
    best = {layout: max(AT_ONCE, key=lambda n: speed[layout, n]) for layout in (PLAN, OURS)}
    for layout, statements in found:
        mark = "  the best" if best[layout] == statements else ""
        print(
            f"{layout:18} {statements} at once {speed[layout, statements]:>9,.0f} events/s "
            f"{cpu[layout, statements]:6.2f} µs of CPU an event{mark}"
        )
    ours, plan = (cpu[layout, best[layout]] for layout in (OURS, PLAN))
    print(f"our tables, of the CPU time of the plan's: {ours / plan:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", default="400000", help="how many")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--projects", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir(), "beam_pipeline_limit"))
    # What the processes that measure are told; then --events is where they are, and --directory a new one.
    parser.add_argument("--layout", choices=(PLAN, OURS), help=argparse.SUPPRESS)
    parser.add_argument("--statements", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.layout:
        events = Path(arguments.events)
        print(json.dumps(asdict(measure_here(events, arguments.directory, arguments.layout, arguments.statements))))
        return
    count = int(arguments.events)
    arguments.directory.mkdir(parents=True, exist_ok=True)
    events = arguments.directory / f"events-{count}-{arguments.files}-{arguments.projects}"
    generate(events, count, events_per_file=-(-count // arguments.files), projects=arguments.projects)
    compare(events, arguments.rounds)


if __name__ == "__main__":
    main()
