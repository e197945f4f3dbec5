"""Calls something at fixed intervals in a thread, and waits longer while it fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MAX_WAIT_S = 60.0
"""The longest wait after failures, unless the interval is longer."""


def next_look(first: float, now: float, interval_s: float, failures: int = 0) -> float:
    """When to look next, on the clock of `first` and `now`: `interval_s` times a whole number after the first look.

    So looks do not drift, and one that takes long skips those that it has missed. After failures the wait doubles with
    each, up to `MAX_WAIT_S`.
    """
    if failures > 1:
        return now + max(interval_s, min(interval_s * 2.0 ** min(failures - 1, 30), MAX_WAIT_S))
    missed = max(int((now - first) // interval_s), 0)
    return first + (missed + 1) * interval_s


class Polling:
    """Calls `look` at once, and then at every interval, until it is stopped.

    Args:
        look: returns whether it could look at all. What it raises ends the polling, and is raised by `wait`.
        interval_s: seconds from the beginning of one look to that of the next.
        clock, sleep: for tests. `sleep` takes seconds and returns early, with True, when it is to stop.
    """

    def __init__(
        self,
        look: Callable[[], bool],
        interval_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], bool] | None = None,
    ) -> None:
        self._look = look
        self._interval_s = interval_s
        self._clock = clock
        self._stopping = threading.Event()
        self._sleep = sleep or self._stopping.wait
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="polling", daemon=True)

    def start(self) -> None:
        """Begins with the first look, in a thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """Asks for the end: no look begins any more. Does not wait."""
        self._stopping.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the end; whether it has come. Raises what the look has raised."""
        self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            first = self._clock()
            failures = 0
            while not self._stopping.is_set():
                failures = 0 if self._look() else failures + 1
                now = self._clock()
                if self._sleep(next_look(first, now, self._interval_s, failures) - now):
                    break
        except BaseException as error:
            self._error = error
