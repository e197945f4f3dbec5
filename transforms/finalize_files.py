"""FinalizeFiles: commits loads whose rows are all acknowledged, then moves their files out of pending."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms import report
from transforms.blocks.receipts import Receipts, read_receipts
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE, TABLES
from transforms.group_writer import GroupWriter
from transforms.loads import Load, Slice
from transforms.loads.journal import Holding
from transforms.loads.log import loaded_bytes
from transforms.loads.rows import COMMITTED, FileRecord, LoadCounts, LoadRecord, file_record
from transforms.loads.runs import TakenOver
from transforms.metrics import (
    EVENTS_BY_TYPE,
    EVENTS_EXPIRED,
    FILES_CHANGED,
    FILES_FAILED,
    FILES_LOADED,
    LINES_REJECTED,
    LOADS_COMMITTED,
    LOADS_FAILED,
    LOG_US,
    microseconds_since,
)
from transforms.parse_jsonl import ParsedLoad
from transforms.run import RunFn
from transforms.storage import FileChanged, Moved, Storage, StorageError, reason_of
from transforms.storage.overlap import overlapped


@dataclass(frozen=True)
class LoadResult:
    """How a load ended in this run."""

    load_id: str
    event_type: str
    files: int
    counts: LoadCounts = field(default_factory=LoadCounts)
    committed: bool = False
    """Whether this run has committed it just now."""
    moved: int = 0
    changed: int = 0
    """Files that are not as they were recorded, which the next look compares with what was loaded."""
    failed_files: int = 0
    error: str = ""
    took_us: int = 0
    """Of the time that it took to commit its group."""


@dataclass
class _Ended:
    """A load at its end."""

    parsed: ParsedLoad
    load: Load
    counts: LoadCounts
    error: str = ""
    committed_now: bool = False
    moves: dict[str, str] = field(default_factory=dict)
    """Where files went, by path; '' when deleted, or when they were gone."""
    move_errors: dict[str, str] = field(default_factory=dict)
    moved: int = 0
    changed: int = 0

    @property
    def committed(self) -> bool:
        return not self.error


def check_sums(parsed: ParsedLoad, receipts: Mapping[tuple[str, str], int]) -> str:
    """Why a load must not be committed; '' when every line is accounted for and the server has every block whole."""
    counts = parsed.counts
    if counts.lines != counts.inserted + counts.rejected:
        return f"{counts.lines} lines were read, but {counts.inserted} inserted and {counts.rejected} rejected"
    for (table, label), rows in parsed.blocks.items():
        there = receipts.get((table, label), 0)
        if there != rows:
            return f"block {label} of {table} has {rows} rows, but ClickHouse acknowledges {there}"
    return ""


def count_blocks(counts: LoadCounts, receipts: Mapping[tuple[str, str], int]) -> LoadCounts:
    """The counts of a load by the blocks that the server has of it, whichever attempt inserted them."""
    rows: Counter[str] = Counter()
    for (table, _), n in receipts.items():
        rows[table] += n
    events = {event_type: rows[table.table] for event_type, table in TABLES.items() if rows[table.table]}
    inserted, rejected = sum(events.values()), rows[REJECTED_TABLE]
    return replace(
        counts,
        lines=inserted + rejected,
        inserted=inserted,
        rejected=rejected,
        blocks=len(receipts),
        events=events,
    )


def finalize_loads(group: Sequence[ParsedLoad], stage: RunFn) -> list[LoadResult]:
    """Commits (or fails) loads, moves their files, and records that: each with one write for all of them.

    Whoever commits a load first has committed it; what the others found out since does not count. Raises ClickHouseError
    with nothing half done that another attempt would not finish.
    """
    log = stage.log
    receipts = read_receipts(stage.client, [parsed.load.load_id for parsed in group if not parsed.load.committed])
    # After the receipts: a commit that is not there by now can at most come at the same time as this one.
    states = log.states([parsed.load.load_id for parsed in group])
    open_loads = {load_id for load_id in receipts if states.get(load_id) not in COMMITTED}
    ended = [
        _end(parsed, receipts[parsed.load.load_id] if parsed.load.load_id in open_loads else None, stage)
        for parsed in group
    ]
    committed_before = [end for end in ended if not end.committed_now and end.committed]
    for end, recorded in zip(committed_before, _recorded([end.load for end in committed_before], stage), strict=True):
        end.load = recorded
    log.commit(
        (
            LoadRecord(end.load, "failed" if end.error else "committed", end.counts, end.error),
            end.parsed.outcomes,
        )
        for end in ended
        if end.committed_now or end.error
    )
    done = [end for end in ended if end.committed]
    _move(done, stage)
    # What another worker has committed meanwhile stays: it may have read what this one could not.
    is_mine = {end.load.load_id for end in done if end.committed_now and not end.parsed.problems}
    log.write_loads(
        LoadRecord(end.load, "finalized", end.counts)
        for end in done
        if end.load.load_id in is_mine and not end.move_errors
    )
    kept = [end for end in done if end.move_errors or end.load.load_id not in is_mine]
    log.copy_loads(
        {end.load.load_id: "committed" if end.move_errors else "finalized" for end in kept},
        {end.load.load_id: _not_moved(len(end.move_errors)) for end in kept if end.move_errors},
        {end.load.load_id: end.load.attempt for end in kept},
    )
    return [_result(end) for end in ended]


def _not_moved(files: int) -> str:
    return f"{files} file{'s' if files > 1 else ''} could not be moved"


def _end(parsed: ParsedLoad, receipts: Receipts | None, stage: RunFn) -> _Ended:
    """What is to be recorded of a load; without receipts it is committed already."""
    counts = replace(parsed.counts, duration_ms=int((time.time() - parsed.started) * 1000))
    if receipts is None:
        return _Ended(parsed, parsed.load, counts)
    error = parsed.error or check_sums(parsed, receipts)
    if not error:
        try:
            stage.lease.check(parsed.load.load_id, parsed.load.attempt)
        except TakenOver as taken:
            error = str(taken)
    if error:
        return _Ended(parsed, parsed.load, counts, error)
    return _Ended(parsed, parsed.load, count_blocks(counts, receipts), committed_now=True)


def _recorded(loads: Sequence[Load], stage: RunFn) -> list[Load]:
    """Committed loads as the log has them now: another worker may have given back a file that is not to be moved."""
    return stage.log.read(
        Holding(
            load.load_id, 0, "", load.attempt, load.created_ms, load.block_bytes, load.block_rows, state="committed"
        )
        for load in loads
    )


def _move(ended: Sequence[_Ended], stage: RunFn) -> None:
    """Moves the files of committed loads, and records where they went in the rows of every load that has a part."""
    shared = [part.path for end in ended for part in end.load.kept if not part.whole or not end.committed_now]
    known = stage.log.files(shared) if shared else {}
    changed: list[FileRecord] = []
    due: list[tuple[_Ended, Slice]] = []
    for end in ended:
        files = {part.path: part for part in end.load.kept}
        for path, part in files.items():
            if end.committed_now and part.position in end.parsed.changed:
                end.changed += 1
            elif path not in known or loaded_bytes(known[path], part.etag) >= part.size:
                due.append((end, part))
    _move_each(due, stage.storage, delete=stage.config.delete_after_process)
    for end in ended:
        for part in end.load.kept:
            if part.path in end.moves or part.path in end.move_errors:
                changed += _records(end, part, known.get(part.path), stage)
    stage.log.write_files(changed)


def _move_each(due: Sequence[tuple[_Ended, Slice]], storage: Storage, *, delete: bool) -> None:
    """Moves or deletes files, several at once where that is mostly waiting, and notes where they are now."""

    def move(part: Slice) -> Moved | Exception:
        try:
            return Moved("", storage.delete(part.path, part.etag)) if delete else storage.move(part.path, part.etag)
        except (OSError, StorageError) as error:
            return error

    parts = [part for _, part in due]
    for (end, part), moved in zip(due, overlapped(move, parts, storage.files_at_once), strict=True):
        if isinstance(moved, Moved):
            end.moves[part.path] = moved.target
            end.moved += moved.now
        elif isinstance(moved, FileChanged):
            end.changed += 1
        else:
            end.move_errors[part.path] = reason_of(moved)


def _records(end: _Ended, part: Slice, known: Sequence[FileRecord] | None, stage: RunFn) -> Iterator[FileRecord]:
    """What is recorded of a slice of a file that was moved or could not be: by all loads that have one of it."""
    is_moved = part.path in end.moves
    state = "finalized" if is_moved else "committed"
    result: dict[str, Any] = {
        "moved_to": stage.log.within(end.moves[part.path]) if is_moved else "",
        "error": end.move_errors.get(part.path, ""),
    }
    if known is None:
        outcome = end.parsed.outcomes.get(part.position)
        record = file_record(end.load, part, stage.log.within(part.path), state, outcome)
        yield replace(record, version=record.version | int(not is_moved), **result)
        return
    for record in known:
        if record.committed and record.etag == part.etag:
            yield record.revised(state=state, **result)


def _result(end: _Ended) -> LoadResult:
    load = end.load
    for path, reason in end.move_errors.items():
        report.fail(path, f"is loaded, but could not be moved: {reason}")
    for position, reason in end.parsed.problems.items():
        report.fail(load.slices[position].path if position < len(load.slices) else load.load_id, reason)
    if end.error:
        report.fail(f"load {load.load_id}", f"{load.describe()}: {end.error}")
    return LoadResult(
        load.load_id,
        load.event_type,
        len(load.slices),
        end.counts,
        committed=end.committed_now,
        moved=end.moved,
        changed=end.changed,
        failed_files=len(end.parsed.problems) + len(end.move_errors) + (len(load.kept) if end.error else 0),
        error=end.error,
    )


def failed_result(parsed: ParsedLoad, error: str) -> LoadResult:
    """A load of which not even that could be recorded."""
    load = parsed.load
    report.fail(f"load {load.load_id}", f"{load.describe()}: could not be recorded: {error}")
    return LoadResult(
        load.load_id, load.event_type, len(load.slices), parsed.counts, failed_files=len(load.kept), error=error
    )


class _FinalizeFilesFn(RunFn):
    """Passes loads to a thread that finalizes as many at once as have come; their results come out with later elements."""

    def setup(self) -> None:
        super().setup()
        self._writer = GroupWriter(self._finalize, most=50, wait_s=0.2)

    def teardown(self) -> None:
        self._writer.close()
        super().teardown()

    def start_bundle(self) -> None:
        self._waiting: list[Future[LoadResult]] = []

    def process(self, parsed: ParsedLoad) -> Iterator[LoadResult]:
        self._waiting.append(self._writer.submit(parsed))
        while self._waiting and self._waiting[0].done():
            yield _count(self._waiting.pop(0).result())

    def finish_bundle(self) -> Iterator[WindowedValue]:
        self._writer.flush()
        window = GlobalWindow()
        for waiting in self._waiting:
            yield WindowedValue(_count(waiting.result()), window.max_timestamp(), (window,))

    def _finalize(self, group: Sequence[ParsedLoad]) -> list[LoadResult]:
        started = time.perf_counter()
        try:
            results = finalize_loads(group, self)
            return [replace(result, took_us=microseconds_since(started) // len(group)) for result in results]
        except (ClickHouseError, OSError, StorageError) as error:
            if self.config.streaming:
                raise  # nobody would take the loads up while the job lives: the runner is to start it again
            return [failed_result(parsed, str(error)) for parsed in group]
        finally:
            for parsed in group:
                self.lease.forget(parsed.load.load_id)


def _count(result: LoadResult) -> LoadResult:
    """Counts a result, in the thread of the bundle."""
    LOG_US.add(result.took_us)
    FILES_LOADED.add(result.moved)
    FILES_CHANGED.add(result.changed)
    FILES_FAILED.add(result.failed_files)
    LOADS_FAILED.add(bool(result.error))
    if result.committed:
        LOADS_COMMITTED.add()
        for event_type, rows in result.counts.events.items():
            EVENTS_BY_TYPE[event_type].add(rows)
        LINES_REJECTED.add(result.counts.rejected)
        EVENTS_EXPIRED.add(result.counts.expired)
    return result


@dataclass(eq=False)
class FinalizeFiles(beam.PTransform):  # type: ignore[misc]
    """Commits loads in the load log and moves their files to `processed/` (or deletes them), in the background.

    Input: `ParsedLoad`s whose inserts are done. An element of the output is a `LoadResult`. Whatever loads have come when
    the last group is written are the next one: up to 50, within a fifth of a second. A retry commits again, which changes
    nothing, and moves what is not moved yet; it never inserts.
    """

    config: IngestConfig

    def expand(self, loads: beam.PCollection[ParsedLoad]) -> beam.PCollection[LoadResult]:
        return loads | "CommitAndMove" >> beam.ParDo(_FinalizeFilesFn(self.config)).with_output_types(LoadResult)
