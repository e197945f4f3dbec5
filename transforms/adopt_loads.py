"""AdoptLoads: the unfinished loads of runs that are no more, so that they are finished exactly as they were recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import apache_beam as beam

from transforms import report
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig
from transforms.free_files import lost, under_way
from transforms.loads import Load
from transforms.loads.journal import Holding, Journal
from transforms.loads.log import LoadLog
from transforms.loads.rows import LoadRecord
from transforms.loads.runs import left_behind
from transforms.looks import Look, look_anew
from transforms.metrics import LOADS_ADOPTED
from transforms.run import RunFn

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

_AT_ONCE = 100
"""Loads taken up by one entry, whose slices are held in memory."""


def adopt_loads(journal: Journal, log: LoadLog, client: ClickHouse, run_id: str) -> Iterator[Load]:
    """Takes up every unfinished load of this input whose run does not live, as many with one entry as may be.

    A load that this run has adopted before is yielded again (the bundle was retried), one that failed in it is not.
    """
    done: set[str] = set()
    while True:
        tail = journal.look()
        again = [
            holding
            for holding in tail.unfinished.values()
            if holding.run_id == run_id and holding.attempt > 1 and holding.state != "failed"
            if holding.load_id not in done
        ][:_AT_ONCE]
        found = left_behind(tail, client, run_id)[:_AT_ONCE]
        if not again and not found:
            return
        yield from (replace(load, emitted_before=True) for load in _emit(again, log, done))
        if found:
            adopted = [replace(holding, attempt=holding.attempt + 1, run_id=run_id) for holding in found]
            loads = log.read(adopted)
            if journal.append(tail, loads):
                _write(loads, adopted, log)
                done.update(load.load_id for load in loads)
                yield from loads


def take_up_loads(stage: RunFn, look: Look) -> Iterator[Load]:
    """What one look of a streaming job takes up: loads of its own that nobody works on, and those of runs that do not live.

    Each is a new attempt, by an entry of the journal; of others' there are at most as many as may be under way.
    """
    config, done = stage.config, set[str]()
    room: int | None = None
    while True:
        tail = stage.journal.look()
        found = [holding for holding in lost(tail, config.run_id, anew=look.anew) if holding.load_id not in done]
        if room is None:
            room = config.loads_in_flight - (len(found) if look.anew else under_way(tail, config.run_id) + len(found))
        if not found and room > 0:
            found = left_behind(tail, stage.client, config.run_id)[:room]
            room -= len(found)
        if not found:
            return
        taken = [replace(holding, attempt=holding.attempt + 1, run_id=config.run_id) for holding in found[:_AT_ONCE]]
        loads = stage.log.read(taken)
        if stage.journal.append(tail, loads):
            _write(loads, taken, stage.log)
            done.update(load.load_id for load in loads)
            yield from loads


def _emit(holdings: Sequence[Holding], log: LoadLog, done: set[str]) -> list[Load]:
    done.update(holding.load_id for holding in holdings)
    return log.read(holdings)


def _write(loads: Sequence[Load], holdings: Sequence[Holding], log: LoadLog) -> None:
    """Writes into the history who has the loads now; committed ones keep their counts."""
    log.write_loads(LoadRecord(load, "assigned") for load in loads if not load.committed)
    committed = [holding for holding in holdings if holding.state in ("committed", "finalized")]
    log.copy_loads(
        {holding.load_id: "committed" for holding in committed},
        {},
        {holding.load_id: holding.attempt for holding in committed},
    )


class _AdoptLoadsFn(RunFn):
    def process(self, look: Look) -> Iterator[Load]:
        try:
            for load in self._loads(look):
                LOADS_ADOPTED.add()
                yield load
        except ClickHouseError as error:
            report.fail(self.config.input, f"what earlier runs left could not be taken up: {error}")
            look_anew(self.config.run_id)

    def _loads(self, look: Look) -> Iterator[Load]:
        if self.config.streaming:
            return take_up_loads(self, look)
        return adopt_loads(self.journal, self.log, self.client, self.config.run_id)


@dataclass(eq=False)
class AdoptLoads(beam.PTransform):  # type: ignore[misc]
    """Takes up unfinished loads.

    Input: `Look`s. An element of the output is a `Load` that is recorded as this run's: one of a run that does not live any
    more, and in a streaming job one of its own that failed or was lost with a worker, too. A retry may emit a load
    again; inserting and finalizing it twice changes nothing.
    """

    config: IngestConfig

    def expand(self, looks: beam.PCollection[Look]) -> beam.PCollection[Load]:
        return looks | "TakeUp" >> beam.ParDo(_AdoptLoadsFn(self.config))
