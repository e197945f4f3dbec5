"""WriteToClickHouse and FinalizeFiles by themselves, on a real engine and real files."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import query_events as events
from tests.support.dataset import event
from tests.support.stages import Worker, one_bundle
from transforms.blocks.receipts import read_receipts
from transforms.blocks.row_block import RowBlock, cut_blocks
from transforms.clickhouse import ClickHouse, ClickHouseError
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE, TABLES, LineSource
from transforms.events.parsing import ChunkParser
from transforms.finalize_files import move_files
from transforms.loads import Load, make_load
from transforms.loads.log import LoadLog
from transforms.loads.rows import FILES_TABLE, LoadCounts, SliceOutcome
from transforms.parse_jsonl import ParsedLoad
from transforms.storage import Storage, open_storage
from transforms.write_to_clickhouse import _WriteBlocksFn

LOG = TABLES["log"].table


@pytest.fixture(scope="module")
def client(embedded_admin: ClickHouse) -> Iterator[ClickHouse]:
    with events.migrated_database(embedded_admin) as client:
        yield client


@pytest.fixture
def config(client: ClickHouse, tmp_path: Path) -> IngestConfig:
    return IngestConfig(input=str(tmp_path), clickhouse=client.config, run_id="the run", load_bytes=10_000)


class TestWriteBlocks:
    @pytest.fixture
    def fn(self, config: IngestConfig) -> Iterator[_WriteBlocksFn]:
        """As on a worker, with its threads."""
        fn = _WriteBlocksFn(config)
        fn.setup()
        yield fn
        fn.teardown()

    @pytest.fixture
    def load(self, tmp_path: Path) -> Load:
        return load_of(tmp_path)

    def test_a_load_comes_out_when_its_blocks_are_in(self, fn: _WriteBlocksFn, load: Load) -> None:
        blocks = blocks_of(load)
        parsed = end_of(load, blocks)
        assert list(one_bundle(fn, [*blocks, parsed])) == [parsed]
        assert read_receipts(fn.client, parsed.load.load_id) == parsed.blocks
        assert {table for table, _ in parsed.blocks} == {LOG, REJECTED_TABLE} and len(parsed.blocks) == 3

    def test_loads_come_out_in_their_order_and_do_not_mix(self, fn: _WriteBlocksFn, tmp_path: Path) -> None:
        one, other = load_of(tmp_path / "one"), load_of(tmp_path / "other")
        mine, theirs = blocks_of(one), blocks_of(other)
        ends = [end_of(one, mine), end_of(other, theirs)]
        assert list(one_bundle(fn, [*mine, ends[0], *theirs, ends[1]])) == ends

    def test_a_block_that_did_not_come_fails_its_load(self, fn: _WriteBlocksFn, load: Load) -> None:
        blocks = blocks_of(load)
        parsed = end_of(load, blocks)
        (ended,) = one_bundle(fn, [*blocks[1:], parsed])
        assert ended == replace(parsed, error="3 blocks were parsed, but 2 came to be written here")

    def test_an_insert_that_fails_fails_its_load_alone(self, fn: _WriteBlocksFn, tmp_path: Path) -> None:
        bad, good = load_of(tmp_path / "bad"), load_of(tmp_path / "good")
        its = [replace(block, table="no_such_table") for block in blocks_of(bad)[:1]]
        mine = blocks_of(good)
        failed, ended = one_bundle(fn, [*its, end_of(bad, its), *mine, end_of(good, mine)])
        assert "no_such_table" in failed.error and failed.load == bad
        assert ended == end_of(good, mine)

    def test_why_a_load_could_not_be_parsed_is_passed_on(self, fn: _WriteBlocksFn, load: Load) -> None:
        blocks = blocks_of(load)
        parsed = replace(end_of(load, blocks[:1]), error="too many bad lines")
        assert list(one_bundle(fn, [blocks[0], parsed])) == [parsed]

    def test_a_committed_load_has_nothing_to_write(self, fn: _WriteBlocksFn, load: Load) -> None:
        parsed = ParsedLoad(replace(load, committed=True))
        assert list(one_bundle(fn, [parsed])) == [parsed]

    def test_a_resumed_load_gets_only_what_is_missing(self, fn: _WriteBlocksFn, load: Load) -> None:
        blocks = blocks_of(load)
        parsed = end_of(load, blocks)
        list(one_bundle(fn, [blocks[0], end_of(parsed.load, blocks[:1])]))
        resumed = [replace(block, resumed=True) for block in blocks]
        assert list(one_bundle(fn, [*resumed, parsed])) == [parsed]
        assert read_receipts(fn.client, parsed.load.load_id) == parsed.blocks
        (row,) = fn.client.query(
            f"SELECT count() AS n FROM {LOG} WHERE load_id = {{id:String}}", {"id": parsed.load.load_id}
        )
        assert row["n"] == 3

    def test_a_server_that_does_not_tell_what_it_has_fails_the_load(
        self, fn: _WriteBlocksFn, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise ClickHouseError("not now")

        monkeypatch.setattr("transforms.write_to_clickhouse.read_receipts", refuse)
        blocks = blocks_of(load)
        resumed, parsed = [replace(block, resumed=True) for block in blocks], end_of(load, blocks)
        assert list(one_bundle(fn, [*resumed, parsed])) == [replace(parsed, error="not now")]


def load_of(directory: Path) -> Load:
    """A load that no other test has."""
    generation = zlib.crc32(str(directory).encode())
    return make_load("log", "log-0", [], block_bytes=1, block_rows=2, created_ms=1, generation=generation)


def blocks_of(load: Load) -> list[RowBlock]:
    """A chunk of three blocks: two of log events, one of rejected lines."""
    parser = ChunkParser()
    lines = [event("log", f"{n}") for n in range(3)] + ["broken"]
    parser.add("".join(f"{line}\n" for line in lines).encode(), LineSource("f", "log", "p", 0, 0, 1))
    return list(cut_blocks(load.load_id, 0, parser.finish(), ingested_at_ms=1, block_rows=load.block_rows))


def end_of(load: Load, blocks: list[RowBlock]) -> ParsedLoad:
    return ParsedLoad(load, blocks={(block.table, block.label): block.num_rows for block in blocks})


class TestMoveFiles:
    @pytest.fixture
    def storage(self, config: IngestConfig) -> Storage:
        return open_storage(config.input)

    @pytest.fixture
    def log(self, client: ClickHouse, config: IngestConfig) -> LoadLog:
        return config.load_log(client)

    @pytest.fixture
    def files(self, tmp_path: Path) -> list[Path]:
        """Two files of 32 bytes."""
        paths = [tmp_path / "log" / "p" / f"20261120T12000{n}Z_00.jsonl" for n in range(2)]
        paths[0].parent.mkdir(parents=True)
        for path in paths:
            path.write_text("0123456\n" * 4)
        return paths

    def committed(self, client: ClickHouse, config: IngestConfig) -> list[Load]:
        loads = Worker(client, config).record()
        for load in loads:
            config.load_log(client).commit(load, LoadCounts(), outcomes(load))
        return loads

    def told(self, client: ClickHouse, config: IngestConfig) -> list[tuple[object, ...]]:
        rows = client.query(
            f"SELECT state, lines, moved_to, error FROM {FILES_TABLE} FINAL WHERE startsWith(path, {{root:String}}) "
            "ORDER BY path, range_start",
            {"root": config.input},
        )
        return [tuple(row.values()) for row in rows]

    def test_files_go_to_processed_and_the_log_tells_where(
        self, client: ClickHouse, config: IngestConfig, storage: Storage, log: LoadLog, files: list[Path]
    ) -> None:
        (load,) = self.committed(client, config)
        targets = [path.parent / "processed" / path.name for path in files]
        for moved in (2, 0):  # safe to repeat
            assert move_files(load, outcomes(load), log, storage, delete=False) == (moved, {})
            assert self.told(client, config) == [("finalized", 4, str(target), "") for target in targets]
            assert [path.exists() for path in (*files, *targets)] == [False, False, True, True]

    def test_files_are_deleted(
        self, client: ClickHouse, config: IngestConfig, storage: Storage, log: LoadLog, files: list[Path]
    ) -> None:
        (load,) = self.committed(client, config)
        assert move_files(load, outcomes(load), log, storage, delete=True) == (2, {})
        assert self.told(client, config) == [("finalized", 4, "", "")] * 2
        assert not any(path.exists() for path in files)

    def test_what_was_given_back_stays(
        self, client: ClickHouse, config: IngestConfig, storage: Storage, log: LoadLog, files: list[Path]
    ) -> None:
        (load,) = self.committed(client, config)
        load = replace(load, released=frozenset({0}))
        assert move_files(load, outcomes(load), log, storage, delete=False) == (1, {})
        assert [path.exists() for path in files] == [True, False]

    def test_a_file_that_changed_stays_and_is_told_and_the_others_go(
        self, client: ClickHouse, config: IngestConfig, storage: Storage, log: LoadLog, files: list[Path]
    ) -> None:
        (load,) = self.committed(client, config)
        files[0].write_text("something else\n")
        moved, errors = move_files(load, outcomes(load), log, storage, delete=False)
        assert (moved, list(errors)) == (1, [str(files[0])]) and "changed since it was loaded" in errors[str(files[0])]
        assert [path.exists() for path in files] == [True, False]
        changed, other = self.told(client, config)
        assert (changed[0], changed[3], other[0]) == ("committed", errors[str(files[0])], "finalized")

    def test_a_file_that_changed_is_no_error_when_another_load_has_it(
        self, client: ClickHouse, config: IngestConfig, storage: Storage, log: LoadLog, files: list[Path]
    ) -> None:
        (load,) = self.committed(client, config)
        with files[0].open("a") as file:
            file.write("more\n")
        (rest,) = (one for one in Worker(client, config).record() if not one.committed)
        assert [part.path for part in rest.slices] == [str(files[0])]
        assert move_files(load, outcomes(load), log, storage, delete=False) == (1, {})
        assert files[0].exists()

    def test_a_file_of_several_loads_goes_with_the_last_of_them_that_is_committed(
        self, client: ClickHouse, config: IngestConfig, storage: Storage, log: LoadLog, files: list[Path]
    ) -> None:
        files[1].unlink()
        loads = Worker(client, replace(config, load_bytes=16)).record()
        assert [(part.start, part.end) for load in loads for part in load.slices] == [(0, 16), (16, 32)]
        first, last = loads
        log.commit(first, LoadCounts(), outcomes(first))
        assert move_files(first, outcomes(first), log, storage, delete=False) == (0, {})
        # In the middle of the commit, as it stands when a worker is killed there.
        log._write_files(last, last.slices, "committed", outcomes(last))
        assert move_files(first, outcomes(first), log, storage, delete=False) == (0, {})
        assert files[0].exists()
        log.commit(last, LoadCounts(), outcomes(last))
        assert move_files(last, outcomes(last), log, storage, delete=False) == (1, {})
        target = files[0].parent / "processed" / files[0].name
        assert self.told(client, config) == [("finalized", 4, str(target), "")] * 2


def outcomes(load: Load) -> dict[int, SliceOutcome]:
    return {part.position: SliceOutcome(lines=4) for part in load.slices}
