"""An input in any other file system of fsspec that lists, reads ranges, copies and deletes, such as `memory://`.

As plain as it can be: without conditions on requests, so that only the journal keeps two runs apart, one file at a time, and
a directory is listed as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import xxhash
from dateutil.parser import isoparse

from transforms.storage.contract import Content, StorageError, StorageUnavailable
from transforms.storage.object_listing import Entry
from transforms.storage.object_storage import Conflict, ObjectStorage, Stat, size_of
from transforms.storage.urls import missing_library, scheme_of, without_credentials

_VERSIONS = (
    *("etag", "ETag", "md5", "content_md5", "md5Hash", "checksum", "generation", "version_id", "ino"),
    *("mtime", "modified", "last_modified", "LastModified", "updated", "created"),
)
"""What file systems call what changes with the content of a file."""
_TIMES = ("mtime", "modified", "last_modified", "LastModified", "updated", "created")
_NEEDED = {
    "list": ("ls", "_ls"),
    "read ranges": ("_open", "cat_file", "_cat_file"),
    "move": ("cp_file", "_cp_file", "mv", "mv_file", "_mv_file"),
    "delete": ("_rm", "rm_file", "_rm_file"),
}
"""What an input needs, and the methods of fsspec one of which a file system overrides to do it."""


class FsspecStorage(ObjectStorage):
    """Event files below a URL of a file system of fsspec. An etag is a digest of what it says of a file, and the size."""

    files_at_once = 1

    def _connect(self) -> Any:
        scheme = scheme_of(self.root)
        if missing := missing_library(self.root):
            raise StorageError(missing)
        from fsspec.core import url_to_fs

        try:
            fs, _ = url_to_fs(self.root, use_listings_cache=False, skip_instance_cache=True)
        except (ImportError, ValueError) as error:
            raise StorageError(f"{scheme}:// cannot be used: {without_credentials(str(error))}") from error
        if unable := cannot(type(fs)):
            raise StorageError(f"{scheme}:// cannot be an input: {type(fs).__name__} cannot {', '.join(unable)}")
        return fs

    def _call(self, method: str, path: str, *arguments: Any, **named: Any) -> Any:
        fs = self._fs
        try:
            return getattr(fs, method)(fs._strip_protocol(path), *arguments, **named)
        except OSError:
            raise
        except Exception as error:
            raise StorageUnavailable(f"{type(error).__name__}: {without_credentials(str(error))}") from error

    def _look(self) -> None:
        for _ in self._entries(self.root):
            return

    def _entries(self, path: str) -> Iterator[Entry]:
        try:
            found = self._call("ls", path, detail=True)
        except FileNotFoundError:
            return
        itself = self._fs._strip_protocol(path).strip("/")
        for info in found:
            if info["name"].strip("/") == itself:
                continue  # the name of a file, or a marker of the directory
            name = info["name"].rstrip("/").rpartition("/")[2]
            if info["type"] == "directory":
                yield Entry(name, True)
            # A listing may say it in other words than a look at the file, which is what reads and moves compare.
            elif stat := self._stat(f"{path}/{name}"):
                yield Entry(name, False, stat.size, _modified_ms(info), stat.etag)

    def _stat(self, path: str) -> Stat | None:
        try:
            info = self._call("info", path)
        except FileNotFoundError:
            return None
        return None if info["type"] == "directory" else _stat_of(info)

    def _read(self, path: str, start: int, end: int) -> Content:
        before = self._stat(path)
        if before is None:
            raise FileNotFoundError(2, "is gone", path)
        data = self._call("cat_file", path, start=start, end=min(end, before.size)) if start < before.size else b""
        after = self._stat(path)
        if after is None or after.etag != before.etag:
            raise Conflict
        return Content(data, before.etag, before.size)

    def _transfer(self, path: str, target: str, etag: str) -> bool:
        if _overrides(type(self._fs), "cp_file", "_cp_file"):
            return super()._transfer(path, target, etag)
        self._call("makedirs", target.rpartition("/")[0], exist_ok=True)
        self._call("mv", path, self._fs._strip_protocol(target))  # a rename
        return True

    def _copy(self, path: str, target: str, etag: str) -> Stat:
        self._call("makedirs", target.rpartition("/")[0], exist_ok=True)
        self._call("cp_file", path, self._fs._strip_protocol(target))
        copy = self._stat(target)
        if copy is None:
            raise FileNotFoundError(2, "is gone", target)
        return copy

    def _remove(self, path: str, etag: str) -> bool:
        stat = self._stat(path)
        if stat is not None and stat.etag != etag:
            raise Conflict
        try:
            self._call("rm_file", path)
        except FileNotFoundError:
            return False
        return True

    def write(self, path: str, data: bytes) -> None:
        self._call("makedirs", path.rpartition("/")[0], exist_ok=True)
        self._call("pipe_file", path, data)

    def _is_same(self, stat: Stat, etag: str) -> bool | None:
        return None if stat.size == size_of(etag) else False


def cannot(kind: type) -> list[str]:
    """What a file system cannot do of what an input needs."""
    return [what for what, methods in _NEEDED.items() if not _overrides(kind, *methods)]


def _overrides(kind: type, *methods: str) -> bool:
    """Whether a file system has one of these methods of its own, and not only the one that says that it has none."""
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    def is_own(method: str) -> bool:
        mine = getattr(kind, method, None)
        return mine is not None and mine not in (
            getattr(AbstractFileSystem, method, None),
            getattr(AsyncFileSystem, method, None),
        )

    return any(map(is_own, methods))


def _stat_of(info: dict[str, Any]) -> Stat:
    size = int(info.get("size") or 0)
    version = xxhash.xxh3_64_hexdigest(repr([str(info[name]) for name in _VERSIONS if name in info]).encode())
    return Stat(f"{version}:{size}", size)


def _modified_ms(info: dict[str, Any]) -> int:
    """When a file was modified last, by any of the names and types that file systems have for it; 0 where none is known."""
    for name in _TIMES:
        time = info.get(name)
        if isinstance(time, str):
            try:
                time = isoparse(time)
            except ValueError:
                continue
        if isinstance(time, datetime):
            time = (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()
        if isinstance(time, (int, float)):
            return int(time * 1000)
    return 0
