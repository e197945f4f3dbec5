"""One look at an input that has no directories of its own: a bucket, or any file system that lists names.

Goes down the layout, type by type and project by project, and never into `processed/` or `failed/`: what a look costs does
not grow with what was loaded before. Holds one page of names and the projects of one type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from transforms.storage.contract import FIRST_MS, LAST_MS, PendingFile, StorageError, file_timestamp_ms, reason_of
from transforms.storage.ignored_files import (
    LEFT,
    IgnoredFile,
    IgnoreReason,
    hint_of_name,
    looks_like_events,
    nearest_type,
    reason_of_name,
)
from transforms.storage.overlap import overlapped

_LOOKS_ASIDE = 50
"""Directories listed in one look only to name files that are not loaded. Each is at least one request."""
_NAMES_ASIDE = 5_000
"""Names looked at in each of them: a bucket may be used for much else."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a directory."""

    name: str
    is_directory: bool
    size: int = 0
    modified_ms: int = 0
    etag: str = ""


class ObjectListing:
    """Lists one input; see `Storage.list_pending` for the arguments. Use it once.

    `entries` yields what is in a directory, by its path, without what is below its directories. Nothing when it is not
    there. It is called from up to `at_once` threads.
    """

    def __init__(
        self,
        root: str,
        entries: Callable[[str], Iterator[Entry]],
        event_types: tuple[str, ...],
        other_types: tuple[str, ...],
        project_id: str | None,
        on_error: Callable[[str, str], None],
        on_ignored: Callable[[IgnoredFile], None] | None,
        *,
        at_once: int,
    ) -> None:
        self._root = root
        self._list = entries
        self._event_types = event_types
        self._other_types = other_types
        self._project_id = project_id
        self._on_error = on_error
        self._on_ignored = on_ignored
        self._at_once = at_once
        self._looks_aside = _LOOKS_ASIDE

    def files(self) -> Iterator[PendingFile]:
        """The pending files."""
        if self._on_ignored:
            self._look_beside_the_types()
        for event_type in self._event_types:
            directory = f"{self._root}/{event_type}"
            projects = [f"{directory}/{project}" for project in self._projects(directory)]
            for project, (first, rest) in zip(projects, overlapped(self._begun, projects, self._at_once), strict=True):
                yield from self._files(project, event_type, first)
                yield from self._files(project, event_type, rest)

    def _begun(self, directory: str) -> tuple[list[Entry], Iterator[Entry]]:
        """A page of a directory, which is asked for here, and what comes after it, which is not yet."""
        entries = self._entries(directory)
        return list(islice(entries, _PAGE)), entries

    def _projects(self, type_directory: str) -> list[str]:
        """The projects of a type, after a look at what else is in its directory."""
        if self._project_id is not None and not self._on_ignored:
            return [] if self._project_id.startswith(".") else [self._project_id]
        projects = []
        for entry in self._entries(type_directory):
            path = f"{type_directory}/{entry.name}"
            if not entry.is_directory:
                temporary = reason_of_name(entry.name) is IgnoreReason.TEMPORARY
                self._ignore(path, IgnoreReason.TEMPORARY if temporary else IgnoreReason.NO_PROJECT)
            elif self._project_id not in (None, entry.name):
                continue
            elif entry.name.startswith("."):
                self._ignore_below(path, IgnoreReason.HIDDEN_PROJECT)
            else:
                projects.append(entry.name)
        return sorted(projects)

    def _files(self, directory: str, event_type: str, entries: list[Entry] | Iterator[Entry]) -> Iterator[PendingFile]:
        project = directory.rpartition("/")[2]
        for entry in entries:
            path = f"{directory}/{entry.name}"
            reason = reason_of_name(entry.name)
            if entry.is_directory:
                if entry.name not in LEFT:
                    self._ignore_below(path, IgnoreReason.NESTED)
            elif reason is not None:
                self._ignore(path, reason, hint_of_name(entry.name) if reason is IgnoreReason.SUFFIX else "")
            else:
                modified_ms = min(max(entry.modified_ms, FIRST_MS), LAST_MS)
                yield PendingFile(
                    timestamp_ms=file_timestamp_ms(entry.name, modified_ms),
                    path=path,
                    event_type=event_type,
                    project_id=project,
                    size=entry.size,
                    modified_ms=modified_ms,
                    etag=entry.etag,
                )

    def _look_beside_the_types(self) -> None:
        """Finds event files that are in no type's directory: as deep as the layout goes, since the rest may be anything."""
        types = (*self._event_types, *self._other_types)
        for entry in self._entries_aside(self._root):
            path = f"{self._root}/{entry.name}"
            if entry.name in types or entry.name.startswith("."):
                continue
            if not entry.is_directory:
                if looks_like_events(entry.name):
                    self._ignore(path, IgnoreReason.NO_PROJECT)
                continue
            meant = nearest_type(entry.name, types)
            if meant not in self._other_types:
                hint = f"did you mean {meant}/?" if meant else f"event types are {', '.join(self._event_types)}"
                self._look_into(path, hint)

    def _look_into(self, directory: str, hint: str) -> None:
        """Finds event files in a directory that is no type's."""
        for inner in self._entries_aside(directory):
            path = f"{directory}/{inner.name}"
            if inner.is_directory:
                if self._project_id in (None, inner.name) and inner.name not in LEFT:
                    for file in self._entries_aside(path):
                        if not file.is_directory and looks_like_events(file.name):
                            self._ignore(f"{path}/{file.name}", IgnoreReason.UNKNOWN_TYPE, hint)
            elif looks_like_events(inner.name):
                self._ignore(path, IgnoreReason.UNKNOWN_TYPE, hint)

    def _ignore_below(self, directory: str, reason: IgnoreReason) -> None:
        """Passes over the files below a directory, and leaves out what was loaded."""
        waiting = [directory] if self._on_ignored else []
        while waiting:
            parent = waiting.pop()
            for entry in self._entries_aside(parent):
                path = f"{parent}/{entry.name}"
                if not entry.is_directory:
                    self._ignore(path, reason)
                elif entry.name not in LEFT:
                    waiting.append(path)

    def _ignore(self, path: str, reason: IgnoreReason, hint: str = "") -> None:
        if self._on_ignored:
            self._on_ignored(IgnoredFile(path, reason, hint))

    def _entries_aside(self, directory: str) -> Iterator[Entry]:
        """What is in a directory that has nothing to load, unless too many of these were listed already."""
        if self._looks_aside > 0:
            self._looks_aside -= 1
            yield from islice(self._entries(directory), _NAMES_ASIDE)

    def _entries(self, directory: str) -> Iterator[Entry]:
        try:
            yield from self._list(directory)
        except FileNotFoundError:
            return
        except (OSError, StorageError) as error:
            self._on_error(directory, f"cannot be listed: {reason_of(error)}")


_PAGE = 1000
"""Names held of each directory that is listed ahead."""
