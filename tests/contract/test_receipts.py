"""Receipts on a real engine."""

from __future__ import annotations

from beam_pipeline.schema import SchemaOptions
from tests.support.databases import make_tables
from tests.support.dataset import event
from transforms.blocks.receipts import read_receipts
from transforms.blocks.row_block import cut_blocks
from transforms.clickhouse import ClickHouse
from transforms.events import REJECTED_TABLE, TABLES, LineSource
from transforms.events.parsing import ChunkParser


def test_receipts_tell_what_the_server_has(clickhouse: ClickHouse) -> None:
    make_tables(clickhouse, SchemaOptions(dedup_window=1000))
    lines = [event(kind, f"{kind}-{n}", at=f"2100-0{n + 1}-01") for kind in TABLES for n in range(2)]
    parser = ChunkParser()
    parser.add("\n".join([*lines, "bad", "worse"]).encode(), LineSource("f", "trace", "p", 0, 0, 1))
    blocks = list(cut_blocks("load", 7, parser.finish(), ingested_at_ms=1, block_rows=10))
    assert read_receipts(clickhouse, "load") == {}
    for block in blocks:
        clickhouse.insert(block.table, block.rows, token=block.token)
    expected = {(block.table, block.label): block.num_rows for block in blocks}
    assert read_receipts(clickhouse, "load") == expected
    assert (REJECTED_TABLE, "7.rejected.0") in expected and len(expected) == 11
    assert read_receipts(clickhouse, "loa") == read_receipts(clickhouse, "load2") == {}
    for table in TABLES.values():
        clickhouse.command(f"OPTIMIZE TABLE {table.rollup} FINAL")
    assert read_receipts(clickhouse, "load") == expected
