"""What a load needs that is taken up again, when receipts and deduplication tokens do not tell enough.

Receipts say which blocks are in the table and in its rollup. Two cases are left. A server that died between writing the
one and the other has a block's rows without its receipt: within the deduplication window a repeated insert completes it,
and past the window only the rollup must be completed. And a chunk that has lost a file since cannot be cut into the same
blocks again: then rows are looked up one by one.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from transforms.clickhouse import ClickHouse
from transforms.events import REJECTED_TABLE, TABLES
from transforms.parse_events import ParsedChunk
from transforms.receipts import read_receipts
from transforms.rollups import ROLLUP_SOURCES
from transforms.row_block import RowBlock

SETTLE_S = 5.0
"""Seconds that an insert of a process that is gone may still take, once its rows are in the table, to be rolled up."""

_BY_TABLE = {table.table: event_type for event_type, table in TABLES.items()}


def complete_block(client: ClickHouse, block: RowBlock) -> bool:
    """Completes the rollup of a block whose rows are in its table; False when they are not, and it is to be inserted.

    Rows of the block that a later delivery of the same event has replaced cannot be rolled up from the table. Then it is
    to be inserted, too: the table keeps one row an event by its version, and the rollup gets the block once.
    """
    event_type = _BY_TABLE.get(block.table)
    if event_type is None or _rows_in_table(client, block) != block.num_rows:
        return False
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        if (block.table, block.label) in read_receipts(client, block.load_id):
            return True
        time.sleep(SETTLE_S / 10)
    source = ROLLUP_SOURCES[event_type].select("load_id = {load_id:String} AND block = {label:String}")
    client.command(
        f"INSERT INTO {TABLES[event_type].rollup} {source}",
        {"load_id": block.load_id, "label": block.label},
        settings={"insert_deduplication_token": f"{block.token}:rollup", "async_insert": 0},
    )
    return True


def _rows_in_table(client: ClickHouse, block: RowBlock) -> int:
    (row,) = client.query(
        f"SELECT count() AS n FROM {block.table} WHERE load_id = {{load_id:String}} AND block = {{label:String}}",
        {"load_id": block.load_id, "label": block.label},
    )
    return int(row["n"])


@dataclass
class Remainder:
    """What of a chunk is not in the tables yet, and how many rows of it are."""

    parsed: ParsedChunk
    present: Counter[str] = field(default_factory=Counter)
    """By event type; '' for rejected lines."""


def without_present(client: ClickHouse, load_id: str, chunk: int, parsed: ParsedChunk) -> Remainder:
    """The rows of a chunk that its load has not inserted before, told by their ids."""
    present: Counter[str] = Counter()
    rows: dict[tuple[str, int], pa.RecordBatch] = {}
    for (event_type, month), batch in parsed.rows.items():
        table = TABLES[event_type]
        there = _present(client, table.table, table.id_column, load_id, chunk).column(0).combine_chunks()
        known = pc.is_in(batch.column(table.id_column), value_set=there.cast(pa.string()))
        present[event_type] += pc.sum(known).as_py() or 0
        left = batch.filter(pc.invert(known))
        if left.num_rows:
            rows[event_type, month] = left
    rejected = parsed.rejected
    if rejected is not None:
        there = _present(client, REJECTED_TABLE, "concat(file, ':', toString(byte_offset))", load_id, chunk)
        places = pc.binary_join_element_wise(
            rejected.column("file"), rejected.column("byte_offset").cast(pa.string()), ":"
        )
        known = pc.is_in(places, value_set=there.column(0).combine_chunks().cast(pa.string()))
        present[""] += pc.sum(known).as_py() or 0
        rejected = rejected.filter(pc.invert(known))
    return Remainder(
        ParsedChunk(parsed.lines, rows, rejected if rejected is not None and rejected.num_rows else None), present
    )


def _present(client: ClickHouse, table: str, key: str, load_id: str, chunk: int) -> pa.Table:
    return client.query_arrow(
        f"SELECT DISTINCT {key} AS present FROM {table} "
        "WHERE load_id = {load_id:String} AND startsWith(toString(block), {chunk:String})",
        {"load_id": load_id, "chunk": f"{chunk}."},
    )
