"""What files hold, whether they are compressed or not: ranges of it, and how much it is.

Offsets are those of the content, decompressed where it is compressed.
"""

from __future__ import annotations

from dataclasses import dataclass

from transforms.storage.compression import (
    Member,
    Truncated,
    Unreadable,
    compression_of,
    compression_of_name,
    is_cut_head,
    is_no_text,
)
from transforms.storage.contract import Content, FileChanged, Storage
from transforms.storage.open_files import BLOCK, Key, Measure, OpenFiles, Reader, Replaced

_MIB = 1024 * 1024
_HEAD = 4
_TRIES = 10
"""How often a file is read that changes while it is."""
_BEHIND = _MIB
"""How far behind what could be read of a file that is cut off or damaged its end is put: farther than anybody can read."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """A range of what a file holds, all of one content."""

    data: bytes
    etag: str
    """Of the file that is stored."""
    size: int
    """Bytes of all of the content; too many where that is not known yet."""
    compression: str = ""
    """`gzip` or `zstd`; '' when it is stored as it is."""


class Contents:
    """Reads what files hold. Threads may share it.

    Args:
        storage: where the files are.
        files: what the process holds of them, for all who read; None for nothing that others have a part in.
        lines_apart: how far apart the beginnings of lines are that `measure` notes.
        longest_line: a compressed file is measured up to a line that is longer than this.
    """

    def __init__(
        self,
        storage: Storage,
        files: OpenFiles | None = None,
        *,
        lines_apart: int = 64 * _MIB,
        longest_line: int = 128 * _MIB,
    ) -> None:
        self.storage = storage
        self._files = files or OpenFiles()
        self.lines_apart = lines_apart
        self._longest_line = longest_line

    def read(
        self, path: str, start: int, end: int, *, etag: str = "", again_from: int | None = None, partial: bool = False
    ) -> FileRange:
        """The bytes [start, end) of what a file holds, fewer where it ends before, all of one content.

        `etag` is that of the content that is looked for, of which something may be held; it is not told whether that is
        still what is stored. From `again_from` on (default: `end`) bytes may be asked for again, and are held for that.
        Raises FileNotFoundError, FileChanged when the file changes each time that it is read, and Unreadable when the range
        reaches over what can be read; with `partial` only when there is nothing at its start.
        """
        for _ in range(_TRIES):
            try:
                return self._read(path, start, end, etag, end if again_from is None else again_from, partial)
            except Replaced:
                self._files.forget((path, etag))
                etag = ""
        raise FileChanged("changes all the time while it is read")

    def _read(self, path: str, start: int, end: int, etag: str, again_from: int, partial: bool) -> FileRange:
        compression = self._files.compression((path, etag))
        head = None
        if compression is None and compression_of_name(path):
            head = self._files.take_kept((path, etag)) or self.storage.read(path, 0, BLOCK)
            compression, etag = self._note_compression(path, head), head.etag
            if not compression and len(head.data) >= min(end, head.size):
                return FileRange(head.data[start:end], etag, head.size)
        if not compression:
            stored = self.storage.read(path, start, end)
            compression, etag = self._compression_of(path, start, stored), stored.etag
            if not compression:
                return FileRange(stored.data, etag, stored.size)
        reader = self._reader((path, etag), start, head)
        data = reader.read(start, end, again_from, partial)
        self._files.give_back(reader)
        return FileRange(data, etag, reader.size, compression)

    def _reader(self, key: Key, start: int, head: Content | None) -> Reader:
        """One that can read from this offset on; `head` is the beginning of the file, where that was read just now."""
        taken = self._files.take(key, start)
        if isinstance(taken, Reader):
            taken.storage = self.storage
            return taken
        if taken.stored:
            head = None
        elif head is None:
            head = self._files.take_kept(key) or self.storage.read(key[0], 0, BLOCK)
            if head.etag != key[1]:
                raise Replaced
        return Reader(self.storage, key, taken, head)

    def _compression_of(self, path: str, start: int, stored: Content) -> str:
        """The compression of a file of which a range was read, by its first bytes."""
        if start == 0 and len(stored.data) >= min(_HEAD, stored.size):
            return self._note_compression(path, stored)
        known = self._files.compression((path, stored.etag))
        if known is not None:
            return known
        head = self.storage.read(path, 0, _HEAD)
        if head.etag != stored.etag:
            raise Replaced
        return self._note_compression(path, head)

    def _note_compression(self, path: str, head: Content) -> str:
        compression = compression_of(head.data)
        name = compression_of_name(path)
        if not compression and name and (is_cut_head(head.data, name) or is_no_text(head.data)):
            compression = name  # which reading it will not bear out, and say so
        if compression or head.size > len(head.data):
            self._files.note_compression((path, head.etag), compression)
        return compression

    def line_before(self, path: str, etag: str, offset: int) -> tuple[int, int]:
        """The last line up to an offset of which the number is known: where it begins, and its number from 1 on."""
        return self._files.line_before((path, etag), offset)

    def note_line(self, path: str, etag: str, offset: int, number: int) -> None:
        """Notes the number of the line that begins at an offset."""
        self._files.note_line((path, etag), offset, number)

    def measure(self, path: str, etag: str, size: int) -> Measure:
        """How much a file holds that is stored with so many bytes. Decompresses it once, if it is compressed, in bounded memory.

        Raises FileNotFoundError, FileChanged when it is not the one of this etag any more, and OSError.
        """
        key = (path, etag)
        known = self._files.measure(key)
        if known is not None:
            return known
        head = self.storage.read(path, 0, BLOCK if compression_of_name(path) else _HEAD)
        compression = self._note_compression(path, head)
        if compression and len(head.data) < min(head.size, BLOCK):
            head = self.storage.read(path, 0, BLOCK)
        if not compression:
            return Measure(size)
        if head.etag != etag:
            raise FileChanged("changed since it was listed")
        if len(head.data) == head.size:
            self._files.keep(key, head)
        try:
            measure = self._measure(Reader(self.storage, key, Member(), head), compression)
        except Replaced:
            raise FileChanged("changed since it was listed") from None
        self._files.note_measure(key, measure)
        return measure

    def _measure(self, reader: Reader, compression: str) -> Measure:
        starts: list[int] = []
        line_end = checked = 0
        following = self.lines_apart
        try:
            while piece := reader.next():
                end = reader.offset
                start = end - len(piece)
                if reader.member.content == start:
                    checked = line_end
                while end >= following and (newline := piece.find(b"\n", max(following - 1 - start, 0))) >= 0:
                    starts.append(start + newline + 1)
                    following = starts[-1] + self.lines_apart
                line_end = start + piece.rfind(b"\n") + 1 if b"\n" in piece else line_end
                if reader.member.content == end:
                    checked = line_end
                    self._files.note_member(reader.key, reader.member)
                if end - line_end > self._longest_line:
                    return Measure(end, compression, line_end, line_end, tuple(starts))
        except Unreadable as error:
            # What comes before a cut is as it was written. Before damage that is only so where a checksum says so.
            if reader.member.content == reader.offset:
                checked = line_end
            readable = line_end if isinstance(error, Truncated) else checked
            size = reader.offset + _BEHIND
            return Measure(size, compression, readable, size - 1, tuple(s for s in starts if s <= readable))
        return Measure(reader.offset, compression, line_starts=tuple(starts))
