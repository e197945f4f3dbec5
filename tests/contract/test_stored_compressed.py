"""Every kind of storage gives compressed files as they are stored, whatever it says about them, and their content in ranges."""

from __future__ import annotations

import pytest

from tests.support.compress import compress, gzip_member, zstd_frame
from tests.support.places import GcsPlace, Place, S3Place
from transforms.storage import PendingFile
from transforms.storage.compression import Truncated
from transforms.storage.contents import Contents

CONTENT = b"".join(b'{"type":"log","n":%d}\r\n' % number for number in range(20_000))
PATH = "log/p1/20261120T120000Z_01.jsonl"


def only_file(place: Place) -> PendingFile:
    (file,) = place.storage.list_pending(("log",), None, lambda path, reason: pytest.fail(f"{path}: {reason}"))
    return file


def assert_holds_the_content(place: Place) -> None:
    file = only_file(place)
    contents = Contents(place.storage, lines_apart=100_000)
    measure = contents.measure(file.path, file.etag, file.size)
    assert (measure.size, measure.whole) == (len(CONTENT), True)
    for start in (0, 7, 100_000, 300_000, 0, len(CONTENT) - 5, len(CONTENT)):
        found = contents.read(file.path, start, start + 100_000, etag=file.etag)
        assert (found.data, found.etag) == (CONTENT[start : start + 100_000], file.etag)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_are_pending_and_hold_their_content(place: Place, suffix: str) -> None:
    stored = compress(CONTENT, suffix, cuts=(100_000, 200_000))
    place.put(PATH + suffix, stored)
    assert only_file(place).size == len(stored)
    assert_holds_the_content(place)


@pytest.mark.parametrize("name", [PATH, f"{PATH}.gz"])
def test_an_object_with_a_content_encoding_holds_its_content(place: Place, name: str) -> None:
    """A store may decompress such objects on the way, or say that they are larger: neither may happen here."""
    encoding = {S3Place: {"ContentEncoding": "gzip"}, GcsPlace: {"contentEncoding": "gzip"}}
    place.put(name, gzip_member(CONTENT), **encoding.get(type(place), {}))
    assert_holds_the_content(place)


def test_a_large_object_is_read_in_steps(place: Place) -> None:
    """Of more than one request, also from the middle on; what it holds does not compress."""
    import os

    content = b"".join(os.urandom(1000).replace(b"\n", b"x") + b"\n" for _ in range(5000))
    place.put(f"{PATH}.zst", zstd_frame(content))
    file = only_file(place)
    contents = Contents(place.storage)
    assert contents.measure(file.path, file.etag, file.size).size == len(content)
    assert contents.read(file.path, 4_500_000, 5_100_000).data == content[4_500_000:]


def test_an_upload_that_is_cut_off_is_told(place: Place) -> None:
    place.put(f"{PATH}.gz", gzip_member(CONTENT)[:-100])
    file = only_file(place)
    contents = Contents(place.storage)
    measure = contents.measure(file.path, file.etag, file.size)
    assert 0 < measure.readable < len(CONTENT)
    assert contents.read(file.path, 0, measure.readable).data == CONTENT[: measure.readable]
    with pytest.raises(Truncated):
        contents.read(file.path, measure.rest, measure.size)


def test_a_moved_file_keeps_its_name(place: Place) -> None:
    for number in range(2):
        place.put(f"{PATH}.gz", gzip_member(b"%d\n" % number))
        file = only_file(place)
        place.storage.move(file.path, file.etag)
    stem = "log/p1/processed/20261120T120000Z_01"
    assert place.names() == [f"{stem}.2.jsonl.gz", f"{stem}.jsonl.gz"]
