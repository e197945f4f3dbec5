"""MatchFiles: the pending files below the input directory, oldest first."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from transforms import report
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig, month_of
from transforms.loads import delivery_ms
from transforms.metrics import FILES_MATCHED
from transforms.run import RunFn
from transforms.storage import PendingFile, Storage


@dataclass(frozen=True, slots=True)
class Page:
    """Some pending files in order of age: how many, how large, and the key of the last one."""

    files: int
    bytes: int
    last: tuple[int, str]


def match_files(storage: Storage, config: IngestConfig, on_error: Callable[[str, str], None]) -> Iterator[PendingFile]:
    """Pending files that the configuration selects, in no particular order."""
    now_ms = time.time() * 1000
    modified_until_ms = now_ms - config.min_file_age_s * 1000
    if config.modified_until_ms is not None:
        modified_until_ms = min(modified_until_ms, config.modified_until_ms)
    for file in storage.list_pending(config.event_types, config.project_id, on_error):
        if (
            file.modified_ms <= modified_until_ms
            and (config.since_ms is None or file.timestamp_ms >= config.since_ms)
            and (config.until_ms is None or file.timestamp_ms < config.until_ms)
            and (config.after is None or file.key > config.after)
            and (config.up_to is None or file.key <= config.up_to)
        ):
            yield file


def next_page(storage: Storage, config: IngestConfig, limit: int, on_error: Callable[[str, str], None]) -> Page | None:
    """The next at most `limit` files after `config.after`; None when there are none. Holds `limit` files in memory."""
    files = heapq.nsmallest(limit, match_files(storage, config, on_error))
    if not files:
        return None
    return Page(files=len(files), bytes=sum(file.size for file in files), last=files[-1].key)


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
        try:
            first_ms = max(int(time.time() * 1000), self.log.versions_end_ms())
        except ClickHouseError as error:
            report.fail(self.config.input, f"its files could not be taken up: {error}")
            return
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
