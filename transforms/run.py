"""What the stages that touch the outside have in common: a client, the journal, the load log, the storage, and the lease."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam

from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.config import IngestConfig
from transforms.loads.journal import Journal
from transforms.loads.log import LoadLog
from transforms.loads.runs import Lease, held_here
from transforms.storage import Storage, open_storage


@dataclass
class _Shared:
    """Something that several stages of this process use, and how many of them do."""

    value: object
    resources: contextlib.ExitStack
    users: int = 0


_lock = threading.Lock()
_clients: dict[ClickHouseConfig, _Shared] = {}
_runs: dict[tuple[str, ClickHouseConfig], _Shared] = {}


@contextlib.contextmanager
def shared_client(config: ClickHouseConfig) -> Iterator[ClickHouse]:
    """The client that all of this process use, closed with its last user. Blocks; raises ClickHouseError."""
    with _lock:
        shared = _clients.get(config)
        if shared is None:
            resources = contextlib.ExitStack()
            shared = _clients[config] = _Shared(resources.enter_context(config.connect()), resources)
        shared.users += 1
    try:
        assert isinstance(shared.value, ClickHouse)
        yield shared.value
    finally:
        with _lock:
            shared.users -= 1
            if not shared.users:
                del _clients[config]
                shared.resources.close()


@contextlib.contextmanager
def lent_client(client: ClickHouse) -> Iterator[None]:
    """Makes a client that is open anyway the one that the stages in this process use. It is not closed here."""
    with _lock:
        shared = _clients.setdefault(client.config, _Shared(client, contextlib.ExitStack()))
        shared.users += 1
    try:
        yield
    finally:
        with _lock:
            shared.users -= 1
            if not shared.users:
                del _clients[client.config]
                shared.resources.close()


@contextlib.contextmanager
def shared_lease(config: IngestConfig, client: ClickHouse, journal: Journal) -> Iterator[Lease]:
    """The sign of life of a run from this process, given up with its last user. Raises ClickHouseError."""
    key = (config.run_id, config.clickhouse)
    with _lock:
        shared = _runs.get(key)
        if shared is None:
            resources = contextlib.ExitStack()
            resources.enter_context(held_here(config.run_id))
            lease = Lease(
                client, run_id=config.run_id, input=config.name, lease_s=config.lease_s, holder=journal.holder
            )
            lease.start()
            resources.callback(lease.end)
            shared = _runs[key] = _Shared(lease, resources)
        shared.users += 1
    try:
        assert isinstance(shared.value, Lease)
        yield shared.value
    finally:
        with _lock:
            shared.users -= 1
            if not shared.users:
                del _runs[key]
                shared.resources.close()


class RunFn(beam.DoFn):  # type: ignore[misc]
    """A DoFn with all that is outside of it, opened in `setup` on the worker.

    While it is set up, the run counts as alive, so that no other run takes up its loads.
    """

    client: ClickHouse
    journal: Journal
    log: LoadLog
    lease: Lease
    storage: Storage

    def __init__(self, config: IngestConfig) -> None:
        self.config = config

    def setup(self) -> None:
        self._resources = contextlib.ExitStack()
        self.storage = open_storage(self.config.input)
        self.client = self._resources.enter_context(shared_client(self.config.clickhouse))
        self.journal = self.config.journal(self.client)
        self.log = self.config.load_log(self.client)
        self.lease = self._resources.enter_context(shared_lease(self.config, self.client, self.journal))

    def teardown(self) -> None:
        self._resources.close()
