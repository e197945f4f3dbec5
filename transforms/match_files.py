"""MatchFiles: the pending files below the input directory, oldest first."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import apache_beam as beam

from transforms import report
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig
from transforms.free_files import fitting, free_files, is_worth_a_load, lost, under_way
from transforms.listing import handed_files, in_delivery_order, list_pages, match_files
from transforms.loads.journal import Tail
from transforms.loads.runs import left_behind
from transforms.looks import Look
from transforms.metrics import FILES_MATCHED
from transforms.run import RunFn
from transforms.storage import PendingFile, StorageError
from transforms.storage.overlap import overlapped

_PAGE_FILES = 20_000
"""Files that the load log is asked about at once, and that are held in memory."""


class _MatchFilesFn(RunFn):
    def process(self, _: Look) -> Iterator[PendingFile]:
        first_ms = self.config.first_version_ms
        if first_ms is None:
            first_ms = int(time.time() * 1000)
        for file in in_delivery_order(self._files(), first_ms, self.config):
            FILES_MATCHED.add()
            yield file

    def _files(self) -> Iterable[PendingFile]:
        config = self.config
        handed = handed_files(config)
        if handed is None:
            # What cannot be listed was told by the launcher's own listing already; here it is left for a later run.
            return match_files(self.storage, config, lambda path, reason: None)
        if config.after is None:
            return handed
        # The pages before took their time: what has changed since the listing is for the next one.
        etags = overlapped(self.storage.etag, [file.path for file in handed], self.storage.files_at_once)
        return [file for file, etag in zip(handed, etags, strict=True) if etag == file.etag]


class _MatchFreeFilesFn(RunFn):
    """For a streaming job, whose looks come while what earlier ones have found is still being loaded."""

    def process(self, _: Look) -> Iterator[PendingFile]:
        report.clear()  # what this look does not say again is over
        now_ms = time.time() * 1000
        try:
            tail = self.journal.look()
            files = self._files(tail)
        except (ClickHouseError, StorageError, OSError) as error:
            report.fail(self.config.input, f"could not be looked at, the next look tries again: {error}")
            return
        if is_worth_a_load(files, self.config, now_ms):
            for file in in_delivery_order(files, max(int(now_ms), tail.versions_end_ms), self.config):
                FILES_MATCHED.add()
                yield file

    def _files(self, tail: Tail) -> list[PendingFile]:
        """The oldest files that there is room for. Lists nothing when there is none."""
        config = self.config
        # What AdoptLoads takes up, or has taken up, in the same look comes first.
        first = [*lost(tail, config.run_id, anew=False), *left_behind(tail, self.client, config.run_id)]
        room = config.loads_in_flight - under_way(tail, config.run_id) - len(first)
        found: list[PendingFile] = []
        taken: list[PendingFile] = []
        if room > 0:
            with closing(list_pages(self.storage, config, _PAGE_FILES, report.fail)) as pages:
                for page in pages:
                    known = self.log.files([file.path for file in page.members])
                    found += free_files(page.members, known, tail)
                    taken = fitting(found, room, config)
                    if len(taken) < len(found):
                        break
        return taken


@dataclass(eq=False)
class MatchFiles(beam.PTransform):  # type: ignore[misc]
    """The pending files of one page, oldest first: as the launcher has listed them, or on other machines by a listing.

    In a streaming job, those that no load under way has, and no more than may be under way at once.

    Input: `Look`s. An element of the output is a `PendingFile`. A retry may list again and see other files; nothing rests
    on the listing, since RecordLoads asks the load log about each file.
    """

    config: IngestConfig

    def expand(self, looks: beam.PCollection[Look]) -> beam.PCollection[PendingFile]:
        fn = _MatchFreeFilesFn if self.config.streaming else _MatchFilesFn
        return looks | "ListPending" >> beam.ParDo(fn(self.config)).with_output_types(PendingFile)
