"""Parses one load chunk by chunk, and says of each of its slices how far it came.

What a chunk holds is told by its content, not by the time or the inode of its files: the labels of blocks carry a digest of
the lines that they were cut from. So whoever takes the load up sees which chunks are in the tables as they are in the
files now, whether those were touched, have grown, or were away. What has been inserted stays the load's; a slice whose
file cannot be read on ends where it was read to, and the rest of it is for a later load.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from transforms.blocks.inserted_before import Blocks, InsertedBefore, chunk_of
from transforms.blocks.resume import Resumption, Rows
from transforms.blocks.row_block import RowBlock, cut_blocks
from transforms.events import REJECTED_TABLE, TABLES
from transforms.events.parsing import ParsedChunk
from transforms.loads import Load, Slice
from transforms.loads.lines import RangeLines, line_number, range_digest, read_lines
from transforms.loads.rows import LoadCounts, SliceOutcome
from transforms.metrics import BYTES_READ, LINES_READ, PARSE_US, READ_US
from transforms.parse_pieces import Piece, loads_that_have_some, parse_pieces, pieces_digest
from transforms.run import RunFn
from transforms.storage import StorageError, is_own_fault, reason_of
from transforms.storage.compression import compression_of_name
from transforms.storage.overlap import overlapped

_DAY_MS = 86_400_000
_RETRIED_AFTER_MS = 600_000
"""A load that was recorded longer ago than this has perhaps been tried before, by a bundle that the runner retries."""
_CHANGED = "changed since it was recorded; what it holds now is for a later load"


class LoadFailed(Exception):
    """A load that cannot be finished now. It keeps its files, and a later run goes on with it."""


@dataclass
class _Progress:
    """How far a slice has come."""

    reached: int
    """Where in the file the lines end that blocks have."""
    etag: str
    """Of the file that the lines before `reached` were last found in."""
    lines: int = 0
    rejected: int = 0
    line: int = 0
    """Number of the next line; 0 until it is asked for."""
    read_to: int = 0
    """Where the last chunk's part of the slice ends."""
    digest: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)
    """Of the slice's bytes before `read_to`."""
    over: bytes = b""
    """The bytes from there to `reached`: the end of a line that began before."""
    closed: bool = False
    """Whether the rest of it was left to a later load."""


class LoadParser:
    """Parses one load. Iterating yields its blocks; what they add up to is in the other methods."""

    def __init__(self, load: Load, stage: RunFn) -> None:
        self.load = load
        self.blocks: dict[tuple[str, str], int] = {}
        """Rows by (table, label)."""
        self.problems: dict[int, str] = {}
        """Why slices were given back, or end before they were to, by position."""
        self.own_faults: set[int] = set()
        """Those of which that is the file's own fault."""
        self.compressed: dict[int, Slice] = {}
        """Slices that were given back since their files are compressed, by position: they are to be recorded anew."""
        self.started = time.time()
        self._stage = stage
        self._config = stage.config
        self._resumed = (
            load.attempt > 1 or load.emitted_before or self.started * 1000 - load.created_ms > _RETRIED_AFTER_MS
        )
        self._before = InsertedBefore(stage.client, load.load_id)
        self._resumption = Resumption()
        self._rows_of: dict[str, Rows] = {}
        """Rows of other loads, which have a part of files of this one, by load id."""
        self._chunks = tuple(load.chunks())
        self._progress = {part.position: _Progress(part.start, part.etag) for part in load.kept}
        self._events: Counter[str] = Counter()
        self._present: Counter[str] = Counter()
        self._expired = 0

    def __iter__(self) -> Iterator[RowBlock]:
        next_ms = self.load.created_ms
        for number, chunk in enumerate(self._chunks):
            ingested_at_ms, next_ms = next_ms, next_ms + self.load.chunk_ms(chunk)
            members = [part for part in chunk if self._is_open(part)]
            with READ_US.timed():
                pieces = self._read(number, members)
            with PARSE_US.timed():
                pieces, parsed = self._parse(number, chunk, pieces)
            if not pieces:
                continue
            digest = pieces_digest(pieces)
            label = "" if self._of_version_01() else digest
            suffix = ""
            present = [self._rows_in(load_id) for load_id in loads_that_have_some(pieces)]
            if not self._is_as_recorded(number, chunk, pieces, digest):
                # Another attempt has cut the chunk into blocks that it can no longer be cut into.
                present.append(self._before.rows(number))
                suffix = f"-{self.load.attempt}"
                ingested_at_ms = next_ms - 1
            if present:
                remainder = self._resumption.without_present(parsed, present)
                parsed = remainder.parsed
                self._present.update(remainder.present)
            self._count_expired(parsed)
            del pieces  # the bytes of the chunk: from here on its rows are what is held
            for block in cut_blocks(
                self.load.load_id,
                number,
                parsed,
                ingested_at_ms=ingested_at_ms,
                block_rows=self.load.block_rows,
                digest=label,
                attempt=self.load.attempt,
                resumed=self._resumed,
                suffix=suffix,
            ):
                self.blocks[block.table, block.label] = block.num_rows
                yield block
            for (event_type, _), rows in parsed.rows.items():
                self._events[event_type] += rows.num_rows
        self._complete_left()

    @property
    def changed(self) -> frozenset[int]:
        """Slices whose files are not as they were recorded."""
        return frozenset(part.position for part in self.load.kept if self._progress[part.position].etag != part.etag)

    def counts(self) -> LoadCounts:
        """What the blocks so far add up to, with what was in the tables before."""
        rejected = sum(rows for (table, _), rows in self.blocks.items() if table == REJECTED_TABLE)
        present_events = sum(rows for event_type, rows in self._present.items() if event_type)
        return LoadCounts(
            lines=sum(progress.lines for progress in self._progress.values()),
            inserted=sum(self.blocks.values()) - rejected + present_events,
            rejected=rejected + self._present[""],
            expired=self._expired,
            blocks=len(self.blocks),
            events={
                name: self._events[name] + self._present[name]
                for name in TABLES
                if self._events[name] + self._present[name]
            },
        )

    def outcomes(self) -> dict[int, SliceOutcome]:
        """How the slices are that it has not given back, by position."""
        found = {}
        left = {part.position for _, label in self._left() for part in self._chunks[chunk_of(label)]}
        for part in self.load.kept:
            progress = self._progress[part.position]
            digest = progress.digest.copy()
            digest.update(progress.over[: max(part.end - progress.read_to, 0)])
            found[part.position] = SliceOutcome(
                lines=progress.lines,
                rejected=progress.rejected,
                digest=digest.hexdigest(),
                error=self.problems.get(part.position, ""),
                left=part.position in left,
                own_fault=part.position in self.own_faults,
            )
        return found

    def _left(self) -> Blocks:
        """The blocks of earlier attempts that this one has not cut."""
        return self._before.blocks - set(self.blocks) if self._resumed else set()

    def _complete_left(self) -> None:
        """Rolls up what attempts that were killed have left in a table alone: nobody else does."""
        for table, label in self._before.without_rollup(self._left()):
            self._stage.lease.check(self.load.load_id, self.load.attempt)
            self._before.complete_rollup(table, label)

    def _is_open(self, part: Slice) -> bool:
        return part.position not in self.load.released and not self._progress[part.position].closed

    def _read(self, number: int, members: Sequence[Slice]) -> list[Piece]:
        """The lines of a chunk's slices. What cannot be read, or is not what it was, is left to a later load."""
        pieces: list[Piece] = []
        failed: dict[int, str] = {}
        for part, lines in zip(members, self._lines(members), strict=True):
            if isinstance(lines, (OSError, StorageError)):
                failed[part.position] = reason_of(lines)
                if is_own_fault(lines):
                    self.own_faults.add(part.position)
                continue
            try:
                problem = self._problem(number, part, lines)
            except (OSError, StorageError) as error:
                problem = reason_of(error)
                if is_own_fault(error):
                    self.own_faults.add(part.position)
            if problem:
                failed[part.position] = problem
            else:
                pieces.append((part, lines))
        changed = [part for part, lines in pieces if lines.etag != part.etag and not self._is_begun(part)]
        if changed and not self._before.is_cut_from(number, pieces_digest(pieces)):
            failed |= {part.position: _CHANGED for part in changed}
            pieces = [piece for piece in pieces if piece[0].position not in failed]
        if failed:
            self._leave(number, failed)
        return pieces

    def _lines(self, members: Sequence[Slice]) -> Iterator[RangeLines | OSError | StorageError]:
        """The lines of each slice, or why they cannot be read; of several at once where reading is mostly waiting."""

        def read(part: Slice) -> RangeLines | OSError | StorageError:
            etag = self._progress[part.position].etag
            try:
                return read_lines(self._stage.contents, part, self._config.max_held_line_bytes, etag)
            except (OSError, StorageError) as error:
                return error

        return overlapped(read, members, self._stage.storage.files_at_once)

    def _problem(self, number: int, part: Slice, lines: RangeLines) -> str:
        """Why the lines of a file that is not as it was recorded are not those of the load; '' when they are."""
        progress = self._progress[part.position]
        if self._is_misread(part, lines):
            self.compressed[part.position] = part
            return f"holds {lines.compression} data although its name does not say so; recorded anew as such"
        if lines.etag == progress.etag:
            return ""
        if self._is_begun(part):
            start = self.load.slices[part.position].start
            digest = range_digest(self._stage.contents, part.path, lines.etag, start, part.start)
            if digest == progress.digest.hexdigest():
                return ""
            return "was replaced while it was loaded; what it holds now is for a later load"
        # An earlier attempt may have inserted a chunk with the same content, which is seen by its digest.
        return "" if self._before.of_chunk(number) else _CHANGED

    def _is_misread(self, part: Slice, lines: RangeLines) -> bool:
        """Whether a file is compressed that was taken for a plain one when it was recorded, with its size as it is stored."""
        whole = self.load.slices[part.position]
        if not lines.compression or part.start or not whole.whole or compression_of_name(part.path):
            return False
        return self._stage.contents.measure(part.path, lines.etag, whole.size).size != whole.size

    def _is_begun(self, part: Slice) -> bool:
        """Whether blocks have lines of this slice from before the chunk."""
        return part.start > self.load.slices[part.position].start

    def _leave(self, number: int, failed: dict[int, str]) -> None:
        """Leaves what could not be read to a later load: all of a slice, or what blocks do not have of it."""
        if self._stage.log.is_committed(self.load.load_id):
            raise LoadFailed("it was committed by another worker while it was read, and its files were moved")
        released = {
            position: "" if position in self.compressed else reason
            for position, reason in failed.items()
            if self._progress[position].reached == self.load.slices[position].start
        }
        for position in failed.keys() - released.keys():
            self._progress[position].closed = True
            self._end_slice(position, self._progress[position].reached)
        if released:
            inserted = {part.position for n in self._before.chunks() for part in self._chunks[n]}
            self._stage.lease.check(self.load.load_id, self.load.attempt)
            self._stage.log.release(self.load, released, partly_inserted=inserted, own_faults=self.own_faults)
            self.load = replace(self.load, released=self.load.released | set(released))
            for position in released:
                del self._progress[position]
        self.problems |= {position: reason for position, reason in failed.items() if position not in self.compressed}

    def _end_slice(self, position: int, end: int, *, at_end: bool = False) -> None:
        """Ends a slice where its lines were read to; `at_end` says that its file ends there now."""
        slices = list(self.load.slices)
        whole = slices[position]
        slices[position] = replace(whole, end=end, size=end if at_end else whole.size)
        self.load = replace(self.load, slices=tuple(slices))

    def _note(self, part: Slice, lines: RangeLines) -> None:
        """Takes note of how far a slice was read."""
        progress = self._progress[part.position]
        if len(lines.raw):
            progress.digest.update(lines.raw)
            progress.read_to = part.start + len(lines.raw)
            if lines.data and lines.end > progress.read_to:
                progress.over = lines.data[progress.read_to - lines.end :]
            else:
                progress.over = progress.over[len(lines.raw) :]
            progress.reached = progress.read_to + len(progress.over)
        progress.etag = lines.etag
        whole = self.load.slices[part.position]
        # What a changed file has may end before the recorded end, or go on with a line that was cut there.
        ends = part.end == whole.end and (whole.end == whole.size or progress.reached < whole.end)
        if ends and lines.etag != whole.etag:
            self._end_slice(part.position, progress.reached, at_end=True)
        BYTES_READ.add(len(lines.raw))

    def _rows_in(self, load_id: str) -> Rows:
        """The rows of another load."""
        if load_id not in self._rows_of:
            self._rows_of[load_id] = InsertedBefore(self._stage.client, load_id).rows()
        return self._rows_of[load_id]

    def _of_version_01(self) -> bool:
        """Whether its blocks have labels without digests."""
        return self._resumed and self._before.is_of_version_01()

    def _is_as_recorded(self, number: int, chunk: Sequence[Slice], pieces: Sequence[Piece], digest: str) -> bool:
        """Whether the chunk is cut into the same blocks as in every earlier attempt that has inserted some of it."""
        in_order = len(pieces) == len(chunk) and all(lines.etag == part.etag for part, lines in pieces)
        if in_order and not self._resumed:
            return True
        if not self._before.of_chunk(number):
            return True
        if self._before.is_of_version_01(number):
            return in_order  # version 0.1 went by etags alone
        return self._before.is_cut_from(number, digest)

    def _parse(self, number: int, chunk: Sequence[Slice], pieces: list[Piece]) -> tuple[list[Piece], ParsedChunk]:
        """The rows of a chunk, and the pieces that they are of: files with too many bad lines are left to a later load."""
        while True:
            parsed, read, rejected = self._parse_pieces(chunk, pieces)
            worst, reason = self._too_many(read, rejected)
            if not reason:
                break
            self.own_faults.add(worst)
            self._leave(number, {worst: reason})
            pieces = [(part, lines) for part, lines in pieces if part.position != worst]
        for part, lines in pieces:
            self._note(part, lines)
            progress = self._progress[part.position]
            progress.lines += read[part.position]
            progress.rejected += rejected[part.position]
            if progress.line:
                progress.line += lines.data.count(b"\n")
                self._stage.contents.note_line(part.path, lines.etag, lines.end, progress.line)
            LINES_READ.add(read[part.position])
        return pieces, parsed

    def _parse_pieces(
        self, chunk: Sequence[Slice], pieces: Sequence[Piece]
    ) -> tuple[ParsedChunk, Counter[int], Counter[int]]:
        """The rows, and the lines and rejected lines of each slice."""
        # By the recorded ranges, so that a row keeps its place when the chunk has lost a file.
        begins = dict(zip(chunk, accumulate((part.length for part in chunk), initial=0), strict=False))
        sequence = [begins[part] + lines.offset - part.start for part, lines in pieces]
        within, longest = self._stage.log.within, self._config.max_line_bytes
        found = parse_pieces(pieces, [1] * len(pieces), sequence, within, longest)
        if found[0].rejected is not None and any(lines.offset for _, lines in pieces):
            # Only rejected lines need their number, and only in a large file is it not known from the chunk itself.
            found = parse_pieces(pieces, [self._line(*piece) for piece in pieces], sequence, within, longest)
        return found

    def _line(self, part: Slice, lines: RangeLines) -> int:
        """The number of the first of these lines; counts those before it once for each slice."""
        progress = self._progress[part.position]
        if not progress.line:
            progress.line = line_number(self._stage.contents, part.path, lines.etag, lines.offset)
        return progress.line

    def _too_many(self, read: Counter[int], more: Counter[int]) -> tuple[int, str]:
        """The slice with most bad lines in a chunk, and the reason, when the load would have more than it may; else ''."""
        rejected = sum(progress.rejected for progress in self._progress.values()) + sum(more.values())
        lines = sum(progress.lines for progress in self._progress.values()) + sum(read.values())
        limit, ratio = self._config.max_rejected, self._config.max_rejected_ratio
        if limit is not None and rejected > limit:
            option = f"--max_rejected={limit}"
        elif lines and rejected / lines > ratio:
            option = f"--max_rejected_ratio={ratio}"
        else:
            return 0, ""
        if not more:
            return 0, ""
        ((worst, bad),) = more.most_common(1)
        progress = self._progress[worst]
        return worst, (
            f"{progress.rejected + bad} of {progress.lines + read[worst]} lines are bad, more than {option} allows for all "
            "files of a load"
        )

    def _count_expired(self, parsed: ParsedChunk) -> None:
        for (event_type, _), rows in parsed.rows.items():
            days = self._config.ttl_days.get(event_type)
            if days:
                cutoff = pa.scalar(int(self.started * 1000) - days * _DAY_MS, pa.int64())
                times = rows.column(TABLES[event_type].time_column).cast(pa.int64())
                self._expired += pc.sum(pc.less(times, cutoff)).as_py() or 0
