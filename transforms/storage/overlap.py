"""Work on several files at once, for storages that take their time to answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def overlapped(work: Callable[[Item], Result], items: Iterable[Item], at_once: int) -> Iterator[Result]:
    """The results of `work`, in the order of the items, of which up to `at_once` are at work ahead of the reader.

    What `work` raises is raised where its result would come. With `at_once` 1 there are no threads.
    """
    remaining = iter(items)
    first = list(islice(remaining, 2))
    if at_once <= 1 or len(first) < 2:
        for item in chain(first, remaining):
            yield work(item)
        return
    with ThreadPoolExecutor(at_once, thread_name_prefix="storage") as pool:
        running: deque[Future[Result]] = deque()
        try:
            for item in chain(first, remaining):
                running.append(pool.submit(work, item))
                if len(running) >= at_once:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
