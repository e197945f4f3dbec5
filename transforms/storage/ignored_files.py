"""Files in an input that are not loaded although nothing is wrong with them: why, and how many of each kind."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

PROCESSED = "processed"
FAILED = "failed"
LEFT = (PROCESSED, FAILED)
"""Directories beside pending files, to which these go; nobody looks into them again."""
SUFFIX = ".jsonl"
COMPRESSED_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")
"""What may follow: what is compressed with gzip or zstd is loaded, too."""


class IgnoreReason(str, Enum):
    """Why a file is not loaded. The value is what JSON output calls it."""

    UNKNOWN_TYPE = "unknown_type"
    NO_PROJECT = "no_project"
    HIDDEN_PROJECT = "hidden_project"
    NESTED = "nested"
    SUFFIX = "suffix"
    COMPRESSED = "compressed"
    TEMPORARY = "temporary"
    TOO_YOUNG = "too_young"
    OTHER_NAME = "other_name"
    LINKED_DIRECTORY = "linked_directory"

    @property
    def description(self) -> str:
        """The reason in words, for one file or many."""
        return _DESCRIPTIONS[self]

    @property
    def expected(self) -> bool:
        """Whether such files are part of normal operation, so that nobody has to be warned about them."""
        return self in (IgnoreReason.TEMPORARY, IgnoreReason.TOO_YOUNG)


_DESCRIPTIONS = {
    IgnoreReason.UNKNOWN_TYPE: "the directory is not an event type",
    IgnoreReason.NO_PROJECT: "not in the directory of a project (TYPE/PROJECT/FILE)",
    IgnoreReason.HIDDEN_PROJECT: "the name of the project begins with a dot",
    IgnoreReason.NESTED: "in a directory below that of a project",
    IgnoreReason.SUFFIX: f"the name does not end in {SUFFIX}, {SUFFIX}.gz or {SUFFIX}.zst",
    IgnoreReason.COMPRESSED: "compressed in another way than with gzip or zstd",
    IgnoreReason.TEMPORARY: "hidden or temporary",
    IgnoreReason.TOO_YOUNG: "modified less than --min_file_age ago",
    IgnoreReason.OTHER_NAME: "another name of a file that is loaded under its first name",
    IgnoreReason.LINKED_DIRECTORY: "a link to a directory that is listed already, or that holds this input",
}


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file that is not loaded, why, and what would be right where that is known."""

    path: str
    reason: IgnoreReason
    hint: str = ""

    def describe(self) -> str:
        """The reason in words, and the hint."""
        return f"{self.reason.description}{f'; {self.hint}' if self.hint else ''}"


@dataclass(frozen=True, slots=True)
class IgnoredGroup:
    """The files that are not loaded for one reason: how many, and the first that was found, with its hint."""

    reason: IgnoreReason
    description: str
    files: int
    example: str
    hint: str

    def describe(self) -> str:
        """Says it in one line."""
        many = f"{self.files:,} file{'s' if self.files != 1 else ''}"
        example = f"{self.example}; {self.hint}" if self.hint else self.example
        return f"{many} ignored: {self.description} ({'for example ' if self.files > 1 else ''}{example})"


class IgnoredFiles:
    """Counts ignored files by reason. Holds one example of each, however many there are."""

    def __init__(self) -> None:
        self._first: dict[IgnoreReason, IgnoredFile] = {}
        self._counts: Counter[IgnoreReason] = Counter()

    def add(self, file: IgnoredFile) -> None:
        self._first.setdefault(file.reason, file)
        self._counts[file.reason] += 1

    def clear(self) -> None:
        self._first.clear()
        self._counts.clear()

    def groups(self) -> list[IgnoredGroup]:
        """The groups in the order of the reasons."""
        return [
            IgnoredGroup(reason, reason.description, self._counts[reason], first.path, first.hint)
            for reason in IgnoreReason
            if (first := self._first.get(reason))
        ]


_TEMPORARY = re.compile(
    r"^#.*#$|~$|\.(tmp|temp|part|partial|filepart|crdownload|inprogress|lock|swp|swo|swx|bak)$", re.IGNORECASE
)
_OTHER = r"\.(?:bz2|xz|lz4|br|zip)"
_COMPRESSED = re.compile(f"{_OTHER}$", re.IGNORECASE)
_SUPPORTED = "|".join(map(re.escape, COMPRESSED_SUFFIXES))
_LOADED = re.compile(rf"{re.escape(SUFFIX)}(?:{_SUPPORTED})?\Z")
_EVENTS = re.compile(rf"\.(?:jsonl|ndjson|jsonlines)(?:({_SUPPORTED})|{_OTHER})?$", re.IGNORECASE)


def reason_of_name(name: str) -> IgnoreReason | None:
    """Why a file of this name in the directory of a project is not loaded; None when it is."""
    if name.startswith("."):
        return IgnoreReason.TEMPORARY
    if _LOADED.search(name):
        return None
    if _TEMPORARY.search(name):
        return IgnoreReason.TEMPORARY
    return IgnoreReason.COMPRESSED if _COMPRESSED.search(name) else IgnoreReason.SUFFIX


def hint_of_name(name: str) -> str:
    """What would be right for a file whose name does not end as it should; '' when that is not clear."""
    match = _EVENTS.search(name)
    return f"rename it to {name[: match.start()]}{SUFFIX}{(match[1] or '').lower()}" if match else ""


def looks_like_events(name: str) -> bool:
    """Whether a file seems meant to be loaded, wherever it is."""
    return not name.startswith(".") and bool(_EVENTS.search(name))


def nearest_type(directory: str, event_types: Iterable[str]) -> str:
    """The event type that the name of a directory is probably meant to be; '' when it is like none."""
    return next(iter(difflib.get_close_matches(directory.lower(), list(event_types), 1, 0.7)), "")
