"""The journal on a real engine, over both transports: one entry for each number, and a look at what is not finished."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import pyarrow as pa
import pytest

from tests.support.databases import make_tables
from tests.support.query_reads import CountingClient
from transforms.clickhouse import ClickHouse
from transforms.loads import Load, Slice, make_load
from transforms.loads import journal as module
from transforms.loads.journal import JOURNAL_TABLE, Holding, Journal, Tail, wait_ms
from transforms.loads.log import LoadLog
from transforms.loads.rows import LOADS_TABLE, LoadRecord

NOW_MS = 1_800_000_000_000


@pytest.fixture
def client(clickhouse: ClickHouse) -> ClickHouse:
    make_tables(clickhouse)
    return clickhouse


def a_load(name: str, *, size: int = 1, created_ms: int = NOW_MS, **options: int) -> Load:
    part = Slice(f"/in/log/p/{name}.jsonl", "log", "p", 0, 0, size, "e", 0, size)
    return make_load([part], **{"block_bytes": 1, "block_rows": 1, **options}, created_ms=created_ms)


def journal_of(client: Any, run_id: str = "run-1", input: str = "/in") -> Journal:
    return Journal(client, input, run_id)


def append(journal: Journal, *loads: Load) -> None:
    """As the only one."""
    assert journal.append(journal.look(), loads)


def write(client: ClickHouse, loads: Iterable[Load], state: str, run_id: str = "run-1", input: str = "/in") -> None:
    """What the history says of loads."""
    error = "server away" if state == "failed" else ""
    LoadLog(client, input=input, root="/in", run_id=run_id).write_loads(
        LoadRecord(load, state, error=error) for load in loads
    )


def consume(client: ClickHouse, number: int, input: str = "/in") -> None:
    """Leaves a token without its entry, as a server does that dies between the two."""
    row = {"input": input, "number": number, "writer": "died", "load_id": "lost"}
    schema = pa.schema([(name, pa.uint64() if name == "number" else pa.string()) for name in row])
    client.insert(JOURNAL_TABLE, pa.RecordBatch.from_pylist([row], schema), token=f"{input}:{number}")
    client.command(f"ALTER TABLE {JOURNAL_TABLE} DELETE WHERE writer = 'died' SETTINGS mutations_sync = 2")
    assert client.query(f"SELECT 1 FROM {JOURNAL_TABLE} WHERE writer = 'died'") == []


def entries(client: ClickHouse, input: str = "/in") -> list[tuple[Any, ...]]:
    """Number, run, load and attempt of each row."""
    rows = client.query(
        f"SELECT number, run_id, load_id, attempt FROM {JOURNAL_TABLE} WHERE input = {{input:String}} ORDER BY number, load_id",
        {"input": input},
    )
    return [tuple(row.values()) for row in rows]


def test_an_empty_journal_has_nothing_unfinished(client: ClickHouse) -> None:
    assert journal_of(client).look() == Tail()
    assert journal_of(client).holder("a load") == ("", 0)


def test_an_entry_gives_loads_to_a_run(client: ClickHouse) -> None:
    journal, one, other = journal_of(client), a_load("one"), a_load("other", block_rows=7, block_bytes=9)
    append(journal, one, other)
    tail = journal_of(client, "run-2").look()
    assert (tail.head, set(tail.unfinished)) == (1, {one.load_id, other.load_id})
    assert tail.unfinished[other.load_id] == Holding(other.load_id, 1, "run-1", 1, NOW_MS, 9, 7)
    assert journal.holder(one.load_id) == ("run-1", 1)
    append(journal_of(client, "run-2"), replace(one, attempt=2))
    assert journal.holder(one.load_id) == ("run-2", 2)
    tail = journal.look()
    assert [(h.run_id, h.attempt, h.number) for h in tail.unfinished.values()] == [("run-1", 1, 1), ("run-2", 2, 2)]


@pytest.mark.parametrize("threads", [8])
def test_of_many_that_append_at_once_each_number_has_one_and_every_loser_sees_it(
    client: ClickHouse, threads: int
) -> None:
    each, start = 10, Barrier(threads)

    def run(thread: int) -> tuple[list[str], int]:
        """The loads of its entries, in their order, and how often it lost."""
        won: list[str] = []
        lost = 0
        with client.config.connect() as own:
            journal = journal_of(own, f"run-{thread}")
            start.wait()
            while len(won) < each:
                tail, load = journal.look(), a_load(f"{thread}-{len(won)}-{lost}")
                if journal.append(tail, [load]):
                    won.append(load.load_id)
                    assert load.load_id in journal.look().unfinished
                else:
                    lost += 1
                    now = journal.look()
                    assert now.head > tail.head and set(now.unfinished) > set(tail.unfinished)
                    assert load.load_id not in now.unfinished
        return won, lost

    with ThreadPoolExecutor(threads) as pool:
        ended = list(pool.map(run, range(threads)))
    rows = entries(client)
    assert [row[0] for row in rows] == list(range(1, threads * each + 1))
    for thread, (won, _) in enumerate(ended):
        assert [load_id for _, run_id, load_id, _ in rows if run_id == f"run-{thread}"] == won
    assert sum(lost for _, lost in ended) > threads, "they did race"


def test_what_is_decided_after_an_entry_that_was_not_seen_does_not_stand(client: ClickHouse) -> None:
    late, journal = journal_of(client, "late"), journal_of(client)
    before = late.look()
    append(journal, a_load("a"))
    append(journal, a_load("b"))
    assert not late.append(before, [a_load("c")])
    assert {run_id for _, run_id, *_ in entries(client)} == {"run-1"}
    append(late, a_load("c"))
    assert [(number, run_id) for number, run_id, *_ in entries(client)] == [(1, "run-1"), (2, "run-1"), (3, "late")]


@pytest.mark.parametrize("holes", [1, 3])
def test_a_token_that_was_consumed_without_an_entry_is_skipped(client: ClickHouse, holes: int) -> None:
    journal, late = journal_of(client), journal_of(client, "late")
    append(journal, a_load("a"))
    before = late.look()
    for number in range(2, 2 + holes):
        consume(client, number)
    append(journal, a_load("b"))
    assert [number for number, *_ in entries(client)] == [1, 2 + holes]
    assert not late.append(before, [a_load("c")]), "it comes to the same number, and finds it taken"
    tail = late.look()
    assert (tail.head, len(tail.unfinished)) == (2 + holes, 2)
    append(late, a_load("c"))
    assert [number for number, *_ in entries(client)] == [1, 2 + holes, 3 + holes]


def test_many_that_come_to_a_consumed_token_at_once_agree(client: ClickHouse) -> None:
    journals = [journal_of(client, f"run-{n}") for n in range(4)]
    tails = [journal.look() for journal in journals]
    consume(client, 1)
    start = Barrier(len(journals))

    def run(n: int) -> bool:
        start.wait()
        return journals[n].append(tails[n], [a_load(f"{n}")])

    with ThreadPoolExecutor(len(journals)) as pool:
        stands = list(pool.map(run, range(len(journals))))
    assert sorted(stands) == [False, False, False, True]
    assert [(number, run_id) for number, run_id, *_ in entries(client)] == [(2, f"run-{stands.index(True)}")]


def test_a_journal_that_takes_no_entry_is_told(client: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HOLES", 2)
    for number in (1, 2):
        consume(client, number)
    with pytest.raises(RuntimeError, match="the journal of /in has no entry from 1 on, and takes none"):
        append(journal_of(client), a_load("a"))


def test_of_two_entries_of_one_number_the_first_counts_for_everybody(client: ClickHouse) -> None:
    """As after a writer that has slept until its token was forgotten."""
    journal = journal_of(client)
    append(journal, a_load("a"))
    late = a_load("late")
    rows = Journal(client, "/in", "late")._rows(Tail(), [late], 1, "late writer")
    client.insert(JOURNAL_TABLE, rows, token="forgotten")
    assert [run_id for _, run_id, *_ in entries(client)].count("late") == 1
    assert journal._writer(1) != "late writer"
    for run_id in ("run-1", "late"):
        assert late.load_id not in journal_of(client, run_id).look().unfinished
        assert journal_of(client, run_id).holder(late.load_id) == ("", 0)


def test_two_inputs_do_not_see_each_other(client: ClickHouse) -> None:
    """Also where the name of one begins like that of the other."""
    names = ["/in", "/in:1", "/in/log", ""]
    for number, name in enumerate(names):
        for n in range(number + 1):
            append(journal_of(client, f"run of {name}", name), a_load(f"{number}-{n}", created_ms=NOW_MS + number))
    for number, name in enumerate(names):
        tail = journal_of(client, "another", name).look()
        assert (tail.head, len(tail.unfinished)) == (number + 1, number + 1)
        assert {holding.run_id for holding in tail.unfinished.values()} == {f"run of {name}"}
        assert NOW_MS + number < tail.versions_end_ms <= NOW_MS + number + 4
        assert journal_of(client, "", name).holder(a_load("3-0").load_id) == (("run of ", 1) if name == "" else ("", 0))


# How far loads are


def test_a_load_is_unfinished_until_its_history_says_otherwise(client: ClickHouse) -> None:
    journal, load = journal_of(client), a_load("a")
    append(journal, load)
    for state, run_id in [("assigned", "run-1"), ("failed", "run-1"), ("committed", "run-1")]:
        write(client, [load], state, run_id)
        (holding,) = journal.look().unfinished.values()
        assert (holding.state, holding.error) == (state, "server away" if state == "failed" else "")
    write(client, [load], "finalized")
    assert journal.look().unfinished == {}


def test_the_history_may_be_of_the_attempt_before(client: ClickHouse) -> None:
    """It is written after the entry; but a commit is one whoever has made it."""
    journal, load = journal_of(client), a_load("a")
    append(journal, load)
    write(client, [load], "failed")
    append(journal_of(client, "run-2"), replace(load, attempt=2))
    (holding,) = journal.look().unfinished.values()
    assert (holding.run_id, holding.attempt, holding.state, holding.error) == ("run-2", 2, "assigned", "")
    write(client, [load], "committed")
    (holding,) = journal.look().unfinished.values()
    assert (holding.attempt, holding.state) == (2, "committed")


def test_a_load_that_fails_again_and_again_waits_longer_each_time() -> None:
    """But not at first: most failures are over by the third attempt."""
    assert [wait_ms(attempt) for attempt in range(1, 9)] == [0, 0, *(30_000 * 2**n for n in range(6))]
    assert [wait_ms(attempt) for attempt in (10, 100, 1000)] == [3_600_000] * 3


def test_a_load_that_fails_again_and_again_waits_by_the_server_s_clock(client: ClickHouse) -> None:
    journal, load = journal_of(client), a_load("a")
    for attempt in range(1, 7):
        append(journal, replace(load, attempt=attempt))
        (holding,) = journal.look().unfinished.values()
        assert holding.wait_ms == 0, "under way"
        write(client, [replace(load, attempt=attempt)], "failed")
        (holding,) = journal.look().unfinished.values()
        longest = [0, 0, 30_000, 60_000, 120_000, 240_000][attempt - 1]
        assert longest // 2 <= holding.wait_ms <= longest
    client.command(
        f"ALTER TABLE {JOURNAL_TABLE} UPDATE at = at - toIntervalHour(1) WHERE 1 SETTINGS mutations_sync = 2"
    )
    (holding,) = journal.look().unfinished.values()
    assert holding.wait_ms == 0


def test_what_is_unfinished_comes_oldest_first(client: ClickHouse) -> None:
    journal, loads = journal_of(client), [a_load(f"{n}", created_ms=NOW_MS + n) for n in range(12)]
    append(journal, *loads[:8])
    append(journal, *loads[8:])
    assert list(journal.look().unfinished) == [load.load_id for load in loads]


# The low-water mark


def granules(counting: CountingClient, table: str) -> tuple[int, int]:
    """How many granules of a table the last statement reads, of how many."""
    sql, parameters = counting.statements[-1]
    plan = "\n".join(row["explain"] for row in counting.client.query(f"EXPLAIN indexes = 1 {sql}", parameters))
    (found,) = re.findall(rf"ReadFromMergeTree \(\S*{table}\).*?Granules: (\d+)/(\d+)", plan, re.DOTALL)
    return int(found[0]), int(found[1])


def test_a_look_reads_from_the_oldest_unfinished_entry_on(client: ClickHouse) -> None:
    """1,200 loads in 40 entries, of which the index of the journal has five granules once they are merged."""
    journal = journal_of(client)
    for entry in range(40):
        loads = [a_load(f"{entry}-{n}") for n in range(30)]
        append(journal, *loads)
        write(client, loads[1:] if entry in (35, 37) else loads, "finalized")
    for table in (JOURNAL_TABLE, LOADS_TABLE):
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    counting = CountingClient(client)
    tail = journal_of(counting).look()
    assert [holding.number for holding in tail.unfinished.values()] == [36, 38]
    assert len(counting.statements) == 1
    read, there = granules(counting, JOURNAL_TABLE)
    assert read <= 2 and there == 5
    # The history is in one granule; the journal is read three times, each a granule or two of 256 rows.
    assert counting.rows <= 1200 + 3 * 2 * 256

    write(client, [a_load("35-0"), a_load("37-0")], "finalized")
    append(journal, a_load("last"))
    counting.reset()
    (holding,) = journal_of(counting).look().unfinished.values()
    (row,) = client.query(f"SELECT low FROM {JOURNAL_TABLE} WHERE number = {holding.number}")
    assert (holding.number, row["low"]) == (41, 41)


def test_an_unfinished_load_is_seen_however_many_have_come_after_it(client: ClickHouse) -> None:
    journal, stuck = journal_of(client), a_load("stuck")
    append(journal, a_load("before"), stuck)
    write(client, [a_load("before")], "finalized")
    for n in range(30):
        append(journal, a_load(f"{n}"))
        write(client, [a_load(f"{n}")], "finalized")
        assert list(journal.look().unfinished) == [stuck.load_id]
    append(journal_of(client, "run-2"), replace(stuck, attempt=2))
    (row,) = client.query(f"SELECT low FROM {JOURNAL_TABLE} ORDER BY number DESC LIMIT 1")
    assert row["low"] == 32, "taken up, it no longer holds the mark back"
    write(client, [replace(stuck, attempt=2)], "finalized", "run-2")
    assert journal.look().unfinished == {}


# What version 0.1 has left


def test_unfinished_loads_of_version_01_are_seen(client: ClickHouse) -> None:
    loads = [a_load(f"{n}", created_ms=NOW_MS + n) for n in range(5)]
    for load, state in zip(loads, ("assigned", "failed", "committed", "finalized", "assigned"), strict=True):
        write(client, [load], state, "old run")
    write(client, [a_load("elsewhere")], "assigned", "old run", "/another")
    journal = journal_of(client)
    tail = journal.look()
    assert [(h.load_id, h.state) for h in tail.unfinished.values()] == [
        (load.load_id, state)
        for load, state in zip(loads, ("assigned", "failed", "committed", "", "assigned"), strict=True)
        if state
    ]
    assert {(h.number, h.run_id, h.attempt, h.wait_ms) for h in tail.unfinished.values()} == {(0, "old run", 1, 0)}
    assert tail.head == 0 and tail.versions_end_ms >= max(load.end_ms for load in loads)

    append(journal, a_load("new"), *(replace(load, attempt=2) for load in loads[:2]))
    tail = journal.look()
    assert {h.load_id: (h.run_id, h.attempt) for h in tail.unfinished.values()} == {
        **{load.load_id: ("old run", 1) for load in (loads[2], loads[4])},
        **{load.load_id: ("run-1", 2) for load in loads[:2]},
        a_load("new").load_id: ("run-1", 1),
    }
    append(journal, *(replace(load, attempt=2) for load in (loads[2], loads[4])))
    assert {h.number for h in journal.look().unfinished.values()} == {1, 2}
    write(client, [a_load("new"), *(replace(load, attempt=2) for load in loads)], "finalized")
    assert journal.look().unfinished == {}
    append(journal, a_load("newer"))
    counting = CountingClient(client)
    assert list(journal_of(counting).look().unfinished) == [a_load("newer").load_id]
    assert len(counting.statements) == 1, "nothing of 0.1 is left to ask for"


# Versions


@pytest.mark.parametrize("of", ["journal", "version 0.1"])
def test_later_versions_begin_behind_those_of_every_load(embedded: ClickHouse, of: str) -> None:
    """Loads of many chunks, of which some rows come in many inserts."""
    make_tables(embedded)
    assert journal_of(embedded).look().versions_end_ms == 0
    choose = random.Random(1)
    for number in range(20):
        sizes = [choose.randrange(300) for _ in range(choose.randrange(1, 40))]
        slices = [Slice(f"/{number}/{n}", "log", "p", 0, 0, size, "", 0, size) for n, size in enumerate(sizes)]
        created_ms = max(NOW_MS, journal_of(embedded).look().versions_end_ms)
        load = make_load(
            slices,
            block_bytes=choose.randrange(1, 400),
            block_rows=choose.randrange(1, 9),
            created_ms=created_ms,
        )
        if of == "journal":
            append(journal_of(embedded), load)
        else:
            write(embedded, [load], "assigned")
        assert journal_of(embedded).look().versions_end_ms >= load.end_ms > created_ms


def test_the_end_of_versions_never_goes_back(client: ClickHouse) -> None:
    """Not by a load that another run has left, nor by one of a worker whose clock is behind, nor when all is finished."""
    write(client, [a_load("of version 0.1", created_ms=NOW_MS)], "finalized")
    journal, end = journal_of(client), 0
    assert journal.look().versions_end_ms > NOW_MS
    steps = [("a", NOW_MS + 50, 1), ("b", NOW_MS - 50, 1), ("c", 0, 1), ("a", NOW_MS + 50, 2), ("d", NOW_MS + 99, 1)]
    for name, created_ms, attempt in steps:
        load = replace(a_load(name, created_ms=created_ms), attempt=attempt)
        append(journal, load)
        assert journal.look().versions_end_ms >= max(end, load.end_ms)
        end = journal.look().versions_end_ms
        write(client, [load], "finalized")
        assert journal.look().versions_end_ms == end
    assert end > NOW_MS + 99


def test_a_quorum_is_asked_for_where_tables_are_replicated(client: ClickHouse) -> None:
    """The settings are ones that the server knows; a table that is not replicated takes no notice of them."""
    sent: list[dict[str, Any]] = []

    class Noting:
        config = client.config

        def query(self, sql: str, parameters: Any = None, settings: Any = None) -> list[dict[str, Any]]:
            sent.append(settings)
            return client.query(sql, parameters, settings)

        def insert(self, table: str, rows: Any, *, token: str, settings: Any) -> None:
            sent.append(settings)
            client.insert(table, rows, token=token, settings=settings)

    journal = Journal(Noting(), "/in", "run-1", replicated=True)  # type: ignore[arg-type]
    append(journal, a_load("a"))
    append(journal, a_load("b"))
    assert journal.holder(a_load("a").load_id) == ("run-1", 1)
    sequential, quorum = {"select_sequential_consistency": 1}, {"insert_quorum": "auto", "insert_quorum_parallel": 0}
    look = {**sequential, "join_use_nulls": 0}
    assert [one for one in sent if one] == [
        *(look, quorum, sequential),
        *(look, quorum, sequential),
        sequential,
    ]
