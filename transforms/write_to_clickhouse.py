"""WriteToClickHouse: one synchronous insert a block, a few of them under way at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

import apache_beam as beam
import pyarrow.compute as pc
from apache_beam.utils.windowed_value import WindowedValue

from transforms.blocks.insert_block import insert_block
from transforms.blocks.receipts import read_receipts
from transforms.blocks.row_block import RowBlock
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE
from transforms.metrics import (
    BLOCKS_INSERTED,
    BLOCKS_PRESENT,
    INSERT_DURATION,
    INSERT_US,
    INSERT_WAIT_US,
    count_rejected,
    microseconds_since,
)
from transforms.parse_jsonl import ParsedLoad
from transforms.run import RunFn


@dataclass
class _OpenLoad:
    """A load whose blocks are being inserted by this worker."""

    present: dict[tuple[str, str], int] = field(default_factory=dict)
    """What the server had of it before, by (table, label)."""
    seen: set[tuple[str, str]] = field(default_factory=set)
    inserts: list[Future[tuple[bool, int]]] = field(default_factory=list)
    """Whether each has inserted something, and the microseconds that it took."""
    error: str = ""

    def collect(self) -> None:
        """Takes note of inserts that are done."""
        for insert in [insert for insert in self.inserts if insert.done()]:
            self.inserts.remove(insert)
            failure = insert.exception()
            if failure is None:
                inserted, took_us = insert.result()
                (BLOCKS_INSERTED if inserted else BLOCKS_PRESENT).add()
                INSERT_US.add(took_us)
                if inserted:
                    INSERT_DURATION.observe(took_us)
            elif not self.error:
                self.error = str(failure)


class _WriteBlocksFn(RunFn):
    """Inserts blocks in the background; a load's end is passed on once all its inserts are acknowledged.

    A load's end may come out with a later element or at the end of the bundle, so that the last inserts of one load
    overlap with the parsing of the next.
    """

    def setup(self) -> None:
        super().setup()
        self._pool = ThreadPoolExecutor(self.config.inserts_in_flight, thread_name_prefix="insert")

    def teardown(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        super().teardown()

    def start_bundle(self) -> None:
        self._open: dict[str, _OpenLoad] = {}
        self._ended: list[tuple[ParsedLoad, WindowedValue]] = []

    def process(
        self,
        element: RowBlock | ParsedLoad,
        timestamp: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[ParsedLoad]:
        if isinstance(element, RowBlock):
            self._write(element)
        else:
            self._ended.append((element, WindowedValue(None, timestamp, [window])))
        for ended in self._take_ended(keep=1):
            yield ended.value

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from self._take_ended(keep=0)

    def _write(self, block: RowBlock) -> None:
        load = self._open.get(block.load_id)
        if load is None:
            load = self._open[block.load_id] = self._begin(block)
        key = (block.table, block.label)
        load.seen.add(key)
        while self._under_way() >= self.config.inserts_in_flight:
            with INSERT_WAIT_US.timed():
                wait([insert for other in self._open.values() for insert in other.inserts], return_when=FIRST_COMPLETED)
            for other in self._open.values():
                other.collect()
        if block.table == REJECTED_TABLE:
            count_rejected(_fields(block))
        if not load.error:
            load.inserts.append(self._pool.submit(self._insert, block, key in load.present))

    def _under_way(self) -> int:
        return sum(len(load.inserts) for load in self._open.values())

    def _begin(self, block: RowBlock) -> _OpenLoad:
        try:
            # A load that was recorded just now is retried within the deduplication window, if at all.
            present = read_receipts(self.client, [block.load_id])[block.load_id] if block.resumed else {}
            return _OpenLoad(present=present)
        except ClickHouseError as error:
            return _OpenLoad(error=str(error))

    def _insert(self, block: RowBlock, acknowledged: bool) -> tuple[bool, int]:
        started = time.perf_counter()
        self.lease.check(block.load_id, block.attempt)
        inserted = insert_block(
            self.client,
            block,
            acknowledged=acknowledged,
            may_repeat=self.config.bundles_may_repeat,
            ttl_days=self.config.ttl_days,
        )
        return inserted, microseconds_since(started)

    def _take_ended(self, keep: int) -> Iterator[WindowedValue]:
        """The loads that ended and whose inserts are done; waits for them until at most `keep` are left under way."""
        while self._ended:
            parsed, place = self._ended[0]
            load = self._open.get(parsed.load.load_id, _OpenLoad())
            if len(self._ended) > keep and load.inserts:
                with INSERT_WAIT_US.timed():
                    wait(load.inserts)
            load.collect()
            if load.inserts:
                return
            self._ended.pop(0)
            self._open.pop(parsed.load.load_id, None)
            yield place.with_value(self._acknowledge(parsed, load))

    def _acknowledge(self, parsed: ParsedLoad, load: _OpenLoad) -> ParsedLoad:
        error = parsed.error or load.error
        if not error and not parsed.load.committed and set(parsed.blocks) != load.seen:
            error = f"{len(parsed.blocks)} blocks were parsed, but {len(load.seen)} came to be written here"
        return replace(parsed, error=error)


def _fields(block: RowBlock) -> dict[str, int]:
    """How many of the rejected lines have each field wrong: a reason begins with it."""
    reasons = pc.split_pattern(block.rows.column("reason"), ": ", max_splits=1)
    counted = pc.value_counts(pc.list_element(reasons, 0))
    return {entry["values"]: entry["counts"] for entry in counted.to_pylist()}


@dataclass(eq=False)
class WriteToClickHouse(beam.PTransform):  # type: ignore[misc]
    """Inserts blocks that the server does not have yet.

    Input: the `RowBlock`s of a load, then its `ParsedLoad`. An element of the output is the `ParsedLoad`, once every
    insert of the load is acknowledged, or one has failed for good (then with the error). Rows of inserts that may have been
    repeated are looked for in the table. A retry repeats inserts under the same deduplication tokens; for a load that may
    be older than those are remembered, the server is asked what it has of it, by receipts, and only what is missing is
    inserted.
    """

    config: IngestConfig

    def expand(self, blocks: beam.PCollection[RowBlock | ParsedLoad]) -> beam.PCollection[ParsedLoad]:
        return blocks | "InsertBlocks" >> beam.ParDo(_WriteBlocksFn(self.config)).with_output_types(ParsedLoad)
