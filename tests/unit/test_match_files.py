from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig
from transforms.listing import Page, list_pages, match_files
from transforms.storage import open_storage
from transforms.storage.ignored_files import IgnoredFile, IgnoreReason

NOW_MS = 1_795_176_000_000
"""2026-11-20T12:00:00Z"""
DAY_MS = 86_400_000


def put(root: Path, name: str, modified_ms: int = NOW_MS) -> str:
    path = root / "trace/p" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, ns=(0, modified_ms * 1_000_000))
    return name


def config_of(root: Path) -> IngestConfig:
    return IngestConfig(input=str(root), clickhouse=ClickHouseConfig(url="http://nowhere"), looked_at_ms=NOW_MS)


def matched(config: IngestConfig) -> tuple[list[str], dict[str, IgnoreReason]]:
    ignored: list[IgnoredFile] = []
    files = match_files(open_storage(config.input), config, lambda path, reason: pytest.fail(reason), ignored.append)
    names = sorted(os.path.basename(file.path) for file in files)
    return names, {os.path.basename(file.path): file.reason for file in ignored}


@pytest.mark.parametrize("ahead_ms", [1, 1000, 400 * DAY_MS])
def test_a_modification_time_in_the_future_keeps_no_file_back(tmp_path: Path, ahead_ms: int) -> None:
    put(tmp_path, "a.jsonl", NOW_MS + ahead_ms)
    assert matched(config_of(tmp_path)) == (["a.jsonl"], {})


def test_young_files_are_left_and_told_those_of_another_clock_too(tmp_path: Path) -> None:
    for name, modified_ms in {"old": -60_000, "young": -59_999, "ahead": 59_999, "future": DAY_MS}.items():
        put(tmp_path, f"{name}.jsonl", NOW_MS + modified_ms)
    assert matched(replace(config_of(tmp_path), min_file_age_s=60)) == (
        ["future.jsonl", "old.jsonl"],
        {"young.jsonl": IgnoreReason.TOO_YOUNG, "ahead.jsonl": IgnoreReason.TOO_YOUNG},
    )


def test_the_age_of_a_file_is_that_of_now_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", int(time.time() * 1000))
    config = replace(config_of(tmp_path), min_file_age_s=3600)
    assert matched(replace(config, looked_at_ms=None))[0] == []
    assert matched(replace(config, looked_at_ms=0))[0] == ["a.jsonl"]


def test_a_file_outside_of_the_range_is_not_told_about(tmp_path: Path) -> None:
    for name in ("20261119T000000Z_a.JSONL", "20261121T000000Z_a.JSONL", "no-time.JSONL", "20261119T000000Z_a.jsonl"):
        put(tmp_path, name)
    config = replace(config_of(tmp_path), min_file_age_s=60, since_ms=NOW_MS, until_ms=NOW_MS + 10 * DAY_MS)
    assert matched(config) == (
        [],
        {"20261121T000000Z_a.JSONL": IgnoreReason.SUFFIX, "no-time.JSONL": IgnoreReason.SUFFIX},
    )


def pages_of(config: IngestConfig, limit: int) -> list[Page]:
    return list(list_pages(open_storage(config.input), config, limit, lambda path, reason: pytest.fail(reason)))


def test_a_page_knows_the_latest_change_of_all_that_was_there(tmp_path: Path) -> None:
    """So that a later look of the same run takes exactly these, whatever the clock says by then."""
    put(tmp_path, "20261101T000000Z_a.jsonl", NOW_MS)
    put(tmp_path, "20261102T000000Z_a.jsonl", NOW_MS + DAY_MS)
    config = config_of(tmp_path)
    page, _ = pages_of(config, 1)
    assert (page.files, page.modified_ms) == (1, NOW_MS + DAY_MS)
    put(tmp_path, "20261103T000000Z_a.jsonl", NOW_MS + DAY_MS + 1)
    assert matched(replace(config, modified_until_ms=page.modified_ms))[0] == [
        "20261101T000000Z_a.jsonl",
        "20261102T000000Z_a.jsonl",
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
def test_pages_are_those_of_one_listing_in_the_order_of_age(tmp_path: Path, limit: int) -> None:
    days = [f"202611{day:02}T000000Z_a.jsonl" for day in (3, 1, 7, 5, 2, 6, 4)]
    for number, name in enumerate(days):
        put(tmp_path, name)
        (tmp_path / "trace/p" / name).write_bytes(b"x" * number)
    pages = pages_of(config_of(tmp_path), limit)
    found = [[os.path.basename(file.path) for file in page.members] for page in pages]
    assert found == [sorted(days)[start : start + limit] for start in range(0, 7, limit)]
    for page in pages:
        assert (page.files, page.bytes) == (len(page.members), sum(file.size for file in page.members))
        assert page.last == page.members[-1].key


def test_a_page_knows_all_that_the_listing_has_found(tmp_path: Path) -> None:
    for day in range(1, 6):
        put(tmp_path, f"2026110{day}T000000Z_a.jsonl")
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.jsonl"))
    pages = pages_of(config_of(tmp_path), 2)
    assert [(page.number, page.listed_files, page.listed_bytes) for page in pages] == [(n, 5, size) for n in range(3)]


def test_a_page_has_no_more_than_is_wanted(tmp_path: Path) -> None:
    for day in range(1, 8):
        put(tmp_path, f"2026110{day}T000000Z_a.jsonl")
    wanted: Iterator[int | None] = iter((3, 5, None, 0))
    pages = list_pages(open_storage(str(tmp_path)), config_of(tmp_path), 2, pytest.fail, wanted=lambda: next(wanted))
    assert [page.files for page in pages] == [2, 2, 2]


def test_an_empty_directory_has_no_page(tmp_path: Path) -> None:
    assert pages_of(config_of(tmp_path), 5) == []
