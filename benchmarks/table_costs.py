"""What each part of our tables costs at insert: the engine's CPU time with it and without it, one by one.

    python -m benchmarks.table_costs [--events=200000] [--rounds=3] [--only=WORD] [--directory=DIR]

Blocks are cut as a load cuts them and inserted as a load inserts them, into tables without the part in question. Beside
them are the plan's tables. Each is measured in a process of its own, so that none pays for what another has left.
Variants are interleaved, and the least of the rounds counts, since other work on the machine only adds to it. `insert` is with
merges stopped, `merge` what it costs to merge the parts of the table into one, both in microseconds of CPU an event.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

from beam_pipeline.schema import SchemaOptions
from beam_pipeline.schema.rollups import ROLLUPS
from beam_pipeline.schema.table import Table
from beam_pipeline.schema.tables import EVENT_TABLES
from benchmarks import processes
from benchmarks.plan_tables import plan_columns, plan_statements
from benchmarks.processes import generate, scratch_directory
from transforms.blocks.row_block import RowBlock, cut_blocks
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.events import TABLES, LineSource
from transforms.events.parsing import ChunkParser

_CHUNK_BYTES = 32 << 20
_OURS = "database = currentDatabase()"
_OPTIONS = SchemaOptions(embedded=True, ttl_days=0, logs_ttl_days=0)
TableChange = Callable[[Table], Table]
ViewChange = Callable[[str], str]


def same_table(table: Table) -> Table:
    return table


def same_view(select: str) -> str:
    return select


@dataclass(frozen=True)
class Variant:
    """Our tables with something changed in the event tables, the rollups or the views that fill these."""

    event: TableChange = same_table
    rollup: TableChange = same_table
    view: ViewChange = same_view
    views: bool = True
    columns: Callable[[RowBlock], Sequence[str]] = lambda block: list(block.rows.schema.names)
    settings: Mapping[str, object] | None = None

    def statements(self) -> Iterator[str]:
        for table in EVENT_TABLES:
            yield self.event(table).create(_OPTIONS)
        for rollup in ROLLUPS.values():
            if self.views:
                yield self.rollup(rollup.target).create(_OPTIONS)
                view = rollup.materialized_view
                yield replace(view, select=self.view(view.select)).create(_OPTIONS)


class Plan(Variant):
    """The plan's tables, which take the plan's columns."""

    def statements(self) -> Iterator[str]:
        return plan_statements()


def without_index(pattern: str, table: Table) -> Table:
    return replace(table, indexes=tuple(index for index in table.indexes if not re.search(pattern, index)))


def other_index(pattern: str, by: str, table: Table) -> Table:
    return replace(table, indexes=tuple(re.sub(pattern, by, index) for index in table.indexes))


def without_columns(names: Sequence[str], table: Table) -> Table:
    indexes = tuple(index for index in table.indexes if index.split()[2] not in names)
    columns = tuple(column for column in table.columns if column.name not in names)
    engine = table.engine.replace("(ingested_at)", "") if "ingested_at" in names else table.engine
    return replace(table, columns=columns, indexes=indexes, engine=engine)


def other_codec(pattern: str, by: str, table: Table) -> Table:
    return replace(
        table, columns=tuple(replace(column, extra=re.sub(pattern, by, column.extra)) for column in table.columns)
    )


def lz4_but_for_text(table: Table) -> Table:
    return replace(
        table,
        columns=tuple(
            column if column.name in _TEXT else replace(column, extra=column.extra.replace("ZSTD(1)", "LZ4"))
            for column in table.columns
        ),
    )


def other_granularity(rows: int, table: Table) -> Table:
    return replace(table, index_granularity=rows)


_TEXT = ("input", "output", "metadata", "attributes", "events", "message", "comment", "labels")
_NO_RECEIPT = partial(
    re.sub, r"GROUP BY GROUPING SETS \(\((.*?)\), \(load_block\)\) HAVING .*", r"GROUP BY load_block, \1"
)
_NO_DIGEST = partial(re.sub, r", quantilesTDigestStateIf\(.*?\)\(.*? AS quantiles", "")


@dataclass(frozen=True)
class _Set(Table):
    """A table with one more setting."""

    more: tuple[str, object] = ("", "")

    def create(self, options: SchemaOptions, days: int = 0) -> str:
        name, value = self.more
        return f"{super().create(options, days)}, {name} = {value!r}"


def with_setting(name: str, value: object, table: Table) -> Table:
    return _Set(**{field.name: getattr(table, field.name) for field in fields(table)}, more=(name, value))


def without(*names: str) -> Callable[[RowBlock], Sequence[str]]:
    """The columns of a block but for some."""
    return lambda block: [name for name in block.rows.schema.names if name not in names]


def event_type_of(block: RowBlock) -> str:
    return next(event_type for event_type, table in TABLES.items() if table.table == block.table)


def plan_columns_of(block: RowBlock) -> Sequence[str]:
    return [*plan_columns(event_type_of(block)), "ingested_at"]


_LINEAGE = ("load_id", "block", "sequence")
"""What the views and each other's defaults read."""
_MERGED = {"optimize_on_insert": 1}
"""The engine's default."""

VARIANTS: dict[str, Variant] = {
    "the plan's tables": Plan(columns=plan_columns_of, settings=_MERGED),
    "the plan's, not merged as inserted": Plan(columns=plan_columns_of),
    "our tables": Variant(),
    "merged as inserted": Variant(settings=_MERGED),
    "no rollup at all": Variant(views=False),
    "no receipt": Variant(view=_NO_RECEIPT),
    "no t-digest": Variant(view=_NO_DIGEST, rollup=partial(without_columns, ["quantiles"])),
    "no bloom filters": Variant(partial(without_index, "bloom_filter")),
    "bloom filters of 0.001": Variant(partial(other_index, r"0\.0001", "0.001")),
    "bloom filters of 2 granules": Variant(partial(other_index, r"(0\.0001.*) 1$", r"\1 2")),
    "no index of load_id": Variant(partial(without_index, "load_id_set")),
    "no index of ingested_at": Variant(partial(without_index, "ingested_at_minmax")),
    "no event_hash": Variant(partial(without_columns, ["event_hash"])),
    "no sequence": Variant(partial(without_columns, ["sequence"]), columns=without("sequence")),
    "no rollup, load_id, block, sequence": Variant(
        partial(without_columns, _LINEAGE), views=False, columns=without(*_LINEAGE)
    ),
    "LZ4 but for text": Variant(lz4_but_for_text),
    "LZ4": Variant(partial(other_codec, r"ZSTD\(1\)", "LZ4")),
    "no Delta, DoubleDelta, T64": Variant(partial(other_codec, r"DoubleDelta, |T64, |Delta\(4\), ", "")),
    "granules of 2048": Variant(partial(other_granularity, 2048)),
    "granules of 8192": Variant(partial(other_granularity, 8192)),
    "compact parts as inserted": Variant(partial(with_setting, "min_level_for_wide_part", 1)),
    "no statistics": Variant(*[partial(with_setting, "auto_statistics_types", "")] * 2),
    "merges of whole rows": Variant(partial(with_setting, "enable_vertical_merge_algorithm", 0)),
}


def blocks_of(directory: Path) -> list[RowBlock]:
    """What loads cut from the files, in chunks of 32 MiB, the default."""
    blocks: list[RowBlock] = []
    parser, size, number = ChunkParser(), 0, 0
    files = sorted(directory.glob("*/*/*.jsonl"))
    for file in files:
        data = file.read_bytes()
        parser.add(data, LineSource(str(file), file.parts[-3], file.parts[-2], 0, 0, 1, sequence=size))
        size += len(data)
        if size >= _CHUNK_BYTES or file == files[-1]:
            load = f"01k5x7w3v9q2-{number // 4:04}"
            blocks += cut_blocks(
                load,
                number,
                parser.finish(),
                ingested_at_ms=1_795_000_000_000,
                block_rows=250_000,
                digest=f"{number:032x}",
            )
            parser, size, number = ChunkParser(), 0, number + 1
    return blocks


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU, and bytes on disk once merged."""

    insert: float
    merge: float
    bytes: int


def measure(client: ClickHouse, variant: Variant, blocks: Sequence[RowBlock]) -> Cost:
    """Makes a variant's tables in a new database, inserts the blocks, and merges them."""
    for statement in variant.statements():
        client.command(statement)
    tables = [
        row["name"]
        for row in client.query(f"SELECT name FROM system.tables WHERE {_OURS} AND engine LIKE '%MergeTree'")
    ]
    for table in tables:
        client.command(f"SYSTEM STOP MERGES `{table}`")
    started = cpu_seconds()
    for block in blocks:
        client.insert(
            block.table, block.rows.select(variant.columns(block)), token=block.token, settings=variant.settings
        )
    inserted = cpu_seconds()
    for table in tables:
        client.command(f"SYSTEM START MERGES `{table}`")
        client.command(f"OPTIMIZE TABLE `{table}` FINAL")
    merged = cpu_seconds()
    (size,) = client.query(f"SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND {_OURS}")
    return Cost(inserted - started, merged - inserted, size["bytes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="the variants whose names match, and our tables")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir(), "beam_pipeline_shapes"))
    parser.add_argument("--variant", help="measure this one here, and print what it costs as JSON")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    events = arguments.directory / f"events-{arguments.events}"
    generate(events, arguments.events, projects=10)
    if arguments.variant:
        scratch = scratch_directory(arguments.directory)
        with ClickHouseConfig(f"chdb://{scratch}/clickhouse").connect(create=True) as client:
            print(json.dumps(asdict(measure(client, VARIANTS[arguments.variant], blocks_of(events)))))
        return
    chosen = [name for name in VARIANTS if name == "our tables" or re.search(arguments.only, name)]
    costs: dict[str, list[Cost]] = {name: [] for name in chosen}
    options = (f"--events={arguments.events}", f"--directory={arguments.directory}")
    for _ in range(arguments.rounds):
        for name in chosen:
            output = processes.measure("benchmarks.table_costs", f"--variant={name}", *options).output
            costs[name].append(Cost(**json.loads(output.splitlines()[-1])))
        report(costs, arguments.events)


def report(costs: Mapping[str, Sequence[Cost]], events: int) -> None:
    rounds = len(costs["our tables"])
    print(f"{events:,} events, {rounds} rounds; microseconds of CPU an event, bytes an event")
    ours = min(cost.insert for cost in costs["our tables"])
    for name, found in costs.items():
        insert, merge = min(cost.insert for cost in found), min(cost.merge for cost in found)
        print(
            f"{name:34}{insert / events * 1e6:7.2f} insert ({(insert - ours) / events * 1e6:+.2f})"
            f"{merge / events * 1e6:7.2f} merge {found[0].bytes / events:7.1f} bytes",
            flush=True,
        )


if __name__ == "__main__":
    main()
