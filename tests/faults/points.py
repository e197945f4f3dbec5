"""Moments in a run at which a test kills the process: named ones, between two instructions that matter, and any."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transforms import adopt_loads, record_loads
from transforms.clickhouse import ClickHouse
from transforms.events import REJECTED_TABLE, TABLES
from transforms.loads.journal import Journal
from transforms.loads.log import LoadLog
from transforms.loads.runs import Lease
from transforms.storage import local as local_storage

EVENT_TABLES = {table.table for table in TABLES.values()}
Condition = Callable[..., bool]


def always(*_: Any, **__: Any) -> bool:
    return True


def into_events(_: ClickHouse, table: str, *__: Any, **___: Any) -> bool:
    return table in EVENT_TABLES


def into_rejected(_: ClickHouse, table: str, *__: Any, **___: Any) -> bool:
    return table == REJECTED_TABLE


def an_event_file(path: Any, *_: Any, **__: Any) -> bool:
    return ".jsonl" in os.path.basename(path)


def called_by(function: str) -> Condition:
    """A method has several callers, each of which is another moment."""
    return lambda *_, **__: sys._getframe(2).f_code.co_name == function


def kill() -> None:
    """Ends this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_to_be_killed(reached: Path) -> None:
    """Says that the point is reached, and goes no further."""
    reached.touch()
    while True:
        signal.pause()


def pause(reached: Path) -> None:
    """Says that the point is reached, and stops this process until it is sent SIGCONT."""
    reached.touch()
    os.kill(os.getpid(), signal.SIGSTOP)


def kill_around_statement(number: int, seconds: float) -> None:
    """Makes this process kill itself so long after it has begun its nth statement, in the middle of whatever it does then."""
    original = ClickHouse._attempt
    begun = 0

    @functools.wraps(original)
    def armed(*arguments: Any) -> Any:
        nonlocal begun
        begun += 1
        if begun == number:
            threading.Timer(seconds, kill).start()
        return original(*arguments)

    ClickHouse._attempt = armed  # type: ignore[method-assign]


@dataclass(frozen=True)
class Point:
    """The `nth` call of `owner.method` for which the condition holds, before it begins or after it returned."""

    owner: Any
    method: str
    when: str
    nth: int = 1
    condition: Condition = always

    def arm(self, act: Callable[[], None] = kill) -> None:
        """Makes this process do something at the point: kill itself."""
        original = getattr(self.owner, self.method)
        calls = 0

        @functools.wraps(original)
        def armed(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            hit = self.condition(*arguments, **named)
            calls += hit
            due = hit and calls == self.nth  # other threads may be at later calls when this one returns
            if due and self.when == "before":
                act()
            result = original(*arguments, **named)
            if due and self.when == "after":
                act()
            return result

        setattr(self.owner, self.method, armed)


POINTS = {
    "once_the_run_says_that_it_lives": Point(Lease, "start", "after"),
    "before_anything_is_recorded": Point(LoadLog, "write_slices", "before"),
    "between_file_rows_and_the_entry": Point(Journal, "append", "before"),
    "between_the_entry_and_load_rows": Point(Journal, "append", "after"),
    "after_some_loads_are_recorded": Point(record_loads._RecordLoadsFn, "_record", "after", nth=2),
    "before_the_first_insert": Point(ClickHouse, "insert", "before", condition=into_events),
    "after_the_first_insert": Point(ClickHouse, "insert", "after", condition=into_events),
    "between_blocks": Point(ClickHouse, "insert", "after", nth=4, condition=into_events),
    "before_rejected_are_stored": Point(ClickHouse, "insert", "before", condition=into_rejected),
    "after_rejected_are_stored": Point(ClickHouse, "insert", "after", nth=2, condition=into_rejected),
    "after_the_last_insert": Point(LoadLog, "commit", "before", nth=2),
    "half_way_through_the_commit": Point(LoadLog, "write_loads", "before", nth=2, condition=called_by("commit")),
    "after_the_commit": Point(LoadLog, "commit", "after", nth=2),
    "before_the_first_move": Point(local_storage.LocalStorage, "move", "before"),
    "in_the_middle_of_a_move": Point(os, "unlink", "before", nth=2, condition=an_event_file),
    "half_way_through_the_moves": Point(local_storage.LocalStorage, "move", "after", nth=2),
    "after_the_moves": Point(LoadLog, "write_files", "before", nth=2, condition=called_by("_move")),
    "before_the_final_record": Point(LoadLog, "write_loads", "before", nth=2, condition=called_by("finalize_loads")),
    "after_the_final_record": Point(LoadLog, "write_loads", "after", nth=2, condition=called_by("finalize_loads")),
    "before_the_run_says_that_it_ended": Point(Lease, "end", "before"),
}
"""Twice in a run most of them come, so that something is finished before the kill: a run takes its files up in two pages."""

POINTS_OF_ADOPTION = {
    "before_a_load_is_adopted": Point(Journal, "append", "before", condition=called_by("adopt_loads")),
    "between_the_entry_and_rows_of_adopted_loads": Point(
        Journal, "append", "after", condition=called_by("adopt_loads")
    ),
    "after_a_load_is_adopted": Point(adopt_loads, "_write", "after"),
    "after_an_adopted_block": Point(ClickHouse, "insert", "after", condition=into_events),
}
"""Reached only by a run that takes up what another one left."""

POINTS_OF_GIVING_UP = {
    "between_the_reason_and_the_move": Point(local_storage.LocalStorage, "write", "after"),
    "after_a_file_was_given_up": Point(LoadLog, "write_files", "after", condition=called_by("give_up")),
}
"""Reached only by a run that finds a file at which as many attempts have failed as there may be."""
