"""What the stages that touch the outside have in common: a client, the storage, and the sign that the run lives."""

from __future__ import annotations

import contextlib

import apache_beam as beam

from transforms.clickhouse import ClickHouse
from transforms.config import IngestConfig
from transforms.loads.log import LoadLog
from transforms.storage import Storage, open_storage


class RunFn(beam.DoFn):  # type: ignore[misc]
    """A DoFn with a ClickHouse client, the load log and the storage, opened in `setup` on the worker.

    While it is set up, the run counts as alive, so that no other run takes up its loads.
    """

    client: ClickHouse
    log: LoadLog
    storage: Storage

    def __init__(self, config: IngestConfig) -> None:
        self.config = config

    def setup(self) -> None:
        self._resources = contextlib.ExitStack()
        self.storage = open_storage(self.config.input)
        self._resources.enter_context(self.storage.hold(self.config.run_id))
        self.client = self._resources.enter_context(self.config.connect())
        self.log = self.config.load_log(self.client)

    def teardown(self) -> None:
        self._resources.close()
