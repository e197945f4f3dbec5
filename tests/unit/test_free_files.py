from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.assign_files import slice_of
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig, month_of
from transforms.free_files import fitting, free_files, is_worth_a_load, lost, under_way
from transforms.loads import cut_loads
from transforms.loads.journal import Holding, Tail
from transforms.loads.rows import FileRecord
from transforms.storage import PendingFile

NOW_MS = 1_795_176_000_000
MONTH_MS = 31 * 86_400_000


def config(load_files: int = 3, load_bytes: int = 100, delay_s: float = 0) -> IngestConfig:
    clickhouse = ClickHouseConfig(url="http://nowhere")
    return IngestConfig(
        *("/input", clickhouse), load_files=load_files, load_bytes=load_bytes, block_bytes=1, max_load_delay_s=delay_s
    )


def file(number: int, size: int = 10, at_ms: int = NOW_MS) -> PendingFile:
    return PendingFile(at_ms, f"/input/log/p/{number:03}.jsonl", "log", "p", size, at_ms, f"etag-{number}")


def record(of: PendingFile, load_id: str, state: str = "assigned", load_state: str = "") -> FileRecord:
    return FileRecord(
        path=of.path.removeprefix("/input/"),
        load_id=load_id,
        start=0,
        end=of.size,
        position=0,
        size=of.size,
        etag=of.etag,
        modified_ms=of.modified_ms,
        timestamp_ms=of.timestamp_ms,
        project_id="p",
        state=state,
        version=1,
        load_state=load_state,
    )


def tail(*holdings: Holding) -> Tail:
    return Tail(9, 0, {holding.load_id: holding for holding in holdings})


def holding(load_id: str, run_id: str = "me", **values: object) -> Holding:
    return replace(Holding(load_id, 1, run_id, 1, 0, 1, 1), **values)  # type: ignore[arg-type]


def test_loads_under_way_are_ones_own_that_have_not_failed() -> None:
    loads = tail(
        holding("a"),
        holding("b", "another"),
        holding("c", state="failed", error="full"),
        holding("d", state="committed"),
        holding("e", state="committed", error="1 file could not be moved"),
    )
    assert under_way(loads, "me") == 2


def test_lost_are_failed_loads_that_are_due_and_all_when_a_worker_was_lost() -> None:
    loads = tail(
        holding("a"),
        holding("b", "another"),
        holding("c", state="failed", error="full"),
        holding("waits", state="failed", error="full", attempt=3, age_ms=29_000),
        holding("due", state="failed", error="full", attempt=3, age_ms=30_000),
        holding("e", state="committed", error="1 file could not be moved"),
    )
    assert [one.load_id for one in lost(loads, "me", anew=False)] == ["c", "due", "e"]
    assert [one.load_id for one in lost(loads, "me", anew=True)] == ["a", "c", "due", "e"]


@pytest.mark.parametrize(
    ("state", "load_state", "error", "is_free"),
    [
        ("assigned", "assigned", "", False),
        ("assigned", "failed", "full", False),
        ("released", "assigned", "", True),
        ("committed", "committed", "", False),
        ("committed", "committed", "1 file could not be moved", True),
    ],
)
def test_files_of_unfinished_loads_are_left_alone(state: str, load_state: str, error: str, is_free: bool) -> None:
    known = {file(1).path: [record(file(1), "a", state, load_state)]}
    held = tail(holding("a", "any run", state=load_state, error=error))
    assert list(free_files([file(1), file(2)], known, held)) == [*[file(1)] * is_free, file(2)]


def test_files_of_finished_loads_are_free_since_their_content_may_be_another() -> None:
    known = {file(1).path: [record(file(1), "a", "finalized", "finalized")]}
    assert list(free_files([file(1)], known, tail())) == [file(1)]


@given(
    st.lists(st.tuples(st.integers(0, 150), st.integers(0, 2)), max_size=30),
    st.integers(1, 5),
)
def test_what_is_taken_makes_no_more_loads_than_there_is_room_for(shapes: Sequence[tuple[int, int]], room: int) -> None:
    files = sorted(file(n, size, NOW_MS + month * MONTH_MS) for n, (size, month) in enumerate(shapes))
    settings = config()
    taken = fitting(files, room, settings)
    assert taken == files[: len(taken)]
    assert bool(taken) == bool(files)
    loads = []
    for month in sorted({month_of(one.timestamp_ms) for one in taken}):
        parts = [slice_of(one, 0, one.size) for one in taken if month_of(one.timestamp_ms) == month]
        loads += cut_loads(parts, load_bytes=100, load_files=3, next_line=lambda part, offset: offset)
    assert len(loads) <= room or len(taken) == 1


def test_a_file_that_is_larger_than_a_load_is_taken_when_it_is_the_first() -> None:
    assert fitting([file(1, 1000), file(2)], 1, config()) == [file(1, 1000)]
    assert fitting([file(1), file(2, 1000)], 2, config()) == [file(1)]


def test_less_than_a_load_waits_for_others_until_one_has_waited_long_enough() -> None:
    settings = config(delay_s=60)
    young = [file(1), file(2)]
    assert not is_worth_a_load(young, settings, NOW_MS + 59_999)
    assert is_worth_a_load(young, settings, NOW_MS + 60_000)
    assert is_worth_a_load([*young, file(3)], settings, NOW_MS)
    assert is_worth_a_load([file(1, 100)], settings, NOW_MS)
    assert not is_worth_a_load([], config(), NOW_MS)
    assert is_worth_a_load(young, config(), NOW_MS)
