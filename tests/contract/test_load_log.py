"""The load log on a real engine: what is recorded is what is read, later states win, and one file has one owner."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from beam_pipeline.schema import SchemaOptions
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.databases import make_tables
from transforms.adopt_loads import adopt_loads
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.config import IngestConfig
from transforms.loads import Load, Slice, make_load
from transforms.loads.log import LoadLog
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE, LoadCounts, SliceOutcome
from transforms.match_files import in_delivery_order
from transforms.record_loads import record_loads
from transforms.storage import FIRST_MS, LAST_MS, PendingFile
from transforms.storage.local import LocalStorage

NOW_MS = 1_800_000_000_000
COUNTS = LoadCounts(lines=7, inserted=5, rejected=2, expired=1, blocks=2, duration_ms=9, events={"trace": 4, "log": 1})


@pytest.fixture
def client(emptied: ClickHouse) -> ClickHouse:
    return emptied


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(str(tmp_path))
    storage.check_writable()
    return storage


def log_of(client: ClickHouse, storage: LocalStorage, run_id: str = "run-1") -> LoadLog:
    return LoadLog(client, input_root=storage.root, run_id=run_id)


def write(storage: LocalStorage, *names: str, content: str = "x\n") -> list[PendingFile]:
    directory = Path(storage.root, "trace", "p")
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_text(content)
    return sorted(storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(f"{path}: {reason}")))


def config_of(client: ClickHouse, storage: LocalStorage, run_id: str = "run-1", **options: int) -> IngestConfig:
    return IngestConfig(input=storage.root, clickhouse=client.config, run_id=run_id, **options)


def record(client: ClickHouse, storage: LocalStorage, run_id: str = "run-1", **options: int) -> list[Load]:
    """What RecordLoads makes of everything that is pending."""
    config = config_of(client, storage, run_id, **options)
    files = list(in_delivery_order(write(storage), NOW_MS, config))
    return record_loads(files, "trace-0", config.load_log(client), storage, config)


def a_load(**changes: int) -> Load:
    parts = [
        Slice("/in/a b'.jsonl", "p\t1", 1_700_000_000_123, 1_700_000_000_456, 100, "e-1", 0, 60),
        Slice("/in/ü.jsonl", "p2", -5, 0, 0, "", 0, 0),
        Slice("/in/00010101T000000Z_a.jsonl", "\n\\N", FIRST_MS, LAST_MS, 1, "e", 0, 1),
        Slice("/in/99991231T235959Z_a\n.jsonl", "\x01", LAST_MS, FIRST_MS, 1, "e", 0, 1),
    ]
    load = make_load("trace", "trace-3", parts, block_bytes=2**40, block_rows=10, created_ms=1_800_000_000_001)
    return replace(load, **changes)


def test_a_load_is_read_as_it_was_recorded(client: ClickHouse, storage: LocalStorage) -> None:
    log = log_of(client, storage)
    log.assign(a_load())
    assert log.read(a_load().load_id) == a_load()
    (found,) = log.unfinished()
    assert (found.load_id, found.run_id, found.attempt, found.state) == (a_load().load_id, "run-1", 1, "assigned")


def test_later_versions_begin_behind_those_of_every_load(embedded: ClickHouse) -> None:
    """Loads of many chunks, of which some rows come in many inserts, as the log alone knows them."""
    make_tables(embedded)
    log = LoadLog(embedded, input_root="/in", run_id="r")
    assert log.versions_end_ms() == 0
    choose = random.Random(1)
    for number in range(20):
        sizes = [choose.randrange(300) for _ in range(choose.randrange(1, 40))]
        slices = [Slice(f"/{number}/{place}", "p", 0, 0, size, "", 0, size) for place, size in enumerate(sizes)]
        block_bytes, block_rows = choose.randrange(1, 400), choose.randrange(1, 9)
        created_ms = max(NOW_MS, log.versions_end_ms())
        load = make_load(
            "trace", "trace-0", slices, block_bytes=block_bytes, block_rows=block_rows, created_ms=created_ms
        )
        log.assign(load)
        assert log.versions_end_ms() >= load.end_ms > created_ms


def test_files_whose_load_was_never_recorded_belong_to_nobody(
    client: ClickHouse, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the two writes of `assign`: the files are free, and the next run's load is the same one."""
    write(storage, "a.jsonl")
    with monkeypatch.context() as crash, pytest.raises(KeyboardInterrupt):
        crash.setattr(LoadLog, "_write_load", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        record(client, storage)
    log = log_of(client, storage, "run-2")
    assert log.unfinished() == []
    assert log.ownership([file.path for file in write(storage)]) == {}
    (load,) = record(client, storage, "run-2")
    assert [part.path for part in log.read(load.load_id).slices] == [file.path for file in write(storage)]


def test_the_later_state_and_the_later_attempt_win_in_whatever_order_they_are_merged(
    client: ClickHouse, storage: LocalStorage
) -> None:
    load, log = a_load(), log_of(client, storage)
    log.assign(load)
    log.fail(load, LoadCounts(), "no server")
    assert log.state(load.load_id).state == "failed"
    again, other = replace(load, attempt=2), log_of(client, storage, "run-2")
    other.adopt(again)
    assert (log.state(load.load_id).state, log.state(load.load_id).run_id) == ("assigned", "run-2")
    log.fail(load, LoadCounts(), "told late by the run before")
    client.command("OPTIMIZE TABLE mastra_admin_ingest_loads FINAL")
    assert (log.state(load.load_id).state, log.state(load.load_id).attempt) == ("assigned", 2)
    other.commit(again, COUNTS, {0: SliceOutcome(lines=7, rejected=2, digest="d")})
    assert log.read(load.load_id).committed
    other.finalize(replace(again, committed=True))
    assert log.unfinished() == []
    (row,) = client.query(
        "SELECT lines, inserted, rejected, expired, blocks, events FROM mastra_admin_ingest_loads FINAL"
    )
    assert row == {
        **{"lines": 7, "inserted": 5, "rejected": 2, "expired": 1, "blocks": 2},
        "events": {"trace": 4, "log": 1},
    }


def test_a_commit_that_arrives_after_the_load_was_adopted_is_final(client: ClickHouse, storage: LocalStorage) -> None:
    """The next run cannot read a file any more that the killed one has loaded: neither is lost from the log."""
    load, log, other = a_load(), log_of(client, storage), log_of(client, storage, "run-2")
    log.assign(load)
    again = replace(load, attempt=2)
    other.adopt(again)
    other.release(again, {1: "is gone"})
    log.commit(load, COUNTS, {0: SliceOutcome(lines=4), 1: SliceOutcome(lines=3, rejected=2)})
    other.release(again, {0: "is gone, too"})
    other.fail(again, LoadCounts(), "nothing can be read")
    assert other.is_committed(load.load_id)
    assert other.read(load.load_id) == replace(load, committed=True)
    (row,) = client.query("SELECT state, lines FROM mastra_admin_ingest_loads FINAL")
    assert row == {"state": "committed", "lines": 7}
    rows = client.query("SELECT state, lines, rejected FROM mastra_admin_ingest_files FINAL ORDER BY position")
    assert [tuple(row.values()) for row in rows] == [
        ("committed", 4, 0),
        ("committed", 3, 2),
        *[("committed", 0, 0)] * 2,
    ]


def test_a_committed_load_keeps_its_counts_through_adoption_and_errors(
    client: ClickHouse, storage: LocalStorage
) -> None:
    load, log = a_load(), log_of(client, storage)
    log.assign(load)
    log.commit(load, COUNTS, {})
    committed = replace(load, committed=True, attempt=2)
    other = log_of(client, storage, "run-2")
    other.adopt(committed)
    other.keep_committed(committed, "one file could not be moved")
    other.keep_committed(committed, "two files could not be moved")
    other.fail(load, LoadCounts(), "late")
    (row,) = client.query("SELECT state, lines, error FROM mastra_admin_ingest_loads FINAL")
    assert row == {"state": "committed", "lines": 7, "error": "two files could not be moved"}


def test_what_was_given_back_is_free_and_no_longer_the_load_s(client: ClickHouse, storage: LocalStorage) -> None:
    files = write(storage, "a.jsonl", "b.jsonl")
    (load,) = record(client, storage)
    log_of(client, storage).release(load, {1: "is gone"})
    assert log_of(client, storage).read(load.load_id).released == {1}
    (other,) = record(client, storage, "run-2")
    assert [part.path for part in other.slices] == [files[1].path]


def test_each_file_gets_one_owner_however_many_record_at_once(client: ClickHouse, storage: LocalStorage) -> None:
    write(storage, *(f"{n:02d}.jsonl" for n in range(12)))

    def run(number: int) -> list[Load]:
        with ExitStack() as stack:
            stack.enter_context(storage.hold(f"run-{number}"))
            own = stack.enter_context(client.config.connect())
            return record(own, storage, f"run-{number}", load_files=3)

    with ThreadPoolExecutor(4) as pool:
        loads = [load for found in pool.map(run, range(4)) for load in found]
    paths = [part.path for load in loads for part in load.slices]
    assert sorted(paths) == [file.path for file in write(storage)]
    assert all(len(load.slices) == 3 for load in loads)


def test_a_retried_bundle_emits_what_it_recorded_before(client: ClickHouse, storage: LocalStorage) -> None:
    write(storage, "a.jsonl", "b.jsonl", "c.jsonl")
    first = record(client, storage, load_files=2)
    assert len(first) == 2
    assert sorted(load.load_id for load in record(client, storage, load_files=2)) == sorted(
        load.load_id for load in first
    )


def test_a_new_file_beside_an_unfinished_load_is_a_load_of_its_own(client: ClickHouse, storage: LocalStorage) -> None:
    write(storage, "a.jsonl")
    record(client, storage)
    write(storage, "b.jsonl")
    (load,) = record(client, storage, "run-2")
    assert [os.path.basename(part.path) for part in load.slices] == ["b.jsonl"]


def test_a_file_has_one_owner_whatever_its_names(client: ClickHouse, storage: LocalStorage, tmp_path: Path) -> None:
    """Also of those that one look has not seen together, and by runs that record them at once."""
    first, *others = [Path(storage.root, "trace", "p", f"{n}.jsonl") for n in range(4)]
    write(storage, first.name)
    for other in others:
        os.link(first, other)
    files = [
        replace(file, path=str(path))
        for path in (first, *others)
        for file in storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(reason))
    ]
    assert all(file.linked for file in files)

    def run(number: int) -> list[Load]:
        with storage.hold(f"run-{number}"), client.config.connect() as own:
            config = config_of(client, storage, f"run-{number}")
            return record_loads([files[number]], f"trace-{number}", config.load_log(own), storage, config)

    with ThreadPoolExecutor(4) as pool:
        (load,) = [load for found in pool.map(run, range(4)) for load in found]
    log_of(client, storage).release(load, {0: "could not be read"})
    (again,) = record_loads(files, "trace-0", log_of(client, storage), storage, config_of(client, storage))
    assert len(again.slices) == 1


def test_a_file_is_loaded_when_its_loads_have_all_of_it(client: ClickHouse, storage: LocalStorage) -> None:
    """A file in two loads, of which one is committed: the rest of the file is a load of its own, and then it is only moved."""
    write(storage, "a.jsonl", content="0123456\n" * 4)
    first, second = record(client, storage, load_bytes=16)
    log = log_of(client, storage)
    log.commit(first, COUNTS, {0: SliceOutcome(4, 0, "")})
    path = first.slices[0].path
    assert log.loaded_bytes({path: first.slices[0].etag}) == {path: 16}
    assert log.loaded_bytes({path: "another etag"}) == {path: 0}
    log.release(second, {0: "could not be read"})
    (rest,) = record(client, storage, "run-2", load_bytes=16)
    assert [(part.start, part.end) for part in rest.slices] == [(16, 32)]
    log.commit(rest, COUNTS, {})
    assert log.loaded_bytes({path: first.slices[0].etag}) == {path: 32}
    assert [load.committed for load in record(client, storage, "run-3", load_bytes=16)] == [True]


def last_words(client: ClickHouse) -> list[list[dict[str, object]]]:
    """Both tables of the log without times, as they are read."""
    return [
        client.query(f"SELECT * EXCEPT updated_at FROM {table} FINAL ORDER BY ALL")
        for table in (LOADS_TABLE, FILES_TABLE)
    ]


def every_write(log: LoadLog, storage: LocalStorage) -> None:
    """Everything that is ever written into the log, each once."""
    load, other = a_load(), replace(a_load(), load_id="other", attempt=2)
    log.assign(load)
    log.release(load, {1: "is gone"})
    kept = replace(load, released=frozenset({1}))
    log.commit(kept, COUNTS, {0: SliceOutcome(lines=7, rejected=2, digest="d")})
    grown = PendingFile(0, load.slices[0].path, "trace", "p", 200, 0, "e-2")
    log.attest_growth([(log.ownership([grown.path])[grown.path][0], grown)])
    log.keep_committed(kept, "no room")
    log.record_moves(replace(kept, committed=True), {}, {}, {load.slices[0].path: "no room"})
    log.finalize(kept)
    log.assign(replace(other, attempt=1))
    log.fail(replace(other, attempt=1), LoadCounts(), "server away")
    log.adopt(other)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_that_fails_at_any_write_changes_nothing_of_what_is_recorded(
    http_config: ClickHouseConfig, endpoint: ClickHouseEndpoint, storage: LocalStorage, when: str
) -> None:
    if http_config.url != endpoint.url:
        pytest.skip("a real server does not fail when it is asked to")
    with replace(http_config, retry_delay_s=0.001).connect() as client:
        make_tables(client, SchemaOptions(dedup_window=1000))
        undisturbed = endpoint.fault("delay", "INSERT INTO .*ingest_(loads|files)", times=0)
        every_write(log_of(client, storage), storage)
        recorded, writes = last_words(client), endpoint.struck(undisturbed)
        assert writes > 10
        for table in (LOADS_TABLE, FILES_TABLE):
            client.command(f"TRUNCATE TABLE {table}")
        # Each write fails twice, and is tried a third time.
        faults = [
            endpoint.fault(
                "status", "INSERT INTO .*ingest_(loads|files)", when=when, status=502, nth=3 * n + 1, times=2
            )
            for n in range(writes)
        ]
        every_write(log_of(client, storage), storage)
        assert [endpoint.struck(fault) for fault in faults] == [2] * writes
        assert last_words(client) == recorded


class TestAdoption:
    @pytest.fixture
    def load(self, client: ClickHouse, storage: LocalStorage) -> Load:
        write(storage, "a.jsonl")
        (load,) = record(client, storage, "run-1")
        return load

    def adopted(self, client: ClickHouse, storage: LocalStorage, run_id: str) -> list[Load]:
        return list(adopt_loads(log_of(client, storage, run_id), storage, run_id))

    def test_not_from_a_run_that_lives(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        with storage.hold("run-1"):
            assert self.adopted(client, storage, "run-2") == []
        assert self.adopted(client, storage, "run-2") == [replace(load, attempt=2)]

    def test_by_one_run_only(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        def run(number: int) -> list[Load]:
            with storage.hold(f"run-{number}"), client.config.connect() as own:
                found: Iterator[Load] = iter(self.adopted(own, storage, f"run-{number}"))
                return list(found)

        with storage.hold("run-2"), storage.hold("run-3"), storage.hold("run-4"), ThreadPoolExecutor(3) as pool:
            assert [load.attempt for found in pool.map(run, (2, 3, 4)) for load in found] == [2]

    def test_again_when_the_bundle_is_retried(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        assert self.adopted(client, storage, "run-2") == self.adopted(client, storage, "run-2") != []

    def test_not_again_once_it_failed_in_this_run(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        (taken,) = self.adopted(client, storage, "run-2")
        log_of(client, storage, "run-2").fail(taken, LoadCounts(), "server away")
        assert self.adopted(client, storage, "run-2") == []
        assert [load.attempt for load in self.adopted(client, storage, "run-3")] == [3]

    def test_not_what_this_run_recorded_itself(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        assert self.adopted(client, storage, "run-1") == []

    def test_not_of_another_input(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        other = LoadLog(client, input_root="/another", run_id="run-2")
        assert list(adopt_loads(other, storage, "run-2")) == []
