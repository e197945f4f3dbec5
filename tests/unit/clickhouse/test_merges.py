"""When an embedded engine merges the parts that a run inserts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest

from tests.support.waiting import eventually
from transforms.clickhouse import ClickHouse, ClickHouseError
from transforms.clickhouse.merges import WaitingMerges

TABLE = "merged"
ROWS = pa.table({"a": pa.array([1], pa.int32())})


@pytest.fixture
def client(embedded_admin: ClickHouse) -> Iterator[ClickHouse]:
    embedded_admin.command(f"CREATE TABLE {TABLE} (a Int32) ENGINE = MergeTree ORDER BY a")
    yield embedded_admin
    embedded_admin.command("SYSTEM START MERGES")
    embedded_admin.command(f"DROP TABLE {TABLE} SYNC")


def insert(client: ClickHouse, times: int) -> None:
    for _ in range(times):
        client.insert(TABLE, ROWS)


def parts(client: ClickHouse) -> int:
    (found,) = client.query(f"SELECT count() AS parts FROM system.parts WHERE active AND table = '{TABLE}'")
    return int(found["parts"])


def test_merges_give_way_to_everything_else(client: ClickHouse) -> None:
    with client.inserts_first():
        priorities: dict[str, set[int]] = {}
        for thread in Path("/proc/self/task").iterdir():
            name = (thread / "comm").read_text().strip()
            priorities.setdefault(name, set()).add(os.getpriority(os.PRIO_PROCESS, int(thread.name)))
    assert priorities.pop("MergeMutate") == {19}
    assert len(priorities) > 1 and not any(19 in found for found in priorities.values())


def test_parts_of_a_run_are_merged_after_it(client: ClickHouse) -> None:
    with client.inserts_first():
        insert(client, 30)
        assert parts(client) == 30
    eventually(lambda: parts(client) < 30)


def test_merges_go_on_after_a_run_that_fails(client: ClickHouse) -> None:
    with pytest.raises(ZeroDivisionError), client.inserts_first():
        insert(client, 30)
        raise ZeroDivisionError
    eventually(lambda: parts(client) < 30)


def test_many_parts_are_merged_in_the_middle_of_a_run(client: ClickHouse) -> None:
    merges = WaitingMerges(client, many_parts=20)
    merges.begin()
    for number in range(1, 20):
        insert(client, 1)
        merges.note_insert()
        assert parts(client) == number
    insert(client, 1)
    merges.note_insert()
    eventually(lambda: parts(client) < 20)
    merges.end()


def test_inserts_into_other_tables_do_not_count(client: ClickHouse) -> None:
    """It is asked again how many parts the fullest partition has, once that many could be there."""
    merges = WaitingMerges(client, many_parts=20)
    merges.begin()
    insert(client, 15)
    for _ in range(50):
        merges.note_insert()
    assert parts(client) == 15
    merges.end()
    eventually(lambda: parts(client) < 15)


def test_where_many_parts_are_there_nothing_waits(client: ClickHouse) -> None:
    client.command("SYSTEM STOP MERGES")
    insert(client, 20)
    client.command("SYSTEM START MERGES")
    merges = WaitingMerges(client, many_parts=1)
    merges.begin()
    eventually(lambda: parts(client) < 20)


class _Fails:
    """A client of an engine that fails once merges wait."""

    def __init__(self) -> None:
        self.asked = 0

    def query(self, sql: str) -> list[dict[str, int]]:
        self.asked += 1
        if self.asked > 1:
            raise ClickHouseError("no memory")
        return [{"parts": 99}]

    def command(self, sql: str) -> None:
        if "START" in sql:
            raise ClickHouseError("no memory")


def test_neither_an_insert_nor_a_run_fails_because_of_merges() -> None:
    engine = _Fails()
    merges = WaitingMerges(cast("ClickHouse", engine), many_parts=100)
    merges.begin()
    merges.note_insert()
    assert engine.asked == 2
    merges.end()
