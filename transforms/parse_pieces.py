"""The lines of a chunk's slices become rows, and are counted by slice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import xxhash

from transforms.events import LineSource
from transforms.events.parsing import ChunkParser, ParsedChunk
from transforms.loads import Slice
from transforms.loads.lines import RangeLines

Piece = tuple[Slice, RangeLines]
"""A part of a slice that is in a chunk, and its lines."""


def parse_pieces(
    pieces: Sequence[Piece],
    line_numbers: Sequence[int],
    sequence: Sequence[int],
    within: Callable[[str], str],
    max_line_bytes: int,
) -> tuple[ParsedChunk, Counter[int], Counter[int]]:
    """The rows of a chunk, and how many lines each slice (by position) has, and how many of these are rejected.

    Args:
        line_numbers: of the first line of each piece, from 1 on.
        sequence: where each piece begins in the order of the chunk's lines.
        within: gives the path within the input.
        max_line_bytes: longer lines are rejected.
    """
    parser = ChunkParser(max_line_bytes)
    read: Counter[int] = Counter()
    for (part, lines), number, first in zip(pieces, line_numbers, sequence, strict=True):
        source = LineSource(
            path=within(part.path),
            event_type=part.event_type,
            project_id=part.project_id,
            recorded_at_ms=part.timestamp_ms,
            offset=lines.offset,
            line=number,
            sequence=first,
        )
        read[part.position] += parser.add(lines.data, source).lines
    parsed = parser.finish()
    rejected: Counter[int] = Counter()
    if parsed.rejected is not None:
        places: dict[str, list[tuple[int, int]]] = {}
        for part, lines in pieces:
            places.setdefault(within(part.path), []).append((lines.offset, part.position))
        for path, offset in zip(
            parsed.rejected.column("file").to_pylist(),
            parsed.rejected.column("byte_offset").to_pylist(),
            strict=True,
        ):
            # A load may have several parts of one file.
            _, position = max(place for place in places[path] if place[0] <= offset)
            rejected[position] += 1
    return parsed, read, rejected


def pieces_digest(pieces: Sequence[Piece]) -> str:
    """Of the lines of a chunk, and which file's they are."""
    digest = xxhash.xxh3_64()
    for part, lines in pieces:
        digest.update(f"{part.position} {lines.offset} {len(lines.data)}\n".encode())
        digest.update(lines.data)
    return digest.hexdigest()


def loads_that_have_some(pieces: Sequence[Piece]) -> list[str]:
    """The loads that may have rows of these files which no digest tells of."""
    return list(dict.fromkeys(load_id for part, _ in pieces for load_id in part.partly_in))
