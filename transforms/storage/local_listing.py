"""One look at an input directory on a file system: its pending files, and what is passed over and why.

Each directory is read once. A link is followed unless it leads to what is listed anyway, so that each file is listed
once. Memory grows with the number of projects, and up to a bound with that of files that have several names.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from transforms.storage import FIRST_MS, LAST_MS, PendingFile, file_timestamp_ms
from transforms.storage.ignored_files import (
    LEFT,
    IgnoredFile,
    IgnoreReason,
    hint_of_name,
    looks_like_events,
    nearest_type,
    reason_of_name,
)

_REMEMBERED = 50_000
"""Files with several names that are told from each other in one look. Of more, only the load log tells."""


class LocalListing:
    """Lists one input directory; see `Storage.list_pending` for the arguments. Use it once."""

    def __init__(
        self,
        root: str,
        event_types: tuple[str, ...],
        other_types: tuple[str, ...],
        project_id: str | None,
        on_error: Callable[[str, str], None],
        on_ignored: Callable[[IgnoredFile], None] | None,
    ) -> None:
        self._root = root
        self._event_types = event_types
        self._other_types = other_types
        self._project_id = project_id
        self._on_error = on_error
        self._on_ignored = on_ignored
        self._real_root = os.path.realpath(root)
        self._directories: set[tuple[int, int]] = set()
        """Directories that links have led to, by device and inode."""
        self._names: dict[tuple[int, int], str] = {}
        """Files that may have several names, by device and inode, with the one they are listed under."""

    def files(self) -> Iterator[PendingFile]:
        """The pending files."""
        if self._on_ignored:
            self._look_beside_the_types()
        for event_type in self._event_types:
            type_directory = os.path.join(self._root, event_type)
            if os.path.islink(type_directory) and not self._follows(type_directory):
                continue
            for project in self._projects(type_directory):
                yield from self._files(os.path.join(type_directory, project), event_type, project)

    def _projects(self, type_directory: str) -> list[str]:
        """The projects of a type, after a look at what else is in its directory."""
        projects = []
        for entry in self._entries(type_directory):
            hidden = entry.name.startswith(".")
            if not _is_directory(entry):
                if entry.is_symlink() and not hidden and not os.path.exists(entry.path):
                    if self._project_id in (None, entry.name):
                        self._on_error(entry.path, "is a link that leads nowhere")
                else:
                    temporary = reason_of_name(entry.name) is IgnoreReason.TEMPORARY
                    self._ignore(entry.path, IgnoreReason.TEMPORARY if temporary else IgnoreReason.NO_PROJECT)
            elif self._project_id not in (None, entry.name):
                continue
            elif hidden:
                self._ignore_below(entry.path, IgnoreReason.HIDDEN_PROJECT)
            elif not entry.is_symlink() or self._follows(entry.path):
                projects.append(entry.name)
        return sorted(projects)

    def _files(self, directory: str, event_type: str, project: str) -> Iterator[PendingFile]:
        by_link = os.path.islink(directory) or os.path.islink(os.path.dirname(directory))
        for entry in self._entries(directory):
            reason = reason_of_name(entry.name)
            if reason is not None:
                if self._on_ignored and entry.name not in LEFT:
                    self._ignore_entry(entry, reason)
                continue
            status = self._status(entry)
            if status is None:
                continue
            linked = by_link or entry.is_symlink() or status.st_nlink > 1
            if linked and self._is_listed(entry, status):
                continue
            modified_ms = min(max(status.st_mtime_ns // 1_000_000, FIRST_MS), LAST_MS)
            yield PendingFile(
                timestamp_ms=file_timestamp_ms(entry.name, modified_ms),
                path=entry.path,
                event_type=event_type,
                project_id=project,
                size=status.st_size,
                modified_ms=modified_ms,
                etag=etag_of(status),
                linked=linked,
            )

    def _status(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """What a pending file is; None, and an error unless it has just gone, when it is none."""
        if not _is_text(entry.path):
            self._on_error(entry.path, "its name is not UTF-8 and cannot be written down; rename it")
            return None
        try:
            status = entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():
                self._on_error(entry.path, "is a link to a file that does not exist")
            return None  # otherwise taken by another run since it was listed
        except OSError as error:
            self._on_error(entry.path, f"cannot be looked at: {error.strerror}")
            return None
        if not stat.S_ISREG(status.st_mode):
            self._on_error(entry.path, "is not a regular file")
            return None
        return status

    def _is_listed(self, entry: os.DirEntry[str], status: os.stat_result) -> bool:
        """Whether a file is listed, or was loaded, under another name."""
        inode = (status.st_dev, status.st_ino)
        other = self._names.get(inode)
        if other is None and entry.is_symlink():
            target = os.path.realpath(entry.path)
            if self._is_event_file(target):
                other = target
        if other is not None:
            self._ignore(entry.path, IgnoreReason.OTHER_NAME, f"the first is {other}")
            return True
        if len(self._names) < _REMEMBERED:
            self._names[inode] = entry.path
        return False

    def _is_event_file(self, path: str) -> bool:
        """Whether a real path is that of a pending file of this input, or of one that has left pending."""
        parts = self._below_root(path)
        if len(parts) not in (3, 4) or not self._is_type(parts[0]) or parts[1].startswith("."):
            return False
        return reason_of_name(parts[-1]) is None and (len(parts) == 3 or parts[2] in LEFT)

    def _follows(self, link: str) -> bool:
        """Whether a link to a directory leads to one that is listed by nothing else."""
        target = os.path.realpath(link)
        parts = self._below_root(target)
        holds_input = os.path.commonpath((target, self._real_root)) == target
        if not holds_input and not (parts and self._is_type(parts[0])):
            try:
                status = os.stat(target)
            except FileNotFoundError:
                self._on_error(link, "is a link that leads nowhere")
                return False
            except OSError as error:
                self._on_error(link, f"cannot be looked at: {error.strerror}")
                return False
            inode = (status.st_dev, status.st_ino)
            if inode not in self._directories:
                self._directories.add(inode)
                return True
        self._ignore(link, IgnoreReason.LINKED_DIRECTORY, f"it leads to {target}")
        return False

    def _below_root(self, path: str) -> list[str]:
        """The parts of a real path below the input; none when it is elsewhere."""
        prefix = os.path.join(self._real_root, "")
        return path[len(prefix) :].split(os.sep) if path.startswith(prefix) else []

    def _is_type(self, name: str) -> bool:
        return name in self._event_types or name in self._other_types

    def _look_beside_the_types(self) -> None:
        """Finds event files that are in no type's directory: as deep as the layout goes, since the rest may be anything."""
        for entry in self._entries(self._root):
            if self._is_type(entry.name) or entry.name.startswith("."):
                continue
            if not _is_directory(entry):
                if looks_like_events(entry.name):
                    self._ignore(entry.path, IgnoreReason.NO_PROJECT)
                continue
            meant = nearest_type(entry.name, (*self._event_types, *self._other_types))
            if meant in self._other_types or (entry.is_symlink() and not self._follows(entry.path)):
                continue
            hint = f"did you mean {meant}/?" if meant else f"event types are {', '.join(self._event_types)}"
            for inner in self._entries(entry.path):
                if inner.is_dir(follow_symlinks=False):
                    if self._project_id in (None, inner.name) and inner.name not in LEFT:
                        for name in (file.name for file in self._entries(inner.path)):
                            if looks_like_events(name):
                                self._ignore(os.path.join(inner.path, name), IgnoreReason.UNKNOWN_TYPE, hint)
                elif looks_like_events(inner.name):
                    self._ignore(inner.path, IgnoreReason.UNKNOWN_TYPE, hint)

    def _ignore_entry(self, entry: os.DirEntry[str], reason: IgnoreReason) -> None:
        """Passes over what is in the directory of a project and is no event file: a file, or all files of a directory."""
        if entry.is_dir(follow_symlinks=False):
            self._ignore_below(entry.path, IgnoreReason.NESTED)
        elif _is_directory(entry):
            self._ignore(entry.path, IgnoreReason.NESTED)
        else:
            self._ignore(entry.path, reason, hint_of_name(entry.name) if reason is IgnoreReason.SUFFIX else "")

    def _ignore_below(self, directory: str, reason: IgnoreReason) -> None:
        """Passes over all files below a directory, without following links, and leaves out what was loaded."""
        if not self._on_ignored:
            return
        waiting = [directory]
        while waiting:
            for entry in self._entries(waiting.pop()):
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in LEFT:
                        waiting.append(entry.path)
                else:
                    self._ignore(entry.path, reason)

    def _ignore(self, path: str, reason: IgnoreReason, hint: str = "") -> None:
        if self._on_ignored:
            self._on_ignored(IgnoredFile(path, reason, hint))

    def _entries(self, directory: str) -> Iterator[os.DirEntry[str]]:
        try:
            entries = os.scandir(directory)
        except FileNotFoundError:
            if os.path.islink(directory):
                self._on_error(directory, "is a link that leads nowhere")
            return
        except OSError as error:
            self._on_error(directory, f"cannot be listed: {error.strerror}")
            return
        with entries:
            try:
                yield from entries
            except OSError as error:
                self._on_error(directory, f"cannot be listed: {error.strerror}")


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a directory, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def etag_of(status: os.stat_result) -> str:
    """What changes whenever a file's content may have changed."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
