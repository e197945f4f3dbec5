"""Which runs live: each renews a row in ClickHouse every few seconds, and is judged by the server's clock.

A run is dead when all of its processes are: each has said that it ended, is gone (which those on the same machine can
see at once), or has not renewed for its lease. An embedded database has no process but this one, so that its runs need no
row. A worker that could not renew in time, because it was paused or cut off, stops writing until it has renewed and has
seen that a load is still its own: `Lease.check`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from transforms.clickhouse import ClickHouseError
from transforms.clickhouse.batches import batch_of
from transforms.loads.journal import Holding, Tail

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

RUNS_TABLE = "mastra_admin_ingest_runs"

_log = logging.getLogger(__name__)
_COLUMNS = {
    "run_id": "string",
    "process": "string",
    "input": "string",
    "host": "string",
    "lease_ms": "uint32",
    "ended": "bool",
}
_RENEWALS = 6
"""How often a lease is renewed in its own length."""
_MARGIN = 2 / 3
"""Of a lease: a worker that has not renewed for so long does not write."""


class TakenOver(Exception):
    """A load belongs to another run now, since this one did not renew its lease in time."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A run that is under way: where, and how long ago it said so."""

    run_id: str
    host: str
    seconds_ago: float

    def describe(self) -> str:
        """For people: `run 7f3a… (host web-2, active 4 s ago)`."""
        return f"run {self.run_id[:8]} (host {self.host}, active {self.seconds_ago:.0f} s ago)"


def _machine() -> str:
    """What tells machines, their boots, and containers on them apart; '' where that cannot be known."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    return ""


def _started(pid: int) -> str:
    """When a process was started, in the machine's own count; '' when there is no such process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        state, *fields = file.read().rpartition(")")[2].split()
        return "" if state in "ZX" else fields[18]
    return ""


@cache
def _process(pid: int) -> str:
    # By the id of the process, since a fork keeps what is cached.
    return f"{_machine()} {pid} {_started(pid)}"


def this_process() -> str:
    """What tells this process from all others, on any machine and at any time."""
    return _process(os.getpid())


def is_gone(process: str) -> bool:
    """Whether a process of this machine has ended; False where that cannot be seen from here."""
    machine, _, rest = process.partition(" ")
    pid, _, started = rest.partition(" ")
    if not machine or machine != _machine():
        return False
    now = _started(int(pid))
    if now:
        return started != now
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return False  # another user's, of which /proc may not be shown
    except OSError:
        return True
    return True  # it has ended, and its parent has not noticed yet


class Lease:
    """A run's sign of life from this process, from `start` to `end`. Safe to use from several threads."""

    renewals: ClassVar[int] = 0
    """How often the leases of this process were renewed."""

    def __init__(
        self,
        client: ClickHouse,
        *,
        run_id: str,
        input: str,
        lease_s: float,
        holder: Callable[[str], tuple[str, int]],
    ) -> None:
        self._client = client
        self._run_id = run_id
        self._input = input
        self._lease_s = lease_s
        self._holder = holder
        self._alone = client.config.embedded
        self._renewed = 0.0
        self._lapses = 0
        self._seen: dict[str, int] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Says that the run lives, and goes on saying so in a thread. Raises ClickHouseError."""
        if self._alone:
            return
        self._renewed = _clock()
        self._write(ended=False)
        self._thread = threading.Thread(target=self._renew_again, name="lease", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Says that this process has ended its part of the run, if it still can."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            with contextlib.suppress(ClickHouseError):
                self._write(ended=True)

    def check(self, load_id: str, attempt: int) -> None:
        """To be called before anything is written for a load. Raises TakenOver, or ClickHouseError when that is unknown."""
        if self._alone:
            return
        with self._lock:
            if _clock() - self._renewed > self._lease_s * _MARGIN:
                self._renew()
            lapses = self._lapses
            if self._seen.get(load_id, 0) == lapses:
                return
        run_id, given = self._holder(load_id)
        if (run_id, given) != (self._run_id, attempt):
            raise TakenOver(f"run {run_id[:8]} has taken it over, since this one was paused or cut off for too long")
        with self._lock:
            self._seen[load_id] = lapses

    def forget(self, load_id: str) -> None:
        """Nothing will be written for this load any more."""
        with self._lock:
            self._seen.pop(load_id, None)

    def _renew_again(self) -> None:
        while not self._stopped.wait(self._lease_s / _RENEWALS):
            with self._lock:
                try:
                    self._renew()
                except ClickHouseError as error:
                    _log.debug("the lease could not be renewed: %s", error)

    def _renew(self) -> None:
        # The server notes it down at any moment until it answers: it holds from when it was sent, and may have come so late
        # that others have taken over what is not renewed.
        sent = _clock()
        self._write(ended=False)
        if _clock() - self._renewed > self._lease_s * _MARGIN:
            self._lapses += 1
        self._renewed = sent
        Lease.renewals += 1

    def _write(self, *, ended: bool) -> None:
        row = {
            "run_id": self._run_id,
            "process": this_process(),
            "input": self._input,
            "host": socket.gethostname(),
            "lease_ms": int(self._lease_s * 1000),
            "ended": ended,
        }
        self._client.insert(RUNS_TABLE, batch_of([row], _COLUMNS), idempotent=True)


def _clock() -> float:
    """Seconds that also pass while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def live_runs(client: ClickHouse, run_ids: Iterable[str]) -> dict[str, Owner]:
    """Which of these runs are under way. Asks nothing of the server when that can be known without. Raises ClickHouseError."""
    wanted = set(run_ids)
    found = {run_id: Owner(run_id, socket.gethostname(), 0.0) for run_id in wanted & set(_here)}
    elsewhere = sorted(wanted - set(found))
    if client.config.embedded or not elsewhere:
        return found
    rows = client.query(
        f"""
        SELECT run_id, process, any(host) AS host, argMax(ended, renewed_at) AS has_ended, max(lease_ms) AS lease_ms,
               toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(max(renewed_at)) AS ago_ms
        FROM {RUNS_TABLE} WHERE run_id IN {{run_ids:Array(String)}} GROUP BY run_id, process ORDER BY ago_ms DESC
        """,
        {"run_ids": elsewhere},
    )
    mine = this_process()
    for row in rows:
        if row["has_ended"] or row["ago_ms"] >= row["lease_ms"] or row["process"] == mine or is_gone(row["process"]):
            continue
        found[row["run_id"]] = Owner(row["run_id"], row["host"], row["ago_ms"] / 1000)
    return found


def left_behind(tail: Tail, client: ClickHouse, run_id: str) -> list[Holding]:
    """Unfinished loads whose runs have ended and that are due, oldest first. Raises ClickHouseError."""
    of_others = [holding for holding in tail.unfinished.values() if holding.run_id != run_id and not holding.wait_ms]
    alive = live_runs(client, (holding.run_id for holding in of_others))
    return [holding for holding in of_others if holding.run_id not in alive]


_here: dict[str, int] = {}
"""How often each run is held in this process."""
_here_lock = threading.Lock()


@contextlib.contextmanager
def held_here(run_id: str) -> Iterator[None]:
    """Makes the run count as alive for everybody in this process."""
    with _here_lock:
        _here[run_id] = _here.get(run_id, 0) + 1
    try:
        yield
    finally:
        with _here_lock:
            _here[run_id] -= 1
            if not _here[run_id]:
                del _here[run_id]
