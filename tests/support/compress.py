"""Compressed files of every make: members, frames, padding, headers that few writers write."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

SKIPPABLE = b"\x5a\x2a\x4d\x18" + struct.pack("<I", 9) + b"skip me\n\n"


def gzip_member(data: bytes, *, level: int = 6, fields: bool = False, header_checksum: bool = False) -> bytes:
    """A gzip member; with `fields`, one whose header has all optional ones."""
    flags = (0b11100 if fields else 0) | (0b10 if header_checksum else 0)
    header = b"\x1f\x8b\x08" + bytes((flags,)) + b"\0\0\0\0\0\xff"
    if fields:
        header += struct.pack("<H", 6) + b"BC\x02\x00\x10\x20" + b"events.jsonl\0" + b"a comment\0"
    if header_checksum:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    body = compressor.compress(data) + compressor.flush()
    return header + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def zstd_frame(data: bytes, *, level: int = 3, checksum: bool = True, window_log: int = 0) -> bytes:
    """A zstd frame, as a stream writes it: without the size of its content."""
    options = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.checksum_flag: int(checksum),
    }
    if window_log:
        options[zstd.CompressionParameter.window_log] = window_log
    compressor = zstd.ZstdCompressor(options=options)
    return bytes(compressor.compress(data, compressor.CONTINUE) + compressor.flush(compressor.FLUSH_FRAME))


def compress(data: bytes, suffix: str, *, cuts: Sequence[int] = ()) -> bytes:
    """Content as a file of this suffix (`.gz` or `.zst`), a member for each part between the cuts."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    member = gzip_member if suffix == ".gz" else zstd_frame
    return b"".join(member(data[start:end]) for start, end in pairwise(edges))
