"""Decompresses gzip and zstd, in bounded memory, whatever of members, frames and padding a file is made of.

What is compressed is told by its first bytes: no line of JSON begins like that. A compressed file is a row of gzip members
or zstd frames ("members" here, for both), whose contents follow each other. What comes after them may be padding of zero bytes,
which is ignored; anything else is damage, since it may be lines that somebody has appended.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from transforms.storage.contract import StorageError
from transforms.storage.ignored_files import COMPRESSED_SUFFIXES

if TYPE_CHECKING:
    from types import ModuleType

MAX_WINDOW_LOG = 27
"""Of zstd: what is kept in memory to decompress a file is at most 128 MiB, as `zstd --long` makes it."""
_PIECE = 1024 * 1024
"""Bytes that are decompressed at a time."""
_FIRST_FEED, _LAST_FEED = 8 * 1024, 256 * 1024
"""Bytes that a member is fed with: few at first, as what is left of them is copied where the member is a small one."""
_MAGIC = 4
_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = tuple(bytes((number,)) + b"\x2a\x4d\x18" for number in range(0x50, 0x60))
_OTHERS = (b"BZh", b"\xfd7zXZ"[:_MAGIC], b"\x04\x22\x4d\x18", b"PK\x03\x04")
"""bzip2, xz, lz4, zip."""
_CONTROL = tuple(bytes((number,)) for number in range(0x20) if number not in b"\t\n\r")
_NAMES = {suffix: "gzip" if suffix.startswith(".gz") else "zstd" for suffix in COMPRESSED_SUFFIXES}


class Unreadable(StorageError):
    """A compressed file cannot be read on: it is cut off or damaged, or needs too much memory."""


class Truncated(Unreadable):
    """A compressed file ends in the middle of its data. What was read of it before is right."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member begins."""

    content: int = 0
    """In what the file holds, decompressed."""
    stored: int = 0
    """In the file."""


def compression_of(head: bytes) -> str:
    """`gzip` or `zstd` when that is what begins with these bytes, of which four are enough; '' for anything else."""
    if head.startswith(_GZIP):
        return "gzip"
    return "zstd" if head.startswith((_ZSTD, *_SKIPPABLE)) else ""


def compression_of_name(name: str) -> str:
    """The compression that a file's name ends with; '' for none. What is in the file counts, and may be another."""
    return next((compression for suffix, compression in _NAMES.items() if name.endswith(suffix)), "")


def is_cut_head(head: bytes, compression: str) -> bool:
    """Whether a file of so few bytes is the beginning of one of this compression."""
    magics = (_GZIP,) if compression == "gzip" else (_ZSTD, *_SKIPPABLE)
    return 0 < len(head) < _MAGIC and any(magic.startswith(head) for magic in magics)


def is_no_text(head: bytes) -> bool:
    """Whether a file begins like no text: with a control character, or as another compression does."""
    return head.startswith(_OTHERS) or head[:1] in _CONTROL


def compress(content: bytes, name: str) -> bytes:
    """Content as it is stored in a file of this name; the same content always gives the same bytes."""
    compression = compression_of_name(name)
    if compression == "gzip":
        return gzip.compress(content, mtime=0)
    return bytes(_zstd().compress(content)) if compression else content


class Decompressor:
    """Reads a compressed file once, from the beginning of a member on.

    Args:
        blocks: what is stored, in blocks of any size, from `member` on.
        member: where the first member begins.
    """

    def __init__(self, blocks: Iterable[bytes], member: Member = Member()) -> None:
        self._blocks = iter(blocks)
        self._block = b""
        self._used = 0
        """Bytes of the block that were fed."""
        self._behind = member.stored
        """Where in the file the block ends."""
        self._decoder: _Decoder | None = None
        self._compression = ""
        self._feed = 0
        self.offset = member.content
        """Where in the content the next piece begins."""
        self.member = member
        """The member that the last piece is of; at the end of one, that which follows."""

    @property
    def stored(self) -> int:
        """Where in the file the bytes end that were used."""
        return self._behind - len(self._block) + self._used

    def read(self) -> bytes:
        """The next piece of the content, at most a megabyte; b'' at the end. Raises Unreadable."""
        while True:
            if self._decoder is None and not self._begin():
                return b""
            piece = self._decode()
            self.offset += len(piece)
            if self._decoder is None:
                self.member = Member(self.offset, self.stored)
            if piece:
                return piece

    def _begin(self) -> bool:
        """Begins the next member; False when there is none."""
        # A whole header at once: isal takes one with a checksum of its own for damaged when it comes in two.
        self._fill(_FIRST_FEED)
        self._compression = compression_of(self._block[self._used : self._used + _MAGIC])
        if self._compression:
            self._decoder = _DECODERS[self._compression]()
            self._feed = _FIRST_FEED
            return True
        head = self._block[self._used : self._used + _MAGIC]
        if is_cut_head(head, "gzip") or is_cut_head(head, "zstd"):
            raise Truncated("is cut off: it ends within the header of its last member")
        at = self.stored
        if at == 0 and head:
            raise Unreadable("holds neither gzip nor zstd data, nor text")
        while self._fill(1):
            if self._block.count(0, self._used) != len(self._block) - self._used:
                raise Unreadable(f"has something behind its compressed data, from byte {at} on, that is not compressed")
            self._used = len(self._block)
        return False

    def _decode(self) -> bytes:
        decoder = self._decoder
        assert decoder is not None
        data = b""
        if decoder.needs_input:
            if not self._fill(1):
                raise Truncated(
                    f"is cut off: its {self._compression} data ends at byte {self.stored}, before it is complete"
                )
            data = self._block[self._used : self._used + self._feed]
            self._used += len(data)
            self._feed = min(self._feed * 2, _LAST_FEED)
        try:
            piece = decoder.decompress(data, _PIECE)
        except _errors() as error:
            raise Unreadable(_describe(error, self._compression, self.member.stored)) from error
        if decoder.eof:
            self._used -= len(decoder.unused_data)
            self._decoder = None
        return piece

    def _fill(self, least: int) -> bool:
        """Sees to it that there are so many bytes to use, or all that are left; False when none are."""
        while len(self._block) - self._used < least:
            block = next(self._blocks, b"")
            if not block:
                break
            self._behind += len(block)
            self._block = self._block[self._used :] + block if self._used < len(self._block) else block
            self._used = 0
        return self._used < len(self._block)


def _describe(error: Exception, compression: str, member: int) -> str:
    reason = str(error).strip()
    if "too much memory" in reason:
        return (
            f"needs a window of more than {1 << (MAX_WINDOW_LOG - 20)} MiB to be decompressed; "
            f"compress it with zstd --long={MAX_WINDOW_LOG} at most"
        )
    return f"is damaged: the {compression} data that begins at byte {member} cannot be decompressed ({reason})"


class _Decoder(Protocol):
    """Of one member. The decompressors of zstd and bz2 are like that in Python, those of zlib are not."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipDecoder:
    def __init__(self) -> None:
        self._object: Any = _gzip().decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._object.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._object.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece: bytes = self._object.decompress(self._object.unconsumed_tail + data, max_length)
        # As long as pieces are full, there may be more in them than is left of the input.
        self.needs_input = not self._object.unconsumed_tail and len(piece) < max_length
        return piece


def _zstd_decoder() -> _Decoder:
    zstd = _zstd()
    decoder: _Decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG})
    return decoder


_DECODERS: dict[str, Callable[[], _Decoder]] = {"gzip": _GzipDecoder, "zstd": _zstd_decoder}


@cache
def _gzip() -> ModuleType:
    """isal, which is two to three times as fast; zlib where there is none for the machine."""
    try:
        return import_module("isal.isal_zlib")
    except ImportError:
        return zlib


@cache
def _zstd() -> ModuleType:
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


@cache
def _errors() -> tuple[type[Exception], ...]:
    return (zlib.error, _gzip().error, _zstd().ZstdError)
