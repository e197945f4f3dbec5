"""What a load still needs of a chunk that has lost a file since: it cannot be cut into the same blocks again.

Then labels and receipts do not tell what is there, and rows are looked up one by one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from transforms.clickhouse import ClickHouse
from transforms.events import REJECTED_TABLE, TABLES
from transforms.parse_events import ParsedChunk
from transforms.rollups import TABLE_ONLY


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
        f"WHERE load_id = {{load_id:String}} AND startsWith(trim(LEADING '{TABLE_ONLY}' FROM block), {{chunk:String}})",
        {"load_id": load_id, "chunk": f"{chunk}."},
    )
