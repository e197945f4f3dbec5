"""What is checked before a load is committed, and what it is said to have done."""

from __future__ import annotations

import pytest

from transforms.events import REJECTED_TABLE, TABLES
from transforms.finalize_files import check_sums, count_blocks
from transforms.loads import Load
from transforms.loads.rows import LoadCounts
from transforms.parse_jsonl import ParsedLoad

LOAD = Load("load", (), 1, 1, 0)
LOGS, TRACES = TABLES["log"].table, TABLES["trace"].table
BLOCKS = {(LOGS, "0.210011.0"): 4, (TRACES, "0.210011.0"): 1, (REJECTED_TABLE, "0.rejected.0"): 2}
PARSED = ParsedLoad(LOAD, LoadCounts(lines=7, inserted=5, rejected=2), BLOCKS)


def test_a_load_whose_blocks_are_all_there_is_right() -> None:
    assert check_sums(PARSED, BLOCKS) == ""
    assert check_sums(PARSED, {**BLOCKS, (LOGS, "0.210011.0-1"): 3}) == "", "what another attempt has inserted"
    assert check_sums(ParsedLoad(LOAD), {}) == ""


@pytest.mark.parametrize("counts", [LoadCounts(8, 5, 2), LoadCounts(6, 5, 2), LoadCounts(0, 5, 2)])
def test_a_line_too_many_or_too_few_is_told(counts: LoadCounts) -> None:
    told = f"{counts.lines} lines were read, but 5 inserted and 2 rejected"
    assert check_sums(ParsedLoad(LOAD, counts, BLOCKS), BLOCKS) == told


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("difference", [-1, 1])
def test_a_block_that_is_not_whole_is_told(block: tuple[str, str], difference: int) -> None:
    rows = BLOCKS[block]
    told = f"block {block[1]} of {block[0]} has {rows} rows, but ClickHouse acknowledges {rows + difference}"
    assert check_sums(PARSED, {**BLOCKS, block: rows + difference}) == told


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_that_is_missing_is_told(block: tuple[str, str]) -> None:
    there = {key: rows for key, rows in BLOCKS.items() if key != block}
    assert check_sums(PARSED, there).endswith("but ClickHouse acknowledges 0")


def test_a_load_is_counted_from_its_blocks_whoever_inserted_them() -> None:
    mine = LoadCounts(lines=1, inserted=1, expired=3, blocks=1, duration_ms=9, events={"log": 1})
    there = {**BLOCKS, (LOGS, "0.210011.0-1"): 3}
    assert count_blocks(mine, there) == LoadCounts(
        lines=10, inserted=8, rejected=2, expired=3, blocks=4, duration_ms=9, events={"trace": 1, "log": 7}
    )
    assert count_blocks(PARSED.counts, {}) == LoadCounts()
