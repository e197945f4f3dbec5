"""Reads the lines of a byte range of a file, and tells their numbers."""

from __future__ import annotations

from dataclasses import dataclass

import xxhash

from transforms.loads import Slice
from transforms.storage import FileChanged, LineTooLong
from transforms.storage.contents import Contents

_STEP = 64 * 1024
_COUNT_STEP = 4 * 1024 * 1024
_TRIES = 10
"""How often a file is read that changes while it is."""


@dataclass(frozen=True, slots=True)
class RangeLines:
    """The lines that start in a range."""

    data: bytes
    offset: int
    """Where in the file `data` begins."""
    raw: memoryview
    """The range's own bytes; fewer where the file ends before."""
    etag: str
    """Of the file that they were read from."""
    compression: str = ""
    """What the file is compressed with; offsets are those of its content, decompressed."""

    @property
    def end(self) -> int:
        """Where in the file the lines end: behind the range, when the last one does."""
        return self.offset + len(self.data)


def read_lines(contents: Contents, part: Slice, max_held_line_bytes: int, etag: str = "") -> RangeLines:
    """The whole lines that start in [part.start, part.end), the last one read to its end beyond the range if need be.

    Of a file that has changed since it was recorded, and says so by its etag, the lines are those which it has now; they
    are never made of two contents. `etag` is that of the content that was last seen, if it is not the recorded one. Raises
    FileChanged when the file is gone, or changes each time that it is read, LineTooLong when the last line does not end
    within `max_held_line_bytes` of the range, OSError or StorageError when the file cannot be read.
    """
    for _ in range(_TRIES):
        try:
            lines = _read(contents, part, max_held_line_bytes, etag or part.etag)
        except FileNotFoundError:
            raise FileChanged("is gone; it was there when the load was recorded") from None
        if lines is not None:
            return lines
    raise FileChanged("changes all the time while it is read")


def _read(contents: Contents, part: Slice, max_held_line_bytes: int, etag: str) -> RangeLines | None:
    """The lines of a range; None when the file has changed while they were read."""
    # One byte before the range tells whether a line starts right at its beginning, and so it will for the next range.
    before = 1 if part.start else 0
    again_from = part.end - 1
    found = contents.read(part.path, part.start - before, part.end, etag=etag, again_from=again_from)
    # What is behind the recorded end of a file that has changed may belong to its last line now.
    data, etag, size = found.data, found.etag, found.size
    raw_end = len(data)
    end = part.end
    if data and not data.endswith(b"\n") and end < size:
        extension: list[bytes] = []
        while end < size:
            to = min(end + _STEP, size)
            step = contents.read(part.path, end, to, etag=etag, again_from=again_from, partial=True)
            if step.etag != etag:
                return None
            newline = step.data.find(b"\n")
            if newline >= 0:
                extension.append(step.data[: newline + 1])
                break
            extension.append(step.data)
            end += len(step.data)
            if not step.data or end - part.end > max_held_line_bytes:
                break
        data += b"".join(extension)
    if end - part.end > max_held_line_bytes:
        raise LineTooLong(
            f"the line that reaches over byte {part.end} is longer than {max_held_line_bytes} bytes, more than is held in memory"
        )
    raw = memoryview(data)[before:raw_end]
    if before and data[:1] != b"\n":
        first = data.find(b"\n") + 1
        if first == 0 or first - before >= part.length:
            return RangeLines(b"", part.end, raw, etag, found.compression)
    else:
        first = before
    return RangeLines(data[first:] if first else data, part.start - before + first, raw, etag, found.compression)


def line_number(contents: Contents, path: str, etag: str, offset: int) -> int:
    """The 1-based number of the line that starts at this offset; reads what is before it, from the last known number on."""
    known, number = contents.line_before(path, etag, offset)
    for start in range(known, offset, _COUNT_STEP):
        number += contents.read(path, start, min(start + _COUNT_STEP, offset), etag=etag).data.count(b"\n")
    contents.note_line(path, etag, offset, number)
    return number


def line_start(contents: Contents, path: str, etag: str, offset: int) -> int:
    """Where the line begins that the byte before this offset is part of; the offset itself when that byte ends a line."""
    while offset:
        start = max(0, offset - _STEP)
        newline = contents.read(path, start, offset, etag=etag).data.rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        offset = start
    return 0


def next_line(contents: Contents, path: str, etag: str, offset: int, end: int) -> int:
    """Where the first line begins at this offset or behind it; `end` when none does before it."""
    position = offset - 1
    while position < end:
        data = contents.read(path, position, min(position + _STEP, end), etag=etag).data
        newline = data.find(b"\n")
        if newline >= 0:
            return position + newline + 1
        if not data:
            break
        position += len(data)
    return end


def range_digest(contents: Contents, path: str, etag: str, start: int, end: int) -> str:
    """The digest of the bytes [start, end) of a file's content, as a load records it. Reads four megabytes at a time."""
    digest = xxhash.xxh3_128()
    for step in range(start, end, _COUNT_STEP):
        digest.update(contents.read(path, step, min(step + _COUNT_STEP, end), etag=etag).data)
    return digest.hexdigest()
