"""What of a chunk is in the tables although no label tells: of one that has lost a file since blocks were cut from it, and of
a file that came back after its load was killed and has given it up.

Then labels and receipts do not help, and rows are compared one by one. It is slow, and rare: it takes a run that was
killed, and a file that was away, or had another content, when the next one came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from transforms.blocks.rollups import TABLE_ONLY
from transforms.events import REJECTED_TABLE, TABLES
from transforms.events.parsing import ParsedChunk
from transforms.events.schemas import REJECTED_SCHEMA, arrow_schema

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

_REJECTED_KEY = ("file", "byte_offset")


@dataclass
class Remainder:
    """What of a chunk is not in the tables yet, and how many rows of it are."""

    parsed: ParsedChunk
    present: Counter[str] = field(default_factory=Counter)
    """By event type; '' for rejected lines."""


Rows = Mapping[str, set[int]]
"""Hashes of the values of rows, in this process, by table."""


def read_rows(client: ClickHouse, load_id: str, blocks: Iterable[tuple[str, str]]) -> Rows:
    """The rows of some of a load's blocks, by (table, label), that are in the tables. Holds one block at a time."""
    found: dict[str, set[int]] = {}
    for table, label in sorted(blocks):
        columns = ", ".join(_sql(column) for column in _schema(table))
        rows = client.query_arrow(
            f"SELECT {columns} FROM {table} "
            f"WHERE load_id = {{load_id:String}} AND block IN ({{label:String}}, concat('{TABLE_ONLY}', {{label:String}}))",
            {"load_id": load_id, "label": label},
        )
        found.setdefault(table, set()).update(map(hash, _values(rows)))
    return found


class Resumption:
    """Leaves out of one load's chunks, in their order, what is there."""

    def __init__(self) -> None:
        self._renewed: dict[str, set[int]] = {}
        """Hashes of the keys of rows that were not there, by table: what is delivered after these must not be left out."""

    def without_present(self, parsed: ParsedChunk, present: Sequence[Rows]) -> Remainder:
        """The rows of a chunk that are not in the tables."""
        counts: Counter[str] = Counter()
        rows: dict[tuple[str, int], pa.RecordBatch] = {}
        for (event_type, month), batch in parsed.rows.items():
            table = TABLES[event_type]
            left = self._missing(table.table, table.sorting_key, batch, present)
            counts[event_type] += batch.num_rows - left.num_rows
            if left.num_rows:
                rows[event_type, month] = left
        rejected = parsed.rejected
        if rejected is not None:
            left = self._missing(REJECTED_TABLE, _REJECTED_KEY, rejected, present)
            counts[""] += rejected.num_rows - left.num_rows
            rejected = left if left.num_rows else None
        return Remainder(ParsedChunk(parsed.lines, rows, rejected), counts)

    def _missing(
        self, table: str, key: Sequence[str], batch: pa.RecordBatch, present: Sequence[Rows]
    ) -> pa.RecordBatch:
        """The rows that are not there. A table has the last of several rows of one key: those before it were there, too."""
        values = batch.select(_schema(table).names)
        keys = [hash(row) for row in _values(batch.select(key))]
        there = [any(row in rows.get(table, ()) for rows in present) for row in map(hash, _values(values))]
        last = {row: place for place, row in enumerate(keys) if there[place]}
        renewed = self._renewed.setdefault(table, set())
        left = [row in renewed or place > last.get(row, -1) for place, row in enumerate(keys)]
        renewed.update(row for place, row in enumerate(keys) if left[place])
        return batch.filter(pa.array(left, pa.bool_()))


def _schema(table: str) -> pa.Schema:
    """The columns that make a row what it is, without those that say when and how it came."""
    if table == REJECTED_TABLE:
        return REJECTED_SCHEMA
    (event_type,) = (event_type for event_type, events in TABLES.items() if events.table == table)
    return arrow_schema(event_type)


def _sql(column: pa.Field) -> str:
    """A column as `_values` compares it."""
    if pa.types.is_timestamp(column.type):
        return f"toUnixTimestamp64Milli({column.name}) AS {column.name}"
    if pa.types.is_floating(column.type):
        return f"reinterpretAsInt64({column.name}) AS {column.name}"
    return column.name if pa.types.is_integer(column.type) else f"toString({column.name}) AS {column.name}"


def _values(rows: pa.Table | pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """The values of each row: whole numbers and bytes."""
    columns = [_file_names(column) if name == "file" else _comparable(column) for name, column in _columns(rows)]
    return zip(*columns, strict=True)


def _columns(rows: pa.Table | pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        yield name, column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _comparable(column: pa.Array) -> list[Any]:
    if pa.types.is_floating(column.type):
        column = column.view(pa.int64())
    elif pa.types.is_timestamp(column.type) or pa.types.is_integer(column.type):
        column = column.cast(pa.int64())
    else:
        column = column.cast(pa.binary())
    return list(column.to_pylist())


def _file_names(column: pa.Array) -> list[bytes]:
    """Paths within the input. Version 0.1 has named files by their whole paths."""
    return [b"/".join(path.split(b"/")[-3:]) for path in column.cast(pa.binary()).to_pylist()]
