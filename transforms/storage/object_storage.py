"""What all object stores have in common: how files are listed, and how they are moved where nothing can be renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from transforms.storage.contract import Content, FileChanged, Moved, PendingFile, StorageError, numbered
from transforms.storage.ignored_files import PROCESSED, IgnoredFile
from transforms.storage.object_listing import Entry, ObjectListing

_LOOKS = 10
"""How often a move begins anew because something has changed between its look and its copy."""
_COMPARED_AT_ONCE = 16 * 1024 * 1024


class Conflict(Exception):
    """A condition of a request did not hold: the source is another content by now, or the target is taken."""


class RangeBehindEnd(Exception):
    """A range begins where an object has ended already."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What a store says of one object."""

    etag: str
    """With the size at its end, after a colon, so that a copy can be checked without another look at its source."""
    size: int
    encoding: str = ""


def size_of(etag: str) -> int:
    """The size of the content that an etag is of, in bytes."""
    return int(etag.rpartition(":")[2])


class ObjectStorage(ABC):
    """An input in a store of objects: `root` is a URL, and so are the paths of files.

    A move is a copy by the store, which is checked, and then the end of the source. Every step has a condition where the
    store knows conditions; what keeps two runs from moving one file is the journal. Instances may be used by several
    threads. They are not pickled: clients hold secrets, and are made anew in each process.
    """

    files_at_once = 16

    def __init__(self, root: str) -> None:
        self.root = root
        self._checked = False
        self._connected: tuple[int, Any] | None = None
        self._connecting = threading.Lock()
        self._clock_ahead_ms = 0
        """How far the store's clock is ahead of ours, by its last listing."""

    def __reduce__(self) -> tuple[type[ObjectStorage], tuple[str]]:
        return type(self), (self.root,)

    # What each store does in its own way. All of them block, and raise StorageError or OSError with the reason.

    @abstractmethod
    def _entries(self, path: str) -> Iterator[Entry]:
        """What is in a directory, page by page; nothing when it is not there."""

    @abstractmethod
    def _look(self) -> None:
        """Asks for one name below the root. Raises StorageError when that is not possible at all."""

    @abstractmethod
    def _stat(self, path: str) -> Stat | None:
        """What an object is; None when there is none."""

    @abstractmethod
    def _copy(self, path: str, target: str, etag: str) -> Stat:
        """Copies an object with all that is stored with it, if it has this etag and the target does not exist.

        Returns what the copy is. Raises Conflict or FileNotFoundError when the condition does not hold.
        """

    @abstractmethod
    def _remove(self, path: str, etag: str) -> bool:
        """Deletes an object if it has this etag; False when it was gone. Raises Conflict when it has another one."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """As `Storage.write`."""

    @abstractmethod
    def _is_same(self, stat: Stat, etag: str) -> bool | None:
        """Whether an object has the content that the etag of another object is of; None when that cannot be told."""

    @abstractmethod
    def _read(self, path: str, start: int, end: int) -> Content:
        """A range that is not empty. Raises Conflict when it changed in between, RangeBehindEnd when nothing is there."""

    @abstractmethod
    def _connect(self) -> Any:
        """The client that `_fs` gives to all threads of this process. Raises StorageError."""

    # What follows from that.

    @property
    def _fs(self) -> Any:
        """The client of this process. One that was made before a fork is of no use after it."""
        if self._connected is None or self._connected[0] != os.getpid():
            with self._connecting:
                if self._connected is None or self._connected[0] != os.getpid():
                    self._connected = os.getpid(), self._connect()
        return self._connected[1]

    def check_writable(self) -> None:
        if not self._checked:
            try:
                self._look()
            except (OSError, StorageError) as error:
                raise StorageError(f"--input: {self.root}: {error}") from error
            self._checked = True

    def identity(self) -> str:
        return self.root

    def older_runs(self) -> list[str]:
        return []  # version 0.1 knew directories only

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._clock_ahead_ms

    def _note_date(self, header: str) -> None:
        """Takes note of the store's clock, as the Date of an answer has it."""
        with contextlib.suppress(ValueError):
            self._clock_ahead_ms = int((parsedate_to_datetime(header).timestamp() - time.time()) * 1000)

    def list_pending(
        self,
        event_types: tuple[str, ...],
        project_id: str | None,
        on_error: Callable[[str, str], None],
        on_ignored: Callable[[IgnoredFile], None] | None = None,
        *,
        other_types: tuple[str, ...] = (),
    ) -> Iterator[PendingFile]:
        yield from ObjectListing(
            *(self.root, self._entries, event_types, other_types, project_id, on_error, on_ignored),
            at_once=self.files_at_once,
        ).files()

    def etag(self, path: str) -> str | None:
        stat = self._stat(path)
        return None if stat is None else stat.etag

    def read(self, path: str, start: int, end: int) -> Content:
        for _ in range(_LOOKS):
            try:
                if start < end:
                    return self._read(path, start, end)
            except Conflict:
                continue
            except RangeBehindEnd:
                pass
            stat = self._stat(path)
            if stat is None:
                raise FileNotFoundError(errno.ENOENT, "is gone", path)
            if start >= min(end, stat.size):
                return Content(b"", stat.etag, stat.size, stat.encoding)
        raise FileChanged("changes all the time while it is read")

    def move(self, path: str, etag: str, directory: str = PROCESSED) -> Moved:
        parent, _, name = path.rpartition("/")
        for attempt in range(_LOOKS):
            try:
                return self._move(path, etag, (f"{parent}/{directory}/{target}" for target in numbered(name)))
            except (Conflict, FileNotFoundError):
                # Another worker moves it, or the answer to our own request was lost: look again.
                time.sleep(random.uniform(0, 0.02 * attempt))
        raise StorageError("its name in the directory that it was to be moved to was taken again and again")

    def _move(self, path: str, etag: str, targets: Iterator[str]) -> Moved:
        pending = self._stat(path)
        is_pending = pending is not None and pending.etag == etag
        for target in targets:
            there = self._stat(target)
            if there is None:
                if pending is None:
                    return Moved("", False)
                if not is_pending:
                    raise FileChanged(f"{path}: changed since it was loaded")
                return Moved(target, self._transfer(path, target, etag))
            if self._was_moved(there, path, target, etag, is_pending=is_pending, is_gone=pending is None):
                # If both are there, a crash came between the copy and the end of the source.
                return Moved(target, is_pending and self._remove(path, etag))
        raise AssertionError("names do not end")

    def _transfer(self, path: str, target: str, etag: str) -> bool:
        """Copies and removes; whether the source was still there to be removed."""
        copy = self._copy(path, target, etag)
        if copy.size != size_of(etag) or self._is_same(copy, etag) is False:
            raise StorageError(f"its copy {target} is not the same; both were left as they are")
        return self._remove(path, etag)

    def _was_moved(self, there: Stat, path: str, target: str, etag: str, *, is_pending: bool, is_gone: bool) -> bool:
        """Whether an object in the place that a file is to be moved to is that file."""
        if there.size != size_of(etag):
            return False
        same = self._is_same(there, etag)
        if same is not None:
            return same
        # Copies of one content may have different etags: those of objects that were uploaded in parts, or are encrypted.
        return is_gone or (is_pending and self._have_same_bytes(path, target, there.size))

    def _have_same_bytes(self, path: str, other: str, size: int) -> bool:
        return all(
            self.read(path, start, start + _COMPARED_AT_ONCE).data
            == self.read(other, start, start + _COMPARED_AT_ONCE).data
            for start in range(0, size, _COMPARED_AT_ONCE)
        )

    def delete(self, path: str, etag: str) -> bool:
        pending = self._stat(path)
        if pending is None:
            return False
        if pending.etag != etag:
            raise FileChanged(f"{path}: changed since it was loaded")
        try:
            return self._remove(path, etag)
        except Conflict:
            raise FileChanged(f"{path}: changed since it was loaded") from None
