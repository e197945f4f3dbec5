"""What is known and held of files while they are read: decompressors, where members begin, how much there is.

A compressed file can only be read from the beginning of a member on. So the decompressor is kept where the last range ended, and
ranges that follow each other are read in one pass. All is bounded in number and bytes, and shared by the threads of a process.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from transforms.storage.compression import Decompressor, Member, Unreadable
from transforms.storage.contract import Content, Storage

_MIB = 1024 * 1024
BLOCK = 4 * _MIB
"""Stored bytes that are read at a time of a compressed file: one request to a bucket."""
_UNKNOWN_SIZE = 1 << 62
_READERS, _READERS_BYTES = 16, 128 * _MIB
_KEPT_BYTES = 64 * _MIB
_REMEMBERED = 10_000
_MEMBERS_APART = 16 * _MIB

Key = tuple[str, str]
"""A path, and the etag of the content that is there."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Measure:
    """How much a file holds, and how much of that can be read."""

    size: int
    """Bytes of the content; of one that cannot be read to its end more than can be read."""
    compression: str = ""
    readable: int = -1
    """Where the last line ends that can be read; `size` when all can be."""
    rest: int = -1
    """Where in what cannot be read to try again: whoever reads from here on gets the reason."""
    line_starts: tuple[int, ...] = ()
    """Where lines begin in a compressed file, about as far apart as was asked for."""

    def __post_init__(self) -> None:
        if self.readable < 0:
            object.__setattr__(self, "readable", self.size)

    @property
    def whole(self) -> bool:
        """Whether all of it can be read."""
        return self.readable == self.size

    def ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """What is to be read of a range: what can be, and where it cannot be read on."""
        if start < self.readable or end <= self.readable:
            yield start, min(end, self.readable)
        if end > self.readable:
            yield max(start, self.rest), end

    def next_line(self, offset: int, end: int) -> int:
        """A known beginning of a line at this offset or behind it; `end` when none is before it."""
        place = bisect_right(self.line_starts, offset - 1)
        return min(self.line_starts[place], end) if place < len(self.line_starts) else end


class Replaced(Exception):
    """There is another content by now."""


class Reader:
    """Reads the content of one compressed file forwards. For one thread at a time."""

    def __init__(self, storage: Storage, key: Key, member: Member, head: Content | None) -> None:
        self.key = key
        self.storage = storage
        self.size = _UNKNOWN_SIZE
        self._head = head
        self._stored = member.stored
        self._decompressor = Decompressor(self._blocks(), member)
        self._error: Unreadable | None = None
        self._pieces: list[tuple[int, bytes]] = []
        """What was decompressed and may be asked for again, by its offset."""

    @property
    def begin(self) -> int:
        """From where on it can be read."""
        return self._pieces[0][0] if self._pieces else self.offset

    @property
    def offset(self) -> int:
        """Where the next piece begins."""
        return self._decompressor.offset

    @property
    def member(self) -> Member:
        """Where the member begins that the next piece is of: what is before it was checked, as far as it has checksums."""
        return self._decompressor.member

    @property
    def held_bytes(self) -> int:
        """About how much memory it takes."""
        return BLOCK + sum(len(piece) for _, piece in self._pieces)

    def next(self) -> bytes:
        """The next piece; b'' at the end."""
        return self._decompressor.read()

    def read(self, start: int, end: int, again_from: int, partial: bool) -> bytes:
        """The bytes [start, end), fewer at the end of the content. What is from `again_from` on may be asked for again.

        With `partial` also fewer where it cannot be read on; Unreadable is raised when there is nothing at `start`.
        """
        while self.offset < end and self.size == _UNKNOWN_SIZE and self._error is None:
            offset = self.offset
            try:
                piece = self.next()
            except Unreadable as error:
                self._error = error
                break
            if not piece:
                self.size = offset
            elif offset + len(piece) > min(start, again_from):
                self._pieces.append((offset, piece))
        if self._error is not None and self.offset < end and not (partial and self.offset > start):
            raise self._error
        data = b"".join(
            piece if start <= offset and offset + len(piece) <= end else piece[max(start - offset, 0) : end - offset]
            for offset, piece in self._pieces
            if offset < end and offset + len(piece) > start
        )
        self._pieces = [(offset, piece) for offset, piece in self._pieces if offset + len(piece) > again_from]
        return data

    def _blocks(self) -> Iterator[bytes]:
        head, self._head = self._head, None
        size = self._stored + 1
        if head is not None:
            size = head.size
            self._stored += len(head.data)
            yield head.data
            del head
        while self._stored < size:
            block = self.storage.read(self.key[0], self._stored, self._stored + BLOCK)
            if block.etag != self.key[1]:
                raise Replaced
            size = block.size
            self._stored += len(block.data)
            yield block.data
            if not block.data:
                return


class _Remembered(OrderedDict[Key, Value], Generic[Value]):
    """The values of the files that were used last."""

    def note(self, key: Key, value: Value) -> None:
        self[key] = value
        self.move_to_end(key)
        while len(self) > _REMEMBERED:
            self.popitem(last=False)


class OpenFiles:
    """What is known and held of files in this process, for all threads: close it in the end.

    At most 16 readers (128 MiB, and for zstd its window of up to 128 MiB each) are kept for the next range, and 64 MiB of
    small compressed files, as they are stored, so that they are fetched once for being measured and loaded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: list[Reader] = []
        """Those that nobody uses, the last used one last."""
        self._compression: _Remembered[str] = _Remembered()
        self._members: _Remembered[list[Member]] = _Remembered()
        self._measures: _Remembered[Measure] = _Remembered()
        self._lines: _Remembered[list[tuple[int, int]]] = _Remembered()
        self._kept: dict[Key, Content] = {}
        self._kept_bytes = 0

    def close(self) -> None:
        """Lets go of everything."""
        with self._lock:
            self._readers.clear()
            for remembered in (self._compression, self._members, self._measures, self._lines, self._kept):
                remembered.clear()
            self._kept_bytes = 0

    def take(self, key: Key, start: int) -> Reader | Member:
        """The reader that is the nearest one before an offset, which is the caller's until it is given back.

        A member where to begin when there is no reader, or when one that begins there has less to skip.
        """
        with self._lock:
            members = self._members.get(key, [])
            place = bisect_right(members, start, key=lambda member: member.content)
            member = members[place - 1] if place else Member()
            fit = [r for r in self._readers if r.key == key and member.content <= r.begin <= start]
            if not fit:
                return member
            reader = max(fit, key=lambda reader: reader.begin)
            self._readers.remove(reader)
            return reader

    def give_back(self, reader: Reader) -> None:
        """Keeps a reader for the next range, and notes where it has seen a member begin."""
        with self._lock:
            self._note_member(reader.key, reader.member)
            self._readers.append(reader)
            while len(self._readers) > _READERS or sum(r.held_bytes for r in self._readers[:-1]) > _READERS_BYTES:
                del self._readers[0]

    def forget(self, key: Key) -> None:
        """Drops what was held of a content that is no more."""
        with self._lock:
            self._readers = [reader for reader in self._readers if reader.key != key]
            self._compression.pop(key, None)
            self._drop_kept(key)

    def note_member(self, key: Key, member: Member) -> None:
        with self._lock:
            self._note_member(key, member)

    def _note_member(self, key: Key, member: Member) -> None:
        members = self._members.get(key, [])
        if member.content - (members[-1].content if members else 0) >= _MEMBERS_APART:
            members.append(member)
            self._members.note(key, members)

    def compression(self, key: Key) -> str | None:
        """The compression of a content; None when that is not known."""
        with self._lock:
            return self._compression.get(key)

    def note_compression(self, key: Key, compression: str) -> None:
        with self._lock:
            self._compression.note(key, compression)

    def measure(self, key: Key) -> Measure | None:
        with self._lock:
            return self._measures.get(key)

    def note_measure(self, key: Key, measure: Measure) -> None:
        with self._lock:
            self._measures.note(key, measure)

    def line_before(self, key: Key, offset: int) -> tuple[int, int]:
        """The last known line up to an offset: where it begins, and its number."""
        with self._lock:
            known = self._lines.get(key, [])
            place = bisect_right(known, offset, key=lambda line: line[0])
            return known[place - 1] if place else (0, 1)

    def note_line(self, key: Key, offset: int, number: int) -> None:
        with self._lock:
            known = self._lines.get(key, [])
            place = bisect_right(known, offset, key=lambda line: line[0])
            if not place or known[place - 1][0] != offset:
                known.insert(place, (offset, number))
                self._lines.note(key, known)

    def keep(self, key: Key, whole: Content) -> None:
        """Keeps a small file as it is stored, as long as there is room."""
        with self._lock:
            if key not in self._kept and self._kept_bytes + len(whole.data) <= _KEPT_BYTES:
                self._kept[key] = whole
                self._kept_bytes += len(whole.data)

    def take_kept(self, key: Key) -> Content | None:
        """What was kept of a file, for the last time."""
        with self._lock:
            return self._drop_kept(key)

    def _drop_kept(self, key: Key) -> Content | None:
        kept = self._kept.pop(key, None)
        self._kept_bytes -= len(kept.data) if kept else 0
        return kept
