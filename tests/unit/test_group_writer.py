"""Items are written in groups, in their order, each once; nobody waits for a group to be full."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait

import pytest

from tests.support.waiting import eventually
from transforms.group_writer import GroupWriter

NEVER = 3600.0
"""Seconds that no test takes."""


class Gate:
    """What is called for each group: it waits there to be let on, unless it is open."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, group: Sequence[int]) -> list[str]:
        self.groups.append(list(group))
        assert self.open.wait(NEVER)
        if -1 in group:
            raise OSError("-1 cannot be written")
        return [f"{item} is written" for item in group]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def writer(gate: Gate) -> Iterator[GroupWriter[int, str]]:
    writer = GroupWriter(gate, most=4, wait_s=NEVER)
    yield writer
    gate.open.set()
    writer.close()


def results(futures: Sequence[Future[str]]) -> list[str]:
    return [future.result(timeout=NEVER) for future in futures]


def told(*items: int) -> list[str]:
    return [f"{item} is written" for item in items]


def test_a_full_group_is_written_at_once(writer: GroupWriter[int, str], gate: Gate) -> None:
    assert results([writer.submit(item) for item in range(4)]) == told(*range(4))
    assert gate.groups == [[0, 1, 2, 3]]


def test_nobody_waits_longer_for_others_than_is_said(gate: Gate) -> None:
    writer = GroupWriter(gate, most=4, wait_s=0.01)
    assert results([writer.submit(1)]) == told(1)
    writer.close()


def test_what_has_come_is_written_at_once_when_nothing_more_will(writer: GroupWriter[int, str], gate: Gate) -> None:
    for items in ([0], [1, 2], [3, 4, 5]):
        futures = [writer.submit(item) for item in items]
        writer.flush()
        assert results(futures) == told(*items)
    assert [item for group in gate.groups for item in group] == [*range(6)]


def test_what_comes_while_a_group_is_written_is_the_next_one(writer: GroupWriter[int, str], gate: Gate) -> None:
    gate.open.clear()
    futures = [writer.submit(item) for item in range(4)]
    eventually(lambda: len(gate.groups) == 1)
    futures += [writer.submit(item) for item in range(4, 11)]
    assert not any(future.done() for future in futures)
    writer.flush()
    gate.open.set()
    assert results(futures) == told(*range(11))
    assert gate.groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


def test_items_after_a_flush_wait_for_others_again(writer: GroupWriter[int, str], gate: Gate) -> None:
    writer.flush()
    assert results([writer.submit(item) for item in range(4)]) == told(*range(4))
    assert gate.groups == [[0, 1, 2, 3]]


def test_a_group_that_cannot_be_written_fails_for_all_of_it_and_for_no_other(
    writer: GroupWriter[int, str], gate: Gate
) -> None:
    bad = [writer.submit(item) for item in (0, -1, 1, 2)]
    good = [writer.submit(item) for item in range(3, 7)]
    wait([*bad, *good], NEVER)
    assert [str(future.exception()) for future in bad] == ["-1 cannot be written"] * 4
    assert results(good) == told(*range(3, 7))


def test_closing_writes_what_is_there(writer: GroupWriter[int, str], gate: Gate) -> None:
    gate.open.clear()
    futures = [writer.submit(item) for item in range(6)]
    eventually(lambda: len(gate.groups) == 1)
    gate.open.set()
    writer.close()
    assert all(future.done() for future in futures) and results(futures) == told(*range(6))
    writer.close()
    assert results([writer.submit(item) for item in range(4)]) == told(*range(4)), "and may be used again"


def test_one_that_was_never_used_has_no_thread(gate: Gate) -> None:
    before = threading.active_count()
    writer = GroupWriter(gate, most=4, wait_s=NEVER)
    writer.flush()
    writer.close()
    assert threading.active_count() == before and gate.groups == []
