"""A load: the durable group of file slices that is inserted, committed and retried as one.

A load is written down before any of its rows is inserted, and everything that follows from it (its chunks, its blocks,
their labels) follows from what was written down, so that whoever takes it up after a crash does the very same work.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import xxhash

_MIN_ROW_BYTES = 32
"""No line with all that an event must have is shorter."""
_CHUNK_MS = 3


@dataclass(frozen=True, slots=True)
class Slice:
    """The lines of one file that start in the byte range [start, end)."""

    path: str
    event_type: str
    """What a line is that does not say its type: that of the file's directory."""
    project_id: str
    timestamp_ms: int
    """What an event without `recordedAt` was recorded at: the time in the file's name."""
    modified_ms: int
    size: int
    """Bytes of the whole file when it was recorded."""
    etag: str
    start: int
    end: int
    position: int = 0
    """Place in the load."""
    partly_in: tuple[str, ...] = ()
    """Loads that have inserted lines of some content of this file which no digest in the log tells of."""

    @property
    def whole(self) -> bool:
        """Whether the slice is the whole file."""
        return self.start == 0 and self.end == self.size

    @property
    def length(self) -> int:
        return self.end - self.start


MIXED = "mixed"
"""What the log says of a load of files of several types."""


@dataclass(frozen=True)
class Load:
    """A recorded group of slices, of any types and projects. `load_id` is a digest of the membership and the block sizes."""

    load_id: str
    slices: tuple[Slice, ...]
    block_bytes: int
    block_rows: int
    created_ms: int
    """Epoch milliseconds when it was first recorded, or later: the `ingested_at` of its rows counts from here."""
    attempt: int = 1
    emitted_before: bool = False
    """This attempt was handed on before, by a bundle that the runner retries: some blocks may be there."""
    committed: bool = False
    """All its rows are acknowledged; only its files are still to be moved."""
    released: frozenset[int] = field(default_factory=frozenset)
    """Positions of slices that could not be read and were given back before any row without them was inserted."""

    @property
    def bytes(self) -> int:
        return sum(part.length for part in self.slices)

    @property
    def event_type(self) -> str:
        """The type of its files, `mixed` when they are of several."""
        types = {part.event_type for part in self.slices}
        return types.pop() if len(types) == 1 else MIXED

    @property
    def kept(self) -> tuple[Slice, ...]:
        """The slices that it has not given back."""
        return tuple(part for part in self.slices if part.position not in self.released)

    def describe(self) -> str:
        """Its files, for people."""
        return describe_files([part.path for part in self.slices])

    @property
    def end_ms(self) -> int:
        """What the `ingested_at` of its rows stays below."""
        return self.created_ms + sum(self.chunk_ms(chunk) for chunk in self.chunks())

    def chunk_ms(self, chunk: Sequence[Slice]) -> int:
        """How many values of `ingested_at` a chunk takes: one for each block of a table and month, and two to spare.

        One for a row of a line that begins in the chunk and ends behind it, one for what is left of a chunk that has
        lost a file.
        """
        return _CHUNK_MS + sum(part.length for part in chunk) // (_MIN_ROW_BYTES * self.block_rows)

    def chunks(self) -> Iterator[tuple[Slice, ...]]:
        """Consecutive slices, or parts of a large one, of about `block_bytes` together: what is read at a time.

        Where chunks are cut depends on nothing but the recorded ranges, so a file that is later found unreadable leaves
        the other chunks, and their blocks, as they were.
        """
        chunk: list[Slice] = []
        size = 0
        for part in self.slices:
            for piece in _pieces(part, self.block_bytes):
                if chunk and size + piece.length > self.block_bytes:
                    yield tuple(chunk)
                    chunk, size = [], 0
                chunk.append(piece)
                size += piece.length
        if chunk:
            yield tuple(chunk)


def describe_files(paths: Sequence[str]) -> str:
    """The first of some files, and how many more there are."""
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def delivery_ms(
    files: int, size: int, months: int, *, load_bytes: int, load_files: int, block_bytes: int, block_rows: int
) -> int:
    """How many values of `ingested_at` the loads of so many files, bytes and months take at most.

    The next file's rows count from behind these, so that versions are in the order of the files even where the groups
    that they are assigned in come in any order. On average a load is at least half full, and so is each of its chunks.
    """
    full = min(load_bytes, block_bytes)
    spare = _CHUNK_MS + 1
    return int(
        spare * (months + files / load_files) + 4 * _CHUNK_MS * size / full + size / (_MIN_ROW_BYTES * block_rows)
    )


def make_load(
    slices: Iterable[Slice],
    *,
    block_bytes: int,
    block_rows: int,
    created_ms: int,
    generation: int = 0,
) -> Load:
    """A new load of these slices, by type, project and age, so that its blocks are large.

    `generation` tells it from an earlier load that gave the same slices back.
    """
    ordered = sorted(
        slices, key=lambda part: (part.event_type, part.project_id, part.timestamp_ms, part.path, part.start)
    )
    members = tuple(replace(part, position=position) for position, part in enumerate(ordered))
    membership = [block_bytes, block_rows, generation, [(m.path, m.etag, m.start, m.end) for m in members]]
    load_id = xxhash.xxh3_128_hexdigest(json.dumps(membership).encode())
    return Load(load_id, members, block_bytes, block_rows, created_ms)


def cut_loads(
    slices: Iterable[Slice], *, load_bytes: int, load_files: int, next_line: Callable[[Slice, int], int]
) -> Iterator[list[Slice]]:
    """Groups slices, in their order, so that each group stays within the bounds.

    A slice that is larger than `load_bytes` is cut where lines begin: `next_line` says where the first line begins at an
    offset of a slice or behind it.
    """
    group: list[Slice] = []
    size = 0
    for part in slices:
        for piece in _at_lines(part, load_bytes, next_line):
            if group and (size + piece.length > load_bytes or len(group) >= load_files):
                yield group
                group, size = [], 0
            group.append(piece)
            size += piece.length
    if group:
        yield group


def _at_lines(part: Slice, length: int, next_line: Callable[[Slice, int], int]) -> Iterator[Slice]:
    start = part.start
    while part.end - start > length:
        end = next_line(part, start + length)
        yield replace(part, start=start, end=end)
        start = end
    if start < part.end or part.length == 0:
        yield replace(part, start=start)


def _pieces(part: Slice, length: int) -> Iterator[Slice]:
    if part.length <= length:
        yield part
        return
    for start in range(part.start, part.end, length):
        yield replace(part, start=start, end=min(start + length, part.end))
