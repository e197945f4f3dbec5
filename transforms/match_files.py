"""MatchFiles: the pending files below the input directory, oldest first."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from transforms.config import IngestConfig, month_of
from transforms.events import EVENT_TYPES
from transforms.loads import delivery_ms
from transforms.metrics import FILES_MATCHED
from transforms.run import RunFn
from transforms.storage import PendingFile, Storage, name_timestamp_ms
from transforms.storage.ignored_files import IgnoredFile, IgnoreReason


@dataclass(frozen=True, slots=True)
class Page:
    """Some pending files in order of age: how many, how large, and the key of the last one."""

    files: int
    bytes: int
    last: tuple[int, str]
    modified_ms: int = 0
    """When the file was last modified that was modified last of all that were found, these and those behind them."""


def match_files(
    storage: Storage,
    config: IngestConfig,
    on_error: Callable[[str, str], None],
    on_ignored: Callable[[IgnoredFile], None] | None = None,
) -> Iterator[PendingFile]:
    """Pending files that the configuration selects, in no particular order.

    `on_ignored` hears of files that are not loaded although they may be meant: none that the configuration leaves out.
    """
    others = tuple(event_type for event_type in EVENT_TYPES if event_type not in config.event_types)
    ignored = _only_in_range(config, on_ignored) if on_ignored else None
    now_ms = time.time() * 1000 if config.looked_at_ms is None else config.looked_at_ms
    for file in storage.list_pending(config.event_types, config.project_id, on_error, ignored, other_types=others):
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


def next_page(
    storage: Storage,
    config: IngestConfig,
    limit: int,
    on_error: Callable[[str, str], None],
    on_ignored: Callable[[IgnoredFile], None] | None = None,
) -> Page | None:
    """The next at most `limit` files after `config.after`; None when there are none. Holds `limit` files in memory."""
    modified_ms = 0

    def noting_times() -> Iterator[PendingFile]:
        nonlocal modified_ms
        for file in match_files(storage, config, on_error, on_ignored):
            modified_ms = max(modified_ms, file.modified_ms)
            yield file

    files = heapq.nsmallest(limit, noting_times())
    if not files:
        return None
    return Page(files=len(files), bytes=sum(file.size for file in files), last=files[-1].key, modified_ms=modified_ms)


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
        size += file.size


class _MatchFilesFn(RunFn):
    def process(self, _: Any) -> Iterator[PendingFile]:
        first_ms = self.config.first_version_ms
        if first_ms is None:
            first_ms = int(time.time() * 1000)
        # What cannot be listed was told by the launcher's own listing already; here it is left for a later run.
        files = match_files(self.storage, self.config, lambda path, reason: None)
        for file in in_delivery_order(files, first_ms, self.config):
            FILES_MATCHED.add()
            yield file


@dataclass(eq=False)
class MatchFiles(beam.PTransform):  # type: ignore[misc]
    """Lists pending files once, oldest first.

    Input: one element of any value. An element of the output is a `PendingFile`. A retry lists again and may see other
    files; nothing rests on the listing, since RecordLoads asks the load log about each file.
    """

    config: IngestConfig

    def expand(self, start: beam.PCollection[Any]) -> beam.PCollection[PendingFile]:
        return start | "ListPending" >> beam.ParDo(_MatchFilesFn(self.config))
