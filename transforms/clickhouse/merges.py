"""When the engine embedded in this process merges parts: after a run's inserts, or beside them once there are many parts."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from transforms.clickhouse.errors import ClickHouseError

if TYPE_CHECKING:
    from transforms.clickhouse.client import ClickHouse

MANY_PARTS = 500
"""Parts of a partition at which merges begin in the middle of a run; the engine slows inserts down at 1,000."""
_MERGE_THREADS = "MergeMutate"
_LOWEST_PRIORITY = 19
_MOST_PARTS = (
    "SELECT max(parts) AS parts FROM "
    "(SELECT count() AS parts FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table, partition)"
)


class WaitingMerges:
    """Merges of an embedded engine that wait while a run inserts.

    Beside inserts the engine would merge a few parts as soon as they are there, and write the same rows again and again.
    Once a partition has many parts merges go on, at the lowest priority, so that the next run and queries find fewer.
    Nothing of this outlives the process.
    """

    def __init__(self, client: ClickHouse, many_parts: int = MANY_PARTS) -> None:
        self._client = client
        self._many_parts = many_parts
        self._lock = threading.Lock()
        self._waiting = False
        self._room = 0
        """Inserts until it must be asked how many parts there are: each adds one to a partition at most."""

    def begin(self) -> None:
        """Raises ClickHouseError."""
        lower_merges()
        with self._lock:
            self._room = self._more_parts()
            if self._room:
                self._client.command("SYSTEM STOP MERGES")
                self._waiting = True

    def note_insert(self) -> None:
        """Has merges go on if there are many parts by now. An insert that has succeeded does not fail because of it."""
        with self._lock:
            self._room -= 1
            if self._waiting and self._room <= 0:
                with contextlib.suppress(ClickHouseError):
                    self._room = self._more_parts()
                    if not self._room:
                        self._go_on()

    def end(self) -> None:
        """Has merges go on. Nor does a run fail because of it: those of the next one will."""
        with self._lock, contextlib.suppress(ClickHouseError):
            if self._waiting:
                self._go_on()

    def _go_on(self) -> None:
        self._client.command("SYSTEM START MERGES")
        self._waiting = False

    def _more_parts(self) -> int:
        """How many parts more the fullest partition may get."""
        (most,) = self._client.query(_MOST_PARTS)
        return max(self._many_parts - int(most["parts"]), 0)


def lower_merges() -> None:
    """Gives the threads that merge parts the lowest priority; a no-op where threads have no names, as on macOS.

    The engine has an option for it, which only takes effect in a process that may also raise priorities. Its threads are
    there once it has a table.
    """
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/comm", encoding="utf-8") as name:
                if name.read().strip() == _MERGE_THREADS:
                    os.setpriority(os.PRIO_PROCESS, int(thread), _LOWEST_PRIORITY)
