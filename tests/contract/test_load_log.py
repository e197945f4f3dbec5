"""The load log on a real engine: what is recorded is what is read, later states win, and one file has one owner."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from beam_pipeline.schema import SchemaOptions
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.databases import make_tables
from tests.support.stages import Worker
from transforms import adopt_loads as module
from transforms.adopt_loads import adopt_loads
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.config import IngestConfig
from transforms.loads import Load, Slice, make_load
from transforms.loads.inputs import INPUTS_TABLE, resolve_input
from transforms.loads.journal import JOURNAL_TABLE, Holding, Journal
from transforms.loads.log import LoadLog, loaded_bytes
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE, LoadCounts, LoadRecord, SliceOutcome
from transforms.loads.runs import held_here
from transforms.record_loads import record_loads
from transforms.run import RunFn
from transforms.storage import FIRST_MS, LAST_MS, PendingFile
from transforms.storage.local import LocalStorage

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
    return config_of(client, storage, run_id).load_log(client)


def write(storage: LocalStorage, *names: str, content: str = "x\n") -> list[PendingFile]:
    directory = Path(storage.root, "trace", "p")
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_text(content)
    return sorted(storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(f"{path}: {reason}")))


def config_of(client: ClickHouse, storage: LocalStorage, run_id: str = "run-1", **options: int) -> IngestConfig:
    return IngestConfig(input=storage.root, clickhouse=client.config, run_id=run_id, **options)  # type: ignore[arg-type]


def stage_of(client: ClickHouse, storage: LocalStorage, run_id: str = "run-1", **options: int) -> RunFn:
    return Worker(client, config_of(client, storage, run_id, **options)).stage(RunFn)


def record(client: ClickHouse, storage: LocalStorage, run_id: str = "run-1", **options: int) -> list[Load]:
    """What RecordLoads makes of everything that is pending."""
    return Worker(client, config_of(client, storage, run_id, **options)).record()


def adopted(client: ClickHouse, storage: LocalStorage, run_id: str) -> list[Load]:
    """What AdoptLoads takes up."""
    stage = stage_of(client, storage, run_id)
    return list(adopt_loads(stage.journal, stage.log, stage.client, run_id))


def assign(log: LoadLog, load: Load) -> None:
    log.write_slices([load])
    log.write_loads([LoadRecord(load, "assigned")])


def fail(log: LoadLog, load: Load, error: str) -> None:
    log.commit([(LoadRecord(load, "failed", LoadCounts(), error), {})])


def commit(log: LoadLog, load: Load, outcomes: dict[int, SliceOutcome]) -> None:
    log.commit([(LoadRecord(load, "committed", COUNTS), outcomes)])


def holding(load: Load, state: str = "assigned") -> Holding:
    return Holding(
        load.load_id, 1, "run-1", load.attempt, load.created_ms, load.block_bytes, load.block_rows, state=state
    )


def read(log: LoadLog, load: Load, state: str = "assigned") -> Load:
    """The load as the log has it."""
    (found,) = log.read([holding(load, state)])
    return found


def a_load(storage: LocalStorage) -> Load:
    """Of files of several types, with names, sizes and times as odd as they come."""
    parts = [
        Slice("log/p\t1/a b'.jsonl", "log", "p\t1", 1_700_000_000_123, 1_700_000_000_456, 100, "e-1", 0, 60),
        Slice("trace/p2/ü.jsonl", "trace", "p2", -5, 0, 0, "", 0, 0),
        Slice("trace/\n\\N/00010101T000000Z_a.jsonl", "trace", "\n\\N", FIRST_MS, LAST_MS, 1, "e", 0, 1),
        Slice("trace/\x01/99991231T235959Z_a\n.jsonl", "trace", "\x01", LAST_MS, FIRST_MS, 1, "e", 0, 1),
    ]
    whole = [replace(part, path=os.path.join(storage.root, part.path)) for part in parts]
    return make_load(whole, block_bytes=2**40, block_rows=10, created_ms=1_800_000_000_001)


def raise_keyboard_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def test_a_load_is_read_as_it_was_recorded(client: ClickHouse, storage: LocalStorage) -> None:
    stage, load = stage_of(client, storage), a_load(storage)
    stage.log.write_slices([load])
    assert stage.journal.append(stage.journal.look(), [load])
    for _ in range(2):
        (found,) = stage.journal.look().unfinished.values()
        assert (found.load_id, found.run_id, found.attempt, found.state) == (load.load_id, "run-1", 1, "assigned")
        assert stage.log.read([found]) == [load]
        stage.log.write_loads([LoadRecord(load, "assigned")])


def test_a_load_is_read_where_its_input_is_now(client: ClickHouse, storage: LocalStorage) -> None:
    log, load = log_of(client, storage), a_load(storage)
    assign(log, load)
    elsewhere = LoadLog(client, input=storage.root, root="/elsewhere", run_id="run-2")
    paths = [os.path.join("/elsewhere", log.within(part.path)) for part in load.slices]
    assert [part.path for part in read(elsewhere, load).slices] == paths
    assert set(elsewhere.files(paths)) == set(paths) and log.files(paths) == {}
    another = LoadLog(client, input="another", root=storage.root, run_id="run-1")
    assert another.files([part.path for part in load.slices]) == {}
    assert another.paths_by_etag(["e-1"]) == {}
    assert log.paths_by_etag(["e-1"]) == {"e-1": {load.slices[0].path}}


def test_files_whose_load_was_never_recorded_belong_to_nobody(
    client: ClickHouse, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash before the entry is written: the files are free, and the next run's load is the same one."""
    write(storage, "a.jsonl")
    with monkeypatch.context() as crash, pytest.raises(KeyboardInterrupt):
        crash.setattr(Journal, "append", raise_keyboard_interrupt)
        record(client, storage)
    stage = stage_of(client, storage, "run-2")
    assert stage.journal.look().unfinished == {}
    ((written,),) = stage.log.files([file.path for file in write(storage)]).values()
    assert (written.state, written.load_state, written.committed) == ("assigned", "", False)
    assert adopted(client, storage, "run-2") == []
    (load,) = record(client, storage, "run-2")
    assert [part.path for part in read(stage.log, load).slices] == [file.path for file in write(storage)]
    assert load.load_id == written.load_id


def test_a_load_exists_once_its_entry_is_written(
    client: ClickHouse, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash before its row is written: it is found without, by its own run and by another one."""
    write(storage, "a.jsonl")
    with monkeypatch.context() as crash, pytest.raises(KeyboardInterrupt):
        crash.setattr(LoadLog, "write_loads", raise_keyboard_interrupt)
        record(client, storage)
    assert client.query(f"SELECT 1 FROM {LOADS_TABLE}") == []
    (again,) = record(client, storage)
    (taken,) = adopted(client, storage, "run-2")
    assert (again.emitted_before, again.attempt, taken.attempt) == (True, 1, 2)
    assert again.slices == taken.slices and [part.path for part in taken.slices] == [
        file.path for file in write(storage)
    ]
    assert record(client, storage, "run-3") == []


def test_the_later_state_and_the_later_attempt_win_in_whatever_order_they_are_merged(
    client: ClickHouse, storage: LocalStorage
) -> None:
    load, log = a_load(storage), log_of(client, storage)
    assign(log, load)
    fail(log, load, "no server")
    assert log.states([load.load_id]) == {load.load_id: "failed"}
    again, other = replace(load, attempt=2), log_of(client, storage, "run-2")
    other.write_loads([LoadRecord(again, "assigned")])
    assert state_of(client) == ("assigned", 2, "run-2")
    fail(log, load, "told late by the run before")
    client.command(f"OPTIMIZE TABLE {LOADS_TABLE} FINAL")
    assert state_of(client) == ("assigned", 2, "run-2") and not log.is_committed(load.load_id)
    commit(other, again, {0: SliceOutcome(lines=7, rejected=2, digest="d")})
    assert log.is_committed(load.load_id)
    assert read(log, load, state_of(client)[0]).committed
    other.write_loads([LoadRecord(again, "finalized", COUNTS)])
    assert log.states([load.load_id, "never recorded"]) == {load.load_id: "finalized"}
    (row,) = client.query(f"SELECT lines, inserted, rejected, expired, blocks, events FROM {LOADS_TABLE} FINAL")
    assert row == {
        **{"lines": 7, "inserted": 5, "rejected": 2, "expired": 1, "blocks": 2},
        "events": {"trace": 4, "log": 1},
    }


def state_of(client: ClickHouse) -> tuple[str, int, str]:
    """State, attempt and run of the one load that there is."""
    (row,) = client.query(f"SELECT toString(state) AS name, attempt, run_id FROM {LOADS_TABLE} FINAL")
    return row["name"], row["attempt"], row["run_id"]


def test_a_commit_that_arrives_after_the_load_was_adopted_is_final(client: ClickHouse, storage: LocalStorage) -> None:
    """The next run cannot read a file any more that the killed one has loaded: neither is lost from the log."""
    load, log, other = a_load(storage), log_of(client, storage), log_of(client, storage, "run-2")
    assign(log, load)
    again = replace(load, attempt=2)
    other.write_loads([LoadRecord(again, "assigned")])
    other.release(again, {1: "is gone"})
    commit(log, load, {0: SliceOutcome(lines=4), 1: SliceOutcome(lines=3, rejected=2)})
    other.release(again, {0: "is gone, too"})
    fail(other, again, "nothing can be read")
    assert other.is_committed(load.load_id)
    assert read(other, load, "committed") == replace(load, committed=True)
    (row,) = client.query(f"SELECT state, lines FROM {LOADS_TABLE} FINAL")
    assert row == {"state": "committed", "lines": 7}
    rows = client.query(f"SELECT state, lines, rejected FROM {FILES_TABLE} FINAL ORDER BY position")
    assert [tuple(row.values()) for row in rows] == [
        ("committed", 4, 0),
        ("committed", 3, 2),
        *[("committed", 0, 0)] * 2,
    ]


def test_a_committed_load_keeps_its_counts_through_adoption_and_errors(
    client: ClickHouse, storage: LocalStorage
) -> None:
    load, log = a_load(storage), log_of(client, storage)
    assign(log, load)
    commit(log, load, {})
    other = log_of(client, storage, "run-2")
    load_id, attempt = load.load_id, {load.load_id: 2}
    other.copy_loads({load_id: "committed"}, {}, attempt)
    assert state_of(client) == ("committed", 2, "run-2")
    other.copy_loads({load_id: "committed"}, {load_id: "one file could not be moved"}, attempt)
    other.copy_loads({load_id: "committed"}, {load_id: "two files could not be moved"}, attempt)
    fail(log, load, "late")
    client.command(f"OPTIMIZE TABLE {LOADS_TABLE} FINAL")
    (row,) = client.query(f"SELECT state, lines, events, error FROM {LOADS_TABLE} FINAL")
    assert row == {"state": "committed", "lines": 7, "events": COUNTS.events, "error": "two files could not be moved"}
    other.copy_loads({load_id: "finalized"}, {}, attempt)
    (row,) = client.query(f"SELECT state, lines, events, error FROM {LOADS_TABLE} FINAL")
    assert row == {"state": "finalized", "lines": 7, "events": COUNTS.events, "error": ""}


def test_what_was_given_back_is_free_and_no_longer_the_load_s(client: ClickHouse, storage: LocalStorage) -> None:
    files = write(storage, "a.jsonl", "b.jsonl")
    (load,) = record(client, storage)
    log_of(client, storage).release(load, {1: "is gone"})
    assert read(log_of(client, storage), load).released == {1}
    (other,) = record(client, storage, "run-2")
    assert [part.path for part in other.slices] == [files[1].path]


def test_each_file_gets_one_owner_however_many_record_at_once(client: ClickHouse, storage: LocalStorage) -> None:
    """All of them see all files, or each of them some of the others'."""
    write(storage, *(f"{n:02d}.jsonl" for n in range(12)))
    files = [replace(file, version_ms=1_800_000_000_000) for file in write(storage)]

    def run(number: int) -> list[Load]:
        with held_here(f"run-{number}"), client.config.connect() as own:
            found = record_loads(files[number : number + 7], stage_of(own, storage, f"run-{number}", load_files=3))
            return found + record(own, storage, f"run-{number}", load_files=3)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(4)))
    loads = {load.load_id: load for one in found for load in one}
    paths = [part.path for load in loads.values() for part in load.slices]
    assert sorted(paths) == [file.path for file in files]
    assert all(len(load.slices) <= 3 for load in loads.values())
    # What a run has recorded before is emitted to it again, and to no other.
    owners = [{load.load_id for load in one} for one in found]
    assert sum(len(one) for one in owners) == len(loads)
    tail = stage_of(client, storage).journal.look()
    assert {load_id: holding.run_id for load_id, holding in tail.unfinished.items()} == {
        load_id: f"run-{number}" for number, one in enumerate(owners) for load_id in one
    }


def test_a_retried_bundle_emits_what_it_recorded_before(client: ClickHouse, storage: LocalStorage) -> None:
    write(storage, "a.jsonl", "b.jsonl", "c.jsonl")
    first = record(client, storage, load_files=2)
    assert len(first) == 2
    again = record(client, storage, load_files=2)
    assert sorted(again, key=lambda load: load.load_id) == sorted(
        (replace(load, emitted_before=True) for load in first), key=lambda load: load.load_id
    )


def test_a_retried_bundle_reloads_nothing_that_its_run_has_reloaded(client: ClickHouse, storage: LocalStorage) -> None:
    """What was asked for is loaded once more, and not twice: it may be committed by the time of the retry."""
    write(storage, "a.jsonl")
    (first,) = record(client, storage)
    commit(log_of(client, storage), first, {})
    (again,) = record(client, storage, "run-2", reload=True)
    assert again.load_id != first.load_id
    commit(log_of(client, storage, "run-2"), again, {})
    assert record(client, storage, "run-2", reload=True) == []


def test_a_new_file_beside_an_unfinished_load_is_a_load_of_its_own(client: ClickHouse, storage: LocalStorage) -> None:
    write(storage, "a.jsonl")
    record(client, storage)
    write(storage, "b.jsonl")
    (load,) = record(client, storage, "run-2")
    assert [os.path.basename(part.path) for part in load.slices] == ["b.jsonl"]


def test_a_load_holds_files_of_all_types_and_of_one_month(client: ClickHouse, storage: LocalStorage) -> None:
    for kind in ("trace", "log", "score"):
        directory = Path(storage.root, kind, "p")
        directory.mkdir(parents=True)
        for month in (11, 12):
            (directory / f"2026{month}20T120000Z_00.jsonl").write_text("x\n")
    loads = record(client, storage)
    assert [[os.path.relpath(part.path, storage.root) for part in load.slices] for load in loads] == [
        [f"{kind}/p/2026{month}20T120000Z_00.jsonl" for kind in ("log", "score", "trace")] for month in (11, 12)
    ]
    assert [load.event_type for load in loads] == ["mixed", "mixed"]
    assert loads[1].created_ms >= loads[0].end_ms, "versions are in the order of the files"


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
        with held_here(f"run-{number}"), client.config.connect() as own:
            return record_loads([files[number]], stage_of(own, storage, f"run-{number}"))

    with ThreadPoolExecutor(4) as pool:
        (load,) = [load for found in pool.map(run, range(4)) for load in found]
    log_of(client, storage).release(load, {0: "could not be read"})
    (again,) = record_loads(files, stage_of(client, storage))
    assert len(again.slices) == 1


def test_a_file_is_loaded_when_its_loads_have_all_of_it(client: ClickHouse, storage: LocalStorage) -> None:
    """A file in two loads, of which one is committed: the rest of the file is a load of its own, and then it is only moved."""
    (file,) = write(storage, "a.jsonl", content="0123456\n" * 4)
    first, second = record(client, storage, load_bytes=16, block_bytes=16)
    log = log_of(client, storage)

    def loaded(etag: str) -> int:
        return loaded_bytes(log.files([file.path])[file.path], etag)

    commit(log, first, {0: SliceOutcome(4, 0, "")})
    assert (loaded(file.etag), loaded("another etag")) == (16, 0)
    log.release(second, {0: "could not be read"})
    (rest,) = record(client, storage, "run-2", load_bytes=16, block_bytes=16)
    assert [(part.start, part.end) for part in rest.slices] == [(16, 32)]
    commit(log, rest, {})
    assert loaded(file.etag) == 32
    assert record(client, storage, "run-3", load_bytes=16, block_bytes=16) == []
    assert write(storage) == [] and Path(storage.root, "trace", "p", "processed", "a.jsonl").exists()
    records = log.files([file.path])[file.path]
    assert {(one.state, one.moved_to) for one in records if one.state != "released"} == {
        ("finalized", "trace/p/processed/a.jsonl")
    }


UNSTABLE = {
    LOADS_TABLE: "updated_at",
    FILES_TABLE: "updated_at",
    JOURNAL_TABLE: "writer, at",
    INPUTS_TABLE: "seen_at",
}
"""The tables that are written here, and of their columns times and what is made up for each write."""


def last_words(client: ClickHouse) -> list[list[dict[str, object]]]:
    """All that is recorded, as it is read."""
    return [
        client.query(
            f"SELECT * EXCEPT ({columns}) FROM {table} {'' if table == JOURNAL_TABLE else 'FINAL'} ORDER BY ALL"
        )
        for table, columns in UNSTABLE.items()
    ]


def every_write(client: ClickHouse, storage: LocalStorage) -> None:
    """Everything that is ever written into the log and into the journal, each once."""
    stage, load = stage_of(client, storage), a_load(storage)
    log, other = stage.log, replace(a_load(storage), load_id="other")
    resolve_input(client, storage.root, "1-1")
    log.write_slices([load, other])
    assert stage.journal.append(stage.journal.look(), [load, other])
    log.write_loads([LoadRecord(load, "assigned"), LoadRecord(other, "assigned")])
    log.release(load, {1: "is gone"})
    kept = replace(load, released=frozenset({1}))
    commit(log, kept, {0: SliceOutcome(lines=7, rejected=2, digest="d")})
    path = load.slices[0].path
    log.write_files(one.revised(etag="e-2", size=200) for one in log.files([path])[path] if one.committed)
    log.copy_loads({load.load_id: "committed"}, {load.load_id: "no room"}, {load.load_id: 1})
    log.write_files(one.revised(error="no room") for one in log.files([path])[path] if one.committed)
    log.write_loads([LoadRecord(kept, "finalized", COUNTS)])
    fail(log, other, "server away")
    again = replace(other, attempt=2)
    assert stage.journal.append(stage.journal.look(), [again])
    log.write_loads([LoadRecord(again, "assigned")])


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_that_fails_at_any_write_changes_nothing_of_what_is_recorded(
    http_config: ClickHouseConfig, endpoint: ClickHouseEndpoint, storage: LocalStorage, when: str
) -> None:
    if http_config.url != endpoint.url:
        pytest.skip("a real server does not fail when it is asked to")
    into = "INSERT INTO .*ingest_(loads|files|journal|inputs)"
    with replace(http_config, retry_delay_s=0.001).connect() as client:
        make_tables(client, SchemaOptions(dedup_window=1000))
        undisturbed = endpoint.fault("delay", into, times=0)
        every_write(client, storage)
        recorded, writes = last_words(client), endpoint.struck(undisturbed)
        assert writes >= 14
        for table in UNSTABLE:
            client.command(f"TRUNCATE TABLE {table}")
        # Each write fails twice, and is tried a third time.
        faults = [endpoint.fault("status", into, when=when, status=502, nth=3 * n + 1, times=2) for n in range(writes)]
        every_write(client, storage)
        assert [endpoint.struck(fault) for fault in faults] == [2] * writes
        assert last_words(client) == recorded


class TestAdoption:
    @pytest.fixture
    def load(self, client: ClickHouse, storage: LocalStorage) -> Load:
        write(storage, "a.jsonl")
        (load,) = record(client, storage, "run-1")
        return load

    def test_not_from_a_run_that_lives(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        with held_here("run-1"):
            assert adopted(client, storage, "run-2") == []
        assert adopted(client, storage, "run-2") == [replace(load, attempt=2)]
        assert state_of(client) == ("assigned", 2, "run-2")

    def test_by_one_run_only(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        def run(number: int) -> list[Load]:
            with client.config.connect() as own:
                return adopted(own, storage, f"run-{number}")

        with held_here("run-2"), held_here("run-3"), held_here("run-4"), ThreadPoolExecutor(3) as pool:
            assert [load.attempt for found in pool.map(run, (2, 3, 4)) for load in found] == [2]

    def test_again_when_the_bundle_is_retried(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        (first,) = adopted(client, storage, "run-2")
        assert adopted(client, storage, "run-2") == [replace(first, emitted_before=True)]

    def test_not_again_once_it_failed_in_this_run(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        (taken,) = adopted(client, storage, "run-2")
        fail(log_of(client, storage, "run-2"), taken, "server away")
        assert adopted(client, storage, "run-2") == []
        assert [load.attempt for load in adopted(client, storage, "run-3")] == [3]

    def test_not_what_this_run_recorded_itself(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        assert adopted(client, storage, "run-1") == []

    def test_not_of_another_input(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        other = Journal(client, "/another", "run-2"), LoadLog(client, input="/another", root="/another", run_id="run-2")
        assert list(adopt_loads(*other, client, "run-2")) == []

    def test_one_that_is_committed_keeps_its_counts(
        self, client: ClickHouse, storage: LocalStorage, load: Load
    ) -> None:
        commit(log_of(client, storage), load, {})
        assert adopted(client, storage, "run-2") == [replace(load, attempt=2, committed=True)]
        (row,) = client.query(f"SELECT toString(state) AS name, attempt, lines FROM {LOADS_TABLE} FINAL")
        assert tuple(row.values()) == ("committed", 2, 7)

    def test_not_one_that_is_finalized(self, client: ClickHouse, storage: LocalStorage, load: Load) -> None:
        log_of(client, storage).write_loads([LoadRecord(load, "finalized")])
        assert adopted(client, storage, "run-2") == []

    def test_one_that_has_failed_three_times_waits(
        self, client: ClickHouse, storage: LocalStorage, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fail(log_of(client, storage), load, "server away")
        for attempt in (2, 3):
            (taken,) = adopted(client, storage, f"run-{attempt}")
            assert taken.attempt == attempt
            fail(log_of(client, storage, f"run-{attempt}"), taken, "server away")
        assert adopted(client, storage, "run-4") == []
        (waiting,) = stage_of(client, storage).journal.look().unfinished.values()
        assert (waiting.state, waiting.error, 0 < waiting.wait_ms <= 30_000) == ("failed", "server away", True)
        monkeypatch.setattr("transforms.loads.journal._FIRST_WAIT_MS", 0)
        assert [taken.attempt for taken in adopted(client, storage, "run-4")] == [4]

    def test_many_with_few_statements(
        self, client: ClickHouse, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_AT_ONCE", 4)
        write(storage, *(f"{n:02d}.jsonl" for n in range(10)))
        loads = record(client, storage, "run-1", load_files=1)
        worker = Worker(client, config_of(client, storage, "run-2"))
        stage = worker.stage(RunFn)
        taken = list(adopt_loads(stage.journal, stage.log, stage.client, "run-2"))
        assert taken == [replace(load, attempt=2) for load in loads], "oldest first"
        entries = client.query(
            f"SELECT count() AS n FROM {JOURNAL_TABLE} WHERE run_id = 'run-2' GROUP BY number ORDER BY number"
        )
        assert [row["n"] for row in entries] == [4, 4, 2]
        assert [name for name in worker.steps if name.startswith("insert")] == [
            f"insert {table}" for _ in range(3) for table in (JOURNAL_TABLE, LOADS_TABLE)
        ]
        assert sorted(row["attempt"] for row in of(client, loads)) == [2] * 10


def of(client: ClickHouse, loads: Iterable[Load]) -> list[dict[str, int]]:
    return client.query(
        f"SELECT attempt FROM {LOADS_TABLE} FINAL WHERE load_id IN {{ids:Array(String)}}",
        {"ids": [load.load_id for load in loads]},
    )
