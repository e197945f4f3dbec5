"""What a LoadParser needs of its stage, without a database: no block is in a table, and what is given back is noted."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig
from transforms.loads import Load
from transforms.run import RunFn, contents_of
from transforms.storage.local import LocalStorage


@dataclass
class Log:
    """The load log, as far as a parser needs it."""

    root: str
    released: list[Mapping[int, str]] = field(default_factory=list)
    own_faults: set[int] = field(default_factory=set)
    """Positions of released slices that failed by the fault of their files."""
    committed: bool = False

    def within(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def is_committed(self, load_id: str) -> bool:
        return self.committed

    def release(
        self, load: Load, released: Mapping[int, str], partly_inserted: Container[int], own_faults: Container[int]
    ) -> None:
        assert not partly_inserted
        self.released.append(released)
        self.own_faults |= {position for position in released if position in own_faults}


def stage_of(log: Log, **options: Any) -> RunFn:
    config = IngestConfig(log.root, ClickHouseConfig(url="http://nowhere"), **options)
    lease = SimpleNamespace(check=lambda load_id, attempt: None)
    storage = LocalStorage(log.root)
    contents = contents_of(storage, config)
    stage = SimpleNamespace(config=config, storage=storage, contents=contents, log=log, client=None, lease=lease)
    return cast(RunFn, stage)
