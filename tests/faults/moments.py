"""Moments of a run in this process at which a test does something: a statement, a read of a file, a move."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.points import Point, an_event_file, into_events
from transforms.clickhouse import ClickHouse
from transforms.storage import local as local_storage
from transforms.storage.local import LocalStorage

Act = Callable[[], object]

STORAGE = ("list_pending", "etag", "read", "move_to_processed", "delete")
NAMES = ("link", "unlink", "rename")
"""What a move is made of, in `os`."""


def after_insert(monkeypatch: pytest.MonkeyPatch, nth: int, act: Act) -> None:
    """Acts once, when the nth insert into an event table is acknowledged."""
    _arm(monkeypatch, Point(ClickHouse, "insert", "after", nth, into_events), act)


def before_move(monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    """Acts once, before the first file is moved: its load is committed."""
    _arm(monkeypatch, Point(LocalStorage, "move_to_processed", "before"), act)


def _arm(monkeypatch: pytest.MonkeyPatch, point: Point, act: Act) -> None:
    monkeypatch.setattr(point.owner, point.method, getattr(point.owner, point.method))  # so that it is undone
    point.arm(lambda: act() and None)


def before_reads(monkeypatch: pytest.MonkeyPatch, path: Path, offset: int, act: Act) -> None:
    """Acts before each read of a file that begins at an offset in bytes or behind it. What `act` raises, the read raises."""
    original = LocalStorage.read

    @functools.wraps(original)
    def read(storage: LocalStorage, name: str, start: int, end: int) -> bytes:
        if Path(storage.root, name) == path and start >= offset:
            act()
        return original(storage, name, start, end)

    monkeypatch.setattr(LocalStorage, "read", read)


class Killed(BaseException):
    """Raised in a run that is to end as if its process had been killed."""


class Steps:
    """Counts what a run does to the outside: attempts at statements, and operations on files. Acts at one of them.

    With `kill`, that step and everything after it fails with `Killed`, in every thread, so that nothing reaches the
    database or the directory any more; with `after`, that step itself is still done, but nobody learns of it.
    """

    def __init__(self, at: int, *, kill: bool = False, after: bool = False, act: Act = lambda: None) -> None:
        self._at, self._kill, self._after, self._act = at, kill, after, act
        self._lock = threading.Lock()
        self.taken: list[str] = []
        self.reached = False

    def _step(self, name: str, original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with self._lock:
            if self.reached and self._kill:
                raise Killed(name)
            self.taken.append(name)
            due = len(self.taken) == self._at
            self.reached |= due
        if due and not self._kill:
            self._act()
        if due and self._kill and not self._after:
            raise Killed(name)
        result = original(*arguments, **named)
        if self.reached and self._kill:
            raise Killed(name)
        return result

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Within it every run in this process is counted."""
        with pytest.MonkeyPatch.context() as patch:
            for owner, method in ((ClickHouse, "_attempt"), *((LocalStorage, name) for name in STORAGE)):
                patch.setattr(owner, method, self._counted(method, getattr(owner, method)))
            for name in NAMES:
                patch.setattr(local_storage.os, name, self._counted(name, getattr(os, name), an_event_file))
            yield

    def _counted(
        self, name: str, original: Callable[..., Any], condition: Callable[..., bool] = lambda *_, **__: True
    ) -> Callable[..., Any]:
        @functools.wraps(original)
        def counted(*arguments: Any, **named: Any) -> Any:
            if not condition(*arguments, **named):
                return original(*arguments, **named)
            return self._step(name, original, *arguments, **named)

        return counted
