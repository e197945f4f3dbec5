"""What an input is called, wherever its directory is, over both transports."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from beam_pipeline import IngestConfig, IngestionWorker
from tests.support.databases import make_tables
from tests.support.dataset import Dataset, event, wrongs
from transforms.clickhouse import ClickHouse
from transforms.loads.inputs import INPUTS_TABLE, find_input, resolve_input
from transforms.loads.journal import JOURNAL_TABLE
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE


@pytest.fixture
def client(clickhouse: ClickHouse) -> ClickHouse:
    make_tables(clickhouse)
    return clickhouse


def known(client: ClickHouse) -> list[tuple[str, str, str]]:
    rows = client.query(f"SELECT name, root, identity FROM {INPUTS_TABLE} ORDER BY seen_at, name, root")
    return [tuple(row.values()) for row in rows]  # type: ignore[misc]


def test_a_new_directory_is_called_by_its_path(client: ClickHouse) -> None:
    assert find_input(client, "/in", "1-1") == ("/in", False)
    assert known(client) == [], "asking writes nothing"
    assert resolve_input(client, "/in", "1-1") == "/in"
    assert resolve_input(client, "/other", "1-2") == "/other"
    assert find_input(client, "/in", "1-1") == ("/in", True)
    assert known(client) == [("/in", "/in", "1-1"), ("/other", "/other", "1-2")]


def test_it_is_written_down_once(client: ClickHouse) -> None:
    for _ in range(3):
        assert resolve_input(client, "/in", "1-1") == "/in"
    assert known(client) == [("/in", "/in", "1-1")]


def test_a_directory_that_was_renamed_keeps_its_name(client: ClickHouse) -> None:
    resolve_input(client, "/in", "1-1")
    for root in ("/moved", "/moved/again", "/in"):
        assert resolve_input(client, root, "1-1") == "/in"
    assert resolve_input(client, "/other", "1-2") == "/other"


def test_one_at_the_same_place_is_the_same_input(client: ClickHouse) -> None:
    """Such as one that was mounted again, or restored."""
    resolve_input(client, "/in", "1-1")
    assert resolve_input(client, "/in", "2-7") == "/in"
    assert find_input(client, "/in", "2-7") == ("/in", True)


def test_a_bucket_is_one_input_for_all_hosts(client: ClickHouse) -> None:
    bucket = "s3://events/observability"
    assert resolve_input(client, bucket, bucket, host="one") == bucket
    assert resolve_input(client, bucket, bucket, host="two") == bucket
    assert resolve_input(client, f"{bucket}/more", f"{bucket}/more", host="two") == f"{bucket}/more"


def test_a_name_that_is_given_counts_and_is_kept(client: ClickHouse) -> None:
    assert resolve_input(client, "/mnt/a", "1-1", "events") == "events"
    assert resolve_input(client, "/mnt/a", "1-1") == "events", "also when it is not given again"
    assert resolve_input(client, "/mnt/b", "9-9", "events") == "events", "on another machine"
    assert resolve_input(client, "/mnt/b", "9-9") == "events"
    assert resolve_input(client, "/mnt/a", "1-1", "other") == "other"
    assert resolve_input(client, "/mnt/a", "1-1", "events") == "events"
    assert len(known(client)) == 3


def test_directories_that_cannot_be_known_are_known_by_their_paths(client: ClickHouse) -> None:
    assert [resolve_input(client, root, "") for root in ("/a", "/b", "/a")] == ["/a", "/b", "/a"]
    assert [name for name, *_ in known(client)] == ["/a", "/b"]


# Whole runs


def write(dataset: Dataset, number: int) -> None:
    lines: list[tuple[str, str | None]] = [(event("log", f"{number}-{n}"), f"{number}-{n}") for n in range(3)]
    dataset.add_file("log", "p", f"2026112{number}T120000Z_00.jsonl", lines)


def run(client: ClickHouse, root: str, **options: str) -> tuple[int, int]:
    """Files that were loaded, and those that came again."""
    worker = IngestionWorker(replace(IngestConfig(root, client.config), **options))  # type: ignore[arg-type]
    result = worker.process_once()
    worker.close()
    assert result.errors == []
    return result.files_processed, result.known


def test_a_directory_that_is_somewhere_else_goes_on_where_it_was(client: ClickHouse, tmp_path: Path) -> None:
    """Its files are known by their paths within it: one that comes again is not loaded again."""
    before = Dataset(str(tmp_path / "before"))
    for number in range(2):
        write(before, number)
    assert run(client, before.root) == (2, 0)
    after = replace(before, root=str(tmp_path / "after"))
    os.rename(before.root, after.root)
    write(after, 2)
    (again,) = Path(after.root).glob("log/p/processed/20261120T*")
    (again.parent.parent / again.name).write_bytes(again.read_bytes())
    assert run(client, after.root) == (1, 1)
    assert {row["input"] for row in client.query(f"SELECT DISTINCT input FROM {JOURNAL_TABLE}")} == {before.root}
    paths = client.query(f"SELECT path FROM {FILES_TABLE} FINAL ORDER BY path")
    assert [row["path"] for row in paths] == [f"log/p/2026112{n}T120000Z_00.jsonl" for n in range(3)]
    again.with_name("20261120T120000Z_00.2.jsonl").unlink()
    assert wrongs(client, after) == []


def test_one_name_for_the_mounts_of_two_machines(client: ClickHouse, tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "in"))
    write(dataset, 0)
    assert run(client, dataset.root, input_name="events") == (1, 0)
    (tmp_path / "mount").symlink_to(dataset.root)
    write(dataset, 1)
    assert run(client, str(tmp_path / "mount"), input_name="events") == (1, 0)
    assert client.query(f"SELECT DISTINCT input FROM {LOADS_TABLE}") == [{"input": "events"}]
    assert wrongs(client, dataset) == []
