"""Slices of a file, cut anywhere, together hold each of its lines exactly once."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.loads import Slice
from transforms.loads.lines import line_number, line_start, next_line, range_digest, read_lines
from transforms.storage import Content, FileChanged, LineTooLong
from transforms.storage.contents import Contents
from transforms.storage.local import LocalStorage


def whole_file(storage: LocalStorage, path: Path) -> Slice:
    size = path.stat().st_size
    return Slice(str(path), "log", "p1", 0, 0, size, storage.etag(str(path)) or "", 0, size)


def ranges(part: Slice, cuts: list[int]) -> list[Slice]:
    edges = sorted({0, part.size, *(min(cut, part.size) for cut in cuts)})
    return [Slice(part.path, "log", "p1", 0, 0, part.size, part.etag, start, end) for start, end in pairwise(edges)]


@settings(max_examples=300, deadline=None)
@given(
    content=st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"{}", b"x" * 50]), max_size=60).map(b"".join),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_ranges_cut_anywhere_give_each_line_once(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "file.jsonl"
    path.write_bytes(content)
    storage = LocalStorage(str(path.parent))
    read = [read_lines(Contents(storage), part, 10_000) for part in ranges(whole_file(storage, path), cuts)]
    assert b"".join(piece.data for piece in read) == content
    assert b"".join(bytes(piece.raw) for piece in read) == content
    for piece in read:
        assert content[piece.offset : piece.offset + len(piece.data)] == piece.data
        if piece.data and piece.offset:
            assert content[piece.offset - 1 : piece.offset] == b"\n"
        assert line_number(Contents(storage), str(path), "", piece.offset) == content[: piece.offset].count(b"\n") + 1


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path))


def test_a_changed_file_is_not_taken_for_the_recorded_one(tmp_path: Path, storage: LocalStorage) -> None:
    """Its lines are those that it has now, and they come with the etag of these."""
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"{}\n{")
    part = whole_file(storage, path)
    assert read_lines(Contents(storage), part, 1000).etag == part.etag
    path.write_bytes(b"[]\n[]\n[]\n")
    now = read_lines(Contents(storage), part, 1000)
    assert (now.etag, bytes(now.raw)) == (storage.etag(str(path)), b"[]\n[")
    assert now.data == b"[]\n[]\n", "what was the end of the file is in the middle of a line now"
    assert now.etag != part.etag
    path.write_bytes(b"[")
    assert read_lines(Contents(storage), part, 1000).data == b"["
    os.unlink(path)
    with pytest.raises(FileChanged, match="gone"):
        read_lines(Contents(storage), part, 1000)


def test_a_line_that_cannot_be_held_is_told_with_its_place(tmp_path: Path, storage: LocalStorage) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"{}\n" + b"x" * 500_000 + b"\n{}\n")
    first, second, *_ = ranges(whole_file(storage, path), [10, 400_000])
    with pytest.raises(LineTooLong, match="reaches over byte 10 "):
        read_lines(Contents(storage), first, 100_000)
    assert read_lines(Contents(storage), first, 600_000).data == b"{}\n" + b"x" * 500_000 + b"\n"
    assert read_lines(Contents(storage), second, 100_000).data == b""


def test_lines_are_never_made_of_two_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is replaced when its range is read and the end of its last line is not."""
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"{}\n[11111111]\n")
    storage = LocalStorage(str(tmp_path))
    first = ranges(whole_file(storage, path), [5])[0]
    read = LocalStorage.read

    def replaced_after_the_first(storage: LocalStorage, name: str, start: int, end: int) -> Content:
        content = read(storage, name, start, end)
        if b"11" not in content.data and start == 0 and path.stat().st_size == 14:
            path.with_suffix(".new").write_bytes(b"{}\n[2222222222222]\n")
            path.with_suffix(".new").replace(path)
        return content

    monkeypatch.setattr(LocalStorage, "read", replaced_after_the_first)
    lines = read_lines(Contents(storage), first, 1000)
    assert (lines.data, lines.etag) == (b"{}\n[2222222222222]\n", storage.etag(str(path)))


def test_a_file_that_is_replaced_each_time_that_it_is_read_is_told(
    tmp_path: Path, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"{}\n[1]\n")
    first = ranges(whole_file(storage, path), [4])[0]
    etags = count()
    read = LocalStorage.read

    def with_another_etag(storage: LocalStorage, name: str, start: int, end: int) -> Content:
        return replace(read(storage, name, start, end), etag=str(next(etags)))

    monkeypatch.setattr(LocalStorage, "read", with_another_etag)
    with pytest.raises(FileChanged, match="changes all the time"):
        read_lines(Contents(storage), first, 1000)


def test_the_start_of_a_line_is_found_backwards(tmp_path: Path, storage: LocalStorage) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"ab\n" + b"c" * 200_000 + b"\nd")
    assert [
        line_start(Contents(storage), str(path), "", offset) for offset in (0, 2, 3, 150_000, 200_004, 200_005)
    ] == [
        0,
        0,
        3,
        3,
        200_004,
        200_004,
    ]


@settings(max_examples=100, deadline=None)
@given(
    content=st.lists(st.sampled_from([b"a", b"\n", b"x" * 70_000]), max_size=12).map(b"".join),
    offset=st.integers(1, 200_000),
    end=st.integers(0, 200_000),
)
def test_the_next_line_begins_at_an_offset_or_behind_it(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, offset: int, end: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "file.jsonl"
    path.write_bytes(content)
    end = min(end, len(content))
    newline = content.find(b"\n", offset - 1, end)
    expected = newline + 1 if newline >= 0 else end
    assert next_line(Contents(LocalStorage(str(path.parent))), str(path), "", offset, end) == expected


def test_a_digest_is_that_of_the_range_alone(tmp_path: Path, storage: LocalStorage) -> None:
    path = tmp_path / "file.jsonl"
    content = bytes(range(256)) * 40_000  # more than is read at a time
    path.write_bytes(content)
    for start, end in ((0, len(content)), (5, 5_000_000), (7, 7), (len(content) - 1, len(content))):
        assert range_digest(Contents(storage), str(path), "", start, end) == xxhash.xxh3_128_hexdigest(
            content[start:end]
        )
