"""What the looks of a streaming job take up, without a runner: its loads are lost, fail, and are other runs'. Embedded engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import query_events as events
from tests.support.dataset import Dataset, event, wrongs
from tests.support.stages import Worker
from transforms.adopt_loads import _AdoptLoadsFn
from transforms.clickhouse import ClickHouse
from transforms.config import IngestConfig
from transforms.loads import Load
from transforms.loads.rows import LoadRecord
from transforms.loads.runs import held_here
from transforms.looks import Look
from transforms.match_files import _MatchFreeFilesFn
from transforms.record_loads import record_loads
from transforms.run import RunFn


@pytest.fixture
def client(embedded_admin: ClickHouse) -> Iterator[ClickHouse]:
    with events.migrated_database(embedded_admin) as client:
        yield client


class Job:
    """A streaming job, look by look; what comes out of a look is finished when the test says so."""

    def __init__(self, client: ClickHouse, root: Path, run_id: str = "job", **options: object) -> None:
        config = IngestConfig(str(root), client.config, run_id=run_id, look_every_s=1, load_files=2)
        self.worker = Worker(client, replace(config, **options))  # type: ignore[arg-type]

    def look(self, *, anew: bool = False) -> list[Load]:
        """The loads that a look hands on: those that it takes up, then new ones."""
        look = Look(anew)
        taken_up = list(self.worker.stage(_AdoptLoadsFn).process(look))
        files = list(self.worker.stage(_MatchFreeFilesFn).process(look))
        return taken_up + (record_loads(files, self.worker.stage(RunFn)) if files else [])

    def finish(self, loads: list[Load]) -> None:
        results = self.worker.finish(loads)
        assert [result.error for result in results] == [""] * len(loads)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(str(tmp_path / "observability"))


def arrive(dataset: Dataset, *numbers: int) -> None:
    for number in numbers:
        lines = [(event("log", identity), identity) for identity in (f"log-{number}-{line}" for line in range(5))]
        dataset.add_file("log", "p", f"20261120T1200{number:02}Z_{number:04x}.jsonl", list(lines))


def test_what_is_under_way_is_not_taken_again(client: ClickHouse, dataset: Dataset) -> None:
    job = Job(client, Path(dataset.root))
    arrive(dataset, 1, 2, 3)
    first = job.look(anew=True)
    assert len(first) == 2
    assert job.look() == []
    arrive(dataset, 4)
    second = job.look()
    assert [len(load.slices) for load in second] == [1]
    job.finish(second + first)
    assert job.look() == []
    assert wrongs(client, dataset) == []


def test_a_look_takes_nothing_while_as_many_loads_are_under_way_as_may_be(client: ClickHouse, dataset: Dataset) -> None:
    job = Job(client, Path(dataset.root), loads_in_flight=2)
    arrive(dataset, *range(10))
    taken = job.look(anew=True)
    assert len(taken) == 2
    assert job.look() == []
    job.finish(taken[:1])
    more = job.look()
    assert len(more) == 1
    job.finish(taken[1:] + more)
    while taken := job.look():
        assert len(taken) <= 2
        job.finish(taken)
    assert wrongs(client, dataset) == []


def test_loads_that_were_lost_with_a_worker_are_taken_up_by_the_next_look_that_begins_anew(
    client: ClickHouse, dataset: Dataset
) -> None:
    job = Job(client, Path(dataset.root), loads_in_flight=2)
    arrive(dataset, 1, 2, 3, 4, 5)
    taken = job.look(anew=True)
    again = job.look(anew=True)
    assert [(load.load_id, load.attempt) for load in again] == [(load.load_id, 2) for load in taken]
    assert job.look() == []
    # The worker that was taken for lost was only slow, and both finish.
    job.finish(taken[:1] + again)
    job.finish(job.look())
    assert wrongs(client, dataset) == []


def test_a_load_that_failed_is_tried_again_by_the_job_itself(client: ClickHouse, dataset: Dataset) -> None:
    job = Job(client, Path(dataset.root), loads_in_flight=1)
    arrive(dataset, 1, 2, 3)
    (load,) = job.look(anew=True)
    job.worker.stage(RunFn).log.write_loads([LoadRecord(load, "failed", error="the server was full")])
    (again,) = job.look()
    assert (again.load_id, again.attempt) == (load.load_id, 2)
    job.finish([again])
    job.finish(job.look())
    assert wrongs(client, dataset) == []


def test_loads_of_a_run_that_is_no_more_are_taken_up_first_and_as_many_as_there_is_room_for(
    client: ClickHouse, dataset: Dataset
) -> None:
    arrive(dataset, *range(6))
    left = Job(client, Path(dataset.root), "dead").look(anew=True)
    assert len(left) == 3
    arrive(dataset, 6, 7)
    job = Job(client, Path(dataset.root), loads_in_flight=2)
    seen = []
    anew = True
    while taken := job.look(anew=anew):
        assert len(taken) <= 2
        seen += [(load.load_id, load.attempt) for load in taken]
        job.finish(taken)
        anew = False
    assert seen[:3] == [(load.load_id, 2) for load in left]
    assert len(seen) == 4
    assert wrongs(client, dataset) == []


def test_two_jobs_share_an_input(client: ClickHouse, dataset: Dataset) -> None:
    first, second = (Job(client, Path(dataset.root), run_id, loads_in_flight=2) for run_id in ("first", "second"))
    arrive(dataset, *range(7))
    with held_here("first"), held_here("second"):
        of_first, of_second = first.look(anew=True), second.look(anew=True)
        assert [len(load.slices) for load in of_first + of_second] == [2, 2, 2, 1]
        assert first.look(anew=False) == second.look() == []
        first.finish(of_first)
        second.finish(of_second)
        assert first.look() == second.look() == []
    assert wrongs(client, dataset) == []


def test_files_wait_for_others_as_long_as_they_may(client: ClickHouse, dataset: Dataset) -> None:
    job = Job(client, Path(dataset.root), max_load_delay_s=3600)
    arrive(dataset, 1)
    assert job.look(anew=True) == []
    arrive(dataset, 2)
    (load,) = job.look()
    assert len(load.slices) == 2
    job.finish([load])
    assert wrongs(client, dataset) == []
