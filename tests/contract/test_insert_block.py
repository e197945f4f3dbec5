"""A block is in its table and in its rollup once, whatever an earlier attempt has left; on a real engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from beam_pipeline.schema import SchemaOptions
from tests.support.databases import make_tables
from tests.support.dataset import event
from transforms.blocks import insert_block as module
from transforms.blocks.insert_block import insert_block
from transforms.blocks.receipts import Receipts, read_receipts
from transforms.blocks.row_block import RowBlock, cut_blocks
from transforms.clickhouse import ClickHouse
from transforms.events import REJECTED_TABLE, TABLES, LineSource
from transforms.events.parsing import ChunkParser

TRACES = TABLES["trace"]


@pytest.fixture
def client(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> ClickHouse:
    monkeypatch.setattr(module, "SETTLE_S", 0.05)
    make_tables(clickhouse, SchemaOptions(dedup_window=1000))
    return clickhouse


def block(*lines: str, load_id: str = "load", version: int = 1, resumed: bool = False) -> RowBlock:
    parser = ChunkParser()
    parser.add("\n".join(lines).encode(), LineSource("f", "trace", "p", 0, 0, 1))
    (made,) = cut_blocks(load_id, 0, parser.finish(), ingested_at_ms=version, block_rows=10, resumed=resumed)
    return made


def receipts(client: ClickHouse) -> Receipts:
    return read_receipts(client, ["load"])["load"]


def counts(client: ClickHouse) -> tuple[int, int, int]:
    """Rows in the table once it is merged, events in the rollup, rows that receipts of `load` tell of."""
    (row,) = client.query(
        f"SELECT (SELECT count() FROM {TRACES.table} FINAL) AS rows, "
        f"(SELECT sum(count) FROM {TRACES.stats_view}) AS counted"
    )
    return row["rows"], row["counted"], sum(receipts(client).values())


THREE = [event("trace", name) for name in "abc"]


def test_a_new_block(client: ClickHouse) -> None:
    assert insert_block(client, block(*THREE))
    assert counts(client) == (3, 3, 3)


def test_one_that_nobody_can_have_inserted_before_is_one_statement(client: ClickHouse) -> None:
    before = client.statements
    assert insert_block(client, block(*THREE), may_repeat=False)
    assert client.statements - before == 1
    assert counts(client) == (3, 3, 3)


@pytest.mark.parametrize(
    ("why", "rows"),
    [("nothing", 0), ("the runner may repeat it", 3), ("the load was tried before", 3), ("the insert was repeated", 3)],
)
def test_rows_are_looked_for_where_their_token_may_be_known(
    client: ClickHouse, monkeypatch: pytest.MonkeyPatch, why: str, rows: int
) -> None:
    """A server that dies in between leaves a token without its rows, as the table is here: it drops the next insert."""
    insert_block(client, block(*THREE))
    client.command(f"ALTER TABLE {TRACES.table} DELETE WHERE 1 SETTINGS mutations_sync = 2")
    if why == "the insert was repeated":
        insert = client.insert

        def second_attempt(table: str, rows: Any, **options: Any) -> bool:
            insert(table, rows, **options)
            return True

        monkeypatch.setattr(client, "insert", second_attempt)
    resumed = why == "the load was tried before"
    assert insert_block(client, block(*THREE, resumed=resumed), may_repeat=why == "the runner may repeat it")
    assert counts(client) == (rows, 3, 3)


def test_one_that_is_there_already(client: ClickHouse) -> None:
    insert_block(client, block(*THREE))
    assert not insert_block(client, block(*THREE, resumed=True), acknowledged=True)
    assert insert_block(client, block(*THREE, resumed=True))
    assert insert_block(client, block(*THREE))
    assert counts(client) == (3, 3, 3)


def test_one_of_which_the_table_has_the_rows_and_the_rollup_has_nothing(client: ClickHouse) -> None:
    insert_block(client, block(*THREE))
    client.command(f"TRUNCATE TABLE {TRACES.rollup}")
    assert insert_block(client, block(*THREE, resumed=True))
    assert counts(client) == (3, 3, 3)


def test_one_of_which_the_rollup_has_all_and_the_table_nothing(client: ClickHouse) -> None:
    insert_block(client, block(*THREE))
    client.command(f"TRUNCATE TABLE {TRACES.table}")
    assert insert_block(client, block(*THREE, resumed=True), acknowledged=True)
    assert counts(client) == (3, 3, 3)
    assert not insert_block(client, block(*THREE, resumed=True), acknowledged=True)


def test_one_whose_rows_were_replaced_before_they_were_rolled_up(client: ClickHouse) -> None:
    insert_block(client, block(*THREE))
    client.command(f"TRUNCATE TABLE {TRACES.rollup}")
    insert_block(client, block(event("trace", "b", name="newer"), load_id="later", version=2))
    client.command(f"OPTIMIZE TABLE {TRACES.table} FINAL")
    assert insert_block(client, block(*THREE, resumed=True))
    assert counts(client) == (3, 4, 3), "the rollup counts deliveries"
    names = client.query(f"SELECT name FROM {TRACES.table} FINAL ORDER BY trace_id")
    assert [row["name"] for row in names] == ["n", "newer", "n"]


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("days", [30, 0])
def test_rows_that_are_expired_are_not_missed(client: ClickHouse, resumed: bool, days: int) -> None:
    """Nor when nobody knows how long rows are kept, which 0 says."""
    old = block(event("trace", "a", at="2020-01-01T00:00:00Z"), resumed=resumed)
    assert insert_block(client, old, ttl_days={"trace": days})
    assert receipts(client) == {(TRACES.table, "0.202001.0"): 1}
    assert not insert_block(client, replace(old, resumed=True), acknowledged=True, ttl_days={"trace": days})


def test_rejected_lines(client: ClickHouse) -> None:
    bad = block("bad", "worse")
    assert insert_block(client, bad)
    assert insert_block(client, replace(bad, resumed=True))
    client.command(f"TRUNCATE TABLE {REJECTED_TABLE}")
    assert insert_block(client, replace(bad, resumed=True), acknowledged=True)
    assert receipts(client) == {(REJECTED_TABLE, "0.rejected.0"): 2}
