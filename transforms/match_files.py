"""MatchFiles: the pending files below the input directory, oldest first."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from transforms.config import IngestConfig
from transforms.listing import handed_files, in_delivery_order, match_files
from transforms.metrics import FILES_MATCHED
from transforms.run import RunFn
from transforms.storage import PendingFile
from transforms.storage.overlap import overlapped


class _MatchFilesFn(RunFn):
    def process(self, _: Any) -> Iterator[PendingFile]:
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


@dataclass(eq=False)
class MatchFiles(beam.PTransform):  # type: ignore[misc]
    """The pending files of one page, oldest first: as the launcher has listed them, or on other machines by a listing.

    Input: one element of any value. An element of the output is a `PendingFile`. A retry may list again and see other
    files; nothing rests on the listing, since RecordLoads asks the load log about each file.
    """

    config: IngestConfig

    def expand(self, start: beam.PCollection[Any]) -> beam.PCollection[PendingFile]:
        return start | "ListPending" >> beam.ParDo(_MatchFilesFn(self.config))
