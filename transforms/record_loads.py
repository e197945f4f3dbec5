"""RecordLoads: pending files become loads that are written down before anything of them is inserted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms import report
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig, month_of
from transforms.failed_files import attempts, give_up, own_failures, unread_record, waits
from transforms.loads import Load, Slice, cut_loads, describe_files, make_load
from transforms.loads.journal import Holding, Tail
from transforms.loads.known_content import gaps, loaded_prefix
from transforms.loads.lines import next_line
from transforms.loads.log import LoadLog
from transforms.loads.rows import FileRecord, LoadRecord
from transforms.loads.runs import Owner, live_runs
from transforms.looks import look_anew
from transforms.measure_files import measure_files
from transforms.metrics import (
    BYTES_EXPANDED,
    FILES_CHANGED,
    FILES_FAILED,
    FILES_KNOWN,
    FILES_LOADED,
    FILES_SKIPPED,
    FILES_UNFINISHED,
    LOADS_RECORDED,
    LOG_US,
)
from transforms.run import RunFn
from transforms.storage import FileChanged, Moved, PendingFile, StorageError, is_own_fault, reason_of
from transforms.storage.contents import Contents
from transforms.storage.ignored_files import IgnoredFile, IgnoreReason
from transforms.storage.open_files import Measure
from transforms.storage.overlap import overlapped

_FILES_AT_ONCE = 20_000
"""Files decided on together: what one journal entry assigns, and what is held in memory for it."""

Alive = Callable[[str], Owner | None]


@dataclass
class Assignment:
    """What is to be done about some pending files."""

    new: list[Slice] = field(default_factory=list)
    """Ranges that no load has: they become new loads."""
    again: set[str] = field(default_factory=set)
    """Loads that this run recorded before for these files: they are emitted again, as recorded."""
    loaded: list[tuple[PendingFile, list[FileRecord]]] = field(default_factory=list)
    """Files of which all is loaded, and by which slices: only their move is left."""
    skipped: dict[str, Owner] = field(default_factory=dict)
    """Files of loads of other runs that are under way."""
    unfinished: int = 0
    """Files of unfinished loads that this run takes up or has tried already, or whose run has just ended."""
    given_up: list[tuple[PendingFile, list[FileRecord]]] = field(default_factory=list)
    """Files at which as many attempts have failed as there may be, and which ones."""
    unread: list[tuple[PendingFile, OSError | StorageError]] = field(default_factory=list)
    """Files that cannot be read to tell how much they hold, or what of it is new."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Files that have failed several times as they are, and are not due yet: why, and when they are."""
    grown: list[tuple[PendingFile, list[FileRecord]]] = field(default_factory=list)
    """Files that begin with what was loaded of them, and go on."""
    measures: dict[str, Measure] = field(default_factory=dict, compare=False)
    """How much files hold that may be compressed, by path."""
    changed: int = 0
    """Files that are not as they were listed: what they are now is for the next look."""


def assign_files(
    files: Iterable[PendingFile],
    known: Mapping[str, Sequence[FileRecord]],
    tail: Tail,
    contents: Contents,
    *,
    run_id: str,
    alive: Alive,
    reload: bool = False,
    max_attempts: int = 0,
    emit_again: bool = True,
) -> Assignment:
    """Decides for each file what of it is to be loaded, by what the log says of it.

    With `emit_again`, a file that this run has recorded before is one of a bundle that the runner retries.

    A file is its content: reads those that were loaded before and are not the same file any more, to see whether they
    begin with what was loaded, and those that may be compressed, to see how much they hold.
    """
    result = Assignment()
    free: list[PendingFile] = []
    for file in sorted(files):
        records = [r for r in known.get(file.path, ()) if r.state != "released"]
        unfinished = [r for r in records if r.load_id in tail.unfinished and not r.committed]
        if unfinished:
            held = [tail.unfinished[r.load_id] for r in unfinished]
            _leave(file, held, result, run_id, alive, emit_again=emit_again)
        else:
            free.append(file)
    measured = measure_files(free, known, contents, run_id)
    result.measures, result.changed = measured.measures, measured.changed
    for file in free:
        measure = result.measures.get(file.path) or measured.failed.get(file.path)
        if measure is not None:
            reload_of = run_id if reload else ""
            _assign(file, measure, known.get(file.path, ()), contents, result, reload_of, max_attempts)
    return result


def _assign(
    file: PendingFile,
    measure: Measure | OSError | StorageError,
    records: Sequence[FileRecord],
    contents: Contents,
    result: Assignment,
    reload_of: str,
    max_attempts: int,
) -> None:
    """Decides for a file that nobody has; with `reload_of`, only what that run has loaded counts as loaded."""
    # What no load stands behind was written by a worker that lost the race for its entry.
    loaded = [r for r in records if r.state != "released" and r.committed and reload_of in ("", r.run_id)]
    try:
        if not isinstance(measure, Measure):
            raise measure
        sized = replace(file, size=measure.size)
        missing, before = _new_ranges(sized, measure, loaded, contents)
    except FileChanged:
        result.changed += 1
        return
    except (OSError, StorageError) as error:
        unread: OSError | StorageError | None = error
    else:
        unread = None
        if not missing:
            same = [record for record in loaded if record.etag == file.etag]
            result.loaded.append((sized, [*same, *(record for record in before if record not in same)]))
            return
    failures = own_failures(file, records)
    if 0 < max_attempts <= attempts(failures):
        result.given_up.append((file, failures))
    elif reason := waits(file, records):
        result.waiting[file.path] = reason
    elif unread is not None:
        result.unread.append((file, unread))
    else:
        assert isinstance(measure, Measure)
        partly_in = () if reload_of else _partly_in(records)
        parts = [part for gap in missing for part in measure.ranges(*gap)]
        result.new += [_slice(sized, start, end, partly_in) for start, end in parts]
        if before:
            result.grown.append((sized, before))


def _new_ranges(
    file: PendingFile, measure: Measure, loaded: Sequence[FileRecord], contents: Contents
) -> tuple[list[tuple[int, int]], list[FileRecord]]:
    """The ranges of a file that are not loaded, and the slices of other contents that it begins with."""
    same = [record for record in loaded if record.etag == file.etag]
    missing = list(gaps(contents, file, measure.readable, same))
    if not missing or len(same) == len(loaded):
        return missing, []
    before = loaded_prefix(contents, file, measure.readable, loaded)
    return list(gaps(contents, file, measure.readable, [*same, *before])), before


def _leave(
    file: PendingFile, held: Sequence[Holding], result: Assignment, run_id: str, alive: Alive, *, emit_again: bool
) -> None:
    """Notes a file that unfinished loads have a part of."""
    # Attempt 1 of this run was recorded right here, by a bundle that the runner now retries.
    mine = {h.load_id for h in held if emit_again and h.run_id == run_id and h.attempt == 1 and h.state == "assigned"}
    result.again |= mine
    if mine:
        return
    owner = next((found for h in held if h.run_id != run_id and (found := alive(h.run_id))), None)
    if owner:
        result.skipped[file.path] = owner
    else:
        result.unfinished += 1


def _partly_in(records: Iterable[FileRecord]) -> tuple[str, ...]:
    """The loads that may have rows of the file which no digest tells of."""
    return tuple(dict.fromkeys(load_id for record in records for load_id in record.partly_in))


def _slice(file: PendingFile, start: int, end: int, partly_in: tuple[str, ...] = ()) -> Slice:
    return Slice(
        path=file.path,
        event_type=file.event_type,
        project_id=file.project_id,
        timestamp_ms=file.timestamp_ms,
        modified_ms=file.modified_ms,
        size=file.size,
        etag=file.etag,
        start=start,
        end=end,
        partly_in=partly_in,
    )


def without_other_names(
    files: Sequence[PendingFile], log: LoadLog, tail: Tail
) -> tuple[list[PendingFile], list[IgnoredFile]]:
    """Each file once, and those left out that a load has, or has had, under another name."""
    linked = [file for file in files if file.linked]
    if not linked:
        return list(files), []
    names = log.paths_by_etag([file.etag for file in linked], tail.unfinished)
    kept: list[PendingFile] = []
    ignored: list[IgnoredFile] = []
    for file in files:
        others = names.setdefault(file.etag, set()) if file.linked else set()
        if others - {file.path}:
            first = f"the first is {min(others - {file.path})}"
            ignored.append(IgnoredFile(file.path, IgnoreReason.OTHER_NAME, first))
        else:
            others.add(file.path)
            kept.append(file)
    return kept, ignored


def new_loads(
    assignment: Assignment,
    files: Mapping[str, PendingFile],
    known: Mapping[str, Sequence[FileRecord]],
    contents: Contents,
    config: IngestConfig,
) -> list[Load]:
    """The loads that the new slices become: of one month each, in the order of the files' age."""

    def line_at(part: Slice, offset: int) -> int:
        measure = assignment.measures[part.path]
        if measure.compression:
            return measure.next_line(offset, part.end)
        try:
            return next_line(contents, part.path, part.etag, offset, part.end)
        except (OSError, StorageError):
            return part.end  # whoever reads it will say why it cannot be read, and of no other file

    loads: list[Load] = []
    created_ms = 0
    in_order = sorted(assignment.new, key=lambda part: (part.timestamp_ms, part.path, part.start))
    for _, of_month in groupby(in_order, key=lambda part: month_of(part.timestamp_ms)):
        for group in cut_loads(of_month, load_bytes=config.load_bytes, load_files=config.load_files, next_line=line_at):
            load = make_load(
                group,
                block_bytes=config.block_bytes,
                block_rows=config.block_rows,
                created_ms=max(created_ms, files[group[0].path].version_ms),
                generation=sum(bool(record.load_state) for part in group for record in known.get(part.path, ())),
            )
            created_ms = load.end_ms
            loads.append(load)
    return loads


def record_loads(files: Sequence[PendingFile], stage: RunFn) -> list[Load]:
    """Records new loads for what is not loaded yet of these files, and returns them; see `Assignment` for what else.

    What is decided stands if nobody else has decided anything meanwhile; otherwise it is decided anew. Raises
    ClickHouseError or OSError with nothing half assigned.
    """
    log, config = stage.log, stage.config
    while True:
        tail = stage.journal.look()
        kept, ignored = without_other_names(files, log, tail)
        known = log.files([file.path for file in kept])
        owners = live_runs(stage.client, {h.run_id for h in tail.unfinished.values() if h.run_id != config.run_id})
        assignment = assign_files(
            kept,
            known,
            tail,
            stage.contents,
            run_id=config.run_id,
            alive=owners.get,
            reload=config.reload,
            max_attempts=config.max_attempts,
            # A streaming job's looks find what is under way, and AdoptLoads takes up what is lost.
            emit_again=not config.streaming,
        )
        loads = new_loads(assignment, {file.path: file for file in kept}, known, stage.contents, config)
        if not loads:
            break
        log.write_slices(loads)
        if stage.journal.append(tail, loads):
            log.write_loads(LoadRecord(load, "assigned") for load in loads)
            break
    for other in ignored:
        report.ignore(other)
    log.write_files(
        record.revised(etag=file.etag, size=file.size, state="committed", error="", own_fault=False)
        for file, records in assignment.grown
        for record in records
    )
    finish_loaded(assignment.loaded, stage)
    give_up(assignment.given_up, stage)
    log.write_files(_unread(*each, stage) for each in assignment.unread)
    FILES_SKIPPED.add(len(assignment.skipped))
    report.skip(assignment.skipped)
    FILES_UNFINISHED.add(assignment.unfinished)
    FILES_CHANGED.add(assignment.changed)
    FILES_FAILED.add(len(assignment.waiting))
    for path, reason in assignment.waiting.items():
        report.fail(path, reason)
    stored = {file.path: file.size for file in kept}
    BYTES_EXPANDED.add(sum(assignment.measures[p].readable - stored[p] for p in {part.path for part in assignment.new}))
    LOADS_RECORDED.add(len(loads))
    again = log.read(tail.unfinished[load_id] for load_id in sorted(assignment.again))
    return loads + [replace(load, emitted_before=True) for load in again]


def _unread(file: PendingFile, error: OSError | StorageError, stage: RunFn) -> FileRecord:
    FILES_FAILED.add()
    report.fail(file.path, reason_of(error))
    path, run_id = stage.log.within(file.path), stage.config.run_id
    return unread_record(file, path, run_id, reason_of(error), own_fault=is_own_fault(error))


def finish_loaded(loaded: Sequence[tuple[PendingFile, list[FileRecord]]], stage: RunFn) -> None:
    """Moves (or deletes) files of which all is loaded, and writes down where they are now."""
    changed: list[FileRecord] = []
    storage, delete = stage.storage, stage.config.delete_after_process

    def move(file: PendingFile) -> Moved | Exception:
        try:
            return Moved("", storage.delete(file.path, file.etag)) if delete else storage.move(file.path, file.etag)
        except (OSError, StorageError) as error:
            return error

    results = overlapped(move, [file for file, _ in loaded], storage.files_at_once)
    for (file, records), moved in zip(loaded, results, strict=True):
        if isinstance(moved, FileChanged):
            continue  # the next look compares what it holds now
        if isinstance(moved, Exception):
            FILES_FAILED.add()
            report.fail(file.path, f"is loaded, but could not be moved: {reason_of(moved)}")
            continue
        if all(record.state == "finalized" for record in records):
            FILES_KNOWN.add(moved.now)
            report.recognise(file.path)
        else:
            FILES_LOADED.add(moved.now)
        changed += [
            record.revised(etag=file.etag, state="finalized", moved_to=stage.log.within(moved.target), error="")
            for record in records
        ]
    stage.log.write_files(changed)


class _RecordLoadsFn(RunFn):
    def start_bundle(self) -> None:
        self._files: list[PendingFile] = []

    def process(self, element: tuple[str, Iterable[PendingFile]]) -> Iterator[Load]:
        self._files.extend(element[1])
        if len(self._files) >= _FILES_AT_ONCE:
            yield from self._record()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._files:
            window = GlobalWindow()
            yield from (WindowedValue(load, window.max_timestamp(), (window,)) for load in self._record())

    def _record(self) -> list[Load]:
        files, self._files = self._files, []
        try:
            with LOG_US.timed():
                return record_loads(files, self)
        except (ClickHouseError, OSError) as error:
            FILES_FAILED.add(len(files))
            report.fail(describe_files([file.path for file in files]), f"could not be assigned to a load: {error}")
            look_anew(self.config.run_id)
            return []


@dataclass(eq=False)
class GroupFiles(beam.PTransform):  # type: ignore[misc]
    """Groups pending files of one month, at most `load_files` (but on Prism), so that a load touches few partitions.

    In a streaming job a look is a group, without a shuffle: RecordLoads records at the end of its bundle what was found.

    Input: `PendingFile`s. An element of the output is (month, files). Only names are moved, never rows. A retry may group
    differently; nothing rests on the grouping until RecordLoads writes it down.
    """

    config: IngestConfig

    def expand(self, files: beam.PCollection[PendingFile]) -> beam.PCollection[tuple[str, Iterable[PendingFile]]]:
        by_month = files | "KeyByMonth" >> beam.Map(_month).with_output_types(tuple[str, PendingFile])
        if self.config.streaming:
            return by_month | "OfOneLook" >> beam.MapTuple(lambda month, file: (month, [file]))
        if type(files.pipeline.runner).__name__ == "PrismRunner":
            # Prism loses elements of a stage with timers when it splits a bundle of it, as it does when the machine is busy
            # (Beam issue 35771). A group is then all files of a month, within the page of files that a pipeline loads.
            return by_month | "GroupByMonth" >> beam.GroupByKey()
        return by_month | "GroupIntoBatches" >> beam.GroupIntoBatches(self.config.load_files)


def _month(file: PendingFile) -> tuple[str, PendingFile]:
    return month_of(file.timestamp_ms), file


@dataclass(eq=False)
class RecordLoads(beam.PTransform):  # type: ignore[misc]
    """Writes down which load owns which files, before any of their rows is inserted: once for all groups of a bundle.

    Input: (month, files) as of GroupFiles. An element of the output is a `Load` that is in the journal. A retry finds the
    files owned by this run's loads and emits those again as they were recorded.
    """

    config: IngestConfig

    def expand(self, groups: beam.PCollection[tuple[str, Iterable[PendingFile]]]) -> beam.PCollection[Load]:
        return groups | "AssignFiles" >> beam.ParDo(_RecordLoadsFn(self.config))
