"""Receipts on a real engine."""

from __future__ import annotations

import pytest

from beam_pipeline.schema import SchemaOptions
from tests.support.databases import make_tables
from tests.support.dataset import event
from transforms.blocks.receipts import read_blocks, read_receipts
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
    assert read_receipts(clickhouse, []) == {}
    assert read_receipts(clickhouse, ["load"]) == {"load": {}}
    for block in blocks:
        clickhouse.insert(block.table, block.rows, token=block.token)
    expected = {(block.table, block.label): block.num_rows for block in blocks}
    assert read_receipts(clickhouse, ["load"]) == {"load": expected}
    assert (REJECTED_TABLE, "7.rejected.0") in expected and len(expected) == 11
    assert read_receipts(clickhouse, ["loa", "load2"]) == {"loa": {}, "load2": {}}
    for table in TABLES.values():
        clickhouse.command(f"OPTIMIZE TABLE {table.rollup} FINAL")
    assert read_receipts(clickhouse, ["load"]) == {"load": expected}


def test_receipts_of_many_loads_come_apart(clickhouse: ClickHouse) -> None:
    """Also of loads whose ids begin alike, and of labels with digests."""
    make_tables(clickhouse, SchemaOptions(dedup_window=1000))
    expected: dict[str, dict[tuple[str, str], int]] = {}
    for number, load_id in enumerate(["a", "a0", "ab", "b"]):
        parser = ChunkParser()
        lines = [event("log", f"{load_id}-{n}", at="2100-01-01") for n in range(number + 1)]
        parser.add("\n".join([*lines, *["bad"] * number]).encode(), LineSource("f", "log", "p", 0, 0, 1))
        blocks = list(cut_blocks(load_id, 7, parser.finish(), ingested_at_ms=1, block_rows=2, digest=f"d{number}"))
        for block in blocks:
            clickhouse.insert(block.table, block.rows, token=block.token)
        expected[load_id] = {(block.table, block.label): block.num_rows for block in blocks}
    assert read_receipts(clickhouse, [*expected, "none"]) == {**expected, "none": {}}
    assert read_blocks(clickhouse, "b") == set(expected["b"])
    assert read_blocks(clickhouse, "none") == set()


@pytest.mark.parametrize("lost", ["table", "rollup"])
def test_blocks_are_those_that_are_in_the_table_or_in_the_rollup(clickhouse: ClickHouse, lost: str) -> None:
    make_tables(clickhouse, SchemaOptions(dedup_window=1000))
    parser = ChunkParser()
    parser.add(event("log", "1", at="2100-01-01").encode(), LineSource("f", "log", "p", 0, 0, 1))
    (block,) = cut_blocks("load", 7, parser.finish(), ingested_at_ms=1, block_rows=2, digest="d")
    clickhouse.insert(block.table, block.rows, token=block.token)
    table = TABLES["log"]
    clickhouse.command(f"TRUNCATE TABLE {table.table if lost == 'table' else table.rollup}")
    assert read_blocks(clickhouse, "load") == {(table.table, "7.210001.0.d")}
