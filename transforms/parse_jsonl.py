"""ParseJsonl: a load's lines become blocks of rows, one table and one month each, and rejected rows."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from transforms import interrupt
from transforms.blocks.resume import without_present
from transforms.blocks.row_block import RowBlock, cut_blocks
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE, TABLES, LineSource
from transforms.events.parsing import ChunkParser, ParsedChunk
from transforms.loads import Load, Slice
from transforms.loads.lines import RangeLines, line_number, read_lines
from transforms.loads.rows import LoadCounts, SliceOutcome
from transforms.metrics import BYTES_READ, LINES_READ
from transforms.run import RunFn
from transforms.storage import StorageError

_log = logging.getLogger(__name__)
_DAY_MS = 86_400_000
_RETRIED_AFTER_MS = 600_000
"""A load that was recorded longer ago than this has perhaps been tried before, by a bundle that the runner retries."""


class LoadFailed(Exception):
    """A load that cannot be finished now. Its files stay pending, owned by it, for a later run."""


@dataclass(frozen=True)
class ParsedLoad:
    """Comes after the last block of a load: what the blocks before it must add up to, or why it failed."""

    load: Load
    counts: LoadCounts = field(default_factory=LoadCounts)
    blocks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Rows by (table, label)."""
    outcomes: Mapping[int, SliceOutcome] = field(default_factory=dict)
    """By the slice's position."""
    released: Mapping[int, str] = field(default_factory=dict)
    """Slices that were given back while it was parsed, with the reason."""
    error: str = ""
    started: float = 0.0
    """time.time() when its first chunk was read."""


class LoadParser:
    """Parses one load, chunk by chunk. Iterating yields its blocks; then `result()` tells what they add up to."""

    def __init__(self, load: Load, stage: RunFn) -> None:
        self.load = load
        self._config = stage.config
        self._storage = stage.storage
        self._log = stage.log
        self._client = stage.client
        self._started = time.time()
        self._resumed = load.attempt > 1 or self._started * 1000 - load.created_ms > _RETRIED_AFTER_MS
        self._lines: Counter[int] = Counter()
        self._rejected: Counter[int] = Counter()
        self._digests: dict[int, xxhash.xxh3_128] = {}
        self._events: Counter[str] = Counter()
        self._blocks: dict[tuple[str, str], int] = {}
        self._released: dict[int, str] = {}
        self._present: Counter[str] = Counter()
        self._expired = 0

    def __iter__(self) -> Iterator[RowBlock]:
        next_ms = self.load.created_ms
        for number, chunk in enumerate(self.load.chunks()):
            ingested_at_ms, next_ms = next_ms, next_ms + self.load.chunk_ms(chunk)
            pieces = self._read([part for part in chunk if part.position not in self.load.released])
            parsed = self._parse(chunk, pieces)
            self._check_rejected()
            self._count_expired(parsed)
            suffix = ""
            if len(pieces) < len(chunk):
                # Without all its files the chunk cannot be cut into the blocks that an earlier attempt may have inserted.
                remainder = without_present(self._client, self.load.load_id, number, parsed)
                parsed, suffix = remainder.parsed, f"-{self.load.attempt}"
                ingested_at_ms = next_ms - 1
                self._present.update(remainder.present)
            for block in cut_blocks(
                self.load.load_id,
                number,
                parsed,
                ingested_at_ms=ingested_at_ms,
                block_rows=self.load.block_rows,
                resumed=self._resumed,
                suffix=suffix,
            ):
                self._blocks[block.table, block.label] = block.num_rows
                yield block
            for (event_type, _), rows in parsed.rows.items():
                self._events[event_type] += rows.num_rows

    def result(self, error: str = "") -> ParsedLoad:
        """What was parsed so far, with the reason when that is not everything."""
        rejected = sum(rows for (table, _), rows in self._blocks.items() if table == REJECTED_TABLE)
        present_events = sum(rows for event_type, rows in self._present.items() if event_type)
        positions = [part.position for part in self.load.slices if part.position not in self.load.released]
        return ParsedLoad(
            load=self.load,
            counts=LoadCounts(
                lines=sum(self._lines.values()),
                inserted=sum(self._blocks.values()) - rejected + present_events,
                rejected=rejected + self._present[""],
                expired=self._expired,
                blocks=len(self._blocks),
                events={
                    name: self._events[name] + self._present[name]
                    for name in TABLES
                    if self._events[name] + self._present[name]
                },
            ),
            blocks=self._blocks,
            outcomes={
                position: SliceOutcome(
                    lines=self._lines[position],
                    rejected=self._rejected[position],
                    digest=self._digests[position].hexdigest() if position in self._digests else "",
                )
                for position in positions
            },
            released=self._released,
            error=error,
            started=self._started,
        )

    def _read(self, members: Sequence[Slice]) -> list[tuple[Slice, RangeLines]]:
        """The lines of a chunk's slices. A slice that cannot be read is given back before anything without it is inserted."""
        pieces = []
        failed: dict[int, str] = {}
        for part in members:
            try:
                pieces.append((part, read_lines(self._storage, part, self._config.max_held_line_bytes)))
            except (OSError, StorageError) as error:
                failed[part.position] = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        if failed:
            if self._log.is_committed(self.load.load_id):
                raise LoadFailed("it was committed by another worker while it was read, and its files were moved")
            self._log.release(self.load, failed)
            self.load = replace(self.load, released=self.load.released | set(failed))
            self._released.update(failed)
        for part, piece in pieces:
            self._digests.setdefault(part.position, xxhash.xxh3_128()).update(piece.raw)
            BYTES_READ.add(len(piece.raw))
        return pieces

    def _parse(self, chunk: Sequence[Slice], pieces: Sequence[tuple[Slice, RangeLines]]) -> ParsedChunk:
        # By the recorded ranges, so that a row keeps its place when the chunk has lost a file.
        begins = dict(zip(chunk, accumulate((part.length for part in chunk), initial=0), strict=False))
        sequence = [begins[part] + piece.offset - part.start for part, piece in pieces]
        parsed = self._parse_once(pieces, [1] * len(pieces), sequence, count=True)
        if parsed.rejected is None or all(piece.offset == 0 for _, piece in pieces):
            return parsed
        # Only rejected lines need their number, and only in a large file is it not known from the chunk itself.
        numbers = [line_number(self._storage, part.path, piece.offset) for part, piece in pieces]
        return self._parse_once(pieces, numbers, sequence, count=False)

    def _parse_once(
        self,
        pieces: Sequence[tuple[Slice, RangeLines]],
        line_numbers: Sequence[int],
        sequence: Sequence[int],
        *,
        count: bool,
    ) -> ParsedChunk:
        parser = ChunkParser(self._config.max_line_bytes)
        for (part, piece), number, first in zip(pieces, line_numbers, sequence, strict=True):
            source = LineSource(
                path=part.path,
                event_type=self.load.event_type,
                project_id=part.project_id,
                recorded_at_ms=part.timestamp_ms,
                offset=piece.offset,
                line=number,
                sequence=first,
            )
            added = parser.add(piece.data, source)
            if count:
                self._lines[part.position] += added.lines
                LINES_READ.add(added.lines)
        parsed = parser.finish()
        if count and parsed.rejected is not None:
            by_path = {part.path: part.position for part, _ in pieces}
            for path, rejected in Counter(parsed.rejected.column("file").to_pylist()).items():
                self._rejected[by_path[path]] += rejected
        return parsed

    def _check_rejected(self) -> None:
        rejected, lines = sum(self._rejected.values()), sum(self._lines.values())
        limit, ratio = self._config.max_rejected, self._config.max_rejected_ratio
        if (limit is not None and rejected > limit) or (lines and rejected / lines > ratio):
            option = (
                f"--max_rejected={limit}" if limit is not None and rejected > limit else f"--max_rejected_ratio={ratio}"
            )
            worst = max(self._rejected, key=lambda position: self._rejected[position])
            raise LoadFailed(
                f"{rejected} of {lines} lines are bad, more than {option} allows; most of them in "
                f"{self.load.slices[worst].path} ({self._rejected[worst]} bad lines)"
            )

    def _count_expired(self, parsed: ParsedChunk) -> None:
        for (event_type, _), rows in parsed.rows.items():
            days = self._config.ttl_days.get(event_type)
            if days:
                cutoff = pa.scalar(int(self._started * 1000) - days * _DAY_MS, pa.int64())
                times = rows.column(TABLES[event_type].time_column).cast(pa.int64())
                self._expired += pc.sum(pc.less(times, cutoff)).as_py() or 0


class _ParseJsonlFn(RunFn):
    def process(self, load: Load) -> Iterator[RowBlock | ParsedLoad]:
        parser, error, is_left = LoadParser(load, self), "", False
        try:
            # A runner may retry a bundle after the load was committed and some of its files were moved.
            if load.committed or self.log.is_committed(load.load_id):
                # As it is now: another worker may have given back a file that is not to be moved.
                parser.load = self.log.read(load.load_id)
            elif interrupt.requested.is_set():
                is_left = True  # it stays recorded as it is, and the next run takes it up
            else:
                yield from parser
        except Exception as caught:  # one bad load never blocks the others
            expected = isinstance(caught, (LoadFailed, StorageError, OSError, ClickHouseError))
            error = str(caught) if expected else repr(caught)
            _log.debug("%s", load.describe(), exc_info=caught)
        if not is_left:
            yield parser.result(error)


@dataclass(eq=False)
class ParseJsonl(beam.PTransform):  # type: ignore[misc]
    """Reads and parses loads.

    Input: recorded `Load`s. Elements of the output, for each load: its `RowBlock`s, then one `ParsedLoad` that says what
    they add up to. A retry yields the same blocks with the same content, or
    none when the load was committed meanwhile. Holds one chunk in memory at a time.
    """

    config: IngestConfig

    def expand(self, loads: beam.PCollection[Load]) -> beam.PCollection[RowBlock | ParsedLoad]:
        return loads | "ParseLoads" >> beam.ParDo(_ParseJsonlFn(self.config)).with_output_types(object)
