"""Blocks hold all rows of a chunk, in order, cut the same way each time, under names and digests that tell them apart."""

from __future__ import annotations

import pickle
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.dataset import event
from transforms.blocks.row_block import RowBlock, cut_blocks, label_digest
from transforms.events import REJECTED_TABLE, TABLES, LineSource
from transforms.events.parsing import ChunkParser, ParsedChunk

SOURCE = LineSource("f", "log", "p", 0, 0, 1)


def parse(months: list[int], bad: int = 0) -> ParsedChunk:
    """One log record in each of these months of 2026, and some lines that are rejected."""
    lines = [event("log", f"{n:04d}", at=f"2026-{month:02d}-10") for n, month in enumerate(months)]
    parser = ChunkParser()
    parser.add("\n".join([*lines, *["bad"] * bad]).encode(), SOURCE)
    return parser.finish()


def cut(parsed: ParsedChunk, block_rows: int = 1000, chunk: int = 3, **named: Any) -> list[RowBlock]:
    return list(cut_blocks("load", chunk, parsed, ingested_at_ms=1_700_000_000_000, block_rows=block_rows, **named))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 12), max_size=40), st.integers(1, 15), st.integers(0, 3))
def test_blocks_hold_every_row_once_in_order(months: list[int], block_rows: int, bad: int) -> None:
    blocks = cut(parse(months, bad), block_rows)
    events = [block for block in blocks if block.table == TABLES["log"].table]
    ids = [name for block in events for name in block.rows.column("id").to_pylist()]
    assert ids == [f"{n:04d}" for n, _ in sorted(enumerate(months), key=lambda pair: pair[1])]
    assert all(0 < block.num_rows <= block_rows for block in events)
    for block in events:
        assert {time.month for time in block.rows.column("timestamp").to_pylist()} == {
            int(block.label.split(".")[1]) % 100
        }
    rejected = [block for block in blocks if block.table == REJECTED_TABLE]
    assert sum(block.num_rows for block in rejected) == bad
    assert len({(block.table, block.label) for block in blocks}) == len(blocks)
    assert [block.token for block in blocks] == [block.token for block in cut(parse(months, bad), block_rows)]


def test_a_block_says_where_its_rows_come_from() -> None:
    (block,) = cut(parse([5, 5]))
    assert (block.label, block.token) == ("3.202605.0", f"load:{TABLES['log'].table}:3.202605.0:{block.digest}")
    assert block.rows.column("load_id").to_pylist() == ["load"] * 2
    assert block.rows.column("block").to_pylist() == ["3.202605.0"] * 2
    assert block.rows.column("ingested_at").cast(pa.int64()).to_pylist() == [1_700_000_000_000] * 2


def test_a_label_says_which_content_of_the_files_is_in_the_block() -> None:
    """But for labels as version 0.1 made them."""
    for digest, end in (("", ""), ("00ff", ".00ff")):
        blocks = cut(parse([5, 5, 6], bad=1), block_rows=1, digest=digest)
        assert [block.label for block in blocks] == [
            *(f"3.{place}{end}" for place in ("202605.0", "202605.1", "202606.0", "rejected.0"))
        ]
        assert [block.month for block in blocks] == ["202605", "202605", "202606", "rejected"]
        assert [label_digest(block.label) for block in blocks] == [digest] * 4


def test_what_is_cut_in_another_way_has_labels_of_its_own() -> None:
    """And one version, behind those of all blocks that the chunk was first cut into."""
    first, again = (cut(parse([5, 5], bad=1), block_rows=1, digest="00ff", suffix=suffix) for suffix in ("", "-2"))
    assert [block.label for block in again] == [f"3.{place}-2.00ff" for place in ("202605.0", "202605.1", "rejected.0")]
    assert [label_digest(block.label) for block in again] == [""] * 3
    versions = [
        [
            time
            for name in ("ingested_at", "rejected_at")
            if name in block.rows.schema.names
            for time in block.rows.column(name).cast(pa.int64()).to_pylist()
        ]
        for block in (*first, *again)
    ]
    start = 1_700_000_000_000
    assert versions == [[start], [start + 1], [start], [start], [start], [start]]


def test_the_digest_is_of_the_values_and_not_of_what_they_were_cut_from() -> None:
    whole, tail = parse([5] * 10), parse([5] * 10)
    tail.rows["log", 202605] = tail.rows["log", 202605].slice(4)
    rebuilt = pa.RecordBatch.from_pylist(tail.rows["log", 202605].to_pylist(), tail.rows["log", 202605].schema)
    (cut_off,), (new,) = cut(tail), cut(ParsedChunk(6, {("log", 202605): rebuilt}, None))
    assert cut_off.digest == new.digest != cut(whole)[0].digest


def test_a_block_survives_pickling() -> None:
    for block in cut(parse([1, 2, 2], bad=1), block_rows=1, attempt=3, resumed=True):
        copy = pickle.loads(pickle.dumps(block))
        assert copy.rows.equals(block.rows)
        assert (copy.token, copy.resumed, copy.attempt) == (block.token, True, 3)
