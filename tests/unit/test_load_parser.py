"""What a load's files become when they are read for the first time: blocks, and what is said of each slice.

What an earlier attempt has left in the tables is looked at in tests/contract/test_loads_taken_up.py.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.dataset import event
from tests.support.parser_stage import Log, stage_of
from transforms.blocks.row_block import RowBlock
from transforms.events import REJECTED_TABLE, TABLES
from transforms.load_parser import LoadFailed, LoadParser
from transforms.loads import Load, Slice, cut_loads, make_load
from transforms.loads.lines import next_line
from transforms.storage import Content
from transforms.storage.contents import Contents
from transforms.storage.local import LocalStorage

NOW_MS = 4_102_444_800_000
"""So far in the future that no load was recorded long ago."""
LOGS = TABLES["log"].table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def log(root: Path) -> Log:
    return Log(str(root))


@pytest.fixture(autouse=True)
def nothing_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """No block of any load is in a table."""
    monkeypatch.setattr("transforms.blocks.inserted_before.read_blocks", lambda client, load_id: set())


def lines(name: str, count: int, bad: int = 0, kind: str = "log") -> bytes:
    made = [event(kind, f"{name}-{n}", at="2026-11-20") for n in range(count)] + ["bad"] * bad
    return "".join(f"{line}\n" for line in made).encode()


def put(root: Path, name: str, content: bytes, kind: str = "log") -> Slice:
    """Writes a file; all of it."""
    path = root / kind / "p" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    etag = LocalStorage(str(root)).etag(str(path)) or ""
    return Slice(str(path), kind, "p", 0, 0, len(content), etag, 0, len(content))


def load_of(*slices: Slice, block_bytes: int = 1 << 20, block_rows: int = 1000) -> Load:
    return make_load(slices, block_bytes=block_bytes, block_rows=block_rows, created_ms=NOW_MS)


def parsed(load: Load, log: Log, **options: Any) -> tuple[list[RowBlock], LoadParser]:
    parser = LoadParser(load, stage_of(log, **options))
    return list(parser), parser


def identities(blocks: list[RowBlock]) -> list[str]:
    return [name for block in blocks if block.table == LOGS for name in block.rows.column("id").to_pylist()]


def in_chunks(parser: LoadParser) -> Iterator[tuple[int, RowBlock]]:
    """The blocks, each with the number of its chunk; what happens between two of them happens between their chunks."""
    for block in parser:
        yield int(block.label.split(".")[0]), block


def test_blocks_hold_the_rows_of_all_files_and_types(root: Path, log: Log) -> None:
    load = load_of(
        put(root, "a", lines("a", 3, bad=2)),
        put(root, "b", lines("b", 2) + lines("c", 1, kind="trace")),
        put(root, "d", lines("d", 1, kind="trace"), kind="trace"),
        put(root, "e", b""),
    )
    blocks, parser = parsed(load, log)
    assert identities(blocks) == ["a-0", "a-1", "a-2", "b-0", "b-1"]
    assert {(block.table, block.num_rows) for block in blocks} == {
        (LOGS, 5),
        (TABLES["trace"].table, 2),
        (REJECTED_TABLE, 2),
    }
    counts = parser.counts()
    assert (counts.lines, counts.inserted, counts.rejected, counts.blocks) == (9, 7, 2, 3)
    assert dict(counts.events) == {"log": 5, "trace": 2}
    assert parser.blocks == {(block.table, block.label): block.num_rows for block in blocks}
    outcomes = parser.outcomes()
    assert [(outcomes[n].lines, outcomes[n].rejected) for n in range(4)] == [(5, 2), (3, 0), (0, 0), (1, 0)]
    for part in load.slices:
        assert outcomes[part.position].digest == xxhash.xxh3_128_hexdigest(Path(part.path).read_bytes())
    (rejected,) = (block for block in blocks if block.table == REJECTED_TABLE)
    assert rejected.rows.column("file").to_pylist() == ["log/p/a.jsonl"] * 2, "within the input"
    assert rejected.rows.column("line").to_pylist() == [4, 5]
    assert not parser.problems and not parser.changed and not log.released


def test_the_same_load_gives_the_same_blocks_and_another_content_others(root: Path, log: Log) -> None:
    load = load_of(put(root, "a", lines("a", 3, bad=1)), put(root, "b", lines("b", 2)))
    first, again = parsed(load, log)[0], parsed(load, log)[0]
    assert [block.token for block in first] == [block.token for block in again]
    assert all(one.rows.equals(other.rows) for one, other in zip(first, again, strict=True))
    put(root, "b", lines("x", 2))
    storage = LocalStorage(str(root))
    as_it_is = replace(load, slices=tuple(replace(p, etag=storage.etag(p.path) or "") for p in load.slices))
    assert not {block.label for block in parsed(as_it_is, log)[0]} & {block.label for block in first}


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    bounds=st.tuples(st.integers(60, 900), st.integers(60, 900), st.integers(1, 5)),
    unended=st.booleans(),
    bad=st.integers(0, 3),
)
def test_slices_and_chunks_cut_anywhere_give_each_line_once(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    bounds: tuple[int, int, int],
    unended: bool,
    bad: int,
) -> None:
    """Files in several loads, in chunks that end in the middle of lines."""
    root = tmp_path_factory.mktemp("input")
    log, storage = Log(str(root)), LocalStorage(str(root))
    load_bytes, block_bytes, block_rows = bounds
    contents = {}
    for number, size in enumerate(sizes):
        content = lines(f"{number}", size, bad)
        contents[f"{number}"] = content[:-1] if unended else content
    slices = [put(root, name, content) for name, content in contents.items()]
    groups = cut_loads(
        slices,
        load_bytes=load_bytes,
        load_files=3,
        next_line=lambda part, offset: next_line(Contents(storage), part.path, part.etag, offset, part.end),
    )
    found: Counter[str] = Counter()
    rejected: list[tuple[str, int, int]] = []
    for group in groups:
        load = load_of(*group, block_bytes=block_bytes, block_rows=block_rows)
        blocks, parser = parsed(load, log)
        assert all(0 < block.num_rows <= block_rows for block in blocks if block.table == LOGS)
        assert len({(block.table, block.label) for block in blocks}) == len(blocks)
        counts = parser.counts()
        assert counts.lines == counts.inserted + counts.rejected == sum(parser.blocks.values())
        outcomes = parser.outcomes()
        for part in load.slices:
            content = Path(part.path).read_bytes()[part.start : part.end]
            assert outcomes[part.position].digest == xxhash.xxh3_128_hexdigest(content)
            assert outcomes[part.position].lines == len(content.splitlines())
        assert sum(outcome.rejected for outcome in outcomes.values()) == counts.rejected
        found.update(identities(blocks))
        rejected += [
            (row["file"], row["line"], row["byte_offset"])
            for block in blocks
            if block.table == REJECTED_TABLE
            for row in block.rows.to_pylist()
        ]
    assert found == Counter(f"{number}-{n}" for number, size in enumerate(sizes) for n in range(size))
    assert sorted(rejected) == sorted(
        (f"log/p/{number}.jsonl", size + n + 1, len(lines(f"{number}", size)) + 4 * n)
        for number, size in enumerate(sizes)
        for n in range(bad)
    )


# Files that are not what they were


def test_a_file_that_is_gone_before_it_is_read_is_given_back(root: Path, log: Log) -> None:
    load = load_of(put(root, "a", lines("a", 2)), put(root, "b", lines("b", 2)))
    (root / "log/p/a.jsonl").unlink()
    blocks, parser = parsed(load, log)
    assert identities(blocks) == ["b-0", "b-1"]
    told = {0: "is gone; it was there when the load was recorded"}
    assert parser.problems == told and log.released == [told] and parser.load.released == {0}
    assert set(parser.outcomes()) == {1} and parser.counts().lines == 2


def test_a_file_that_changed_before_it_is_read_is_given_back(root: Path, log: Log) -> None:
    """Whether it has only grown or is the same is for the next look to say."""
    load = load_of(put(root, "a", lines("a", 2)), put(root, "b", lines("b", 2)))
    put(root, "a", lines("a", 3))
    assert identities(parsed(load, log)[0]) == ["b-0", "b-1"]
    assert log.released == [{0: "changed since it was recorded; what it holds now is for a later load"}]


def test_a_line_that_cannot_be_held_leaves_what_comes_before_it(root: Path, log: Log) -> None:
    content = lines("a", 3) + b"x" * 300_000 + b"\n" + lines("b", 3)
    load = load_of(put(root, "a", content), put(root, "c", lines("c", 1)), block_bytes=200)
    blocks, parser = parsed(load, log, max_held_line_bytes=100_000)
    assert identities(blocks) == ["a-0", "a-1", "a-2", "c-0"]
    end = len(lines("a", 3))
    assert (parser.load.slices[0].end, log.released) == (end, [])
    assert "is longer than 100000 bytes" in parser.problems[0] and list(parser.problems) == [0]
    outcome = parser.outcomes()[0]
    assert (outcome.lines, outcome.digest, outcome.error) == (
        *(3, xxhash.xxh3_128_hexdigest(content[:end])),
        parser.problems[0],
    )


@pytest.mark.parametrize("what", ["gone", "replaced", "cut"])
def test_a_file_that_goes_while_it_is_read_ends_where_it_was_read_to(root: Path, log: Log, what: str) -> None:
    content = lines("a", 9)
    load = load_of(put(root, "a", content), put(root, "b", lines("b", 2)), block_bytes=300)
    path = Path(load.slices[0].path)
    parser, blocks = LoadParser(load, stage_of(log)), []
    for chunk, block in in_chunks(parser):
        blocks.append(block)
        if chunk == 0:
            path.unlink()
            if what == "replaced":
                put(root, "a", lines("x", 9))
            elif what == "cut":
                put(root, "a", content[:10])
    taken = identities(blocks)
    first = [name for name in taken if name.startswith("a-")]
    assert first == [f"a-{n}" for n in range(len(first))] and 0 < len(first) < 9
    assert taken == [*first, "b-0", "b-1"]
    end = len(lines("a", len(first)))
    assert parser.load.slices[0].end == end and not parser.load.released
    outcome = parser.outcomes()[0]
    assert (outcome.lines, outcome.digest) == (len(first), xxhash.xxh3_128_hexdigest(content[:end]))
    assert outcome.error == parser.problems[0]
    assert outcome.error.startswith("is gone" if what == "gone" else "was replaced while it was loaded")
    assert (parser.counts().lines, parser.counts().inserted) == (len(taken), len(taken))


def test_a_file_that_is_touched_or_grows_while_it_is_read_is_read_on(root: Path, log: Log) -> None:
    """What is new in it is for a later load; that it is another one is said, so that nobody moves it."""
    content = lines("a", 9)
    load = load_of(put(root, "a", content), put(root, "b", lines("b", 2)), block_bytes=300)
    path, blocks, step = Path(load.slices[0].path), [], 0
    parser = LoadParser(load, stage_of(log))
    for chunk, block in in_chunks(parser):
        blocks.append(block)
        if chunk == step == 0:
            os.utime(path, ns=(1, 1))
            step += 1
        elif chunk == step == 1:
            with path.open("ab") as file:
                file.write(lines("later", 3))
            step += 1
    assert step == 2
    assert identities(blocks) == [*(f"a-{n}" for n in range(9)), "b-0", "b-1"]
    assert parser.changed == {0} and not parser.problems and not log.released
    assert parser.load.slices[0].end == len(content)
    assert parser.outcomes()[0].digest == xxhash.xxh3_128_hexdigest(content)


def test_a_last_line_that_was_cut_when_it_was_recorded_is_taken_whole(root: Path, log: Log) -> None:
    """When the file has grown by the rest of it while it was read."""
    content, rest = lines("a", 9)[:-20], lines("a", 9)[-20:]
    load = load_of(put(root, "a", content), block_bytes=300)
    blocks, is_first = [], True
    parser = LoadParser(load, stage_of(log))
    for _, block in in_chunks(parser):
        blocks.append(block)
        if is_first:
            is_first = False
            with Path(load.slices[0].path).open("ab") as file:
                file.write(rest + lines("later", 1))
    assert identities(blocks) == [f"a-{n}" for n in range(9)]
    end = len(content + rest)
    assert parser.load.slices[0].end == end and parser.changed == {0} and not parser.problems
    assert parser.outcomes()[0].digest == xxhash.xxh3_128_hexdigest(content + rest)
    assert parser.counts().rejected == 0


def test_a_load_that_another_worker_has_committed_gives_nothing_back(root: Path, log: Log) -> None:
    """Its files are gone because they were moved."""
    load = load_of(put(root, "a", lines("a", 2)))
    Path(load.slices[0].path).unlink()
    log.committed = True
    with pytest.raises(LoadFailed, match="it was committed by another worker while it was read"):
        parsed(load, log)
    assert log.released == []


def test_a_file_that_cannot_be_read_does_not_hold_up_the_others(
    root: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = load_of(*(put(root, name, lines(name, 1)) for name in "abc"))
    read = LocalStorage.read

    def read_but_for_b(storage: LocalStorage, path: str, start: int, end: int) -> Content:
        if path.endswith("b.jsonl"):
            raise PermissionError(13, "Permission denied")
        return read(storage, path, start, end)

    monkeypatch.setattr(LocalStorage, "read", read_but_for_b)
    blocks, parser = parsed(load, log)
    assert (identities(blocks), log.released) == (["a-0", "c-0"], [{1: "Permission denied"}])
    assert log.own_faults == {1}
    assert parser.counts().lines == 2


# Bad lines


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"max_rejected": 7}, set()),
        ({"max_rejected": 6}, {1}),
        ({"max_rejected": 2}, {1}),
        ({"max_rejected": 1}, {1, 2}),
        ({"max_rejected": 0}, {1, 2}),
        ({"max_rejected_ratio": 0.5}, set()),
        ({"max_rejected_ratio": 0.4}, {1}),
        ({"max_rejected_ratio": 0.1}, {1, 2}),
        ({"max_rejected_ratio": 0.0}, {1, 2}),
    ],
)
def test_of_too_many_bad_lines_the_worst_files_are_left(
    root: Path, log: Log, options: dict[str, Any], left: set[int]
) -> None:
    load = load_of(
        put(root, "a", lines("a", 4)), put(root, "b", lines("b", 1, bad=5)), put(root, "c", lines("c", 2, bad=2))
    )
    blocks, parser = parsed(load, log, **options)
    assert {position for released in log.released for position in released} == left == set(parser.problems)
    assert log.own_faults == left
    names = {"a": 4, "b": 0 if 1 in left else 1, "c": 0 if 2 in left else 2}
    assert identities(blocks) == [f"{name}-{n}" for name, count in names.items() for n in range(count)]
    ((name, value),) = options.items()
    for position in left:
        assert f"lines are bad, more than --{name}={value} allows" in parser.problems[position]
    counts = parser.counts()
    assert (
        counts.lines
        == counts.inserted + counts.rejected
        == sum(outcome.lines for outcome in parser.outcomes().values())
    )


def test_of_a_large_file_with_too_many_bad_lines_the_rest_is_left(root: Path, log: Log) -> None:
    content = lines("a", 6) + b"bad\n" * 30 + lines("b", 6)
    load = load_of(put(root, "a", content), block_bytes=250)
    blocks, parser = parsed(load, log, max_rejected=20)
    taken = identities(blocks)
    assert taken == [f"a-{n}" for n in range(len(taken))] and 0 < len(taken) <= 6
    rejected = sum(block.num_rows for block in blocks if block.table == REJECTED_TABLE)
    assert 0 <= rejected <= 20 and log.released == []
    end = parser.load.slices[0].end
    assert content[:end] == lines("a", len(taken)) + b"bad\n" * rejected
    assert parser.outcomes()[0].digest == xxhash.xxh3_128_hexdigest(content[:end])


def test_bad_lines_are_counted_for_the_slice_that_they_are_in(root: Path, log: Log) -> None:
    """Also of two slices of one file: what is left of it between parts that other loads have."""
    content = lines("a", 2, bad=1) + lines("x", 2) + lines("b", 2, bad=3)
    whole = put(root, "a", content)
    first = len(lines("a", 2, bad=1))
    parts = replace(whole, end=first), replace(whole, start=first + len(lines("x", 2)))
    blocks, parser = parsed(load_of(*parts), log)
    assert identities(blocks) == ["a-0", "a-1", "b-0", "b-1"]
    assert [(parser.outcomes()[n].lines, parser.outcomes()[n].rejected) for n in (0, 1)] == [(3, 1), (5, 3)]


# Others


def test_events_that_are_expired_already_are_counted(root: Path, log: Log) -> None:
    old = [
        event("log", "old", at="2020-01-01"),
        event("log", "new", at="2090-01-01"),
        event("trace", "t", at="2020-01-01"),
    ]
    load = load_of(put(root, "a", "".join(f"{line}\n" for line in old).encode()))
    for ttl_days, expired in (({"log": 30}, 1), ({"log": 30, "trace": 90}, 2), ({"log": 0}, 0), ({}, 0)):
        assert parsed(load, log, ttl_days=ttl_days)[1].counts().expired == expired


def test_a_load_that_may_have_been_tried_before_says_so_of_its_blocks(root: Path, log: Log) -> None:
    load = load_of(put(root, "a", lines("a", 1)))
    tried = [
        replace(load, attempt=2),
        replace(load, emitted_before=True),
        replace(load, created_ms=1_700_000_000_000),
    ]
    assert [block.resumed for one in (load, *tried) for block in parsed(one, log)[0]] == [False, True, True, True]
    assert [block.attempt for one in (load, *tried) for block in parsed(one, log)[0]] == [1, 2, 1, 1]
    assert len({block.token for one in (load, *tried[:2]) for block in parsed(one, log)[0]}) == 1
