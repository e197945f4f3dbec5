"""However a file is cut into loads and chunks, and however it is compressed, its lines are those of the whole file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.compress import compress
from tests.support.dataset import event
from tests.support.parser_stage import Log, stage_of
from transforms import load_parser
from transforms.assign_files import assign_files
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE
from transforms.load_parser import LoadParser
from transforms.loads.journal import Tail
from transforms.loads.lines import line_number
from transforms.record_loads import new_loads
from transforms.run import contents_of
from transforms.storage import PendingFile
from transforms.storage.contents import Contents
from transforms.storage.local import LocalStorage

BOM = "\ufeff"
ENDS = st.sampled_from(["\n", "\n", "\r\n", "\n\n", "\n \t\n", "\n\r\n"])
GOOD = st.integers(0, 999).map(lambda n: event("log", f"l{n}"))
WIDE = st.sampled_from(["ä", "€", "😀", "漢字" * 40, 'esc\\"aped', "x" * 900]).map(
    lambda text: event("log", f"w{len(text)}", message=text)
)
BAD = st.sampled_from(["bad", "{", "[1]", "}{", "\x00", "ü", '{"type":"log"}', "y" * 1200, BOM + "x"])
LINES = st.lists(st.tuples(st.one_of(GOOD, GOOD, WIDE, BAD, st.just("")), ENDS), max_size=40)


@pytest.fixture(autouse=True)
def nothing_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """No block of any load is in a table."""
    monkeypatch.setattr("transforms.blocks.inserted_before.read_blocks", lambda client, load_id: set())


def found(
    root: Path, name: str, stored: bytes, **options: Any
) -> tuple[list[tuple[str, str]], list[dict[str, Any]], int]:
    """The rows, (id, message) in order, the rejected lines, and how many lines were read: of the loads that are recorded."""
    path = root / "log" / "p" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stored)
    storage = LocalStorage(str(root))
    config = IngestConfig(str(root), ClickHouseConfig(url="http://nowhere"), max_line_bytes=1000, **options)
    file = PendingFile(0, str(path), "log", "p", len(stored), 0, storage.etag(str(path)) or "")
    contents = contents_of(storage, config)
    assignment = assign_files([file], {}, Tail(), contents, run_id="r", alive=lambda run_id: None)
    assert (assignment.unread, assignment.changed) == ([], 0)
    loads = new_loads(assignment, {file.path: file}, {}, contents, config)
    rows: list[tuple[str, str]] = []
    rejected: list[dict[str, Any]] = []
    read = 0
    log = Log(str(root))
    stage = stage_of(log, max_line_bytes=1000, **options)
    for load in sorted(loads, key=lambda load: load.slices[0].start):
        parser = LoadParser(replace(load, created_ms=1 << 42), stage)
        for block in parser:
            if block.table == REJECTED_TABLE:
                kept = ["line", "byte_offset", "reason", "raw", "event_type", "project_id"]
                rejected += block.rows.select(kept).to_pylist()
            else:
                columns = (block.rows.column(name).to_pylist() for name in ("id", "message"))
                rows += zip(*columns, strict=True)
        assert parser.problems == {}
        counts = parser.counts()
        assert counts.lines == counts.inserted + counts.rejected
        read += counts.lines
    assert log.released == []
    path.unlink()
    return rows, rejected, read


@settings(max_examples=150, deadline=None)
@given(
    lines=LINES,
    has_bom=st.booleans(),
    unended=st.booleans(),
    load_bytes=st.integers(1, 3000),
    block_share=st.floats(0.05, 1),
    stored_as=st.sampled_from(["", ".gz", ".zst"]),
    members=st.lists(st.integers(0, 20_000), max_size=6),
)
def test_a_file_in_pieces_has_the_lines_of_the_whole_file(
    tmp_path_factory: pytest.TempPathFactory,
    lines: Sequence[tuple[str, str]],
    has_bom: bool,
    unended: bool,
    load_bytes: int,
    block_share: float,
    stored_as: str,
    members: list[int],
) -> None:
    """Rows in the same order; rejected lines with the same number, offset, reason and bytes."""
    root = tmp_path_factory.mktemp("input")
    content = ((BOM if has_bom else "") + "".join(line + end for line, end in lines)).encode()
    content = content.rstrip(b"\r\n") if unended else content
    whole = found(root, "whole.jsonl", content)
    stored = compress(content, stored_as, cuts=members) if stored_as else content
    block_bytes = max(1, int(load_bytes * block_share))
    pieces = found(root, f"pieces.jsonl{stored_as}", stored, load_bytes=load_bytes, block_bytes=block_bytes)
    assert sorted(pieces[0]) == sorted(whole[0])
    assert pieces[1:] == whole[1:]


@pytest.mark.parametrize("stored_as", ["", ".gz", ".zst"])
def test_a_line_that_is_longer_than_several_loads_is_one_line(tmp_path: Path, stored_as: str) -> None:
    content = "\n".join(
        [event("log", "a"), event("log", "b", message="m" * 700), "z" * 5000, event("log", "c")]
    ).encode()
    stored = compress(content, stored_as) if stored_as else content
    rows, rejected, read = found(tmp_path, f"f.jsonl{stored_as}", stored, load_bytes=50, block_bytes=20)
    assert [identity for identity, _ in rows] == ["a", "b", "c"]
    assert [(row["line"], len(row["raw"])) for row in rejected] == [(3, 5000)]
    assert read == 4


@pytest.mark.parametrize("stored_as", ["", ".gz", ".zst"])
def test_the_lines_before_bad_ones_are_counted_once_for_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored_as: str
) -> None:
    """Though each of its loads has bad lines: the next one begins where the last one has counted to."""
    content = b"".join(b"bad\n" + event("log", f"l{n}", message="m" * 500).encode() + b"\n" for n in range(400))
    stored = compress(content, stored_as) if stored_as else content
    counted: list[int] = []
    count = line_number

    def noting(contents: Contents, path: str, etag: str, offset: int) -> int:
        counted.append(offset - contents.line_before(path, etag, offset)[0])
        return count(contents, path, etag, offset)

    monkeypatch.setattr(load_parser, "line_number", noting)
    rows, rejected, _ = found(tmp_path, f"f.jsonl{stored_as}", stored, load_bytes=6_000, block_bytes=2_000)
    assert [row["line"] for row in rejected] == list(range(1, 800, 2))
    assert len(rows) == 400
    assert len(counted) > 30, "once for each load"
    assert sum(counted[1:]) == 0, "each begins where the one before has ended"
