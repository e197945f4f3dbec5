"""Moments of a run in this process at which a test does something: a statement, a read of a file, a move."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.points import Condition, Point, always, an_event_file, into_events
from transforms.clickhouse import ClickHouse
from transforms.storage import Content
from transforms.storage import local as local_storage
from transforms.storage.local import LocalStorage

Act = Callable[[], object]


def after_insert(monkeypatch: pytest.MonkeyPatch, nth: int, act: Act) -> None:
    """Acts once, when the nth insert into an event table is acknowledged."""
    _arm(monkeypatch, Point(ClickHouse, "insert", "after", nth, into_events), act)


def before_move(monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    """Acts once, before the first file is moved: its load is committed."""
    _arm(monkeypatch, Point(LocalStorage, "move", "before"), act)


def _arm(monkeypatch: pytest.MonkeyPatch, point: Point, act: Act) -> None:
    monkeypatch.setattr(point.owner, point.method, getattr(point.owner, point.method))  # so that it is undone
    point.arm(lambda: act() and None)


def before_reads(monkeypatch: pytest.MonkeyPatch, path: Path, offset: int, act: Act) -> None:
    """Acts before each read of a file that begins at an offset in bytes or behind it. What `act` raises, the read raises."""
    original = LocalStorage.read

    @functools.wraps(original)
    def read(storage: LocalStorage, name: str, start: int, end: int) -> Content:
        if Path(storage.root, name) == path and start >= offset:
            act()
        return original(storage, name, start, end)

    monkeypatch.setattr(LocalStorage, "read", read)


class Killed(BaseException):
    """Raised in a run that is to end as if its process had been killed."""


class Steps:
    """Counts what a run does to the outside: attempts at statements, and operations on files. Acts at one of them.

    With `only`, steps of that name are counted: `insert` is one into an event table, others are methods of the storage.
    With `kill`, that step and everything after it fails with
    `Killed`, in every thread, so that nothing reaches the database or the directory any more; with `after`, that step
    itself is still done, but nobody learns of it.
    """

    def __init__(
        self,
        at: int,
        *,
        only: str = "",
        kill: bool = False,
        after: bool = False,
        act: Act = lambda: None,
    ) -> None:
        self._at, self._only, self._kill, self._after, self._act = at, only, kill, after, act
        self._lock = threading.Lock()
        self._counted = 0
        self.reached = ""
        """The name of the step, once the run has come to it."""

    @property
    def killed(self) -> bool:
        """Whether the run was killed; not if it ended before it came to that step."""
        return bool(self.reached) and self._kill

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Within it every run in this process is counted. What Beam logs of a kill is not shown."""
        with pytest.MonkeyPatch.context() as patch:
            if self._kill:
                patch.setattr(logging.root.manager, "disable", logging.CRITICAL)
            for owner, method, condition in _STEPS:
                patch.setattr(owner, method, self._watched(method, getattr(owner, method), condition))
            yield
            if self.killed:
                # A process that is killed takes all its threads along. Here the one that commits in groups may still wait for
                # others before it begins; what it then does must fail, too.
                time.sleep(0.5)

    def _watched(self, name: str, original: Callable[..., Any], condition: Condition) -> Callable[..., Any]:
        @functools.wraps(original)
        def watched(*arguments: Any, **named: Any) -> Any:
            if not condition(*arguments, **named):
                return original(*arguments, **named)
            due = self._begin(name)
            if due and not self._kill:
                self._act()
            if due and self._kill and not self._after:
                raise Killed(name)
            result = original(*arguments, **named)
            if self.killed:
                raise Killed(name)
            return result

        return watched

    def _begin(self, name: str) -> bool:
        """Whether this is the step to act at."""
        with self._lock:
            if self.killed:
                raise Killed(name)
            # An insert is made of attempts, which are counted by themselves.
            self._counted += name == self._only if self._only else name != "insert"
            due = not self.reached and self._counted == self._at
            if due:
                self.reached = name
            return due


_STEPS: list[tuple[Any, str, Condition]] = [
    (ClickHouse, "insert", into_events),
    (ClickHouse, "_attempt", always),
    *((LocalStorage, name, always) for name in ("list_pending", "etag", "read", "move", "delete")),
    # What a move is made of.
    *((local_storage.os, name, an_event_file) for name in ("link", "unlink", "rename")),
]
