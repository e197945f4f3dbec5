"""FinalizeFiles: commits loads whose rows are all acknowledged, then moves their files out of pending."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import apache_beam as beam

from transforms import report
from transforms.blocks.receipts import read_receipts
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE, TABLES
from transforms.loads import Load
from transforms.loads.log import LoadLog
from transforms.loads.rows import LoadCounts, SliceOutcome
from transforms.metrics import (
    EVENTS_BY_TYPE,
    EVENTS_EXPIRED,
    FILES_FAILED,
    FILES_LOADED,
    LINES_REJECTED,
    LOADS_COMMITTED,
    LOADS_FAILED,
)
from transforms.parse_jsonl import ParsedLoad
from transforms.run import RunFn
from transforms.storage import FileChanged, Storage, StorageError


@dataclass(frozen=True)
class LoadResult:
    """How a load ended in this run."""

    load_id: str
    event_type: str
    files: int
    counts: LoadCounts = field(default_factory=LoadCounts)
    moved: int = 0
    error: str = ""


def check_sums(parsed: ParsedLoad, receipts: dict[tuple[str, str], int]) -> str:
    """Why a load must not be committed; '' when every line is accounted for and the server has every block whole."""
    counts = parsed.counts
    if counts.lines != counts.inserted + counts.rejected:
        return f"{counts.lines} lines were read, but {counts.inserted} inserted and {counts.rejected} rejected"
    for (table, label), rows in parsed.blocks.items():
        there = receipts.get((table, label), 0)
        if there != rows:
            return f"block {label} of {table} has {rows} rows, but ClickHouse acknowledges {there}"
    return ""


def count_blocks(counts: LoadCounts, receipts: Mapping[tuple[str, str], int]) -> LoadCounts:
    """The counts of a load by the blocks that the server has of it, whichever attempt inserted them."""
    rows: Counter[str] = Counter()
    for (table, _), n in receipts.items():
        rows[table] += n
    events = {event_type: rows[table.table] for event_type, table in TABLES.items() if rows[table.table]}
    inserted, rejected = sum(events.values()), rows[REJECTED_TABLE]
    return replace(
        counts,
        lines=inserted + rejected,
        inserted=inserted,
        rejected=rejected,
        blocks=len(receipts),
        events=events,
    )


def move_files(
    load: Load, outcomes: Mapping[int, SliceOutcome], log: LoadLog, storage: Storage, *, delete: bool
) -> tuple[int, dict[str, str]]:
    """Moves (or deletes) the load's files that are loaded to their last byte.

    Returns how many left pending just now, and for those that could not, why. A file that other loads still have a part of, or
    have in the form that it was changed to, is left to the last of them. Safe to repeat: nothing is overwritten, and what
    moved before is recorded as moved, but not counted again.
    """
    files = {part.path: part for part in load.slices if part.position not in load.released}
    partial = {path: part.etag for path, part in files.items() if not part.whole}
    loaded = log.loaded_bytes(partial) if partial else {}
    moves: dict[str, str] = {}
    errors: dict[str, str] = {}
    changed: list[str] = []
    left = 0
    for path, part in files.items():
        if path in partial and loaded[path] < part.size:
            continue
        try:
            if delete:
                left += storage.delete(path, part.etag)
                moves[path] = ""
            else:
                moved = storage.move_to_processed(path, part.etag)
                moves[path] = moved.target
                left += moved.now
        except (OSError, StorageError) as error:
            errors[path] = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            if isinstance(error, FileChanged):
                changed.append(path)
    if changed:
        # What such a file holds now may be another load's since, which moves it in its turn.
        owned = log.ownership(changed)
        for path in changed:
            etag = storage.etag(path)
            if any(other.load_id != load.load_id and other.etag == etag for other in owned.get(path, [])):
                del errors[path]
    log.record_moves(load, outcomes, moves, errors)
    return left, errors


class _FinalizeFilesFn(RunFn):
    def process(self, parsed: ParsedLoad) -> Iterator[LoadResult]:
        for position, reason in parsed.released.items():
            report.fail(parsed.load.slices[position].path, reason)
        FILES_FAILED.add(len(parsed.released))
        try:
            yield self._finalize(parsed)
        except (ClickHouseError, OSError, StorageError) as error:
            yield self._failed(parsed, f"could not be recorded: {error}")

    def _finalize(self, parsed: ParsedLoad) -> LoadResult:
        load = parsed.load
        counts = replace(parsed.counts, duration_ms=int((time.time() - parsed.started) * 1000))
        error = ""
        if not load.committed:
            receipts = read_receipts(self.client, load.load_id)
            error = parsed.error or check_sums(parsed, receipts)
            # A worker that the runner has given up may go on, commit the load, and move its files from under this one.
            # What that one has recorded stays: it may have read what this one could not.
            if (error or load.released) and self.log.is_committed(load.load_id):
                load = self.log.read(load.load_id)
        if not load.committed:
            if error:
                self.log.fail(load, counts, error)
                return self._failed(parsed, error)
            counts = count_blocks(counts, receipts)
            self.log.commit(load, counts, parsed.outcomes)
            LOADS_COMMITTED.add()
            for event_type, rows in counts.events.items():
                EVENTS_BY_TYPE[event_type].add(rows)
            LINES_REJECTED.add(counts.rejected)
            EVENTS_EXPIRED.add(counts.expired)
        moved, errors = move_files(
            load, parsed.outcomes, self.log, self.storage, delete=self.config.delete_after_process
        )
        FILES_LOADED.add(moved)
        FILES_FAILED.add(len(errors))
        for path, reason in errors.items():
            report.fail(path, f"is loaded, but could not be moved: {reason}")
        if errors:
            self.log.keep_committed(load, f"{len(errors)} files could not be moved")
        else:
            self.log.finalize(load, None if load.committed or load.released else counts)
        return LoadResult(load.load_id, load.event_type, len(load.slices), counts, moved)

    def _failed(self, parsed: ParsedLoad, error: str) -> LoadResult:
        load = parsed.load
        LOADS_FAILED.add()
        FILES_FAILED.add(len(load.slices) - len(load.released))
        report.fail(f"load {load.load_id}", f"{load.describe()}: {error}")
        return LoadResult(load.load_id, load.event_type, len(load.slices), parsed.counts, error=error)


@dataclass(eq=False)
class FinalizeFiles(beam.PTransform):  # type: ignore[misc]
    """Commits loads in the load log and moves their files to `processed/` (or deletes them).

    Input: `ParsedLoad`s whose inserts are done. An element of the output is a `LoadResult`. A retry commits again, which
    changes nothing, and moves what is not moved yet; it never inserts.
    """

    config: IngestConfig

    def expand(self, loads: beam.PCollection[ParsedLoad]) -> beam.PCollection[LoadResult]:
        return loads | "CommitAndMove" >> beam.ParDo(_FinalizeFilesFn(self.config)).with_output_types(LoadResult)
