"""Ranges of what files hold are the same whether files are compressed or not, and cost one pass when they follow each other."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.compress import SKIPPABLE, compress, gzip_member, zstd_frame
from transforms.storage import Content, FileChanged
from transforms.storage.compression import Truncated, Unreadable
from transforms.storage.contents import Contents
from transforms.storage.local import LocalStorage
from transforms.storage.open_files import BLOCK, OpenFiles

MIB = 1024 * 1024


class CountedStorage(LocalStorage):
    """Remembers which ranges were read of it."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.reads: list[tuple[int, int]] = []

    def read(self, path: str, start: int, end: int) -> Content:
        self.reads.append((start, end))
        return super().read(path, start, end)


@pytest.fixture
def storage(tmp_path: Path) -> CountedStorage:
    return CountedStorage(str(tmp_path))


def contents_of(storage: LocalStorage, *, lines_apart: int = 64 * MIB, longest_line: int = 128 * MIB) -> Contents:
    return Contents(storage, OpenFiles(), lines_apart=lines_apart, longest_line=longest_line)


def etag(path: Path) -> str:
    found = LocalStorage(str(path.parent)).etag(str(path))
    assert found is not None
    return found


def measure(contents: Contents, path: Path) -> tuple[int, int]:
    measure = contents.measure(str(path), etag(path), path.stat().st_size)
    return measure.readable, measure.size


def noise(size: int, seed: int = 0) -> bytes:
    """Lines that hardly compress."""
    return b"\n".join(re.findall(rb".{1,100}", os.urandom(size).replace(b"\n", b"x"), re.DOTALL))[: size - 1] + b"\n"


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(st.sampled_from([b"a\n", b"\xc3\xa4\r\n", b"\n", b"x" * 700 + b"\n", b"end"]), max_size=60),
    name=st.sampled_from(["f.jsonl", "f.jsonl.gz", "f.jsonl.zst"]),
    stored_as=st.sampled_from(["", ".gz", ".zst"]),
    members=st.lists(st.integers(0, 5000), max_size=4),
    ranges=st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 3000), st.integers(0, 3000)), max_size=8),
)
def test_any_range_is_that_of_the_content(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    name: str,
    stored_as: str,
    members: list[int],
    ranges: list[tuple[int, int, int]],
) -> None:
    """Whatever the name says, in any order, and what was asked for again is there again."""
    content = b"".join(lines)
    path = tmp_path_factory.mktemp("contents") / name
    path.write_bytes(compress(content, stored_as, cuts=members) if stored_as else content)
    contents = contents_of(LocalStorage(str(path.parent)), lines_apart=500)
    if (not stored_as and name == "f.jsonl") or content:
        assert measure(contents, path) == (len(content), len(content))
    for start, length, back in ranges:
        end = start + length
        for known in ("", etag(path)):
            found = contents.read(str(path), start, end, etag=known, again_from=max(end - back, 0))
            assert (found.data, found.etag) == (content[start:end], etag(path))
            assert found.size >= len(content)
            assert bool(found.compression) == bool(stored_as)
        again = max(end - back, start)
        assert contents.read(str(path), again, end + 10, etag=etag(path)).data == content[again : end + 10]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_ranges_that_follow_each_other_are_one_pass(tmp_path: Path, storage: CountedStorage, suffix: str) -> None:
    """Each looks one byte back, and may go on for its last line: that is held."""
    content = noise(3 * BLOCK)
    path = tmp_path / f"f.jsonl{suffix}"
    path.write_bytes(compress(content, suffix))
    contents = contents_of(storage)
    read = []
    for start in range(0, len(content), MIB):
        end = start + MIB
        read.append(contents.read(str(path), max(start - 1, 0), end, etag=etag(path), again_from=end - 1).data)
        for step in range(3):
            contents.read(str(path), end + step * 1000, end + step * 1000 + 1000, etag=etag(path), again_from=end - 1)
    assert b"".join([read[0], *(data[1:] for data in read[1:])]) == content
    starts = [start for start, _ in storage.reads]
    assert starts == [number * BLOCK for number in range(len(starts))]
    assert (len(starts) - 1) * BLOCK < path.stat().st_size


def test_two_places_of_a_file_are_read_at_the_same_time(tmp_path: Path, storage: CountedStorage) -> None:
    content = noise(2 * BLOCK)
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(compress(content, ".gz"))
    contents = contents_of(storage)
    for start in range(0, BLOCK, MIB):
        for place in (start, BLOCK + start):
            assert contents.read(str(path), place, place + MIB, etag=etag(path)).data == content[place : place + MIB]
    assert len(storage.reads) <= 2 * (path.stat().st_size // BLOCK + 1)


def test_what_is_far_behind_is_read_from_the_nearest_member(tmp_path: Path, storage: CountedStorage) -> None:
    """Of a file that was measured it is known where its members begin."""
    parts = [noise(5 * MIB) for _ in range(10)]
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(b"".join(gzip_member(part, level=1) for part in parts))
    contents = contents_of(storage)
    size = 50 * MIB
    assert measure(contents, path) == (size, size)
    storage.reads.clear()
    assert contents.read(str(path), size - 1000, size, etag=etag(path)).data == parts[-1][-1000:]
    assert storage.reads[0][0] > path.stat().st_size // 2


def test_a_small_file_is_fetched_once_to_be_measured_and_read(tmp_path: Path, storage: CountedStorage) -> None:
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(gzip_member(b"line\n" * 1000))
    contents = contents_of(storage)
    assert measure(contents, path) == (5000, 5000)
    assert measure(contents, path) == (5000, 5000)
    assert contents.read(str(path), 0, 5000, etag=etag(path)).data == b"line\n" * 1000
    assert storage.reads == [(0, BLOCK)]


def test_a_plain_file_costs_no_more_than_its_ranges(tmp_path: Path, storage: CountedStorage) -> None:
    """Whether it is plain is seen in its first range; where that was read elsewhere, in four bytes more."""
    path = tmp_path / "f.jsonl"
    path.write_bytes(b"line\n" * 1000)
    contents = contents_of(storage)
    for start in (0, 1000, 2000):
        contents.read(str(path), start, start + 1000, etag=etag(path))
    assert storage.reads == [(0, 1000), (1000, 2000), (2000, 3000)]
    storage.reads.clear()
    elsewhere = contents_of(storage)
    for start in (3000, 4000):
        elsewhere.read(str(path), start, start + 1000, etag=etag(path))
    assert storage.reads == [(3000, 4000), (0, 4), (4000, 5000)]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_is_replaced_is_never_read_as_one_of_two(
    tmp_path: Path, storage: CountedStorage, suffix: str
) -> None:
    """What is held may go on as the content that it is of, and says so; what must be fetched is of the new one."""
    old, new = noise(2 * BLOCK), noise(2 * BLOCK)
    path = tmp_path / f"f.jsonl{suffix}"
    path.write_bytes(compress(old, suffix))
    was = etag(path)
    contents = contents_of(storage)
    assert contents.read(str(path), 0, 100, etag=was).data == old[:100]
    other = tmp_path / "other"
    other.write_bytes(compress(new, suffix))
    os.replace(other, path)
    for start in range(100, 2 * BLOCK, MIB):
        found = contents.read(str(path), start, start + MIB, etag=was)
        assert found.data == (old if found.etag == was else new)[start : start + MIB]
    assert found.etag == etag(path)
    with pytest.raises(FileChanged):
        contents.measure(str(path), was, 0)
    os.unlink(path)
    with pytest.raises(FileNotFoundError):
        contents.read(str(path), 0, 100)


def test_what_begins_like_nothing_else_is_compressed_whatever_its_name(tmp_path: Path, storage: CountedStorage) -> None:
    for name, stored, compression in (
        ("a.jsonl", gzip_member(b"{}\n"), "gzip"),
        ("b.jsonl", SKIPPABLE + zstd_frame(b"{}\n"), "zstd"),
        ("c.jsonl.zst", gzip_member(b"{}\n"), "gzip"),
        ("d.jsonl.gz", b"{}\n", ""),
        ("e.jsonl", b"{}\n", ""),
    ):
        path = tmp_path / name
        path.write_bytes(stored)
        found = contents_of(storage).read(str(path), 0, 100)
        assert (found.data, found.compression) == (b"{}\n", compression)


@pytest.mark.parametrize("name", ["f.jsonl", "f.jsonl.gz", "f.jsonl.zst"])
def test_a_file_without_content_is_empty(tmp_path: Path, storage: CountedStorage, name: str) -> None:
    path = tmp_path / name
    for stored in (b"", gzip_member(b""), zstd_frame(b""), SKIPPABLE, gzip_member(b"") + bytes(512)):
        path.write_bytes(stored)
        contents = contents_of(storage)
        assert contents.measure(str(path), etag(path), len(stored)).size == 0
        assert contents.read(str(path), 0, 100).data == b""


def cut_off(content: bytes) -> bytes:
    return gzip_member(content)[:-12]


def with_a_wrong_checksum(content: bytes) -> bytes:
    stored = bytearray(gzip_member(content))
    stored[-6] ^= 1
    return bytes(stored)


def with_text_behind(content: bytes) -> bytes:
    return gzip_member(content) + b"more\n"


@pytest.mark.parametrize(
    ("spoil", "readable", "reason"),
    [
        (cut_off, 14, "is cut off: its gzip data ends at byte"),
        (with_a_wrong_checksum, 6, "is damaged: the gzip data that begins at byte 26 cannot be decompressed"),
        (with_text_behind, 18, "has something behind its compressed data, from byte [0-9]+ on"),
    ],
)
def test_of_a_file_that_cannot_be_read_on_whole_lines_are_readable(
    tmp_path: Path, storage: CountedStorage, spoil: Callable[[bytes], bytes], readable: int, reason: str
) -> None:
    """Those before a cut, and before damage those that a checksum says are as they were written."""
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(gzip_member(b"{}\n[]\n") + spoil(b"1234567\nabc\n"))
    contents = contents_of(storage)
    found = contents.measure(str(path), etag(path), path.stat().st_size)
    assert (found.readable, found.whole) == (readable, False)
    (first, rest) = found.ranges(0, found.size)
    assert first == (0, readable)
    assert contents.read(str(path), *first, etag=etag(path)).data == b"{}\n[]\n1234567\nabc\n"[:readable]
    for start in (rest[0], rest[0] - 1):
        with pytest.raises(Unreadable, match=reason):
            contents.read(str(path), start, rest[1], etag=etag(path))
    assert list(found.ranges(readable, found.size)) == [rest]


def test_a_file_with_a_cut_header_is_cut_off(tmp_path: Path, storage: CountedStorage) -> None:
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(b"\x1f\x8b")
    contents = contents_of(storage)
    found = contents.measure(str(path), etag(path), 2)
    assert list(found.ranges(0, found.size)) == [(found.rest, found.size)]
    with pytest.raises(Truncated):
        contents.read(str(path), found.rest, found.size)


@pytest.mark.parametrize("stored", [bytes(5000), b"BZh91AY&SY", b"PK\x03\x04..", b"\xfd7zXZ\0", b"\x04\x22\x4d\x18.."])
def test_a_compressed_file_that_is_none_and_no_text_is_not_read_as_lines(
    tmp_path: Path, storage: CountedStorage, stored: bytes
) -> None:
    """A file that was made with its size before its content comes is no empty one."""
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(stored)
    contents = contents_of(storage)
    found = contents.measure(str(path), etag(path), len(stored))
    assert (found.readable, found.whole) == (0, False)
    with pytest.raises(Unreadable, match="holds neither gzip nor zstd data, nor text"):
        contents.read(str(path), 0, 10, etag=etag(path))
    plain = tmp_path / "f.jsonl"
    plain.write_bytes(stored)
    assert contents.read(str(plain), 0, 10).data == stored[:10], "no name says that it is compressed"


def test_a_line_that_cannot_be_held_ends_the_measuring(tmp_path: Path, storage: CountedStorage) -> None:
    """As in a plain file it is only read to see that it is too long: a bomb does not cost what it says."""
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(gzip_member(b"{}\n" + bytes(500 * MIB)))
    found = contents_of(storage, longest_line=3 * MIB).measure(str(path), etag(path), path.stat().st_size)
    assert (found.readable, found.rest) == (3, 3)
    assert found.size < 8 * MIB
    assert list(found.ranges(0, found.size)) == [(0, 3), (3, found.size)]


@settings(max_examples=100, deadline=None)
@given(
    lines=st.lists(st.integers(0, 400), max_size=50), apart=st.integers(1, 1500), cuts=st.lists(st.integers(0, 9000))
)
def test_lines_are_found_where_a_compressed_file_may_be_cut(
    tmp_path_factory: pytest.TempPathFactory, lines: list[int], apart: int, cuts: list[int]
) -> None:
    content = b"".join(b"x" * length + b"\n" for length in lines)
    path = tmp_path_factory.mktemp("contents") / "f.jsonl.gz"
    path.write_bytes(compress(content, ".gz", cuts=cuts))
    found = contents_of(LocalStorage(str(path.parent)), lines_apart=apart).measure(str(path), etag(path), 0)
    assert found.size == len(content)
    expected = []
    target = apart
    while (newline := content.find(b"\n", target - 1)) >= 0:
        expected.append(newline + 1)
        target = newline + 1 + apart
    assert list(found.line_starts) == expected
    for start, end in pairwise([0, *expected]):
        assert found.next_line(start + apart, len(content)) == end
    assert found.next_line(len(content) + 1, len(content)) == len(content)


def test_a_range_over_the_place_where_a_file_cannot_be_read_on(tmp_path: Path, storage: CountedStorage) -> None:
    """Whoever takes less than the range gets what is before it; the reason comes with what is behind."""
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(gzip_member(b"{}\n") + b"garbage")
    contents = contents_of(storage)
    for _ in range(2):
        with pytest.raises(Unreadable, match="behind its compressed data"):
            contents.read(str(path), 1, 100, etag=etag(path))
        assert contents.read(str(path), 1, 100, etag=etag(path), partial=True).data == b"}\n"
        with pytest.raises(Unreadable, match="behind its compressed data"):
            contents.read(str(path), 3, 100, etag=etag(path), partial=True)


def test_what_is_held_of_files_is_bounded(tmp_path: Path, storage: CountedStorage) -> None:
    """However many are read from, each can be read on."""
    paths = [tmp_path / f"{number}.jsonl.gz" for number in range(40)]
    files = OpenFiles()
    contents = Contents(storage, files)
    for path in paths:
        path.write_bytes(gzip_member(path.name.encode() * 100_000))
        measure(contents, path)
    for start in (0, 10, 20):
        for path in paths:
            found = contents.read(str(path), start, start + 10, etag=etag(path)).data
            assert found == (path.name.encode() * 100)[start : start + 10]
            assert len(files._readers) <= 16
    files.close()
    assert contents.read(str(paths[0]), 30, 40, etag=etag(paths[0])).data == (b"0.jsonl.gz" * 4)[30:40]
