"""MatchFiles: the pending files below the input directory, oldest first."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from transforms.config import IngestConfig
from transforms.metrics import FILES_MATCHED
from transforms.storage import PendingFile, Storage, open_storage


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


class _MatchFilesFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, config: IngestConfig) -> None:
        self._config = config

    def process(self, _: Any) -> Iterator[PendingFile]:
        # What cannot be listed was told by the launcher's own listing already; here it is left for a later run.
        files = sorted(match_files(open_storage(self._config.input), self._config, lambda path, reason: None))
        FILES_MATCHED.add(len(files))
        yield from files


@dataclass(eq=False)
class MatchFiles(beam.PTransform):  # type: ignore[misc]
    """Lists pending files once, oldest first.

    Input: one element of any value. An element of the output is a `PendingFile`. A retry lists again and may see other
    files; nothing rests on the listing, since RecordLoads asks the load log about each file.
    """

    config: IngestConfig

    def expand(self, start: beam.PCollection[Any]) -> beam.PCollection[PendingFile]:
        return start | "ListPending" >> beam.ParDo(_MatchFilesFn(self.config))
