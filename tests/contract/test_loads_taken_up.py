"""A load that is taken up again: what of it is in the tables, and what of its files is as it was. On the embedded engine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support import query_events as events
from tests.support.dataset import event
from tests.support.stages import Worker
from transforms.blocks.row_block import RowBlock
from transforms.clickhouse import ClickHouse
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE, TABLES, LineSource
from transforms.events.parsing import ChunkParser
from transforms.finalize_files import LoadResult
from transforms.load_parser import LoadParser
from transforms.loads import Load
from transforms.loads import journal as journal_module
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE
from transforms.loads.runs import Lease, TakenOver
from transforms.run import RunFn

LOG, TRACE = TABLES["log"], TABLES["trace"]


@pytest.fixture(scope="module")
def client(embedded_admin: ClickHouse) -> Iterator[ClickHouse]:
    with events.migrated_database(embedded_admin) as client:
        yield client


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that has failed several times is due at once."""
    monkeypatch.setattr(journal_module, "_FIRST_WAIT_MS", 0)


@dataclass
class Case:
    """An input, and the runs on it."""

    client: ClickHouse
    root: Path
    config: IngestConfig
    runs: int = 0

    def put(self, name: str, *identities: str, bad: int = 0) -> Path:
        """Writes a file: a log and a trace of each identity, and bad lines."""
        path = self.root / "log" / "p" / f"20261120T120000Z_{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [event(kind, identity) for identity in identities for kind in ("log", "trace")] + ["bad"] * bad
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def worker(self) -> Worker:
        """One of another run than all before it, whose runs have ended."""
        self.runs += 1
        return Worker(self.client, replace(self.config, run_id=f"run-{self.runs}"))

    def die(self, *, after: Callable[[RowBlock], bool]) -> Load:
        """A run that inserts the blocks for which that holds, and is killed."""
        worker = self.worker()
        (load,) = worker.record()
        for block in LoadParser(load, worker.stage(RunFn)):
            if after(block):
                self.client.insert(block.table, block.rows, token=block.token)
        return load

    def run(self) -> list[LoadResult]:
        return self.worker().run()

    def rows(self, table: str = LOG.table, column: str = "id") -> Counter[str]:
        """How often each event is in a table, before anything of it is merged."""
        of_input = f"load_id IN (SELECT load_id FROM {LOADS_TABLE} WHERE input = {{root:String}})"
        found = self.client.query(
            f"SELECT {column} AS name, count() AS n FROM {table} WHERE {of_input} GROUP BY name",
            {"root": str(self.root)},
        )
        return Counter({row["name"]: row["n"] for row in found})

    def rolled_up(self) -> int:
        """How many logs the rollup has counted."""
        (row,) = self.client.query(
            f"SELECT sum(count) AS n FROM {LOG.rollup} "
            f"WHERE substring(receipt, 1, 32) IN (SELECT load_id FROM {LOADS_TABLE} WHERE input = {{root:String}})",
            {"root": str(self.root)},
        )
        return int(row["n"])

    def told(self) -> list[tuple[object, ...]]:
        """Of each load."""
        found = self.client.query(
            f"SELECT toString(state), attempt, lines, inserted, rejected FROM {LOADS_TABLE} FINAL "
            "WHERE input = {root:String} ORDER BY created_at",
            {"root": str(self.root)},
        )
        return [tuple(row.values()) for row in found]

    def pending(self) -> list[str]:
        return sorted(path.name for path in self.root.glob("*/*/*.jsonl"))

    def assert_each_once(self, *identities: str, bad: int = 0) -> None:
        wanted = Counter(identities)
        assert self.rows() == self.rows(TRACE.table, "trace_id") == wanted
        assert self.rolled_up() == len(identities)
        assert self.rows(REJECTED_TABLE, "file").total() == bad
        assert self.pending() == []


@pytest.fixture
def case(client: ClickHouse, tmp_path: Path) -> Case:
    return Case(client, tmp_path, IngestConfig(str(tmp_path), client.config))


def logs(block: RowBlock) -> bool:
    return block.table == LOG.table


def first_chunk(block: RowBlock) -> bool:
    return block.label.startswith("0.")


def every(block: RowBlock) -> bool:
    return True


def none(block: RowBlock) -> bool:
    return False


AFTER = pytest.mark.parametrize("after", [none, logs, first_chunk, every])


@AFTER
@pytest.mark.parametrize("block_bytes", [1 << 20, 300])
def test_a_load_is_finished_from_where_it_was(case: Case, after: Callable[[RowBlock], bool], block_bytes: int) -> None:
    case.config = replace(case.config, block_bytes=block_bytes)
    case.put("a", *"abcd", bad=1)
    case.put("b", *"efgh")
    load = case.die(after=after)
    (result,) = case.run()
    assert (result.load_id, result.error, result.changed) == (load.load_id, "", 0)
    assert case.told() == [("finalized", 2, 17, 16, 1)]
    case.assert_each_once(*"abcdefgh", bad=1)


@AFTER
@pytest.mark.parametrize("block_bytes", [1 << 20, 300])
def test_files_that_were_touched_meanwhile_are_the_same(
    case: Case, after: Callable[[RowBlock], bool], block_bytes: int
) -> None:
    """Those of which nothing is in the tables are given back, and are a load of their own."""
    case.config = replace(case.config, block_bytes=block_bytes)
    paths = [case.put("a", *"abcd", bad=1), case.put("b", *"efgh")]
    case.die(after=after)
    for path in paths:
        os.utime(path, ns=(1, 1))
    for _ in range(3):
        case.run()
    case.assert_each_once(*"abcdefgh", bad=1)
    assert {state for state, *_ in case.told()} == {"finalized"}
    assert sum(int(str(lines)) for _, _, lines, *_ in case.told()) == 17


@AFTER
@pytest.mark.parametrize("block_bytes", [1 << 20, 300])
def test_files_that_have_grown_meanwhile_give_what_is_new(
    case: Case, after: Callable[[RowBlock], bool], block_bytes: int
) -> None:
    case.config = replace(case.config, block_bytes=block_bytes)
    case.put("a", *"abcd", bad=1)
    case.put("b", *"efgh")
    case.die(after=after)
    case.put("b", *"efghij")
    for _ in range(3):
        case.run()
    case.assert_each_once(*"abcdefghij", bad=1)


@AFTER
@pytest.mark.parametrize("block_bytes", [1 << 20, 300])
def test_a_file_that_was_away_meanwhile_gives_what_is_not_there(
    case: Case, after: Callable[[RowBlock], bool], block_bytes: int
) -> None:
    """Its load ends without it. When it is back, its lines are compared with what that load has of it."""
    case.config = replace(case.config, block_bytes=block_bytes)
    path = case.put("a", *"abcd", bad=1)
    case.put("b", *"efgh")
    case.die(after=after)
    away = path.rename(case.root / "away")
    (result,) = case.run()
    assert (result.error, result.failed_files) == ("", 1)
    assert Counter("efgh") <= case.rows() and case.rolled_up() == case.rows().total()
    away.rename(path)
    for _ in range(2):
        case.run()
    case.assert_each_once(*"abcdefgh", bad=1)
    assert {state for state, *_ in case.told()} == {"finalized"}
    assert [sum(int(str(told[number])) for told in case.told()) for number in (2, 3, 4)] == [17, 16, 1]


@pytest.mark.parametrize("after", [logs, every])
def test_a_file_that_stays_away_does_not_hold_up_its_load(case: Case, after: Callable[[RowBlock], bool]) -> None:
    """What is in the tables of it stays, and everything else is there once."""
    path = case.put("a", *"abcd")
    case.put("b", *"efgh", bad=1)
    case.die(after=after)
    path.unlink()
    (result,) = case.run()
    assert (result.error, result.failed_files) == ("", 1)
    assert case.rows() == Counter("abcdefgh") and case.rolled_up() == 8
    traces = Counter("efgh") if after is logs else Counter("abcdefgh")
    assert case.rows(TRACE.table, "trace_id") == traces
    rows = 8 + traces.total()
    assert case.told() == [("finalized", 2, rows + 1, rows, 1)]
    assert case.rows(REJECTED_TABLE, "file") == Counter({"log/p/20261120T120000Z_b.jsonl": 1})
    assert case.run() == []


@AFTER
@pytest.mark.parametrize("block_bytes", [1 << 20, 300])
def test_a_content_that_was_begun_and_comes_back_later(
    case: Case, after: Callable[[RowBlock], bool], block_bytes: int
) -> None:
    """Another file has had its place when its load was taken up, and that load's worker has died, too."""
    case.config = replace(case.config, block_bytes=block_bytes)
    path = case.put("a", *"abcdefgh", bad=1)
    case.die(after=after)
    case.put("a", *"stuv")
    for _ in range(2):
        case.run()
    assert Counter("stuv") <= case.rows()
    case.put("a", *"abcdefgh", bad=1)
    case.die(after=logs)
    case.put("a", *"wxyz")
    for _ in range(2):
        case.run()
    assert not path.exists()
    case.put("a", *"abcdefgh", bad=1)
    case.run()
    case.assert_each_once(*"abcdefghstuvwxyz", bad=1)


def test_a_block_without_its_rollup_that_nobody_can_cut_again_is_rolled_up(case: Case) -> None:
    """The server has died between the two, and the file is gone."""
    path = case.put("a", *"abcd")
    case.put("b", *"efgh")
    case.die(after=logs)
    case.client.command(f"ALTER TABLE {LOG.rollup} DELETE WHERE 1 SETTINGS mutations_sync = 2")
    assert case.rolled_up() == 0
    away = path.rename(case.root / "away")
    case.run()
    assert case.rolled_up() == case.rows().total() == 8
    away.rename(path)
    for _ in range(2):
        case.run()
    case.assert_each_once(*"abcdefgh")


def test_a_reload_leaves_nothing_out(case: Case) -> None:
    path = case.put("a", *"abcd")
    case.die(after=logs)
    away = path.rename(case.root / "away")
    case.run()
    away.rename(path)
    case.config = replace(case.config, reload=True)
    case.run()
    assert case.rows().keys() == set("abcd") and case.rolled_up() == 8


def test_a_file_that_was_replaced_meanwhile_is_loaded_as_it_is(case: Case) -> None:
    """What of the file before is in the tables stays there; rows of the others come once."""
    case.put("a", *"abcd", bad=1)
    case.put("b", *"efgh")
    case.die(after=logs)
    case.put("b", *"wxyz", bad=2)
    for _ in range(3):
        case.run()
    assert case.rows() == Counter("abcdefghwxyz") and case.rolled_up() == 12
    assert case.rows(TRACE.table, "trace_id") == Counter("abcdwxyz")
    assert case.rows(REJECTED_TABLE, "file").total() == 3
    assert case.pending() == [] and {state for state, *_ in case.told()} == {"finalized"}


def test_blocks_of_version_01_are_known_by_their_labels(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """They carry no digest; the blocks that are still missing get none either."""
    case.config = replace(case.config, block_bytes=300)
    case.put("a", *"abcd", bad=1)
    case.put("b", *"efgh")
    with monkeypatch.context() as earlier:
        earlier.setattr(LoadParser, "_of_version_01", lambda parser: True)
        load = case.die(after=lambda block: first_chunk(block) or block.label.startswith("2."))
    (result,) = case.run()
    assert (result.load_id, result.error) == (load.load_id, "")
    labels = case.client.query(
        f"SELECT DISTINCT block FROM {LOG.table} WHERE load_id = {{id:String}}", {"id": load.load_id}
    )
    assert labels and all(row["block"].count(".") == 2 for row in labels)
    case.assert_each_once(*"abcdefgh", bad=1)


def test_a_worker_whose_load_was_taken_over_gives_nothing_back(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other has read the load as it was recorded, and may be inserting the very file."""
    path = case.put("a", *"abcd")
    case.put("b", *"efgh")
    paused = case.worker()
    (load,) = paused.record()
    path.unlink()

    def taken_over(*_: object) -> None:
        raise TakenOver("another run has it")

    with monkeypatch.context() as lapsed:
        lapsed.setattr(Lease, "check", taken_over)
        paused.finish([load])
    states = case.client.query(
        f"SELECT DISTINCT toString(state) AS name FROM {FILES_TABLE} FINAL WHERE load_id = {{id:String}}",
        {"id": load.load_id},
    )
    assert [row["name"] for row in states] == ["assigned"]


def test_each_line_is_parsed_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks begin and end in the middle of lines."""
    case.config = replace(case.config, block_bytes=300)
    case.put("a", *"abcdefgh")
    added: list[int] = []
    add = ChunkParser.add

    def noting(parser: ChunkParser, data: bytes, source: LineSource) -> object:
        added.append(len(data))
        return add(parser, data, source)

    monkeypatch.setattr(ChunkParser, "add", noting)
    size = case.root.joinpath("log/p/20261120T120000Z_a.jsonl").stat().st_size
    case.run()
    assert sum(added) == size
    case.assert_each_once(*"abcdefgh")
