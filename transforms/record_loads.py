"""RecordLoads: pending files become loads that are written down before anything of them is inserted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms import report
from transforms.assign_files import Assignment, assign_files
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig, month_of
from transforms.failed_files import give_up, unread_record
from transforms.loads import Load, Slice, cut_loads, describe_files, make_load
from transforms.loads.journal import Tail
from transforms.loads.lines import next_line
from transforms.loads.log import LoadLog
from transforms.loads.rows import FileRecord, LoadRecord
from transforms.loads.runs import live_runs
from transforms.looks import look_anew
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
from transforms.storage.overlap import overlapped

_FILES_AT_ONCE = 20_000
"""Files decided on together: what one journal entry assigns, and what is held in memory for it."""


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
