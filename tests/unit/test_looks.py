from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from apache_beam.io.restriction_trackers import OffsetRange

from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig
from transforms.looks import Look, _LookAgainFn, _OneByOne, begin_look, look_anew


@pytest.fixture
def run_id() -> str:
    return uuid.uuid4().hex


def test_looks_that_follow_each_other_are_not_anew(run_id: str) -> None:
    assert [begin_look(run_id, number).anew for number in range(4)] == [True, False, False, False]


def test_a_look_is_anew_after_the_runner_has_gone_back(run_id: str) -> None:
    for number in range(5):
        begin_look(run_id, number)
    assert [begin_look(run_id, number).anew for number in (2, 3, 4)] == [True, False, False]


def test_a_look_is_anew_in_another_process(run_id: str) -> None:
    assert [begin_look(run_id, number).anew for number in (7, 8)] == [True, False]


def test_a_look_is_anew_when_that_was_asked_for(run_id: str) -> None:
    begin_look(run_id, 0)
    look_anew(run_id)
    assert [begin_look(run_id, number).anew for number in (1, 2)] == [True, False]


def test_runs_are_told_apart(run_id: str) -> None:
    begin_look(run_id, 0)
    assert begin_look(f"{run_id}-other", 1).anew
    assert not begin_look(run_id, 1).anew


def test_numbers_to_come_are_put_off_as_a_whole_and_never_divided() -> None:
    tracker = _OneByOne().create_tracker(OffsetRange(3, 1 << 62))
    assert tracker.try_claim(3)
    assert tracker.try_split(0.5) is None
    assert tracker.try_split(0) == (OffsetRange(3, 4), OffsetRange(4, 1 << 62))
    tracker.check_done()


@dataclass
class Series:
    """The looks of a job, and what the runner keeps for it: one time, which is set anew each time, and one number."""

    fn: _LookAgainFn
    number: int | None = None
    times: list[float] = field(default_factory=list)

    def read(self) -> int | None:
        return self.number

    def write(self, number: int) -> None:
        self.number = number

    def set(self, moment: float) -> None:
        self.times.append(moment)

    def looks(self) -> Iterator[Look]:
        """What comes out of the timer, as the runner calls it in a bundle."""
        return self.fn.look(self, self)  # type: ignore[no-any-return]


@pytest.fixture
def series(run_id: str, tmp_path: Path) -> Series:
    config = IngestConfig(str(tmp_path), ClickHouseConfig("http://localhost:1"), run_id=run_id, look_every_s=60)
    return Series(_LookAgainFn(config))


def test_the_next_look_comes_an_interval_after_this_one_has_begun(series: Series) -> None:
    series.fn.start_bundle()
    before = time.time()
    looks = series.looks()
    assert next(looks).anew
    began_by = time.time()
    assert series.times == []  # no other one comes while this one goes on
    assert list(looks) == []
    assert before + 60 <= series.times[0] <= began_by + 60
    assert series.number == 1


def test_the_next_look_follows_at_once_when_this_one_took_longer(series: Series) -> None:
    series.fn._interval_s = 0.0
    series.fn.start_bundle()
    looks = series.looks()
    next(looks)
    during = time.time()
    assert list(looks) == []
    assert during <= series.times[0] <= time.time()


def test_a_start_sets_the_time_of_the_next_look_and_nothing_else(series: Series) -> None:
    series.fn.start_bundle()
    assert list(series.looks()) != []
    before = time.time()
    assert series.fn.process(("looks", 7), series) is None
    assert before <= series.times[-1] <= time.time()
    assert series.number == 1


def test_there_is_one_look_in_a_bundle(series: Series) -> None:
    """What it finds is recorded at the end of the bundle."""
    series.fn.start_bundle()
    assert len(list(series.looks())) == 1
    assert list(series.looks()) == []
    assert len(series.times) == 2  # and another one comes
    series.fn.start_bundle()
    assert [look.anew for look in series.looks()] == [False]
