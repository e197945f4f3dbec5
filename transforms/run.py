"""What the stages that touch the outside have in common: a client, the journal, the load log, the storage, and the lease."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import apache_beam as beam

from transforms.config import IngestConfig
from transforms.loads.journal import Journal
from transforms.loads.log import LoadLog
from transforms.loads.runs import Lease
from transforms.resources import shared_client, shared_files, shared_lease
from transforms.storage import Storage, open_storage
from transforms.storage.contents import Contents
from transforms.storage.open_files import OpenFiles

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse


class RunFn(beam.DoFn):  # type: ignore[misc]
    """A DoFn with all that is outside of it, opened in `setup` on the worker.

    While it is set up, the run counts as alive, so that no other run takes up its loads.
    """

    client: ClickHouse
    journal: Journal
    log: LoadLog
    lease: Lease
    storage: Storage
    contents: Contents

    def __init__(self, config: IngestConfig) -> None:
        self.config = config

    def setup(self) -> None:
        self._resources = contextlib.ExitStack()
        self.storage = open_storage(self.config.input)
        files = self._resources.enter_context(shared_files())
        self.contents = contents_of(self.storage, self.config, files)
        self.client = self._resources.enter_context(shared_client(self.config.clickhouse))
        self.journal = self.config.journal(self.client)
        self.log = self.config.load_log(self.client)
        self.lease = self._resources.enter_context(shared_lease(self.config, self.client, self.journal))

    def teardown(self) -> None:
        self._resources.close()


def contents_of(storage: Storage, config: IngestConfig, files: OpenFiles | None = None) -> Contents:
    """What the files of an input hold, as its loads are cut and its lines are read."""
    return Contents(
        storage,
        files,
        lines_apart=config.load_bytes,
        longest_line=config.max_held_line_bytes + config.block_bytes,
    )
