"""Event files in a directory on a file system."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import io
import os
import random
import struct
import time
from collections.abc import Callable, Iterator

from transforms.storage import CONTROL, Content, FileChanged, Moved, PendingFile, StorageError, numbered
from transforms.storage.ignored_files import PROCESSED, IgnoredFile
from transforms.storage.local_listing import LocalListing, etag_of

_LOOKS = 10
_AT_FDCWD, _STATX_BTIME = -100, 0x800


class LocalStorage:
    """A directory on a file system.

    An etag is made of inode, modification time and size, of a link those of what it leads to.
    """

    files_at_once = 1

    def __init__(self, root: str) -> None:
        self.root = root

    def check_writable(self) -> None:
        if not os.path.isdir(self.root):
            kind = "is not a directory" if os.path.exists(self.root) else "does not exist"
            raise StorageError(f"--input: {self.root} {kind}; give the directory that holds trace/, span/, log/, …")
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise StorageError(
                f"--input: {self.root} is not writable, so that loaded files could not be moved; nothing was loaded"
            )

    def identity(self) -> str:
        if not os.path.isdir(self.root):
            return ""
        born = _birth_ns(self.root)
        # A file system gives the number of a directory that was removed to another one. The device's number is left out: it
        # is another one on each machine that has mounted it, and after each mount.
        return f"{os.stat(self.root).st_ino:x}-{born:x}" if born else ""

    def list_pending(
        self,
        event_types: tuple[str, ...],
        project_id: str | None,
        on_error: Callable[[str, str], None],
        on_ignored: Callable[[IgnoredFile], None] | None = None,
        *,
        other_types: tuple[str, ...] = (),
    ) -> Iterator[PendingFile]:
        yield from LocalListing(self.root, event_types, other_types, project_id, on_error, on_ignored).files()

    def etag(self, path: str) -> str | None:
        try:
            return etag_of(os.stat(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: str, start: int, end: int) -> Content:
        for _ in range(_LOOKS):
            with open(path, "rb", buffering=0) as file:
                before = os.fstat(file.fileno())
                data = _read(file, start, end)
                if etag_of(os.fstat(file.fileno())) == etag_of(before):
                    return Content(data, etag_of(before), before.st_size)
        raise FileChanged("changes all the time while it is read")

    def move(self, path: str, etag: str, directory: str = PROCESSED) -> Moved:
        parent, name = os.path.split(path)
        target_directory = os.path.join(parent, directory)
        targets = (os.path.join(target_directory, name) for name in numbered(name))
        target = next(targets)
        while True:
            pending = self.etag(path)
            if os.path.lexists(target):
                # A link to the pending file has its etag, too, but is not where it was moved to.
                itself = pending is None or os.path.islink(path) or not os.path.islink(target)
                if itself and _etag_or_none(target) == etag:
                    # If both are there, a crash came between the second name and the end of the first.
                    return Moved(target, pending == etag and self.delete(path, etag))
                target = next(targets)
                continue
            if pending is None:
                return Moved("", False)
            if pending != etag:
                raise FileChanged(f"{path}: changed since it was loaded")
            _make_directory(target_directory)
            # Another run may have moved it, or taken the name, just now: then look again.
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                _move(path, target)
                return Moved(target, True)

    def delete(self, path: str, etag: str) -> bool:
        pending = self.etag(path)
        if pending is None:
            return False
        if pending != etag:
            raise FileChanged(f"{path}: changed since it was loaded")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            return True
        return False

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def older_runs(self) -> list[str]:
        runs = os.path.join(self.root, CONTROL, "runs")
        with contextlib.suppress(OSError):
            return [name for name in sorted(os.listdir(runs)) if _is_locked(os.path.join(runs, name))]
        return []


def _read(file: io.FileIO, start: int, end: int) -> bytes:
    file.seek(start)
    parts = []
    while start < end and (part := file.read(end - start)):
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_locked(path: str) -> bool:
    """Whether a process has a lock on a file. One that looks as we do has it for a moment only."""
    for _ in range(_LOOKS):
        try:
            with open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return False
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
        time.sleep(random.uniform(0.01, 0.05))
    return True


def _birth_ns(path: str) -> int:
    """When a file was made, in nanoseconds; 0 where that is not known. Python has no call for it on Linux."""
    born = getattr(os.stat(path), "st_birthtime", None)
    if born is not None:
        return int(born * 1e9)
    with contextlib.suppress(AttributeError, OSError):
        answer = ctypes.create_string_buffer(256)
        if ctypes.CDLL(None).statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, answer) == 0:
            (mask,), (seconds, nanoseconds) = struct.unpack_from("I", answer, 0), struct.unpack_from("qI", answer, 80)
            return int(seconds * 10**9 + nanoseconds) if mask & _STATX_BTIME else 0
    return 0


def _etag_or_none(path: str) -> str | None:
    """The etag of what a name leads to; None when that is nothing, for whatever reason."""
    with contextlib.suppress(OSError):
        return etag_of(os.stat(path))
    return None


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except FileExistsError:
        raise StorageError(f"{path} is not a directory; move it out of the way") from None


def _move(source: str, target: str) -> None:
    """Gives a file its second name and ends the first. Raises FileExistsError when the second name is taken."""
    if os.path.islink(source):
        os.symlink(_moved_link(source, os.path.dirname(target)), target)
        os.unlink(source)
        return
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


def _moved_link(link: str, directory: str) -> str:
    """What a link must say to lead to the same place from another directory."""
    destination = os.readlink(link)
    if os.path.isabs(destination):
        return destination
    # Only the way between the two directories is worked out: `..` in the link itself may pass through other links.
    back = os.path.relpath(os.path.realpath(os.path.dirname(link)), os.path.realpath(directory))
    return os.path.join(back, destination)
