"""When the worker looks next, and that it stops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipeline.polling import MAX_WAIT_S, Polling, next_look

seconds = st.floats(0, 1e6)
intervals = st.floats(0.01, 1e5)


@given(seconds, seconds, intervals)
def test_looks_do_not_drift_and_missed_ones_are_skipped(first: float, took: float, interval: float) -> None:
    now = first + took
    following = next_look(first, now, interval)
    assert following >= now - 1e-6
    assert following - now <= interval * (1 + 1e-6) + 1e-6
    looks = (following - first) / interval
    assert abs(looks - round(looks)) < 1e-3 * max(looks, 1)


@given(seconds, intervals, st.integers(2, 10_000))
def test_waits_longer_after_failures_up_to_a_minute_but_never_less_than_the_interval(
    now: float, interval: float, failures: int
) -> None:
    wait = next_look(0.0, now, interval, failures) - now
    before = next_look(0.0, now, interval, failures - 1) - now
    assert interval - 1e-3 <= wait <= max(interval, MAX_WAIT_S) + 1e-3
    assert failures == 2 or wait >= before - 1e-3


class Clock:
    """A clock that moves only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks: list[float] = []

    def __call__(self) -> float:
        return self.now


def poll(took: list[float], succeeded: list[bool], interval: float) -> list[float]:
    """When the looks of a worker began that takes so long for each."""
    clock = Clock()

    def look() -> bool:
        clock.looks.append(clock.now)
        number = len(clock.looks) - 1
        clock.now += took[number]
        if number == len(took) - 1:
            polling.stop()
        return succeeded[number]

    def sleep(seconds: float) -> bool:
        clock.now += seconds
        return polling.is_stopping

    polling = Polling(look, interval, clock=clock, sleep=sleep)
    polling.start()
    assert polling.wait() and not polling.is_alive
    return clock.looks


def test_looks_at_once_and_then_at_every_interval() -> None:
    assert poll([1.0, 0.5, 2.0], [True] * 3, 10.0) == [0.0, 10.0, 20.0]


def test_a_look_that_takes_long_is_not_piled_upon() -> None:
    assert poll([25.0, 0.0, 0.0], [True] * 3, 10.0) == [0.0, 30.0, 40.0]


def test_a_failure_is_waited_for_longer_and_longer_until_it_is_over() -> None:
    assert poll([0.0] * 7, [False] * 4 + [True] * 3, 10.0) == [0.0, 10.0, 30.0, 70.0, 130.0, 140.0, 150.0]


def test_what_a_look_raises_ends_it_and_is_raised_by_wait() -> None:
    def look() -> bool:
        raise KeyError("broken")

    polling = Polling(look, 1.0)
    polling.start()
    with pytest.raises(KeyError, match="broken"):
        polling.wait()


def test_stopping_does_not_wait_for_the_interval() -> None:
    polling = Polling(lambda: True, 3600.0)
    polling.start()
    polling.stop()
    assert polling.wait(timeout_s=60)
