"""What all stages in a process share: the client, what is held of files, and the sign of life of the run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig
from transforms.loads.journal import Journal
from transforms.loads.runs import Lease, held_here
from transforms.storage.open_files import OpenFiles

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass
class _Shared(Generic[Value]):
    """Something that several stages of this process use, and how many of them do."""

    value: Value
    close: Callable[[], None]
    users: int = 0


_lock = threading.Lock()
_clients: dict[ClickHouseConfig, _Shared[ClickHouse]] = {}
_files: dict[None, _Shared[OpenFiles]] = {}
_leases: dict[tuple[str, ClickHouseConfig], _Shared[Lease]] = {}


@contextlib.contextmanager
def _use(shared: dict[Key, _Shared[Value]], key: Key, make: Callable[[], _Shared[Value]]) -> Iterator[Value]:
    """The one thing of a key in this process, made for its first user and closed with its last."""
    with _lock:
        if key not in shared:
            shared[key] = make()
        used = shared[key]
        used.users += 1
    try:
        yield used.value
    finally:
        with _lock:
            used.users -= 1
            if not used.users:
                del shared[key]
                used.close()


def shared_client(config: ClickHouseConfig) -> contextlib.AbstractContextManager[ClickHouse]:
    """The client that all of this process use, closed with its last user. Blocks; raises ClickHouseError."""

    def connect() -> _Shared[ClickHouse]:
        client = config.connect()
        return _Shared(client, client.close)

    return _use(_clients, config, connect)


def lent_client(client: ClickHouse) -> contextlib.AbstractContextManager[ClickHouse]:
    """Makes a client that is open anyway the one that the stages in this process use. It is not closed here."""
    return _use(_clients, client.config, lambda: _Shared(client, lambda: None))


def shared_files() -> contextlib.AbstractContextManager[OpenFiles]:
    """What this process holds of files that it reads, let go of with its last user."""

    def begin() -> _Shared[OpenFiles]:
        files = OpenFiles()
        return _Shared(files, files.close)

    return _use(_files, None, begin)


def shared_lease(
    config: IngestConfig, client: ClickHouse, journal: Journal
) -> contextlib.AbstractContextManager[Lease]:
    """The sign of life of a run from this process, given up with its last user. Raises ClickHouseError."""

    def begin() -> _Shared[Lease]:
        with contextlib.ExitStack() as resources:
            resources.enter_context(held_here(config.run_id))
            lease = Lease(
                client, run_id=config.run_id, input=config.name, lease_s=config.lease_s, holder=journal.holder
            )
            lease.start()
            resources.callback(lease.end)
            return _Shared(lease, resources.pop_all().close)

    return _use(_leases, (config.run_id, config.clickhouse), begin)
