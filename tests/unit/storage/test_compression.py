"""A compressed file is read whole, whatever it is made of and in what blocks it comes, or it is said what is wrong with it."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.compress import SKIPPABLE, gzip_member, zstd_frame
from transforms.storage import compression
from transforms.storage.compression import (
    Decompressor,
    Member,
    Unreadable,
    compression_of,
    compression_of_name,
    is_cut_head,
)

BEGINNING = Member()
CONTENTS = st.one_of(
    st.binary(max_size=300),
    st.integers(0, 40_000).map(lambda size: b'{"type":"log","level":"info"}\n' * (size // 30)),
    st.integers(0, 5).map(lambda seed: bytes((seed * 7 + n * n) % 251 for n in range(20_000))),
)
MEMBERS = st.one_of(
    st.builds(
        lambda data, level, fields, checksum: (
            data,
            gzip_member(data, level=level, fields=fields, header_checksum=checksum),
        ),
        CONTENTS,
        st.sampled_from([0, 1, 6, 9]),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        lambda data, level, checksum: (data, zstd_frame(data, level=level, checksum=checksum)),
        CONTENTS,
        st.sampled_from([1, 3, 12]),
        st.booleans(),
    ),
    st.just((b"", SKIPPABLE)),
)


def in_blocks(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size
    while start < len(data):
        yield data[start : start + 1000]
        start += 1000


def read(stored: bytes, sizes: Iterable[int] = (), member: Member = BEGINNING) -> bytes:
    decompressor = Decompressor(in_blocks(stored, sizes), member)
    pieces = []
    while piece := decompressor.read():
        pieces.append(piece)
        assert decompressor.offset == member.content + sum(map(len, pieces))
    return b"".join(pieces)


def read_up_to_an_error(stored: bytes) -> tuple[bytes, str, int]:
    """What could be read, what was said, and up to where members are complete."""
    decompressor = Decompressor(in_blocks(stored, ()))
    pieces = []
    try:
        while piece := decompressor.read():
            pieces.append(piece)
    except Unreadable as error:
        return b"".join(pieces), f"{type(error).__name__}: {error}", decompressor.member.content
    return b"".join(pieces), "", decompressor.member.content


@settings(max_examples=200, deadline=None)
@given(
    members=st.lists(MEMBERS, min_size=1, max_size=5),
    padding=st.sampled_from([0, 1, 3, 512, 10_000]),
    sizes=st.lists(st.integers(1, 3000), max_size=30),
)
def test_members_of_any_kind_in_blocks_of_any_size_are_one_content(
    members: list[tuple[bytes, bytes]], padding: int, sizes: list[int]
) -> None:
    stored = b"".join(member for _, member in members) + bytes(padding)
    assert read(stored, sizes) == b"".join(data for data, _ in members)


@settings(max_examples=200, deadline=None)
@given(members=st.lists(MEMBERS, min_size=1, max_size=4), cut=st.integers(1, 100_000))
def test_a_file_that_is_cut_off_is_told_from_a_whole_one(members: list[tuple[bytes, bytes]], cut: int) -> None:
    stored = b"".join(member for _, member in members)
    content = b"".join(data for data, _ in members)
    cut = 1 + cut % len(stored)
    edges = [0]
    for _, member in members:
        edges.append(edges[-1] + len(member))
    found, error, complete = read_up_to_an_error(stored[:cut])
    assert content.startswith(found)
    assert error.startswith("Truncated: is cut off") == (cut not in edges)
    whole = sum(cut >= edge for edge in edges[1:])
    assert complete >= sum(len(data) for data, _ in members[:whole])
    if cut in edges:
        assert (found, error) == (b"".join(data for data, _ in members[:whole]), "")


@settings(max_examples=200, deadline=None)
@given(
    members=st.lists(st.builds(lambda data: (data, gzip_member(data)), CONTENTS), min_size=1, max_size=4),
    place=st.integers(0, 100_000),
    bit=st.integers(0, 7),
)
def test_a_bit_that_flips_never_gets_into_what_is_complete(
    members: list[tuple[bytes, bytes]], place: int, bit: int
) -> None:
    stored = bytearray(b"".join(member for _, member in members))
    place %= len(stored)
    stored[place] ^= 1 << bit
    found, _, complete = read_up_to_an_error(bytes(stored))
    content = b"".join(data for data, _ in members)
    if compression_of(bytes(stored[:4])):  # otherwise the file is no compressed one
        assert found[:complete] == content[:complete]


def test_damage_is_named_with_its_place() -> None:
    first, second = gzip_member(b"a\n" * 1000), bytearray(gzip_member(b"b\n" * 1000))
    second[-6] ^= 1
    assert read_up_to_an_error(first + bytes(second)) == (
        b"a\n" * 1000,
        "Unreadable: is damaged: the gzip data that begins at byte "
        f"{len(first)} cannot be decompressed (Error -6 Incorrect checksum found)",
        2000,
    )


@pytest.mark.parametrize(
    ("behind", "error"),
    [
        (b'{"type":"log"}\n', "that is not compressed"),
        (bytes(100) + b"x", "that is not compressed"),
        (b"BZh91AY&SY", "that is not compressed"),
        (b"\x1f", "within the header"),
        (b"\x28\xb5", "within the header"),
    ],
)
def test_what_is_behind_the_last_member_is_not_lost_without_a_word(behind: bytes, error: str) -> None:
    found, said, complete = read_up_to_an_error(gzip_member(b"line\n") + behind)
    assert (found, complete) == (b"line\n", 5)
    assert error in said


def test_a_window_that_takes_too_much_memory_is_refused() -> None:
    assert read(zstd_frame(b"x" * 1000, window_log=27)) == b"x" * 1000
    with pytest.raises(Unreadable, match=r"window of more than 128 MiB .* zstd --long=27 at most"):
        read(zstd_frame(b"x" * 1000, window_log=28))


@pytest.mark.parametrize("member", [gzip_member, zstd_frame])
def test_a_bomb_comes_in_small_pieces(member: Callable[[bytes], bytes]) -> None:
    size = 300 * 1024 * 1024
    stored = member(bytes(size))
    assert len(stored) < size // 900
    decompressor = Decompressor([stored])
    found = 0
    while piece := decompressor.read():
        assert len(piece) <= 1024 * 1024
        found += len(piece)
    assert found == size


def test_many_small_members_are_read_from_any_of_them_on() -> None:
    parts = [f"line {number}\n".encode() for number in range(3000)]
    stored = b"".join(map(gzip_member, parts))
    decompressor = Decompressor([stored])
    members = [decompressor.member]
    while decompressor.read():
        members.append(decompressor.member)
    assert len(members) == 3001
    for number in (0, 1, 1500, 2999):
        member = members[number]
        assert read(stored[member.stored :], (), member) == b"".join(parts[number:])


def test_zlib_takes_the_place_of_isal_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = gzip_member(b"line\n" * 500_000) + gzip_member(b"more\n", fields=True)
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    cached = (compression._gzip, compression._errors)
    try:
        for function in cached:
            function.cache_clear()
        assert compression._gzip() is zlib
        assert read(stored) == b"line\n" * 500_000 + b"more\n"
        assert read_up_to_an_error(stored[:-20])[1].startswith("Truncated")
        damaged = bytearray(stored)
        damaged[-6] ^= 1
        assert "incorrect data check" in read_up_to_an_error(bytes(damaged))[1]
    finally:
        for function in cached:
            function.cache_clear()


def test_compression_is_told_by_the_first_bytes() -> None:
    assert compression_of(gzip_member(b"")) == "gzip"
    assert compression_of(zstd_frame(b"")) == compression_of(SKIPPABLE) == "zstd"
    for head in (b"", b"{", b'{"type"', b" {}", b"\xef\xbb\xbf{}", b"\n\n{}", b"\0\0\0\0", b"\x1f\x8b"):
        assert compression_of(head) == ""
    assert [compression_of_name(f"x.jsonl{end}") for end in ("", ".gz", ".gzip", ".zst", ".zstd", ".bz2")] == [
        *("", "gzip", "gzip", "zstd", "zstd", "")
    ]
    assert is_cut_head(b"\x1f\x8b", "gzip")
    assert is_cut_head(b"\x28", "zstd")
    assert not any(is_cut_head(head, "gzip") for head in (b"", b"{", b"\x28", gzip_member(b"")))
