"""Moments in a run at which a test kills the process: named ones, between two instructions that matter, and any."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transforms.clickhouse import ClickHouse
from transforms.events import REJECTED_TABLE, TABLES
from transforms.loads.log import LoadLog
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
    return str(path).endswith(".jsonl")


def state(wanted: str) -> Condition:
    return lambda *arguments, **__: wanted in arguments


def kill() -> None:
    """Ends this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_to_be_killed(reached: Path) -> None:
    """Says that the point is reached, and goes no further."""
    reached.touch()
    while True:
        signal.pause()


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
    "before_anything_is_recorded": Point(LoadLog, "assign", "before"),
    "between_file_rows_and_load_row": Point(LoadLog, "_write_load", "before", condition=state("assigned")),
    "after_some_loads_are_recorded": Point(LoadLog, "assign", "after", nth=3),
    "before_the_first_insert": Point(ClickHouse, "insert", "before", condition=into_events),
    "after_the_first_insert": Point(ClickHouse, "insert", "after", condition=into_events),
    "between_blocks": Point(ClickHouse, "insert", "after", nth=4, condition=into_events),
    "before_rejected_are_stored": Point(ClickHouse, "insert", "before", condition=into_rejected),
    "after_rejected_are_stored": Point(ClickHouse, "insert", "after", nth=2, condition=into_rejected),
    "after_the_last_insert": Point(LoadLog, "commit", "before", nth=2),
    "half_way_through_the_commit": Point(LoadLog, "_write_load", "before", nth=2, condition=state("committed")),
    "after_the_commit": Point(LoadLog, "commit", "after", nth=2),
    "before_the_first_move": Point(local_storage.LocalStorage, "move_to_processed", "before"),
    "in_the_middle_of_a_move": Point(os, "unlink", "before", nth=2, condition=an_event_file),
    "half_way_through_the_moves": Point(local_storage.LocalStorage, "move_to_processed", "after", nth=2),
    "after_the_moves": Point(LoadLog, "record_moves", "before", nth=2),
    "before_the_final_record": Point(LoadLog, "finalize", "before", nth=2),
    "after_the_final_record": Point(LoadLog, "finalize", "after", nth=2),
}
"""Twice in a run most of them come, so that something is finished before the kill."""

POINTS_OF_ADOPTION = {
    "before_a_load_is_adopted": Point(LoadLog, "adopt", "before"),
    "after_a_load_is_adopted": Point(LoadLog, "adopt", "after"),
    "after_an_adopted_block": Point(ClickHouse, "insert", "after", condition=into_events),
}
"""Reached only by a run that takes up what another one left."""
