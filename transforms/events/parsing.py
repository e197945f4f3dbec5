"""Lines of JSON become Arrow rows by table and month; a line that cannot is rejected, alone, with the reason.

Everything is done for whole chunks at a time, since work per event in Python is what costs. The parser in Rust takes the
lines that are plainly good, where it is built. All others are decoded by msgspec in one call a file, and columns are made
and checked as columns; only when that fails are they looked at line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.events import EVENT_TYPES, STRUCTS, LineSource
from transforms.events.columns import Fallback, InvalidEvents, columns, problem
from transforms.events.compiled import Left, line_parser
from transforms.events.decode_line import decode_line, decoder
from transforms.events.schemas import REJECTED_SCHEMA, SEQUENCE
from transforms.events.times import months

if TYPE_CHECKING:
    from transforms.events._line_parser import LineParser

_NEWLINE, _RETURN, _OPEN, _CLOSE = b"\n\r{}"
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r"
_GROUP_BYTES = 512 * 1024
"""Lines that are decoded and made columns of at a time: few enough that their objects stay in the processor's cache."""

_TYPE = re.compile(rb'"type"\s*:\s*"(\w+)"')
_AT = re.compile(r"^(.*?)(?: - at `\$\.?(?:data\.)?([^`]*)`)?$", re.DOTALL)
_ENUM = re.compile(r"^Invalid (?:enum )?value (.*)$", re.DOTALL)
_CHOICES = {
    "status": "ok, error, unset",
    "kind": "internal, server, client, producer, consumer",
    "level": "debug, info, warn, error",
    "metricType": "counter, gauge, histogram",
    "type": ", ".join(EVENT_TYPES),
}


@dataclass(frozen=True, slots=True)
class AddedLines:
    """How many non-blank lines there were, counted from the bytes alone."""

    lines: int


@dataclass(frozen=True)
class ParsedChunk:
    """The rows of a chunk by (event type, YYYYMM), in file order, and its rejected lines. They add up to `lines`.

    Rows have the columns of their table's schema, then `SEQUENCE`.
    """

    lines: int
    rows: dict[tuple[str, int], pa.RecordBatch]
    rejected: pa.RecordBatch | None


@dataclass
class _Segment:
    """Lines of one file: decoded together, with the numbers of those that could not be."""

    data: bytes
    source: LineSource
    lines: int = 0
    events: list[Any] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)
    """Reasons by the number of the non-blank line, from 0."""
    places: Sequence[Left] | None = None
    """Where each of its lines is in what `source` tells of, when there are others between them."""

    @cached_property
    def kinds(self) -> set[type[Any]]:
        """The structs of its events, and perhaps of some that were sorted out since."""
        return set(map(type, self.events))

    def of(self, struct: type[Any]) -> list[Any]:
        """Its events of one type; most files have no other."""
        if self.kinds == {struct}:
            return self.events
        return [event for event in self.events if event.__class__ is struct]

    def good(self) -> Iterator[int]:
        """The numbers of the lines that `events` are of."""
        return (number for number in range(self.lines) if number not in self.bad)

    def sequence(self, struct: type[Any]) -> npt.NDArray[np.uint32]:
        """`SEQUENCE` of its events of one type. A line is at least a byte, so that no later segment begins as low."""
        numbers = np.arange(self.lines) if self.places is None else np.array([place[3] for place in self.places])
        if self.bad:
            numbers = numbers[np.fromiter(self.good(), np.int64)]
        if self.kinds != {struct}:
            numbers = numbers[np.fromiter((event.__class__ is struct for event in self.events), bool)]
        sequence: npt.NDArray[np.uint32] = numbers.astype(np.uint32) + np.uint32(self.source.sequence)
        return sequence

    def place(self, line: int, offset: int, number: int) -> tuple[int, int]:
        """Number in the file and offset there of a line that is at `line` and `offset` in `data`."""
        if self.places is not None:
            offset, _, line, _ = self.places[number]
        return self.source.line + line, self.source.offset + offset


class ChunkParser:
    """Parses the lines of several files together. Not for threads.

    Args:
        max_line_bytes: longer lines are rejected.
        compiled: whether the parser in Rust takes part where it is built. Rows and reasons are the same without it.
    """

    def __init__(self, max_line_bytes: int = 8 * 1024 * 1024, *, compiled: bool = True) -> None:
        self._max_line_bytes = max_line_bytes
        self._compiled = line_parser(max_line_bytes) if compiled else None
        self._lines = 0
        self._segments: list[_Segment] = []
        self._bytes = 0
        self._batches: dict[tuple[str, int], list[pa.RecordBatch]] = {}
        self._rejected: list[dict[str, Any]] = []

    def add(self, data: bytes, source: LineSource) -> AddedLines:
        """Takes whole lines of one file: the last one may lack its newline. `source.sequence` grows from call to call."""
        before = self._lines
        for start, end in groups(data):
            if self._compiled is not None:
                newlines = self._take(self._compiled, data, start, end, source)
            else:
                self._decode(_Segment(data[start:end] if end - start < len(data) else data, source))
                newlines = data.count(b"\n", start, end) if end < len(data) else 0
            length = end - start
            source = replace(
                source, offset=source.offset + length, line=source.line + newlines, sequence=source.sequence + length
            )
        return AddedLines(self._lines - before)

    def finish(self) -> ParsedChunk:
        """The rows of everything that was added, and the lines that are rejected."""
        self._make_rows()
        batches, self._batches = self._batches, {}
        rejected, self._rejected = self._rejected, []
        lines, self._lines = self._lines, 0
        rows = {key: pa.concat_batches(batches.pop(key)) for key in list(batches)}
        for event_type, month, taken in self._compiled.finish() if self._compiled is not None else ():
            key, batch = (event_type, month), pa.record_batch(taken)
            rows[key] = _in_order(batch, rows[key]) if key in rows else batch
        return ParsedChunk(
            lines,
            {key: rows.pop(key) for key in sorted(rows)},
            pa.RecordBatch.from_pylist(rejected, REJECTED_SCHEMA) if rejected else None,
        )

    def _take(self, compiled: LineParser, data: bytes, start: int, end: int, source: LineSource) -> int:
        """Has lines parsed in Rust, and decodes those that it leaves. Returns the number of newlines."""
        taken, newlines, left = compiled.add(
            data, start, end, source.project_id, source.recorded_at_ms, source.sequence
        )
        self._lines += taken
        if left:
            places = [(first - start, last - start, before, number) for first, last, before, number in left]
            lines = b"\n".join([data[first:last] for first, last, _, _ in left])
            self._decode(_Segment(lines, source, places=places))
        return newlines

    def _decode(self, segment: _Segment) -> None:
        data = segment.data
        lines = segment.lines = self._regular_lines(data)
        if lines and (data.isascii() or _is_utf8(data)):
            try:
                segment.events = decoder.decode_lines(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                segment.events = []
        if not lines or len(segment.events) != lines:
            self._decode_each(segment)
        self._segments.append(segment)
        self._lines += segment.lines
        self._bytes += len(data)
        if self._bytes >= _GROUP_BYTES:
            self._make_rows()

    def _make_rows(self) -> None:
        """Turns the events decoded so far into rows, while they are still in the processor's cache."""
        segments, self._segments, self._bytes = self._segments, [], 0
        present = {kind for segment in segments for kind in segment.kinds}
        for event_type, struct in STRUCTS.items():
            if struct in present:
                for key, rows in _rows(event_type, struct, segments):
                    self._batches.setdefault(key, []).append(rows)
        self._rejected += _rejected(segments)

    def _regular_lines(self, data: bytes) -> int:
        """The number of lines when each is `{…}` from its first byte to its last and none is too long; 0 otherwise.

        A newline between `}` and `{` cannot be inside a value, so that as many values as lines means one in each line.
        """
        array = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(array == _NEWLINE)
        if not ends.size or ends[-1] != len(data) - 1:
            ends = np.append(ends, len(data))
        starts = np.empty_like(ends)
        starts[0] = 0
        starts[1:] = ends[:-1] + 1
        if array[starts[-1]] != _OPEN or (ends - starts).max() > self._max_line_bytes:
            return 0
        last = array[ends - 1]
        if (last == _RETURN).any():
            last = array[ends - 1 - (last == _RETURN)]
        regular = bool((array[starts] == _OPEN).all() and (last == _CLOSE).all())
        return len(ends) if regular else 0

    def _decode_each(self, segment: _Segment) -> None:
        segment.events = []
        number = -1
        for number, (_, _, line) in enumerate(_lines(segment)):
            if len(line) > self._max_line_bytes:
                segment.bad[number] = f"line: {len(line)} bytes are more than {self._max_line_bytes}"
                continue
            try:
                segment.events.append(decode_line(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                segment.bad[number] = _reason(error)
        segment.lines = number + 1


def groups(data: bytes) -> Iterator[tuple[int, int]]:
    """Where groups of whole lines begin and end that are small enough to stay in the processor's cache."""
    start = 0
    while len(data) - start > _GROUP_BYTES:
        last = start + _GROUP_BYTES
        end = data.rfind(b"\n", start, last) + 1 or data.find(b"\n", last) + 1 or len(data)
        yield start, end
        start = end
    if start < len(data):
        yield start, len(data)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _lines(segment: _Segment) -> Iterator[tuple[int, int, bytes]]:
    """(number of the line in the data from 0, offset in the data, bytes without white space around) of non-blank lines."""
    offset = 0
    for number, line in enumerate(segment.data.split(b"\n")):
        length = len(line)
        content = line.removeprefix(_BOM).strip(_BLANK)
        if content:
            yield number, offset, content
        offset += length + 1


def _reason(error: Exception) -> str:
    """Why a line could not be decoded, in the words of whoever wrote it."""
    if isinstance(error, RecursionError):
        return "line: nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"line: invalid UTF-8 ({error.reason})"
    match = _AT.match(str(error))
    message, name = (match[1], match[2]) if match else (str(error), None)
    if not isinstance(error, msgspec.ValidationError):
        return f"line: malformed JSON ({_uncapitalized(message.removeprefix('JSON is malformed: '))})"
    if "missing required field `type`" in message:
        return "type: is missing"
    enum = _ENUM.match(message)
    if enum and name in _CHOICES:
        if name == "type" and "`$.data" in str(error):
            choices = _CHOICES["metricType"]
        elif name == "type" and enum[1].strip("'") in EVENT_TYPES:
            return f"type: is there twice, the second time as {enum[1]}"
        else:
            choices = _CHOICES[name]
        return f"{name}: {enum[1][:60]} is not one of {choices}"
    return f"{name or 'line'}: {_uncapitalized(message)}"


def _uncapitalized(text: str) -> str:
    return text[:1].lower() + text[1:]


def _rows(
    event_type: str, struct: type[Any], segments: Sequence[_Segment]
) -> Iterator[tuple[tuple[str, int], pa.RecordBatch]]:
    """The rows of one event type by month. Events that cannot be rows are moved to the bad lines of their segment."""
    events = _events(struct, segments)
    try:
        batch, times = columns(event_type, events, _fallback(struct, segments))
    except InvalidEvents:
        _sift(event_type, struct, segments)
        events = _events(struct, segments)
        if not events:
            return
        batch, times = columns(event_type, events, _fallback(struct, segments))
    sequence = np.concatenate([segment.sequence(struct) for segment in segments])
    batch = batch.append_column(SEQUENCE, pa.array(sequence))
    by_month = months(times)
    first = int(by_month.min())
    if first == by_month.max():
        yield (event_type, first), batch
        return
    for month in np.unique(by_month):
        yield (event_type, int(month)), batch.filter(pa.array(by_month == month))


def _in_order(some: pa.RecordBatch, others: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of both in the order of their lines."""
    both = pa.concat_batches([some, others])
    return both.take(pa.array(np.argsort(both.column(SEQUENCE.name).to_numpy(), kind="stable")))


def _events(struct: type[Any], segments: Sequence[_Segment]) -> list[Any]:
    return [event for segment in segments for event in segment.of(struct)]


def _sift(event_type: str, struct: type[Any], segments: Sequence[_Segment]) -> None:
    for segment in segments:
        kept = []
        bad: dict[int, str] = {}
        for number, event in zip(segment.good(), segment.events, strict=True):
            reason = problem(event_type, event, segment.source.recorded_at_ms) if event.__class__ is struct else None
            if reason is None:
                kept.append(event)
            else:
                bad[number] = reason
        segment.events = kept
        segment.bad.update(bad)


def _fallback(struct: type[Any], segments: Sequence[_Segment]) -> Fallback:
    def repeated(value: str) -> list[Any]:
        made: list[Any] = []
        for segment in segments:
            made += [getattr(segment.source, value)] * len(segment.of(struct))
        return made

    return Fallback(lambda: repeated("project_id"), lambda: repeated("recorded_at_ms"))


def _rejected(segments: Sequence[_Segment]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for segment in segments:
        if not segment.bad:
            continue
        raw = segment.data.split(b"\n")
        for number, (line, offset, content) in enumerate(_lines(segment)):
            if number in segment.bad:
                kind = _TYPE.search(content[:1_000_000])
                event_type = kind[1].decode() if kind else ""
                in_file, in_bytes = segment.place(line, offset, number)
                found.append(
                    {
                        "file": segment.source.path,
                        "line": in_file,
                        "byte_offset": in_bytes,
                        "event_type": event_type if event_type in EVENT_TYPES else "",
                        "project_id": segment.source.project_id,
                        "reason": segment.bad[number],
                        "raw": raw[line].removesuffix(b"\r"),
                    }
                )
    return found
