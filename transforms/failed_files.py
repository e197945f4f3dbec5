"""Files that could not be loaded in so many attempts that they are moved out of the way, to `failed/`.

Only what is a file's own fault counts as an attempt at it: it cannot be read, is damaged, has a line that is too long or
too many bad lines. That the server or the storage was away, or a run was killed, does not. Counted are runs, not loads, and
only those since the file was last moved to `failed/`: one that was moved back is tried as often as a new one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from datetime import datetime, timezone

from transforms import report
from transforms.loads.journal import wait_ms
from transforms.loads.rows import FileRecord
from transforms.metrics import FILES_FAILED, FILES_GIVEN_UP
from transforms.run import RunFn
from transforms.storage import FileChanged, PendingFile, Storage, StorageError, reason_of
from transforms.storage.ignored_files import FAILED

REASON_SUFFIX = ".reason.txt"
_LONGEST_NAME = 240
"""Bytes of a file's name that its reason is named by: a name has 255 at most."""
_MOST_REASONS = 64 * 1024
"""Bytes of reasons that are kept beside a file."""


def own_failures(file: PendingFile, records: Sequence[FileRecord]) -> list[FileRecord]:
    """What the log says of attempts that failed at the file as it is, since it was last given up."""
    given_up = _given_up_ms(file, records)
    return [r for r in records if r.own_fault and r.etag == file.etag and (given_up is None or r.age_ms < given_up)]


def attempts(failures: Sequence[FileRecord]) -> int:
    """In how many runs these attempts were made."""
    return len({record.run_id or record.load_id for record in failures})


def waits(file: PendingFile, records: Sequence[FileRecord]) -> str:
    """Why a file that was given back again and again is not tried now; '' when it has changed since, or is due."""
    given_up = _given_up_ms(file, records)
    failed = [
        record
        for record in records
        if record.state == "released" and record.etag == file.etag and (given_up is None or record.age_ms < given_up)
    ]
    if not failed:
        return ""
    last = min(failed, key=lambda record: record.age_ms)
    tried = len({record.load_id for record in failed})
    left_ms = wait_ms(tried) - last.age_ms
    if left_ms <= 0:
        return ""
    return f"{last.error}; failed {tried} times, next attempt in {left_ms / 1000:.0f} s"


def _given_up_ms(file: PendingFile, records: Sequence[FileRecord]) -> int | None:
    """How long ago the file, as it is, was last moved to `failed/`; None when it never was."""
    ages = [record.age_ms for record in records if record.etag == file.etag and is_in_failed(record.moved_to)]
    return min(ages, default=None)


def is_in_failed(path: str) -> bool:
    """Whether a path is that of a file in a `failed/` directory."""
    return os.path.basename(os.path.dirname(path)) == FAILED


def unread_record(file: PendingFile, path: str, run_id: str, reason: str, *, own_fault: bool) -> FileRecord:
    """What is recorded of a file that is known, and of which it cannot be told what is new, since it cannot be read."""
    return FileRecord(
        path=path,
        load_id=run_id,  # no load's, but each attempt has its own
        start=file.size,
        end=file.size,
        position=0,
        size=file.size,
        etag=file.etag,
        modified_ms=file.modified_ms,
        timestamp_ms=file.timestamp_ms,
        project_id=file.project_id,
        state="released",
        version=1,
        error=reason,
        own_fault=own_fault,
    )


def give_up(files: Sequence[tuple[PendingFile, Sequence[FileRecord]]], stage: RunFn) -> None:
    """Moves files to `failed/`, each with the failures that are the reason, which is written beside it before.

    Safe to repeat, and for two runs at once. A file that has changed meanwhile stays where it is. Raises ClickHouseError
    when it cannot be recorded: then such a file, moved back by hand, is moved once more before it is tried again.
    """
    given_up: list[FileRecord] = []
    for file, failures in files:
        last = min(failures, key=lambda record: record.age_ms)
        tried = attempts(failures)
        reason = f"{last.error}; failed in {tried} attempt{'' if tried == 1 else 's'}"
        try:
            _write_reason(stage.storage, file, reason)
            moved = stage.storage.move(file.path, file.etag, FAILED)
        except FileChanged:
            with contextlib.suppress(OSError, StorageError):
                _remove_reason(stage.storage, file)
            continue
        except (OSError, StorageError) as error:
            FILES_FAILED.add()
            report.fail(file.path, f"{reason}; could not be moved to {FAILED}/: {reason_of(error)}")
            continue
        if moved.now:
            FILES_GIVEN_UP.add()
            report.fail(file.path, f"moved to {FAILED}/{os.path.basename(moved.target)}: {reason}")
        if moved.target:
            given_up.append(last.revised(moved_to=stage.log.within(moved.target)))
    stage.log.write_files(given_up)


def reason_path(path: str) -> str:
    """Where it is written why a pending file was moved to `failed/`."""
    directory, name = os.path.split(path)
    short = name.encode(errors="surrogateescape")[:_LONGEST_NAME].decode(errors="ignore")
    return os.path.join(directory, FAILED, short + REASON_SUFFIX)


def _write_reason(storage: Storage, file: PendingFile, reason: str) -> None:
    """Adds the reason to those of earlier files of this name, unless it is there."""
    path = reason_path(file.path)
    modified = datetime.fromtimestamp(file.modified_ms / 1000, timezone.utc)
    name = os.path.basename(file.path)
    text = (
        f"{name} ({file.size} bytes, modified {modified:%Y-%m-%d %H:%M:%S} UTC): {reason}\n"
        f"What could be loaded of it is loaded. To try the rest again: mv {FAILED}/{name} .\n"
    ).encode(errors="backslashreplace")
    before = b"" if storage.etag(path) is None else storage.read(path, 0, _MOST_REASONS).data
    if text not in before:
        storage.write(path, before + text)


def _remove_reason(storage: Storage, file: PendingFile) -> None:
    """Takes the reason back, if no file of this name is in `failed/`."""
    directory, name = os.path.split(file.path)
    path = reason_path(file.path)
    etag = storage.etag(path)
    if etag is not None and storage.etag(os.path.join(directory, FAILED, name)) is None:
        storage.delete(path, etag)
