"""What the pipeline needs of the place that event files are taken from: listing, reading and moving files.

Layout below the input (its last part is `observability` by convention)::

    {event type}/{project id}/{YYYYMMDDTHHMMSSZ}_{hex id}.jsonl            pending
    {event type}/{project id}/processed/{same name}                        loaded

Nothing else is written there. `Storage` is the contract that every kind of storage fulfils: `transforms.storage.local` for a
file system, `s3`, `gcs` and `any_fsspec` for what a URL leads to.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from itertools import count
from typing import Protocol

from transforms.storage.ignored_files import PROCESSED, SUFFIX, IgnoredFile
from transforms.storage.urls import GCS, S3, input_root, is_url, scheme_of, url_problem

CONTROL = ".ingest"

_NAME_TIME = re.compile(r"^(\d{8}T\d{6}Z)_")
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, which the load log can hold; a file system may say that a file was modified outside of them."""


class StorageError(Exception):
    """A file or directory cannot be used; the message names it and says why."""


class FileChanged(StorageError):
    """A file is no longer the one that was recorded: it is gone, was replaced or has grown."""


class LineTooLong(StorageError):
    """A line is longer than can be held in memory; its file stays pending."""


def reason_of(error: BaseException) -> str:
    """Why something could not be done to a file, without the file's name."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


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
    linked: bool = field(compare=False, default=False)
    """Whether the same file may have other names: it is a link, or has hard links."""

    @property
    def key(self) -> tuple[int, str]:
        """What files are ordered and paged by."""
        return (self.timestamp_ms, self.path)


@dataclass(frozen=True, slots=True)
class Content:
    """A byte range of a file, all of one content."""

    data: bytes
    """As stored: a compressed file is not decompressed, whatever its Content-Encoding says."""
    etag: str
    """Of the content that the bytes are from, as `Storage.etag` and listings tell it."""
    size: int
    """Bytes of all of that content."""
    encoding: str = ""
    """The Content-Encoding that the file is stored with, such as `gzip`; always '' in a file system."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Where a file went."""

    target: str
    """'' when it is neither pending nor processed."""
    now: bool
    """Whether this call has moved it, rather than an earlier one."""


class Storage(Protocol):
    """What the pipeline needs of a storage. Every method may raise `StorageError` or `OSError`, and may block on I/O."""

    root: str
    files_at_once: int
    """Files that are worth reading or moving at once: 1 where the answer is there at once."""

    def check_writable(self) -> None:
        """Raises StorageError when files below the root cannot be moved."""

    def identity(self) -> str:
        """What the directory is known by, whatever its path: it stays the same when it is renamed. '' when nothing is."""

    def list_pending(
        self,
        event_types: tuple[str, ...],
        project_id: str | None,
        on_error: Callable[[str, str], None],
        on_ignored: Callable[[IgnoredFile], None] | None = None,
        *,
        other_types: tuple[str, ...] = (),
    ) -> Iterator[PendingFile]:
        """Pending files of these types in no particular order, each file once, whatever names and links it has.

        What cannot be listed goes to `on_error(path, reason)`, the rest goes on. Files that are not loaded, but are in
        the way of nothing, go to `on_ignored`; without it no time is spent on finding them. Files of `other_types` and
        of other projects are not asked for, and not mentioned.
        """

    def etag(self, path: str) -> str | None:
        """Changes whenever the file's content may have changed; None when there is no such file."""

    def read(self, path: str, start: int, end: int) -> Content:
        """The bytes [start, end) of a file, fewer where it ends before, all of one content.

        The range is held in memory, so ask for some megabytes at a time. Two calls may see two contents: compare the etags.
        Raises FileNotFoundError when there is no such file, FileChanged when it changes each time that it is read.
        """

    def move(self, path: str, etag: str, directory: str = PROCESSED) -> Moved:
        """Moves a file to a directory beside it without ever overwriting one there. A link is moved itself, and still resolves.

        What is stored with the file moves, too: its modification time, or its metadata. Safe to repeat, also after a
        crash in the middle or when the answer was lost: a file that is there already is left there. A name in the
        directory is taken whatever is there, even a link that leads nowhere; then the file becomes NAME.2.jsonl. Raises
        FileChanged when the pending file is not the one of this etag.
        """

    def delete(self, path: str, etag: str) -> bool:
        """Deletes a pending file, of a link the link only; False when it was gone. Raises FileChanged as a move does."""

    def now_ms(self) -> int:
        """The time in epoch milliseconds by the clock that modification times are from."""

    def older_runs(self) -> list[str]:
        """Runs of version 0.1 that are under way here, by id: they lock files of their own, and write no journal."""


def name_timestamp_ms(name: str) -> int | None:
    """The time in a file's name as epoch milliseconds; None when it has none."""
    match = _NAME_TIME.match(name)
    if match:
        with contextlib.suppress(ValueError):
            parsed = datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
            return int(parsed.timestamp() * 1000)
    return None


def file_timestamp_ms(name: str, modified_ms: int) -> int:
    """The time in a file's name as epoch milliseconds; its modification time when the name has none."""
    timestamp_ms = name_timestamp_ms(name)
    return modified_ms if timestamp_ms is None else timestamp_ms


def numbered(name: str) -> Iterator[str]:
    """A file's name, then numbered ones, for a file that comes again under a name that is taken."""
    yield name
    end = name.rfind(SUFFIX)
    stem, suffix = (name[:end], name[end:]) if end >= 0 else (name, "")
    for number in count(2):
        yield f"{stem}.{number}{suffix}"


def open_storage(root: str) -> Storage:
    """The storage for an input directory or URL. Raises StorageError for what cannot be one. Connects to nothing yet.

    All that open one URL in a process get the same storage, and so share its connections.
    """
    if problem := url_problem(root):
        raise StorageError(f"--input: {problem}")
    if not is_url(root):
        from transforms.storage.local import LocalStorage

        return LocalStorage(os.path.abspath(root.partition("://")[2] if "://" in root else root))
    return _remote_storage(input_root(root))


@lru_cache(maxsize=64)
def _remote_storage(root: str) -> Storage:
    scheme = scheme_of(root)
    if scheme == S3:
        from transforms.storage.s3 import S3Storage

        return S3Storage(root)
    if scheme == GCS:
        from transforms.storage.gcs import GcsStorage

        return GcsStorage(root)
    from transforms.storage.any_fsspec import FsspecStorage

    return FsspecStorage(root)
