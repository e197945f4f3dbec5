"""What is to be done about pending files, by what the load log and the journal say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from transforms.failed_files import attempts, own_failures, waits
from transforms.loads import Slice
from transforms.loads.journal import Holding, Tail
from transforms.loads.known_content import gaps, loaded_prefix
from transforms.loads.rows import FileRecord
from transforms.loads.runs import Owner
from transforms.measure_files import measure_files
from transforms.storage import FileChanged, PendingFile, StorageError
from transforms.storage.contents import Contents
from transforms.storage.open_files import Measure

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
        result.new += [slice_of(sized, start, end, partly_in) for start, end in parts]
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


def slice_of(file: PendingFile, start: int, end: int, partly_in: tuple[str, ...] = ()) -> Slice:
    """The lines of a file that start in the byte range [start, end)."""
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
