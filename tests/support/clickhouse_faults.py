"""Faults that a test asks the ClickHouse endpoint for: what goes wrong, with which queries, and how often."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field, fields
from typing import Any

BEFORE, AFTER = "before", "after"


@dataclass
class Fault:
    """One thing that goes wrong. Matches queries by a regular expression, counts them, and strikes some of them.

    Kinds: `delay` answers `seconds` later; `hold` answers once the faults are cleared; `status` answers with an HTTP status
    and, unless `code` is 0, an error code; `drop` closes the connection without an answer; `cut` closes it in the middle of
    the answer; `kill` ends the process as kill -9 does; `refuse` closes the connection, as all others, and refuses new ones
    until `ClickHouseEndpoint.accept_again`.
    `when`: "before" means that the query is not executed; "after" that it has been, completely.
    """

    kind: str
    pattern: str = ""
    when: str = BEFORE
    nth: int = 1
    """The first matching query that is struck, counted from the moment that the fault was set."""
    times: int = 1
    """How many are struck, from that one on; 0 for all."""
    seconds: float = 0.0
    status: int = 500
    code: int = 0
    message: str = "a fault that a test asked for"
    id: int = 0
    seen: int = 0
    """Matching queries so far."""
    struck: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("delay", "hold", "status", "drop", "cut", "kill", "refuse") or self.when not in (
            BEFORE,
            AFTER,
        ):
            raise ValueError(f"no such fault: {self.kind} {self.when}")
        re.compile(self.pattern)

    def strikes(self, query: str) -> bool:
        """Counts a query; true if it is one of those to be struck."""
        if not re.search(self.pattern, query, re.IGNORECASE | re.DOTALL):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times and self.seen >= self.nth + self.times):
            return False
        self.struck += 1
        return True

    @staticmethod
    def of(values: dict[str, Any]) -> Fault:
        return Fault(**{one.name: values[one.name] for one in fields(Fault) if one.name in values})


@dataclass
class Faults:
    """The faults that are set, for threads that answer requests."""

    _faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ids: int = 0
    _cleared: threading.Event = field(default_factory=threading.Event)

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._ids += 1
            fault.id = self._ids
            self._faults.append(fault)
            return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self._cleared.set()
            self._cleared = threading.Event()

    def wait_until_cleared(self) -> None:
        with self._lock:
            cleared = self._cleared
        cleared.wait()

    def all(self) -> list[Fault]:
        with self._lock:
            return list(self._faults)

    def for_query(self, query: str) -> list[Fault]:
        """Those that strike a query, which counts as one for all of them."""
        with self._lock:
            return [fault for fault in self._faults if fault.strikes(query)]
