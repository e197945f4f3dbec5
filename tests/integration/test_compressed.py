"""Whole runs over compressed files: every line arrives once, whatever they are made of and whatever becomes of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beam_pipeline import IngestionWorker
from beam_pipeline.results import ProcessingResult
from tests.support.compress import SKIPPABLE, compress, gzip_member, zstd_frame
from tests.support.databases import make_tables
from tests.support.dataset import Dataset, event, wrongs
from transforms.clickhouse import ClickHouse
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE, TABLES
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE

NAME = "20261120T120000Z_00ab.jsonl"
MIB = 1024 * 1024


class Ingest:
    """Runs of the pipeline over one input directory into one database, in this process."""

    def __init__(self, root: Path, client: ClickHouse) -> None:
        self.root = root
        self.client = client

    def write(self, content: bytes, name: str = NAME) -> Path:
        path = self.root / "log" / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        coming = path.with_name(f".{name}")
        coming.write_bytes(content)
        coming.replace(path)
        return path

    def run(self, **options: Any) -> ProcessingResult:
        worker = IngestionWorker(IngestConfig(input=str(self.root), clickhouse=self.client.config, **options))
        try:
            worker.init()
            return worker.process_once()
        finally:
            worker.close()

    def ids(self) -> list[str]:
        """Of every row, a repeated one as often as it is there; what the rollup has counted is as much."""
        table = TABLES["log"]
        rows = self.client.query(f"SELECT {table.id_column} AS id FROM {table.table} ORDER BY id")
        (counted,) = self.client.query(f"SELECT sum(count) AS n FROM {table.stats_view}")
        assert counted["n"] == len(rows)
        return [row["id"] for row in rows]

    def rejected(self) -> list[tuple[str, int, int, str]]:
        """(file, line, offset, first character) of every rejected line."""
        rows = self.client.query(
            f"SELECT file, line, byte_offset, substring(raw, 1, 1) AS raw FROM {REJECTED_TABLE} ORDER BY file, line"
        )
        return [(row["file"], row["line"], row["byte_offset"], row["raw"]) for row in rows]

    def files(self) -> list[str]:
        """All files below the project's directory."""
        directory = self.root / "log" / "p"
        return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.fixture
def ingest(tmp_path: Path, embedded: ClickHouse) -> Iterator[Ingest]:
    make_tables(embedded)
    (tmp_path / "in").mkdir()
    yield Ingest(tmp_path / "in", embedded)


def lines(start: int, end: int) -> bytes:
    return "".join(event("log", f"{number:06}") + "\n" for number in range(start, end)).encode()


def ids(start: int, end: int) -> list[str]:
    return [f"{number:06}" for number in range(start, end)]


def test_plain_and_compressed_files_are_loaded_together(ingest: Ingest) -> None:
    """In several loads of several chunks, with bad lines in each, whose places are those in the content."""
    dataset = Dataset(str(ingest.root))
    for number, suffix in enumerate(("", ".gz", ".zst", ".gzip", ".zstd")):
        for kind in TABLES:
            made: list[tuple[str, str | None]] = [
                ('{"broken', None)
                if line % 25 == 3
                else (
                    event(kind, f"{kind}-{number}-{line}", status="ok" if line % 3 else "error"),
                    f"{kind}-{number}-{line}",
                )
                if kind in ("trace", "span")
                else (event(kind, f"{kind}-{number}-{line}"), f"{kind}-{number}-{line}")
                for line in range(80)
            ]
            dataset.add_file(kind, "p", f"20261120T12000{number}Z_{number:04x}.jsonl{suffix}", made)
    result = ingest.run(load_bytes=8_000, block_bytes=3_000)
    assert result.errors == []
    assert wrongs(ingest.client, dataset) == []
    numbers = {(file, line) for file, line, _, _ in ingest.rejected()}
    assert numbers == {(path, line) for path in dataset.files for line in (4, 29, 54, 79)}
    assert result.bytes_read == sum(
        row["n"] for row in ingest.client.query(f"SELECT sum(bytes) AS n FROM {LOADS_TABLE} FINAL")
    )
    assert ingest.run().files_processed == 0


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (NAME, gzip_member(lines(0, 50))),
        (NAME, zstd_frame(lines(0, 20)) + SKIPPABLE + zstd_frame(lines(20, 50))),
        (f"{NAME}.gz", lines(0, 50)),
        (f"{NAME}.gz", zstd_frame(lines(0, 50))),
        (f"{NAME}.zst", gzip_member(b"") + gzip_member(lines(0, 50)) + bytes(1000)),
    ],
    ids=["gzip as plain", "zstd as plain", "plain as gzip", "zstd as gzip", "gzip as zstd"],
)
@pytest.mark.parametrize("load_bytes", [1_000, 1_000_000])
def test_what_is_in_a_file_counts_not_its_name(ingest: Ingest, name: str, stored: bytes, load_bytes: int) -> None:
    """In one run, also where it is only seen when the file is loaded."""
    ingest.write(stored, name)
    ingest.write(lines(50, 60), "20261120T120000Z_other.jsonl")
    result = ingest.run(load_bytes=load_bytes, block_bytes=1_000)
    assert (result.errors, result.files_processed, result.events_ingested) == ([], 2, 60)
    assert ingest.ids() == ids(0, 60)
    assert ingest.files() == [f"processed/{name}", "processed/20261120T120000Z_other.jsonl"]
    assert ingest.run().events_ingested == 0


def test_empty_compressed_files_are_done(ingest: Ingest) -> None:
    for number, stored in enumerate((b"", gzip_member(b""), SKIPPABLE, gzip_member(b"\n\n"))):
        ingest.write(stored, f"20261120T12000{number}Z_00.jsonl.gz")
    result = ingest.run()
    assert (result.errors, result.files_processed, result.events_ingested, ingest.rejected()) == ([], 4, 0, [])
    assert all(name.startswith("processed/") for name in ingest.files())


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_is_still_being_uploaded_is_loaded_as_it_comes(ingest: Ingest, suffix: str) -> None:
    """What can be read is loaded, once; the file is named and stays until it is whole."""
    content = lines(0, 3000)
    whole = compress(content, suffix, cuts=range(0, len(content), 20_000))
    name = NAME + suffix
    seen = 0
    for share in (0.3, 0.7):
        ingest.write(whole[: int(len(whole) * share)], name)
        result = ingest.run(load_bytes=60_000, block_bytes=20_000)
        ((failed, reason),) = [(error.name, error.reason) for error in result.errors]
        assert failed.endswith(name)
        assert "is cut off" in reason
        assert result.files_processed == 0
        assert result.events_ingested > 500
        seen += result.events_ingested
        assert ingest.ids() == ids(0, seen)
        assert ingest.rejected() == []
        assert ingest.files() == [name]
        again = ingest.run()
        assert (again.events_ingested, len(again.errors)) == (0, 1)
    ingest.write(whole, name)
    result = ingest.run(load_bytes=60_000, block_bytes=20_000)
    assert (result.errors, result.events_ingested) == ([], 3000 - seen)
    assert ingest.ids() == ids(0, 3000)
    assert ingest.files() == [f"processed/{name}"]


def flipped(stored: bytes, place: int) -> bytes:
    return stored[:place] + bytes((stored[place] ^ 1,)) + stored[place + 1 :]


@pytest.mark.parametrize(
    ("spoil", "loaded", "reason"),
    [
        (lambda first, second: first + flipped(second, -6), 100, "is damaged"),
        (lambda first, second: first + flipped(second, len(second) // 2), 100, "is damaged"),
        (lambda first, second: flipped(first, -6) + second, 0, "is damaged"),
        (lambda first, second: first + second + lines(200, 201), 200, "has something behind its compressed data"),
        (lambda first, second: first + zstd_frame(lines(100, 200), window_log=28), 100, "needs a window of more than"),
    ],
    ids=["wrong checksum", "damaged in the middle", "damaged first", "plain lines behind", "window too large"],
)
def test_of_a_damaged_file_only_what_is_certain_is_loaded(
    ingest: Ingest, spoil: Callable[[bytes, bytes], bytes], loaded: int, reason: str
) -> None:
    """That is what is before the damaged member. When the file is mended, the rest is."""
    first, second = gzip_member(lines(0, 100)), gzip_member(lines(100, 200))
    name = f"{NAME}.gz"
    ingest.write(spoil(first, second), name)
    result = ingest.run(block_bytes=5_000)
    (error,) = result.errors
    assert (error.name, result.files_processed) == (str(ingest.root / "log" / "p" / name), 0)
    assert reason in error.reason
    assert ingest.ids() == ids(0, loaded)
    assert ingest.rejected() == []
    ingest.write(first + second, name)
    result = ingest.run()
    assert (result.errors, result.events_ingested) == ([], 200 - loaded)
    assert ingest.ids() == ids(0, 200)
    assert ingest.files() == [f"processed/{name}"]


def test_a_file_that_cannot_be_read_keeps_no_other_back(ingest: Ingest) -> None:
    ingest.write(b"\x1f\x8b", "20261120T120000Z_00.jsonl.gz")
    ingest.write(gzip_member(lines(0, 10)), "20261120T120001Z_00.jsonl.gz")
    result = ingest.run()
    assert ([error.reason for error in result.errors], result.events_ingested) == (
        ["is cut off: it ends within the header of its last member"],
        10,
    )


def test_the_same_content_is_recognised_however_it_is_compressed(ingest: Ingest) -> None:
    content = lines(0, 400)
    name = f"{NAME}.gz"
    for stored in (
        compress(content, ".gz"),
        compress(content, ".gz", cuts=(1000, 7000)),
        compress(content, ".zst"),
        content,
        compress(content, ".gz"),
    ):
        ingest.write(stored, name)
        result = ingest.run(load_bytes=20_000, block_bytes=7_000)
        assert result.errors == []
        assert ingest.ids() == ids(0, 400)
    assert result.known == 1
    assert [name for name in ingest.files() if not name.startswith("processed/")] == []
    assert f"processed/{NAME.removesuffix('.jsonl')}.2.jsonl.gz" in ingest.files()


def test_a_file_that_has_grown_by_a_member_gives_what_is_new(ingest: Ingest) -> None:
    name = f"{NAME}.gz"
    stored = gzip_member(lines(0, 100))
    ingest.write(stored, name)
    assert ingest.run(load_bytes=8_000, block_bytes=3_000).events_ingested == 100
    stored += gzip_member(lines(100, 250))
    ingest.write(stored, name)
    assert ingest.run(load_bytes=8_000, block_bytes=3_000).events_ingested == 150
    assert ingest.ids() == ids(0, 250)
    assert ingest.run().events_ingested == 0


def test_a_file_that_grows_while_it_is_loaded_is_gone_on_with(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured is loaded; what has come meanwhile is for the next run."""
    from transforms import load_parser

    name = f"{NAME}.gz"
    path = ingest.write(gzip_member(lines(0, 300)), name)
    read_lines = load_parser.read_lines
    calls: Counter[str] = Counter()

    def appended_to(*arguments: Any) -> Any:
        calls["read"] += 1
        if calls["read"] == 3:
            with open(path, "ab") as file:
                file.write(gzip_member(lines(300, 350)))
        return read_lines(*arguments)

    monkeypatch.setattr(load_parser, "read_lines", appended_to)
    first = ingest.run(block_bytes=3_000)
    assert calls["read"] > 3
    monkeypatch.undo()
    assert first.errors == []
    second = ingest.run()
    assert (second.errors, first.events_ingested + second.events_ingested) == ([], 350)
    assert ingest.ids() == ids(0, 350)
    assert ingest.files() == [f"processed/{name}"]


def test_a_bomb_is_a_line_that_cannot_be_held(ingest: Ingest) -> None:
    """As in a plain file: what is before it is loaded, and the file stays and is named."""
    name = f"{NAME}.gz"
    ingest.write(gzip_member(lines(0, 10) + bytes(200 * MIB)), name)
    result = ingest.run(max_held_line_bytes=2 * MIB, block_bytes=MIB)
    (error,) = result.errors
    assert "longer than 2097152 bytes, more than is held in memory" in error.reason
    assert result.bytes_read < 5 * MIB
    assert ingest.ids() == ids(0, 10)
    assert ingest.files() == [name]


def test_a_long_line_is_rejected_as_in_a_plain_file(ingest: Ingest) -> None:
    content = lines(0, 2) + b"x" * 50_000 + b"\n" + lines(2, 4)
    for suffix in ("", ".gz", ".zst"):
        ingest.write(compress(content, suffix) if suffix else content, NAME.replace(".", f"-{suffix[1:]}.") + suffix)
    result = ingest.run(max_line_bytes=10_000, block_bytes=4_000)
    assert (result.errors, result.events_ingested) == ([], 12)
    assert {(line, offset, raw) for _, line, offset, raw in ingest.rejected()} == {(3, len(lines(0, 2)), "x")}
    assert len(ingest.rejected()) == 3


def test_the_load_log_has_what_files_hold(ingest: Ingest) -> None:
    content = lines(0, 100)
    path = ingest.write(gzip_member(content), f"{NAME}.gz")
    etag = path.stat()
    ingest.run()
    (row,) = ingest.client.query(
        f"SELECT size, range_start, range_end, etag, moved_to, at_end FROM {FILES_TABLE} FINAL"
    )
    assert (row["size"], row["range_start"], row["range_end"], row["at_end"]) == (len(content), 0, len(content), True)
    assert row["moved_to"] == f"log/p/processed/{NAME}.gz"
    assert row["etag"].endswith(f"-{etag.st_size:x}"), "the etag is that of the file as it is stored"


def test_a_link_to_a_compressed_file_is_moved(ingest: Ingest, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.gz"
    target.write_bytes(gzip_member(lines(0, 10)))
    directory = ingest.root / "log" / "p"
    directory.mkdir(parents=True)
    os.symlink(target, directory / f"{NAME}.gz")
    assert ingest.run().events_ingested == 10
    assert (directory / "processed" / f"{NAME}.gz").resolve() == target
