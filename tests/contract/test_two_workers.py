"""Two workers on one load, in whatever order their steps come: each line is there once, and counted once in the load log.

A runner that loses a worker hands its loads to another, or starts the whole job again, while the first may still be at
work. A run that was killed leaves its loads to the next run, and its last statement may arrive after that has begun.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support import query_events as events
from tests.support.dataset import Dataset, event
from tests.support.stages import Before, Killed, Worker, writes
from transforms.clickhouse import ClickHouse
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE, TABLES
from transforms.loads import Load
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE

pytestmark = pytest.mark.timeout(900)  # some of these try every step, one after the other

LOG = TABLES["log"]


@pytest.fixture(scope="module")
def embedded_database(embedded_admin: ClickHouse) -> Iterator[ClickHouse]:
    with events.migrated_database(embedded_admin) as client:
        yield client


@pytest.fixture(scope="module")
def server_database(server_admin: ClickHouse) -> Iterator[ClickHouse]:
    with events.migrated_database(server_admin) as client:
        yield client


@dataclass
class Case:
    """A directory with files of three lines, of which one is bad, and the loads that a run has recorded for them."""

    client: ClickHouse
    config: IngestConfig
    loads: list[Load]
    files: int

    def worker(self, before: Before = lambda number, name: None, *, run_id: str = "") -> Worker:
        """Another worker of the run that has recorded the loads, or one of another run."""
        return Worker(self.client, replace(self.config, run_id=run_id or self.config.run_id), before)

    def steps(self) -> list[str]:
        """What a worker does that is alone with the loads."""
        worker = self.worker()
        worker.finish(self.loads)
        assert self.wrongs() == []
        return worker.steps

    def wrongs(self) -> list[str]:
        """Everything that is not as it must be once all is loaded."""
        lines, good, bad = 3 * self.files, 2 * self.files, self.files
        of_input = f"(SELECT load_id FROM {LOADS_TABLE} WHERE input = {{root:String}})"
        right = {
            f"SELECT groupUniqArray(state), sum(lines), sum(inserted), sum(rejected), sum(events['log']) "
            f"FROM {LOADS_TABLE} FINAL WHERE input = {{root:String}}": (["finalized"], lines, good, bad, good),
            f"SELECT groupUniqArray(state), sum(lines), sum(rejected), countIf(moved_to = ''), groupUniqArray(error) "
            f"FROM {FILES_TABLE} FINAL WHERE load_id IN {of_input} AND state != 'released'": (
                ["finalized"],
                lines,
                bad,
                0,
                [""],
            ),
            f"SELECT count(), uniqExact(id) FROM {LOG.table} WHERE load_id IN {of_input}": (good, good),
            f"SELECT sum(count) FROM {LOG.rollup} WHERE substring(receipt, 1, 32) IN {of_input}": (good,),
            f"SELECT count() FROM {REJECTED_TABLE} WHERE load_id IN {of_input}": (bad,),
        }
        found = []
        for sql, expected in right.items():
            (row,) = self.client.query(sql, {"root": self.config.input})
            if tuple(row.values()) != expected:
                found.append(f"{row} instead of {expected}")
        pending = [path.name for path in Path(self.config.input).glob("*/*/*.jsonl")]
        return found + [f"{name} is still pending" for name in pending]

    def wrongs_after_the_next_run(self) -> list[str]:
        self.worker(run_id="the next run").run()
        return self.wrongs()


MakeCase = Callable[..., Case]


@pytest.fixture
def make_case(tmp_path: Path) -> MakeCase:
    numbers = itertools.count()

    def make(client: ClickHouse, *, files: int = 2, load_bytes: int = 10_000) -> Case:
        dataset = Dataset(str(tmp_path / str(next(numbers))))
        for file in range(files):
            one, other = ((event("log", f"{file}-{line}"), f"{file}-{line}") for line in range(2))
            dataset.add_file("log", "p", f"20261120T12000{file}Z_00.jsonl", [one, ("broken", None), other])
        # Each file is a chunk, so that one may be moved while the other is read.
        config = IngestConfig(
            dataset.root, client.config, run_id="the run", load_bytes=load_bytes, block_bytes=min(300, load_bytes)
        )
        return Case(client, config, Worker(client, config).record(), files)

    return make


def kill_at(step: int) -> Before:
    def before(number: int, name: str) -> None:
        if number >= step:
            raise Killed

    return before


def do_at(step: int, act: Callable[[], object]) -> Before:
    def before(number: int, name: str) -> None:
        if number == step:
            act()

    return before


def commit_of(steps: list[str]) -> int:
    """The step that makes a load committed: the first that writes its own row."""
    return steps.index(f"insert {LOADS_TABLE}")


@pytest.mark.parametrize("run_id", ["the run", "another run"])
@pytest.mark.parametrize("files", [2, 1], ids=["two-files-in-one-load", "one-file-in-two-loads"])
def test_a_worker_is_killed_before_any_of_its_writes(
    embedded_database: ClickHouse, make_case: MakeCase, files: int, run_id: str
) -> None:
    """Its runner starts the job again, or somebody starts another run."""
    make = partial(make_case, embedded_database, files=files, load_bytes=10_000 if files == 2 else 150)
    steps, wrong = make().steps(), {}
    for step in writes(steps):
        case = make()
        with pytest.raises(Killed):
            case.worker(kill_at(step)).finish(case.loads)
        case.worker(run_id=run_id).run()
        if found := case.wrongs_after_the_next_run():
            wrong[f"{step}: {steps[step]}"] = found
    assert wrong == {}


@pytest.mark.parametrize("run_id", ["the run", "another run"])
@pytest.mark.parametrize("database", ["embedded_database", "server_database"])
def test_a_worker_is_killed_in_the_middle_of_a_commit(
    request: pytest.FixtureRequest, make_case: MakeCase, database: str, run_id: str
) -> None:
    """Its files are said to be committed, the load is not yet."""
    client = request.getfixturevalue(database)
    commit = commit_of(make_case(client).steps())
    case = make_case(client)
    with pytest.raises(Killed):
        case.worker(kill_at(commit)).finish(case.loads)
    case.worker(run_id=run_id).run()
    assert case.wrongs() == []


def test_a_worker_that_was_given_up_goes_on_between_any_two_steps_of_its_successor(
    embedded_database: ClickHouse, make_case: MakeCase
) -> None:
    steps, wrong = make_case(embedded_database).steps(), {}
    for step, name in enumerate(steps):
        case = make_case(embedded_database)
        given_up = case.worker()
        case.worker(do_at(step, partial(given_up.finish, case.loads))).finish(case.loads)
        if found := case.wrongs():
            wrong[f"{step}: {name}"] = found
    assert wrong == {}


def test_a_worker_that_was_given_up_goes_on_when_the_job_was_started_again(
    embedded_database: ClickHouse, make_case: MakeCase
) -> None:
    """It pauses before one of its writes, the new job does all that there is to do, then it goes on."""
    steps, wrong = make_case(embedded_database).steps(), {}
    for step in writes(steps):
        case = make_case(embedded_database)
        case.worker(do_at(step, case.worker().run)).finish(case.loads)
        if found := case.wrongs_after_the_next_run():
            wrong[f"{step}: {steps[step]}"] = found
    assert wrong == {}


class LateInsert:
    """A client whose insert into one table is on its way while its worker is killed."""

    def __init__(self, client: ClickHouse, table: str) -> None:
        self._client, self._table = client, table
        self.arrive: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def insert(self, table: str, rows: Any, **named: Any) -> None:
        if table == self._table:
            self.arrive = partial(self._client.insert, table, rows, **named)
            raise Killed
        self._client.insert(table, rows, **named)


def test_a_killed_run_s_commit_arrives_while_the_next_run_is_at_the_load(
    embedded_database: ClickHouse, make_case: MakeCase
) -> None:
    wrong = {}
    for step in itertools.count():
        case = make_case(embedded_database)
        late = LateInsert(case.client, LOADS_TABLE)
        killed = case.worker()
        killed.client = cast(ClickHouse, late)
        with pytest.raises(Killed):
            killed.finish(case.loads)
        worker = case.worker(do_at(step, late.arrive), run_id="another run")
        worker.run()
        if found := case.wrongs_after_the_next_run():
            wrong[f"{step}: {worker.steps[step]}"] = found
        if step >= len(worker.steps):
            break
    assert wrong == {}


def test_a_file_that_one_worker_cannot_read_is_loaded_by_the_other_or_stays_pending(
    embedded_database: ClickHouse, make_case: MakeCase
) -> None:
    """The one gives the file back and finishes the rest; the other comes between any two of its steps."""
    wrong = {}
    steps = make_case(embedded_database).steps()
    unreadable = [number for number, name in enumerate(steps) if name.startswith("read ")][-1]
    # It looks whether the load was committed, and whether blocks of the chunk are there, and writes down what it gives back.
    given_back = unreadable + 5
    for step in itertools.count(given_back):
        case = make_case(embedded_database)

        def before(number: int, name: str, case: Case = case, step: int = step) -> None:
            if number == unreadable:
                raise OSError(errno.EIO, "Input/output error")
            if number == step:
                case.worker().finish(case.loads)

        worker = case.worker(before)
        worker.finish(case.loads)
        if step >= len(worker.steps):
            break
        assert f"insert {FILES_TABLE}" == worker.steps[given_back - 1]
        if found := case.wrongs_after_the_next_run():
            wrong[f"{step}: {worker.steps[step]}"] = found
    assert wrong == {}
