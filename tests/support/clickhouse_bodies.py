"""Bodies of HTTP requests and answers as streams: chunked, compressed, of several frames, as forms."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import lz4.frame
import zstandard

PIECE = 1 << 20
ZSTD_PIECE = 64 << 10
"""Its decoder puts out all that a piece holds at once."""
ENCODINGS = ("lz4", "zstd", "gzip", "deflate")


class BadRequest(Exception):
    """What came is not what it says it is."""


class Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def readline(self, size: int = ..., /) -> bytes: ...


def raw_body(source: Reader, length: int | None, chunked: bool) -> Iterator[bytes]:
    """The body's bytes as they were sent, in pieces of at most 1 MiB. Raises BadRequest when it ends too soon."""
    if chunked:
        while True:
            size = int(source.readline(64).split(b";")[0].strip() or b"-1", 16)
            if size < 0:
                raise BadRequest("the body ended in the middle of a chunk")
            yield from _exactly(source, size)
            if size == 0:
                while source.readline(65536).strip():
                    pass
                return
            source.readline(8)
    else:
        yield from _exactly(source, length or 0)


def _exactly(source: Reader, size: int) -> Iterator[bytes]:
    while size:
        piece = source.read(min(size, PIECE))
        if not piece:
            raise BadRequest(f"the body ended {size} bytes too soon")
        size -= len(piece)
        yield piece


def decoded(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """What compressed pieces hold, frame after frame until they end, in pieces of about 1 MiB."""
    if encoding in ("", "identity"):
        yield from pieces
        return
    decoder: Any = None
    for piece in _cut(pieces, ZSTD_PIECE) if encoding == "zstd" else pieces:
        while piece:
            decoder = decoder or _decoder(encoding)
            yield from _decompress(decoder, piece, encoding)
            piece = b""
            if decoder.eof:
                piece, decoder = decoder.unused_data, None
    if decoder is not None:
        raise BadRequest(f"the {encoding} body ends in the middle of a frame")


def _cut(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    for piece in pieces:
        for at in range(0, len(piece), size):
            yield piece[at : at + size]


def _decompress(decoder: Any, piece: bytes, encoding: str) -> Iterator[bytes]:
    if encoding in ("gzip", "deflate"):
        while piece:
            data = decoder.decompress(piece, PIECE)
            piece = decoder.unconsumed_tail
            yield data
    elif encoding == "lz4":
        data = decoder.decompress(piece, PIECE)
        while data or not (decoder.needs_input or decoder.eof):
            yield data
            if decoder.eof or decoder.needs_input:
                return
            data = decoder.decompress(b"", PIECE)
    else:
        yield decoder.decompress(piece)


def _decoder(encoding: str) -> Any:
    if encoding == "gzip":
        return zlib.decompressobj(wbits=31)
    if encoding == "deflate":
        return zlib.decompressobj()
    if encoding == "lz4":
        return lz4.frame.LZ4FrameDecompressor()
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj()
    raise BadRequest(f"unknown Content-Encoding {encoding!r}")


def encoded(data: memoryview, encoding: str) -> Iterator[bytes | memoryview]:
    """An answer in pieces, compressed."""
    coder: Any = None
    if encoding == "gzip":
        coder = zlib.compressobj(1, wbits=31)
    elif encoding == "deflate":
        coder = zlib.compressobj(1)
    elif encoding == "zstd":
        coder = zstandard.ZstdCompressor(level=1).compressobj()
    elif encoding == "lz4":
        coder = lz4.frame.LZ4FrameCompressor()
        yield coder.begin()
    for at in range(0, len(data), PIECE):
        piece = data[at : at + PIECE]
        yield piece if coder is None else coder.compress(piece)
    if coder is not None:
        yield coder.flush()


def form_fields(content_type: str, body: bytes) -> dict[str, bytes]:
    """The fields of a multipart/form-data body, byte for byte. Raises BadRequest."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if boundary is None:
        raise BadRequest("multipart/form-data without a boundary")
    first, *parts, last = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())
    if first or not last.startswith(b"--"):
        raise BadRequest("the form ended too soon")
    fields: dict[str, bytes] = {}
    for part in parts:
        header, _, value = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', header)
        if name is None:
            raise BadRequest("a part of the form without a name")
        fields[name[1].decode()] = value
    return fields
