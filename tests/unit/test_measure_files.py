"""How much files hold is asked for where neither name nor log say that it is their size, and failures are of one file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.compress import gzip_member
from transforms import interrupt
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig
from transforms.listing import in_delivery_order
from transforms.measure_files import measure_files
from transforms.storage import PendingFile, reason_of
from transforms.storage.contents import Contents
from transforms.storage.local import LocalStorage


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path))


def put(storage: LocalStorage, name: str, stored: bytes) -> PendingFile:
    path = Path(storage.root, name)
    path.write_bytes(stored)
    etag = storage.etag(str(path))
    assert etag
    return PendingFile(0, str(path), "log", "p", len(stored), 0, etag)


def test_files_are_measured_where_their_size_may_not_be_what_they_hold(storage: LocalStorage) -> None:
    content = b"line\n" * 100
    named = put(storage, "a.jsonl.gz", gzip_member(content))
    plain = put(storage, "b.jsonl.gz", content)
    hidden = put(storage, "c.jsonl", gzip_member(content))
    known = put(storage, "d.jsonl", gzip_member(content))
    large = put(storage, "e.jsonl", gzip_member(os.urandom(3000)))
    files = [named, plain, hidden, known, large]
    measured = measure_files(files, {known.path}, Contents(storage, lines_apart=2000))
    assert {path: measure.size for path, measure in measured.measures.items()} == {
        named.path: 500,
        plain.path: 500,
        hidden.path: hidden.size,  # which is seen when it is loaded
        known.path: 500,
        large.path: 3000,
    }
    assert (measured.failed, measured.changed) == ({}, 0)


def test_what_cannot_be_measured_keeps_no_other_back(storage: LocalStorage) -> None:
    good, gone, changed, unreadable = (put(storage, f"{n}.jsonl.gz", gzip_member(b"{}\n")) for n in range(4))
    os.unlink(gone.path)
    Path(changed.path).write_bytes(gzip_member(b"[]\n[]\n"))
    os.unlink(unreadable.path)
    os.mkdir(unreadable.path)
    measured = measure_files([good, gone, changed, unreadable], {}, Contents(storage))
    assert set(measured.measures) == {good.path}
    assert measured.changed == 1
    assert {path: reason_of(error) for path, error in measured.failed.items()} == {unreadable.path: "Is a directory"}


def test_a_run_that_is_to_stop_measures_no_more(storage: LocalStorage) -> None:
    file = put(storage, "a.jsonl.gz", gzip_member(b"{}\n"))
    interrupt.requested.set()
    try:
        assert measure_files([file], {}, Contents(storage)).measures == {}
    finally:
        interrupt.requested.clear()


def test_rows_of_a_compressed_file_come_before_those_of_the_next_one(storage: LocalStorage) -> None:
    """However much it holds, up to a hundred times of what is stored."""
    config = IngestConfig(storage.root, ClickHouseConfig(url="http://nowhere"), load_bytes=1 << 20, block_bytes=1 << 20)
    for name, most in (("a.jsonl", 1), ("a.jsonl.gz", 100)):
        first = put(storage, name, b"x" * 100_000)
        second = PendingFile(1, "later", "log", "p", 1, 0, "")
        one, other = in_delivery_order([first, second], 0, config)
        blocks = first.size * most / config.block_bytes
        assert other.version_ms - one.version_ms >= 3 * blocks
