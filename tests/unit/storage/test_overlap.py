"""Work on several items at once keeps their order, and holds no more than it says."""

from __future__ import annotations

import threading

import pytest

from transforms.storage.overlap import overlapped


@pytest.mark.parametrize("at_once", [1, 2, 16])
@pytest.mark.parametrize("items", [0, 1, 2, 3, 50])
def test_results_come_in_the_order_of_the_items(items: int, at_once: int) -> None:
    assert list(overlapped(lambda item: item * 2, range(items), at_once)) == [item * 2 for item in range(items)]


def test_items_are_worked_on_at_once() -> None:
    meeting = threading.Barrier(4, timeout=60)
    assert list(overlapped(lambda item: meeting.wait() >= 0, range(8), 4)) == [True] * 8


def test_no_more_items_are_taken_than_are_worked_on() -> None:
    taken = []

    def items() -> object:
        for item in range(100):
            taken.append(item)
            yield item

    results = overlapped(lambda item: item, items(), 3)  # type: ignore[arg-type]
    for item in range(10):
        assert next(results) == item
        assert len(taken) <= item + 4
    results.close()  # type: ignore[attr-defined]


def test_what_the_work_raises_is_raised_in_its_place() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = overlapped(work, range(5), 4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_one_at_a_time_is_without_threads() -> None:
    assert set(overlapped(lambda _: threading.current_thread(), range(5), 1)) == {threading.current_thread()}
