"""WriteToClickHouse and FinalizeFiles by themselves, on a real engine and real files."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash

from tests.support import query_events as events
from tests.support.dataset import event
from tests.support.stages import Worker, one_bundle
from transforms.blocks.receipts import Receipts, read_receipts
from transforms.blocks.row_block import RowBlock, cut_blocks
from transforms.clickhouse import ClickHouse, ClickHouseError
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE, TABLES, LineSource
from transforms.events.parsing import ChunkParser
from transforms.finalize_files import LoadResult, finalize_loads
from transforms.loads import Load, make_load
from transforms.loads.log import LoadLog
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE, LoadCounts, LoadRecord, SliceOutcome, file_record
from transforms.loads.runs import Lease, TakenOver
from transforms.parse_jsonl import ParsedLoad
from transforms.run import RunFn
from transforms.storage import local
from transforms.write_to_clickhouse import _WriteBlocksFn

LOG = TABLES["log"].table


@pytest.fixture(scope="module")
def client(embedded_admin: ClickHouse) -> Iterator[ClickHouse]:
    with events.migrated_database(embedded_admin) as client:
        yield client


@pytest.fixture
def config(client: ClickHouse, tmp_path: Path) -> IngestConfig:
    return IngestConfig(
        input=str(tmp_path), clickhouse=client.config, run_id="the run", load_bytes=10_000, block_bytes=16
    )


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
        assert receipts_of(fn, load) == parsed.blocks
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
        assert receipts_of(fn, load) == parsed.blocks
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
    return make_load([], block_bytes=1, block_rows=2, created_ms=1, generation=generation)


def receipts_of(fn: RunFn, load: Load) -> Receipts:
    return read_receipts(fn.client, [load.load_id])[load.load_id]


def blocks_of(load: Load) -> list[RowBlock]:
    """A chunk of three blocks: two of log events, one of rejected lines."""
    parser = ChunkParser()
    lines = [event("log", f"{n}") for n in range(3)] + ["broken"]
    parser.add("".join(f"{line}\n" for line in lines).encode(), LineSource("f", "log", "p", 0, 0, 1))
    return list(cut_blocks(load.load_id, 0, parser.finish(), ingested_at_ms=1, block_rows=load.block_rows))


def end_of(load: Load, blocks: list[RowBlock]) -> ParsedLoad:
    return ParsedLoad(load, blocks={(block.table, block.label): block.num_rows for block in blocks})


class TestFinalizeFiles:
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
        """Loads of all files, of which none is moved yet."""
        loads = Worker(client, config).record()
        config.load_log(client).commit((LoadRecord(load, "committed"), outcomes(load)) for load in loads)
        return loads

    def finalize(self, client: ClickHouse, config: IngestConfig, *ended: ParsedLoad | Load) -> list[LoadResult]:
        """Finalizes loads as one group; those of which no more is said had nothing to insert."""
        parsed = [ParsedLoad(one, outcomes=outcomes(one)) if isinstance(one, Load) else one for one in ended]
        return finalize_loads(parsed, Worker(client, config).stage(RunFn))

    def told(self, client: ClickHouse, config: IngestConfig) -> list[tuple[object, ...]]:
        """Of each slice."""
        rows = client.query(
            f"SELECT toString(state), lines, moved_to, error FROM {FILES_TABLE} FINAL WHERE input = {{root:String}} "
            "ORDER BY path, range_start",
            {"root": config.input},
        )
        return [tuple(row.values()) for row in rows]

    def told_of_loads(self, client: ClickHouse, config: IngestConfig, *names: str) -> list[tuple[object, ...]]:
        """Of each load, by when it was recorded."""
        rows = client.query(
            f"SELECT toString(state), {', '.join(names or ('error',))} FROM {LOADS_TABLE} FINAL "
            "WHERE input = {root:String} ORDER BY created_at",
            {"root": config.input},
        )
        return [tuple(row.values()) for row in rows]

    def test_files_go_to_processed_and_the_log_tells_where(
        self, client: ClickHouse, config: IngestConfig, files: list[Path]
    ) -> None:
        (load,) = Worker(client, config).record()
        targets = [path.parent / "processed" / path.name for path in files]
        for moved in (2, 0):  # safe to repeat
            (result,) = self.finalize(client, config, load)
            assert (result.moved, result.failed_files, result.changed, result.error) == (moved, 0, 0, "")
            assert result.committed == bool(moved)
            assert self.told(client, config) == [("finalized", 4, f"log/p/processed/{path.name}", "") for path in files]
            assert self.told_of_loads(client, config) == [("finalized", "")]
            assert [path.exists() for path in (*files, *targets)] == [False, False, True, True]

    def test_files_are_deleted(self, client: ClickHouse, config: IngestConfig, files: list[Path]) -> None:
        (load,) = Worker(client, config).record()
        (result,) = self.finalize(client, replace(config, delete_after_process=True), load)
        assert (result.moved, result.failed_files) == (2, 0)
        assert self.told(client, config) == [("finalized", 4, "", "")] * 2
        assert not any(path.exists() for path in files)

    def test_what_was_given_back_stays(
        self, client: ClickHouse, config: IngestConfig, log: LoadLog, files: list[Path]
    ) -> None:
        (load,) = Worker(client, config).record()
        log.release(load, {0: "could not be read"})
        load = replace(load, released=frozenset({0}))
        (result,) = self.finalize(client, config, replace(parsed_of(load), problems={0: "could not be read"}))
        assert (result.moved, result.failed_files) == (1, 1)
        assert [path.exists() for path in files] == [True, False]
        assert [row[0] for row in self.told(client, config)] == ["released", "finalized"]

    def test_a_file_that_changed_stays_for_the_next_look_and_the_others_go(
        self, client: ClickHouse, config: IngestConfig, files: list[Path]
    ) -> None:
        (load,) = Worker(client, config).record()
        files[0].write_text("something else\n")
        (result,) = self.finalize(client, config, load)
        assert (result.moved, result.changed, result.failed_files) == (1, 1, 0)
        assert [path.exists() for path in files] == [True, False]
        changed, other = self.told(client, config)
        assert (changed, other[0]) == (("committed", 4, "", ""), "finalized")
        (again,) = Worker(client, config).record()
        assert [(part.path, part.start, part.end) for part in again.slices] == [(str(files[0]), 0, 15)]

    def test_a_file_of_which_the_parser_says_that_it_changed_is_not_moved(
        self, client: ClickHouse, config: IngestConfig, files: list[Path]
    ) -> None:
        """What it was read as may be the same as what was recorded; where it goes is for the next look to say."""
        (load,) = Worker(client, config).record()
        (result,) = self.finalize(client, config, replace(parsed_of(load), changed=frozenset({1})))
        assert (result.moved, result.changed) == (1, 1)
        assert [path.exists() for path in files] == [False, True]
        assert Worker(client, config).record() == [] and not files[1].exists(), "its content is loaded"
        assert [row[0] for row in self.told(client, config)] == ["finalized"] * 2

    def test_a_file_that_changed_is_no_error_when_another_load_has_it(
        self, client: ClickHouse, config: IngestConfig, log: LoadLog, files: list[Path]
    ) -> None:
        (load,) = self.committed(client, config)
        digest = xxhash.xxh3_128_hexdigest(files[0].read_bytes())
        log.write_files(record.revised(digest=digest) for record in log.files([str(files[0])])[str(files[0])])
        with files[0].open("a") as file:
            file.write("more\n")
        (rest,) = Worker(client, config).record()
        assert [(part.path, part.start) for part in rest.slices] == [(str(files[0]), 32)]
        (result,) = self.finalize(client, config, load)
        assert (result.failed_files, result.error) == (0, "")
        assert [path.exists() for path in files] == [True, False]
        assert self.finalize(client, config, rest)[0].moved == 1
        assert [row[0] for row in self.told(client, config)] == ["finalized"] * 3

    def test_a_file_of_several_loads_goes_with_the_last_of_them_that_is_committed(
        self, client: ClickHouse, config: IngestConfig, log: LoadLog, files: list[Path]
    ) -> None:
        files[1].unlink()
        loads = Worker(client, replace(config, load_bytes=16)).record()
        assert [(part.start, part.end) for load in loads for part in load.slices] == [(0, 16), (16, 32)]
        first, last = loads
        assert self.finalize(client, config, first)[0].moved == 0
        # In the middle of the commit, as it stands when a worker is killed there.
        (part,) = last.slices
        log.write_files([file_record(last, part, log.within(part.path), "committed", outcomes(last)[0])])
        assert self.finalize(client, config, first)[0].moved == 0
        assert files[0].exists()
        assert self.finalize(client, config, last)[0].moved == 1
        assert self.told(client, config) == [("finalized", 4, f"log/p/processed/{files[0].name}", "")] * 2
        assert self.told_of_loads(client, config) == [("finalized", "")] * 2

    def test_a_file_of_several_loads_of_one_group_is_moved_once(
        self, client: ClickHouse, config: IngestConfig, files: list[Path]
    ) -> None:
        loads = Worker(client, replace(config, load_bytes=16)).record()
        assert len(loads) == 4
        assert sum(result.moved for result in self.finalize(client, config, *loads)) == 2
        assert self.told(client, config) == [
            ("finalized", 4, f"log/p/processed/{path.name}", "") for path in files for _ in range(2)
        ]

    def test_a_load_that_is_not_right_fails_and_the_others_of_its_group_do_not(
        self, client: ClickHouse, config: IngestConfig, files: list[Path]
    ) -> None:
        bad, good = Worker(client, replace(config, load_files=1)).record()
        blocks = {(LOG, "0.202611.0"): 4}
        wrong = replace(parsed_of(bad), counts=LoadCounts(lines=4, inserted=4), blocks=blocks)
        failed, committed = self.finalize(client, config, wrong, good)
        told = f"block 0.202611.0 of {LOG} has 4 rows, but ClickHouse acknowledges 0"
        assert (failed.error, failed.committed, failed.moved, failed.failed_files) == (told, False, 0, 1)
        assert (committed.error, committed.committed, committed.moved) == ("", True, 1)
        assert self.told_of_loads(client, config) == [("failed", told), ("finalized", "")]
        assert [path.exists() for path in files] == [True, False]

    def test_what_a_load_did_is_told_by_its_blocks(
        self, client: ClickHouse, config: IngestConfig, files: list[Path]
    ) -> None:
        """Whichever attempt has inserted them."""
        (load,) = Worker(client, config).record()
        for block in blocks_of(load):
            client.insert(block.table, block.rows, token=block.token)
        (result,) = self.finalize(client, config, replace(parsed_of(load), counts=LoadCounts(lines=1, inserted=1)))
        counts = result.counts
        assert (counts.lines, counts.inserted, counts.rejected, counts.blocks) == (4, 3, 1, 2)
        assert (dict(counts.events), result.committed) == ({"log": 3}, True)
        assert self.told_of_loads(client, config, "lines", "inserted", "rejected", "blocks") == [
            ("finalized", 4, 3, 1, 2)
        ]

    def test_what_another_worker_has_committed_stays(
        self, client: ClickHouse, config: IngestConfig, log: LoadLog, files: list[Path]
    ) -> None:
        """It has read what this one could not, and what this one found out since does not count."""
        (load,) = Worker(client, config).record()
        log.commit([(LoadRecord(load, "committed", LoadCounts(lines=8, inserted=8)), outcomes(load))])
        late = replace(parsed_of(replace(load, released=frozenset({0}))), problems={0: "could not be read"})
        (result,) = self.finalize(client, config, replace(late, error="too many bad lines"))
        assert (result.error, result.committed) == ("", False)
        assert self.told_of_loads(client, config, "lines") == [("finalized", 8)]
        assert [row[:2] for row in self.told(client, config)] == [("finalized", 4)] * 2
        assert not any(path.exists() for path in files)

    def test_a_load_that_was_taken_over_is_left_to_the_other_run(
        self, client: ClickHouse, config: IngestConfig, log: LoadLog, files: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (load,) = Worker(client, config).record()
        log.write_loads([LoadRecord(replace(load, attempt=2), "assigned")])
        with monkeypatch.context() as paused:
            paused.setattr(Lease, "check", raise_taken_over)
            (result,) = self.finalize(client, config, load)
        assert (result.error, result.moved) == ("another run has it", 0)
        assert self.told_of_loads(client, config, "attempt") == [("assigned", 2)]
        assert all(path.exists() for path in files)

    def test_a_file_that_cannot_be_moved_is_told_and_moved_by_the_next(
        self, client: ClickHouse, config: IngestConfig, files: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (load,) = Worker(client, config).record()
        with monkeypatch.context() as full:
            full.setattr(local, "_move", raise_no_space)
            for _ in range(2):
                (result,) = self.finalize(client, config, load)
                assert (result.moved, result.failed_files, result.error) == (0, 2, "")
                assert self.told(client, config) == [("committed", 4, "", "No space left on device")] * 2
                assert self.told_of_loads(client, config) == [("committed", "2 files could not be moved")]
        (result,) = self.finalize(client, config, load)
        assert (result.moved, result.failed_files) == (2, 0)
        assert [row[::3] for row in self.told(client, config)] == [("finalized", "")] * 2
        assert self.told_of_loads(client, config) == [("finalized", "")]

    def test_a_group_of_any_size_takes_the_same_statements(
        self, client: ClickHouse, config: IngestConfig, files: list[Path]
    ) -> None:
        statements = []
        for size in (1, 9):
            for n in range(size):
                (files[0].parent / f"20261120T12{size}00{n}Z_00.jsonl").write_text("0123456\n")
            loads = Worker(client, replace(config, load_files=1)).record()
            worker = Worker(client, config)
            finalize_loads([parsed_of(load) for load in loads], worker.stage(RunFn))
            statements.append([step for step in worker.steps if step.split()[0] in ("query", "insert")])
        assert [step.split()[:2] for step in statements[0]] == [step.split()[:2] for step in statements[1]]
        assert [step for step in statements[1] if step.startswith("insert")] == [
            f"insert {table}" for table in (FILES_TABLE, LOADS_TABLE, FILES_TABLE, LOADS_TABLE)
        ], "the commit, and where the files are"


def raise_taken_over(*_: object) -> None:
    raise TakenOver("another run has it")


def raise_no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def parsed_of(load: Load) -> ParsedLoad:
    """A load that had nothing to insert."""
    return ParsedLoad(load, outcomes=outcomes(load))


def outcomes(load: Load) -> dict[int, SliceOutcome]:
    return {part.position: SliceOutcome(lines=4) for part in load.kept}
