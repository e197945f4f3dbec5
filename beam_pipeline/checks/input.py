"""Whether files of an input can be listed, read and moved."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from itertools import islice

from beam_pipeline.checks.check import Check, failed, ok, skipped, warning
from beam_pipeline.wording import counted
from transforms.config import IngestConfig
from transforms.listing import match_files
from transforms.storage import PendingFile, Storage, StorageError, open_storage
from transforms.storage.ignored_files import PROCESSED

_LISTED = 10_000
"""Files that are listed: enough to see that it works, and done at once where millions wait."""
_READ = 64 * 1024
_SCRATCH = b"A check of whether files can be moved here; remove it.\n"
_CLOCKS_DIFFER_MS = 5_000

EXISTS, LIST, READ, MOVE, CLOCK = "input exists", "list files", "read a file", "move a file", "clock of the input"


def check_input(config: IngestConfig) -> Iterator[Check]:
    """Tries what a run does with its input. Leaves nothing behind."""
    try:
        storage = open_storage(config.input)
        storage.check_writable()
        older = storage.older_runs()
    except (StorageError, OSError) as error:
        yield failed(EXISTS, _why(error))
        yield from (skipped(name, "the input cannot be used") for name in (LIST, READ, MOVE, CLOCK))
        return
    if older:
        yield failed(
            EXISTS,
            f"run {older[0]} of version 0.1 is loading {config.input}",
            "wait until it has ended; see CHANGELOG.md",
        )
    else:
        yield ok(EXISTS, config.input)
    files, listing = _list(storage, config)
    yield listing
    yield _read(storage, files[0]) if files else skipped(READ, "no file is pending")
    yield try_move(storage, files[0] if files else None)
    yield _clock(storage)


def _list(storage: Storage, config: IngestConfig) -> tuple[list[PendingFile], Check]:
    """The first files that are pending, and whether all directories can be listed."""
    errors: dict[str, str] = {}
    try:
        files = list(islice(match_files(storage, config, errors.__setitem__), _LISTED))
    except (StorageError, OSError) as error:
        return [], failed(LIST, _why(error))
    pending = f"{counted(len(files), 'file')} {'or more ' if len(files) == _LISTED else ''}pending"
    if errors:
        path, reason = next(iter(errors.items()))
        more = f", and {len(errors) - 1:,} more like this" if len(errors) > 1 else ""
        return files, failed(LIST, f"{path} {reason}{more}; {pending}", "mend or remove what is named")
    return files, ok(LIST, pending)


def _read(storage: Storage, file: PendingFile) -> Check:
    try:
        content = storage.read(file.path, 0, min(file.size, _READ))
    except (StorageError, OSError) as error:
        return failed(READ, f"{file.path}: {_why(error)}", "let this user read the event files")
    return ok(READ, f"{counted(len(content.data), 'byte')} of {file.path}")


def try_move(storage: Storage, file: PendingFile | None) -> Check:
    """Writes, moves and deletes a tiny file of a hidden name, beside a file that is pending: rights are by directory."""
    parent = os.path.dirname(file.path) if file else storage.root
    path = os.path.join(parent, f".check-{uuid.uuid4().hex}.tmp")
    # To where loaded files go; without a project, to a directory of its own.
    directory = PROCESSED if file else f".check-{uuid.uuid4().hex}"
    is_new = not os.path.isdir(os.path.join(parent, directory))
    target = os.path.join(parent, directory, os.path.basename(path))
    advice = "let this user create, rename and delete files there"
    doing, left = "write a file in", []
    try:
        storage.write(path, _SCRATCH)
        doing = "read a file in"
        content = storage.read(path, 0, len(_SCRATCH))
        doing = f"move a file to {directory}/ in"
        target = storage.move(path, content.etag, directory).target
    except (StorageError, OSError) as error:
        problem = f"cannot {doing} {parent}: {_why(error)}"
    else:
        problem = ""
    for scratch in (path, target):
        try:
            etag = storage.etag(scratch)
            if etag is not None:
                storage.delete(scratch, etag)
        except (StorageError, OSError) as error:
            problem = problem or f"cannot delete a file in {os.path.dirname(scratch)}: {_why(error)}"
            left.append(scratch)
    if is_new:
        with contextlib.suppress(OSError):  # nothing is there to remove in a bucket
            os.rmdir(os.path.join(parent, directory))
    if problem:
        return failed(MOVE, problem, f"{advice}; remove {', '.join(left)}" if left else advice)
    return ok(MOVE, f"in {parent}")


def _clock(storage: Storage) -> Check:
    try:
        ahead_ms = storage.now_ms() - time.time_ns() // 1_000_000
    except (StorageError, OSError) as error:
        return warning(CLOCK, f"cannot be told: {_why(error)}")
    return compare_clocks(CLOCK, ahead_ms, "--min_file_age goes by the clock of the input")


def compare_clocks(name: str, ahead_ms: float, what: str) -> Check:
    """Tells how far another clock is ahead of this machine's; `what` goes wrong when it is."""
    if abs(ahead_ms) <= _CLOCKS_DIFFER_MS:
        return ok(name, "agrees with this machine's to a few seconds")
    side = "ahead of" if ahead_ms > 0 else "behind"
    return warning(name, f"is {abs(ahead_ms) / 1000:,.0f} s {side} this machine's; {what}", "set the clocks by NTP")


def _why(error: StorageError | OSError) -> str:
    if isinstance(error, StorageError):
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error.strerror or str(error)
