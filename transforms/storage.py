"""The directory that event files are taken from: listing, reading, moving, and what keeps two runs apart.

Layout below the input directory (its last part is `observability` by convention)::

    {event type}/{project id}/{YYYYMMDDTHHMMSSZ}_{hex id}.jsonl            pending
    {event type}/{project id}/processed/{same name}                        loaded
    .ingest/                                                               locks of running pipelines

`Storage` is the contract that every kind of storage fulfils; `LocalStorage` is the one for a file system.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Protocol

PROCESSED = "processed"
CONTROL = ".ingest"
SUFFIX = ".jsonl"

_NAME_TIME = re.compile(r"^(\d{8}T\d{6}Z)_")
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, which the load log can hold; a file system may say that a file was modified outside of them."""


class StorageError(Exception):
    """A file or directory cannot be used; the message names it and says why."""


class FileChanged(StorageError):
    """A file is no longer the one that was recorded: it is gone, was replaced or has grown."""


class LineTooLong(StorageError):
    """A line is longer than can be held in memory; its file stays pending."""


@dataclass(frozen=True, slots=True, order=True)
class PendingFile:
    """A file that waits to be loaded. Orders by age: the timestamp in its name (else its modification time), then its path."""

    timestamp_ms: int
    path: str
    event_type: str = field(compare=False)
    project_id: str = field(compare=False)
    size: int = field(compare=False)
    modified_ms: int = field(compare=False)
    etag: str = field(compare=False)
    version_ms: int = field(default=0, compare=False)
    """What the `ingested_at` of its rows counts from, set by MatchFiles: later than that of all rows delivered before."""

    @property
    def key(self) -> tuple[int, str]:
        """What files are ordered and paged by."""
        return (self.timestamp_ms, self.path)


class Storage(Protocol):
    """What the pipeline needs of a storage. Every method may raise `StorageError` or `OSError`, and may block on I/O."""

    root: str

    def check_writable(self) -> None:
        """Raises StorageError when files cannot be moved or locks cannot be taken below the root."""

    def list_pending(
        self, event_types: tuple[str, ...], project_id: str | None, on_error: Callable[[str, str], None]
    ) -> Iterator[PendingFile]:
        """Pending files in no particular order. What cannot be listed goes to `on_error(path, reason)`, the rest goes on."""

    def etag(self, path: str) -> str | None:
        """Changes whenever the file's content may have changed; None when there is no such file."""

    def read(self, path: str, start: int, end: int) -> bytes:
        """The bytes [start, end) of a file, fewer where it ends before."""

    def move_to_processed(self, path: str, etag: str) -> str:
        """Moves a file to `processed/` without ever overwriting one there; returns where it went.

        Safe to repeat, also after a crash in the middle: a file that is there already is left there, and '' means that
        it is neither pending nor processed. Raises FileChanged when the pending file is not the one of this etag.
        """

    def delete(self, path: str, etag: str) -> None:
        """Deletes a pending file; one that is gone is fine. Raises FileChanged when it is not the one of this etag."""

    def exclusive(self, name: str) -> contextlib.AbstractContextManager[None]:
        """A critical section that one holder at a time is in, over all processes. Blocks; ends with its process."""

    def hold(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Makes `is_held(name)` true everywhere for as long as it is entered and this process lives. May be held by many."""

    def is_held(self, name: str) -> bool:
        """Whether a live process holds this name."""

    def forget_dead(self) -> None:
        """Tidies away what holders left that died."""


def file_timestamp_ms(name: str, modified_ms: int) -> int:
    """The time in a file's name as epoch milliseconds; its modification time when the name has none."""
    match = _NAME_TIME.match(name)
    if match:
        with contextlib.suppress(ValueError):
            parsed = datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
            return int(parsed.timestamp() * 1000)
    return modified_ms


def open_storage(root: str) -> Storage:
    """The storage for an input directory or URL. Raises StorageError for a kind that is not supported."""
    scheme, separator, rest = root.partition("://")
    if separator and scheme != "file":
        raise StorageError(f"--input: {root!r} has scheme {scheme!r}; supported are a local directory and file://")
    return LocalStorage(os.path.abspath(rest if separator else root))


class LocalStorage:
    """A directory on a file system.

    An etag is made of inode, modification time and size. Locks are the kernel's (flock), which end with their process,
    so there is no lease to wait for after a crash; they are as good as the file system's flock when it is a network's.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def check_writable(self) -> None:
        if not os.path.isdir(self.root):
            kind = "is not a directory" if os.path.exists(self.root) else "does not exist"
            raise StorageError(f"--input: {self.root} {kind}; give the directory that holds trace/, span/, log/, …")
        try:
            os.makedirs(os.path.join(self.root, CONTROL, "locks"), exist_ok=True)
            os.makedirs(os.path.join(self.root, CONTROL, "runs"), exist_ok=True)
            with self.exclusive("check"):
                pass
        except OSError as error:
            raise StorageError(
                f"--input: {self.root} is not writable ({error.strerror}), so that loaded files could not be moved; "
                "nothing was loaded"
            ) from error

    def list_pending(
        self, event_types: tuple[str, ...], project_id: str | None, on_error: Callable[[str, str], None]
    ) -> Iterator[PendingFile]:
        for event_type in event_types:
            type_directory = os.path.join(self.root, event_type)
            for project in self._directories(type_directory, on_error):
                if project_id is None or project == project_id:
                    yield from self._files(os.path.join(type_directory, project), event_type, project, on_error)

    def _directories(self, path: str, on_error: Callable[[str, str], None]) -> list[str]:
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            on_error(path, f"cannot be listed: {error.strerror}")
            return []

    def _files(
        self, directory: str, event_type: str, project: str, on_error: Callable[[str, str], None]
    ) -> Iterator[PendingFile]:
        try:
            entries = os.scandir(directory)
        except FileNotFoundError:
            return
        except OSError as error:
            on_error(directory, f"cannot be listed: {error.strerror}")
            return
        with entries:
            for entry in entries:
                if not entry.name.endswith(SUFFIX) or entry.name.startswith("."):
                    continue
                if not _is_text(entry.path):
                    on_error(entry.path, "its name is not UTF-8 and cannot be written down; rename it")
                    continue
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    if entry.is_symlink():
                        on_error(entry.path, "is a link to a file that does not exist")
                    continue  # taken by another run since it was listed
                except OSError as error:
                    on_error(entry.path, f"cannot be looked at: {error.strerror}")
                    continue
                if not stat.S_ISREG(status.st_mode):
                    on_error(entry.path, "is not a regular file")
                    continue
                modified_ms = min(max(status.st_mtime_ns // 1_000_000, FIRST_MS), LAST_MS)
                yield PendingFile(
                    timestamp_ms=file_timestamp_ms(entry.name, modified_ms),
                    path=entry.path,
                    event_type=event_type,
                    project_id=project,
                    size=status.st_size,
                    modified_ms=modified_ms,
                    etag=_etag(status),
                )

    def etag(self, path: str) -> str | None:
        try:
            return _etag(os.stat(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: str, start: int, end: int) -> bytes:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            parts = []
            while start < end and (part := file.read(end - start)):
                parts.append(part)
                start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def move_to_processed(self, path: str, etag: str) -> str:
        directory, name = os.path.split(path)
        target_directory = os.path.join(directory, PROCESSED)
        pending = self.etag(path)
        for target in _targets(os.path.join(target_directory, name)):
            there = self.etag(target)
            if there == etag:
                if pending == etag:  # a crash between the second name and the end of the first
                    self.delete(path, etag)
                return target
            if there is not None:
                continue
            if pending is None:
                return ""
            if pending != etag:
                raise FileChanged(f"{path}: changed since it was loaded")
            os.makedirs(target_directory, exist_ok=True)
            try:
                _rename_without_overwriting(path, target)
            except (FileExistsError, FileNotFoundError):
                return self.move_to_processed(path, etag)  # another run is moving it, or has moved it, just now
            return target
        raise AssertionError("unreachable: there is always a free name")

    def delete(self, path: str, etag: str) -> None:
        pending = self.etag(path)
        if pending is None:
            return
        if pending != etag:
            raise FileChanged(f"{path}: changed since it was loaded")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        descriptor = self._lock(os.path.join("locks", name), fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def hold(self, name: str) -> Iterator[None]:
        descriptor = self._lock(os.path.join("runs", name), fcntl.LOCK_SH)
        try:
            yield
        finally:
            os.close(descriptor)
            self._forget_unless_held(name)

    def is_held(self, name: str) -> bool:
        if not os.path.exists(os.path.join(self.root, CONTROL, "runs", name)):
            return False  # without writing anything, so that whoever may only read can ask
        # One prober at a time, since a probe is an exclusive lock that another probe would take for a holder.
        with self.exclusive("probe"):
            return self._probe(name)

    def forget_dead(self) -> None:
        for name in os.listdir(os.path.join(self.root, CONTROL, "runs")):
            self._forget_unless_held(name)

    def _forget_unless_held(self, name: str) -> None:
        with contextlib.suppress(OSError), self.exclusive("probe"):
            if not self._probe(name):
                os.unlink(os.path.join(self.root, CONTROL, "runs", name))

    def _probe(self, name: str) -> bool:
        try:
            descriptor = os.open(os.path.join(self.root, CONTROL, "runs", name), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return True
            raise
        finally:
            os.close(descriptor)
        return False

    def _lock(self, path: str, kind: int) -> int:
        """A descriptor that has the lock; closing it, or the end of the process, gives the lock back."""
        path = os.path.join(self.root, CONTROL, path)
        while True:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(descriptor, kind)
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                    return descriptor
            os.close(descriptor)  # somebody tidied the file away while we waited for it


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _targets(path: str) -> Iterator[str]:
    """The name itself, then numbered ones, for a file that came again under a name that is taken."""
    yield path
    stem = path[: -len(SUFFIX)]
    number = 2
    while True:
        yield f"{stem}.{number}{SUFFIX}"
        number += 1


def _rename_without_overwriting(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV):
            raise
        # A file system without hard links. The look before the rename leaves a gap only for a stranger who writes into
        # processed/, since a file is moved by the one load that owns it.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        os.rename(source, target)
        return
    os.unlink(source)
