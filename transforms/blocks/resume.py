"""What a load still needs of a chunk that has lost a file since: it cannot be cut into the same blocks again.

Then labels and receipts do not tell what is there, and rows are looked up one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from transforms.blocks.rollups import TABLE_ONLY
from transforms.clickhouse import ClickHouse
from transforms.events import REJECTED_TABLE, TABLES
from transforms.events.parsing import ParsedChunk


@dataclass
class Remainder:
    """What of a chunk is not in the tables yet, and how many rows of it are."""

    parsed: ParsedChunk
    present: Counter[str] = field(default_factory=Counter)
    """By event type; '' for rejected lines."""


def without_present(client: ClickHouse, load_id: str, chunk: int, parsed: ParsedChunk) -> Remainder:
    """The rows of a chunk that its load has not inserted before. Rows of one sorting key are one row of the table."""
    present: Counter[str] = Counter()
    rows: dict[tuple[str, int], pa.RecordBatch] = {}
    for (event_type, month), batch in parsed.rows.items():
        table = TABLES[event_type]
        key = [f"toUnixTimestamp64Milli({name})" if name == table.time_column else name for name in table.sorting_key]
        there = set(_keys(_present(client, table.table, key, load_id, chunk)))
        # Row by row, which is slow, and rare: it takes a run that was killed, and a file that went away before the next.
        known = pa.array([row in there for row in _keys(batch.select(table.sorting_key))], pa.bool_())
        present[event_type] += pc.sum(known).as_py() or 0
        left = batch.filter(pc.invert(known))
        if left.num_rows:
            rows[event_type, month] = left
    rejected = parsed.rejected
    if rejected is not None:
        place = ["file", "byte_offset"]
        # Version 0.1 has named files by their whole paths.
        there = {(_within(file), at) for file, at in _keys(_present(client, REJECTED_TABLE, place, load_id, chunk))}
        known = pa.array([(_within(file), at) in there for file, at in _keys(rejected.select(place))], pa.bool_())
        present[""] += pc.sum(known).as_py() or 0
        rejected = rejected.filter(pc.invert(known))
    return Remainder(
        ParsedChunk(parsed.lines, rows, rejected if rejected is not None and rejected.num_rows else None), present
    )


def _within(path: str) -> str:
    """The part of a path that is within its input: type, project and name."""
    return "/".join(path.split("/")[-3:])


def _keys(rows: pa.Table | pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """The values of each row: texts and whole numbers."""
    columns = (
        column.cast(
            pa.int64() if pa.types.is_timestamp(column.type) or pa.types.is_integer(column.type) else pa.string()
        )
        for column in rows.columns
    )
    return zip(*(column.to_pylist() for column in columns), strict=True)


def _present(client: ClickHouse, table: str, key: Sequence[str], load_id: str, chunk: int) -> pa.Table:
    return client.query_arrow(
        f"SELECT DISTINCT {', '.join(key)} FROM {table} "
        f"WHERE load_id = {{load_id:String}} AND startsWith(trim(LEADING '{TABLE_ONLY}' FROM block), {{chunk:String}})",
        {"load_id": load_id, "chunk": f"{chunk}."},
    )
