"""Does in one thread, and for many at once, what would be done for each: as databases commit in groups."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupWriter(Generic[Item, Result]):
    """Collects items for a short time and passes them on together; no item waits for a group to be full.

    Args:
        write: called in a thread with the items of a group, in the order in which they came; gives a result for each.
        most: items of a group at most.
        wait_s: seconds that the first item of a group waits for others.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Sequence[Result]], *, most: int, wait_s: float) -> None:
        self._write = write
        self._most = most
        self._wait_s = wait_s
        self._queue: queue.SimpleQueue[tuple[Item, Future[Result]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_hurried = threading.Event()

    def submit(self, item: Item) -> Future[Result]:
        """Gives an item to the next group."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="group-writer", daemon=True)
            self._thread.start()
        self._is_hurried.clear()
        future: Future[Result] = Future()
        self._queue.put((item, future))
        return future

    def flush(self) -> None:
        """Makes the next group begin at once: nothing more will come that it should wait for."""
        self._is_hurried.set()

    def close(self) -> None:
        """Ends the thread when all is written."""
        self.flush()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        is_open = True
        while is_open:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            deadline = time.monotonic() + self._wait_s
            while len(group) < self._most:
                try:
                    following = self._queue.get(timeout=self._left(deadline))
                except queue.Empty:
                    if self._left(deadline) > 0 and not self._is_hurried.is_set():
                        continue
                    break
                if following is None:
                    is_open = False
                    break
                group.append(following)
            self._pass_on(group)

    def _left(self, deadline: float) -> float:
        """How long to wait now, in steps that notice a flush."""
        return 0.0 if self._is_hurried.is_set() else min(max(deadline - time.monotonic(), 0.0), 0.02)

    def _pass_on(self, group: Sequence[tuple[Item, Future[Result]]]) -> None:
        try:
            results = self._write([item for item, _ in group])
        except BaseException as error:
            for _, future in group:
                future.set_exception(error)
        else:
            for (_, future), result in zip(group, results, strict=True):
                future.set_result(result)
