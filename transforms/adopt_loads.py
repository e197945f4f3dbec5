"""AdoptLoads: the unfinished loads of runs that are no more, so that they are finished exactly as they were recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from transforms.config import IngestConfig
from transforms.loads import Load
from transforms.loads.log import LoadLog
from transforms.metrics import LOADS_ADOPTED
from transforms.run import RunFn
from transforms.storage import Storage


def adopt_loads(log: LoadLog, storage: Storage, run_id: str) -> Iterator[Load]:
    """Takes up every unfinished load of this input whose run does not live, one at a time.

    A load that this run has adopted before is yielded again (the bundle was retried), one that failed in it is not.
    """
    for found in log.unfinished():
        with storage.exclusive(found.shard):
            # Another run may have got ahead of us between the list and the lock.
            current = log.state(found.load_id)
            if current.state == "finalized":
                continue
            if current.run_id == run_id:
                if current.attempt == 1 or current.state == "failed":
                    continue  # recorded and emitted by this run's RecordLoads, or tried already
                load = log.read(found.load_id)
            else:
                if storage.is_held(current.run_id):
                    continue
                load = log.read(found.load_id)
                load = replace(load, attempt=load.attempt + 1)
                log.adopt(load)
        yield load


class _AdoptLoadsFn(RunFn):
    def process(self, _: Any) -> Iterator[Load]:
        for load in adopt_loads(self.log, self.storage, self.config.run_id):
            LOADS_ADOPTED.add()
            yield load


@dataclass(eq=False)
class AdoptLoads(beam.PTransform):  # type: ignore[misc]
    """Takes up unfinished loads.

    Input: one element of any value. An element of the output is a `Load` that is recorded as this run's. A retry may emit
    a load again; inserting and finalizing it twice changes nothing.
    """

    config: IngestConfig

    def expand(self, start: beam.PCollection[Any]) -> beam.PCollection[Load]:
        return start | "TakeUp" >> beam.ParDo(_AdoptLoadsFn(self.config))
