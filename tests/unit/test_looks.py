from __future__ import annotations

import uuid

import pytest
from apache_beam.io.restriction_trackers import OffsetRange

from transforms.looks import _OneByOne, begin_look, look_anew


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
