"""RecordLoads: groups of pending files become loads that are written down before anything of them is inserted."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import apache_beam as beam
import xxhash

from transforms import report
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig, month_of, shard_of
from transforms.loads import Load, Slice, cut_loads, describe_files, make_load
from transforms.loads.lines import line_start
from transforms.loads.log import LoadLog, Ownership
from transforms.loads.rows import COMMITTED
from transforms.metrics import FILES_FAILED, FILES_SKIPPED, FILES_UNFINISHED, LOADS_RECORDED
from transforms.run import RunFn
from transforms.storage import PendingFile, Storage
from transforms.storage.ignored_files import IgnoredFile, IgnoreReason

_DIGEST_STEP = 4 * 1024 * 1024


@dataclass
class Assignment:
    """What is to be done about some pending files."""

    new: list[Slice] = field(default_factory=list)
    """Ranges that no load has: they become new loads."""
    again: set[str] = field(default_factory=set)
    """Loads that this run recorded before for these files: they are emitted again, as recorded."""
    loaded: set[str] = field(default_factory=set)
    """Committed loads that have all there is of a file: only its move is left."""
    skipped: int = 0
    """Files of unfinished loads of other runs that are under way."""
    unfinished: int = 0
    """Files of unfinished loads that this run takes up or has tried already, or whose run has just ended."""
    grown: list[tuple[Ownership, PendingFile]] = field(default_factory=list)
    """Parts of files that were loaded, and are unchanged in a file that has grown since."""


def assign_files(
    files: Iterable[PendingFile], owned: dict[str, list[Ownership]], storage: Storage, run_id: str
) -> Assignment:
    """Decides for each file what of it is to be loaded, by what the load log says of it. Reads only files that have grown."""
    result = Assignment()
    is_held = functools.cache(storage.is_held)
    for file in sorted(files):
        records = owned.get(file.path, [])
        # The load's state counts: while its commit is being written, its files are said to be committed before it is.
        unfinished = [r for r in records if r.state != "released" and r.load_state not in COMMITTED]
        if unfinished:
            # Attempt 1 of this run was recorded right here, by a bundle that the runner now retries.
            mine = {
                r.load_id for r in unfinished if r.run_id == run_id and r.attempt == 1 and r.load_state == "assigned"
            }
            result.again |= mine
            if not mine:
                lives = any(is_held(r.run_id) for r in unfinished if r.run_id != run_id)
                result.skipped += lives
                result.unfinished += not lives
            continue
        done = [r for r in records if r.state in COMMITTED and r.etag == file.etag]
        grown = [
            r
            for r in records
            if r.state == "committed" and r.etag != file.etag and _still_begins_with(storage, file, r)
        ]
        result.grown += [(record, file) for record in grown]
        gaps = list(_gaps(storage, file, [*done, *grown]))
        if gaps:
            result.new += [_slice(file, start, end) for start, end in gaps]
        else:
            result.loaded.add(done[0].load_id if done else grown[0].load_id)
    return result


def _gaps(storage: Storage, file: PendingFile, records: Sequence[Ownership]) -> Iterator[tuple[int, int]]:
    """The byte ranges of a file that none of these records has. An empty file that none has is one empty range."""
    if not records:
        yield 0, file.size
        return
    reached = 0
    for record in sorted(records, key=lambda record: record.start):
        if record.start > reached:
            yield reached, record.start
        reached = max(reached, record.end)
    if reached < file.size:
        # A file that grew may have been cut in the middle of a line, which was taken for a line then. Take it whole now.
        yield line_start(storage, file.path, reached), file.size


def _still_begins_with(storage: Storage, file: PendingFile, record: Ownership) -> bool:
    """Whether the range that was loaded is still the same in a file that has changed since: it was appended to."""
    if file.size < record.end or not record.digest:
        return False
    digest = xxhash.xxh3_128()
    for start in range(record.start, record.end, _DIGEST_STEP):
        digest.update(storage.read(file.path, start, min(start + _DIGEST_STEP, record.end)))
    return digest.hexdigest() == record.digest


def _slice(file: PendingFile, start: int, end: int) -> Slice:
    return Slice(
        path=file.path,
        project_id=file.project_id,
        timestamp_ms=file.timestamp_ms,
        modified_ms=file.modified_ms,
        size=file.size,
        etag=file.etag,
        start=start,
        end=end,
    )


def without_other_names(files: Sequence[PendingFile], log: LoadLog) -> list[PendingFile]:
    """Leaves out files that a load has, or has had, under another name; each file once."""
    linked = [file for file in files if file.linked]
    if not linked:
        return list(files)
    names = log.paths_by_etag([file.etag for file in linked])
    kept = []
    for file in files:
        others = names.setdefault(file.etag, set()) if file.linked else set()
        if others - {file.path}:
            report.ignore(IgnoredFile(file.path, IgnoreReason.OTHER_NAME, f"the first is {min(others - {file.path})}"))
        else:
            others.add(file.path)
            kept.append(file)
    return kept


def record_loads(
    files: Sequence[PendingFile], shard: str, log: LoadLog, storage: Storage, config: IngestConfig
) -> list[Load]:
    """Records new loads for what is not loaded yet of these files, and returns them; see `Assignment` for what else.

    Runs in the critical section of the shard: between the look into the log and the last write nobody else assigns
    files of it. Raises ClickHouseError or OSError with nothing half assigned.
    """
    loads: list[Load] = []
    with contextlib.ExitStack() as sections:
        if any(file.linked for file in files):
            sections.enter_context(storage.exclusive("links"))  # the names of one file may be in several shards
        sections.enter_context(storage.exclusive(shard))
        files = without_other_names(files, log)
        owned = log.ownership([file.path for file in files])
        assignment = assign_files(files, owned, storage, config.run_id)
        FILES_SKIPPED.add(assignment.skipped)
        FILES_UNFINISHED.add(assignment.unfinished)
        log.attest_growth(assignment.grown)
        versions = {file.path: file.version_ms for file in files}
        created_ms = 0
        for group in cut_loads(assignment.new, load_bytes=config.load_bytes, load_files=config.load_files):
            load = make_load(
                files[0].event_type,
                shard,
                group,
                block_bytes=config.block_bytes,
                block_rows=config.block_rows,
                created_ms=max(created_ms, versions[group[0].path]),
                generation=sum(len(owned.get(part.path, ())) for part in group),
            )
            created_ms = load.end_ms
            log.assign(load)
            LOADS_RECORDED.add()
            loads.append(load)
    loads += [log.read(load_id) for load_id in sorted(assignment.again)]
    loads += [replace(log.read(load_id), committed=True) for load_id in sorted(assignment.loaded)]
    return loads


class _RecordLoadsFn(RunFn):
    def process(self, element: tuple[str, Iterable[PendingFile]]) -> Iterator[Load]:
        key, batch = element
        files = list(batch)
        try:
            yield from record_loads(files, key.partition("/")[0], self.log, self.storage, self.config)
        except (ClickHouseError, OSError) as error:
            FILES_FAILED.add(len(files))
            report.fail(describe_files([file.path for file in files]), f"could not be assigned to a load: {error}")


@dataclass(eq=False)
class GroupFiles(beam.PTransform):  # type: ignore[misc]
    """Groups pending files that belong together: one event type, one shard, one month, at most `load_files`.

    Input: `PendingFile`s. An element of the output is (key, files). Only names are moved, never rows. A retry may group
    differently; nothing rests on the grouping until RecordLoads writes it down.
    """

    config: IngestConfig

    def expand(self, files: beam.PCollection[PendingFile]) -> beam.PCollection[tuple[str, Iterable[PendingFile]]]:
        return (
            files
            | "KeyByShardAndMonth" >> beam.Map(_shard_and_month).with_output_types(tuple[str, PendingFile])
            | "GroupIntoBatches" >> beam.GroupIntoBatches(self.config.load_files)
        )


def _shard_and_month(file: PendingFile) -> tuple[str, PendingFile]:
    # By the month in the file's name, so that a load touches few partitions. The order of a project's files is kept by
    # keeping a project in one shard.
    return f"{shard_of(file.event_type, file.project_id)}/{month_of(file.timestamp_ms)}", file


@dataclass(eq=False)
class RecordLoads(beam.PTransform):  # type: ignore[misc]
    """Writes down which load owns which files, before any of their rows is inserted.

    Input: (key, files) as of GroupFiles. An element of the output is a `Load` that is in the load log. A retry finds the
    files owned by this run's loads and emits those again as they were recorded.
    """

    config: IngestConfig

    def expand(self, groups: beam.PCollection[tuple[str, Iterable[PendingFile]]]) -> beam.PCollection[Load]:
        return groups | "AssignFiles" >> beam.ParDo(_RecordLoadsFn(self.config))
