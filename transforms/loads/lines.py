"""Reads the lines of a byte range of a file, and tells their numbers."""

from __future__ import annotations

from dataclasses import dataclass

from transforms.loads import Slice
from transforms.storage import FileChanged, LineTooLong, Storage

_STEP = 64 * 1024
_COUNT_STEP = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RangeLines:
    """The lines that start in a range. `offset` is where in the file `data` begins; `raw` are the range's own bytes."""

    data: bytes
    offset: int
    raw: memoryview


def read_lines(storage: Storage, part: Slice, max_held_line_bytes: int) -> RangeLines:
    """The whole lines that start in [part.start, part.end), the last one read to its end beyond the range if need be.

    Raises FileChanged when the file is not the one that was recorded, LineTooLong when the last line does not end within
    `max_held_line_bytes` of the range, OSError when the file cannot be read.
    """
    # One byte before the range tells whether a line starts right at its beginning.
    before = 1 if part.start else 0
    try:
        data = storage.read(part.path, part.start - before, part.end)
        raw_end = len(data)
        end = part.end
        if data and not data.endswith(b"\n") and end < part.size:
            extension: list[bytes] = []
            while end < part.size:
                step = storage.read(part.path, end, min(end + _STEP, part.size))
                newline = step.find(b"\n")
                if newline >= 0:
                    extension.append(step[: newline + 1])
                    break
                extension.append(step)
                end += len(step)
                if not step or end - part.end > max_held_line_bytes:
                    break
            data += b"".join(extension)
        if storage.etag(part.path) != part.etag:
            raise FileChanged("changed since it was recorded; what it holds now is for a later run")
    except FileNotFoundError:
        raise FileChanged("is gone; it was there when the load was recorded") from None
    if end - part.end > max_held_line_bytes:
        raise LineTooLong(
            f"the line that reaches over byte {part.end} is longer than {max_held_line_bytes} bytes, more than is held in memory"
        )
    raw = memoryview(data)[before:raw_end]
    if before and data[:1] != b"\n":
        first = data.find(b"\n") + 1
        if first == 0 or first - before >= part.length:
            return RangeLines(b"", part.end, raw)
    else:
        first = before
    return RangeLines(data[first:] if first else data, part.start - before + first, raw)


def line_number(storage: Storage, path: str, offset: int) -> int:
    """The 1-based number of the line that starts at this offset; reads the file up to there."""
    number = 1
    for start in range(0, offset, _COUNT_STEP):
        number += storage.read(path, start, min(start + _COUNT_STEP, offset)).count(b"\n")
    return number


def line_start(storage: Storage, path: str, offset: int) -> int:
    """Where the line begins that the byte before this offset is part of; the offset itself when that byte ends a line."""
    while offset:
        start = max(0, offset - _STEP)
        newline = storage.read(path, start, offset).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        offset = start
    return 0
