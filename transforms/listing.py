"""The pending files that a run is to load, oldest first, in pages."""

from __future__ import annotations

import contextlib
import heapq
import os
import pickle
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO

from transforms.config import IngestConfig, month_of
from transforms.events import EVENT_TYPES
from transforms.loads import delivery_ms
from transforms.storage import PendingFile, Storage, name_timestamp_ms
from transforms.storage.compression import compression_of_name
from transforms.storage.ignored_files import IgnoredFile, IgnoreReason

_PUT_ASIDE_AT_ONCE = 1000
_EXPANSION = 100
"""How much more a compressed file may hold than is stored, for the order of its rows to be certain."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some pending files in order of age: how many, how large, and the key of the last one."""

    files: int
    bytes: int
    last: tuple[int, str]
    modified_ms: int = 0
    """When the file was last modified that was modified last of all that the listing has found."""
    members: Sequence[PendingFile] = ()
    number: int = 0
    """Which page of its listing it is, from 0 on."""
    listed_files: int = 0
    """How many files the listing has found, on all its pages."""
    listed_bytes: int = 0


def candidates(
    storage: Storage,
    config: IngestConfig,
    on_error: Callable[[str, str], None],
    on_ignored: Callable[[IgnoredFile], None] | None = None,
) -> Iterator[PendingFile]:
    """Files that may be pending, in no particular order: the one place that names come from, by a listing.

    A source of notifications would be another one. Whatever it yields must be as the storage has it now (etag, size), may come
    twice, late or not at all, and may be loaded already: what follows goes by the load log. So a listing has to find now
    and then what no notification told of.
    """
    others = tuple(event_type for event_type in EVENT_TYPES if event_type not in config.event_types)
    return storage.list_pending(config.event_types, config.project_id, on_error, on_ignored, other_types=others)


def match_files(
    storage: Storage,
    config: IngestConfig,
    on_error: Callable[[str, str], None],
    on_ignored: Callable[[IgnoredFile], None] | None = None,
) -> Iterator[PendingFile]:
    """Pending files that the configuration selects, in no particular order.

    `on_ignored` hears of files that are not loaded although they may be meant: none that the configuration leaves out.
    """
    ignored = _only_in_range(config, on_ignored) if on_ignored else None
    now_ms = storage.now_ms() if config.looked_at_ms is None else config.looked_at_ms
    for file in candidates(storage, config, on_error, ignored):
        if (
            not _in_range(config, file.timestamp_ms)
            or (config.modified_until_ms is not None and file.modified_ms > config.modified_until_ms)
            or (config.after is not None and file.key <= config.after)
            or (config.up_to is not None and file.key > config.up_to)
        ):
            continue
        # A time in the future says nothing about the age, unless it is that of another clock.
        if abs(now_ms - file.modified_ms) < config.min_file_age_s * 1000:
            if on_ignored:
                on_ignored(IgnoredFile(file.path, IgnoreReason.TOO_YOUNG))
            continue
        yield file


def _in_range(config: IngestConfig, timestamp_ms: int) -> bool:
    return (config.since_ms is None or timestamp_ms >= config.since_ms) and (
        config.until_ms is None or timestamp_ms < config.until_ms
    )


def _only_in_range(config: IngestConfig, tell: Callable[[IgnoredFile], None]) -> Callable[[IgnoredFile], None]:
    """Leaves out what a time in the name shows not to be asked for."""

    def on_ignored(file: IgnoredFile) -> None:
        timestamp_ms = name_timestamp_ms(os.path.basename(file.path))
        if timestamp_ms is None or _in_range(config, timestamp_ms):
            tell(file)

    return on_ignored


def list_pages(
    storage: Storage,
    config: IngestConfig,
    limit: int,
    on_error: Callable[[str, str], None],
    on_ignored: Callable[[IgnoredFile], None] | None = None,
    *,
    wanted: Callable[[], int | None] = lambda: None,
) -> Generator[Page, None, None]:
    """The pending files, oldest first, in pages of at most `limit`, by one listing; no page when there are none.

    Holds two pages in memory. What is more waits, sorted, in temporary files, which are gone when this process is.
    `wanted` is asked before each page how many more files there may be; None: all.
    """
    modified_ms = listed_files = listed_bytes = number = 0
    with contextlib.ExitStack() as resources:
        waiting: list[Iterable[PendingFile]] = []
        held: list[PendingFile] = []
        for file in match_files(storage, config, on_error, on_ignored):
            modified_ms = max(modified_ms, file.modified_ms)
            listed_files += 1
            listed_bytes += file.size
            if len(held) == limit:
                output = resources.enter_context(tempfile.TemporaryFile())
                _put_aside(sorted(held), output)
                waiting.append(_read_back(output))
                held = []
            held.append(file)
        held.sort()
        in_order = heapq.merge(*waiting, held) if waiting else iter(held)
        while files := list(islice(in_order, limit if (most := wanted()) is None else min(limit, most))):
            size = sum(file.size for file in files)
            yield Page(len(files), size, files[-1].key, modified_ms, files, number, listed_files, listed_bytes)
            number += 1


def _put_aside(files: Sequence[PendingFile], output: IO[bytes]) -> None:
    for start in range(0, len(files), _PUT_ASIDE_AT_ONCE):
        pickle.dump(files[start : start + _PUT_ASIDE_AT_ONCE], output)


def _read_back(written: IO[bytes]) -> Iterator[PendingFile]:
    written.seek(0)
    with contextlib.suppress(EOFError):
        while True:
            yield from pickle.load(written)


_pages: dict[tuple[str, tuple[int, str]], Sequence[PendingFile]] = {}
"""Pages that were listed in this process, by the run and the key of their last file."""


@contextlib.contextmanager
def handed_over(config: IngestConfig, page: Page) -> Iterator[None]:
    """Within it, pipelines of this process take a page's files from here. Those of other processes list it again."""
    _pages[config.run_id, page.last] = page.members
    try:
        yield
    finally:
        del _pages[config.run_id, page.last]


def in_delivery_order(files: Iterable[PendingFile], first_ms: int, config: IngestConfig) -> Iterator[PendingFile]:
    """The files, oldest first, each with the `version_ms` that puts its rows behind those of the files before it."""
    size = months = 0
    month = ""
    for count, file in enumerate(sorted(files)):
        if month_of(file.timestamp_ms) != month:
            month = month_of(file.timestamp_ms)
            months += 1
        before_ms = delivery_ms(
            *(count, size, months),
            load_bytes=config.load_bytes,
            load_files=config.load_files,
            block_bytes=config.block_bytes,
            block_rows=config.block_rows,
        )
        yield replace(file, version_ms=first_ms + before_ms)
        size += file.size * (_EXPANSION if compression_of_name(file.path) else 1)


def handed_files(config: IngestConfig) -> Sequence[PendingFile] | None:
    """The files of the page that the configuration names, if it was handed over in this process."""
    return _pages.get((config.run_id, config.up_to)) if config.up_to else None
