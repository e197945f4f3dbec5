from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pyarrow as pa
import pytest

from beam_pipeline.history import History, RejectedFilter, RejectedLine
from beam_pipeline.schema import run_migrations
from transforms.clickhouse import ClickHouse
from transforms.events import REJECTED_TABLE
from transforms.loads import Load, Slice, make_load
from transforms.loads.inputs import resolve_input
from transforms.loads.log import LoadLog
from transforms.loads.rows import LoadCounts, LoadRecord, SliceOutcome

BODY = b'{"broken":"\xff\x00", "quote":"\'"}'
REJECTED_AT = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
COUNTS = LoadCounts(
    lines=10, inserted=8, rejected=2, expired=1, blocks=3, duration_ms=40, events={"trace": 5, "log": 3}
)


def load(name: str, *, created_ms: int = 0, files: int = 1) -> Load:
    paths = [f"/in/trace/p1/{name}{number}.jsonl" for number in range(files)]
    slices = [Slice(path, "trace", "p1", 0, 0, 100, f"etag-{path}", 0, 100) for path in paths]
    return make_load(slices, block_bytes=1, block_rows=1, created_ms=created_ms)


@pytest.fixture
def history(emptied: ClickHouse) -> History:
    return History(emptied)


def log_of(client: ClickHouse, input: str = "/in") -> LoadLog:
    return LoadLog(client, input=input, root=input, run_id="run-1")


def assign(log: LoadLog, *loads: Load) -> None:
    log.write_slices(loads)
    log.write_loads(LoadRecord(one, "assigned") for one in loads)


def commit(log: LoadLog, one: Load, counts: LoadCounts = COUNTS) -> None:
    assign(log, one)
    log.commit([(LoadRecord(one, "committed", counts), {part.position: SliceOutcome(lines=1) for part in one.slices})])


def fail(log: LoadLog, one: Load, counts: LoadCounts, error: str) -> None:
    assign(log, one)
    log.write_loads([LoadRecord(one, "failed", counts, error)])


def reject(client: ClickHouse, load_id: str, line: int, reason: str = "name: is missing", **values: object) -> None:
    row = {
        "file": "trace/p1/a.jsonl",
        "line": line,
        "byte_offset": line * 100,
        "event_type": "trace",
        "project_id": "p1",
        "reason": reason,
        "raw": BODY,
        "rejected_at": REJECTED_AT,
        "load_id": load_id,
        "block": "0.rejected.0",
    } | values
    schema = pa.schema(
        [
            ("file", pa.string()),
            ("line", pa.uint64()),
            ("byte_offset", pa.uint64()),
            ("event_type", pa.string()),
            ("project_id", pa.string()),
            ("reason", pa.string()),
            ("raw", pa.binary()),
            ("rejected_at", pa.timestamp("ms", "UTC")),
            ("load_id", pa.string()),
            ("block", pa.string()),
        ]
    )
    client.insert(REJECTED_TABLE, pa.RecordBatch.from_pylist([row], schema))


def lines_of(found: list[RejectedLine]) -> list[int]:
    return [line.line for line in found]


def test_a_database_without_tables_has_no_history(clickhouse: ClickHouse) -> None:
    assert not History(clickhouse).exists()
    run_migrations(clickhouse)
    assert History(clickhouse).exists()


def test_nothing_was_loaded_yet(history: History) -> None:
    assert history.states() == history.unfinished() == history.last_loads() == []
    assert (
        history.inputs() == history.rows_by_type() == {}
        and history.top_reasons() == []
        and history.rejected(RejectedFilter()) == []
    )


def test_loads_are_counted_by_state_and_input(history: History, emptied: ClickHouse) -> None:
    log, other = log_of(emptied), log_of(emptied, "/other")
    done, moving, failed, begun = load("done", files=2), load("moving"), load("failed"), load("begun")
    commit(log, done)
    log.write_loads([LoadRecord(done, "finalized", COUNTS)])
    commit(log, moving)
    fail(log, failed, replace(COUNTS, inserted=99), "the server is away")
    assign(log, begun)
    commit(other, load("else"))

    assert history.inputs() == {"/in": "/in", "/other": "/other"}
    assert {totals.state: totals.loads for totals in history.states("/in")} == {
        "assigned": 1,
        "failed": 1,
        "committed": 1,
        "finalized": 1,
    }
    (finalized,) = [totals for totals in history.states("/in") if totals.state == "finalized"]
    assert (finalized.files, finalized.bytes, finalized.lines) == (2, 200, 10)
    assert (finalized.inserted, finalized.rejected) == (8, 2)
    assert sum(totals.loads for totals in history.states()) == 5


def test_inputs_are_told_by_their_names_and_where_they_were_last(history: History, emptied: ClickHouse) -> None:
    """Version 0.1 has written no names: what it loaded from is called by its directory."""
    assert history.name_of("/in") == "/in"
    resolve_input(emptied, "/in", "1-1")
    resolve_input(emptied, "/moved", "1-1")
    resolve_input(emptied, "/data", "2-2", "events")
    for name in ("/in", "events", "/of-version-0.1"):
        commit(log_of(emptied, name), load(name[1:]))
    assert history.inputs() == {"/in": "/moved", "/of-version-0.1": "/of-version-0.1", "events": "/data"}
    assert [history.name_of(root) for root in ("/in", "/moved", "/data", "/never")] == [
        "/in",
        "/in",
        "events",
        "/never",
    ]


def test_only_committed_rows_count_as_loaded(history: History, emptied: ClickHouse) -> None:
    log = log_of(emptied)
    commit(log, load("a"))
    commit(log, load("b"), replace(COUNTS, events={"log": 4}))
    fail(log, load("c"), COUNTS, "no")
    assert history.rows_by_type("/in") == {"log": 7, "trace": 5}
    assert history.rows_by_type("/other") == {}


def test_unfinished_loads_come_oldest_first_with_their_reason_and_first_file(
    history: History, emptied: ClickHouse
) -> None:
    log = log_of(emptied)
    late, early = load("late", created_ms=2000), load("early", created_ms=1000, files=3)
    assign(log, late)
    fail(log, early, COUNTS, "the server is away")
    found = history.unfinished("/in")
    assert [one.load_id for one in found] == [early.load_id, late.load_id]
    assert (found[0].state, found[0].error, found[0].run_id) == ("failed", "the server is away", "run-1")
    assert found[0].created_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)
    assert history.first_files([early.load_id]) == {early.load_id: log.within(early.slices[0].path)}
    assert len(history.unfinished("/in", limit=1)) == 1


def test_last_loads_come_newest_first(history: History, emptied: ClickHouse) -> None:
    log = log_of(emptied)
    first, second = load("first"), load("second")
    commit(log, first)
    commit(log, second)
    assign(log, load("third"))
    found = history.last_loads("/in")
    assert [one.load_id for one in found] == [second.load_id, first.load_id]
    assert (found[0].inserted, found[0].duration_ms, found[0].expired) == (8, 40, 1)


def test_a_file_is_a_problem_until_something_loads_it(history: History, emptied: ClickHouse) -> None:
    log = log_of(emptied)
    first = load("a", files=2)
    assign(log, first)
    log.release(first, {1: "cannot be read: Permission denied"})
    (problem,) = history.file_problems("/in")
    assert (problem.path, problem.state) == ("trace/p1/a1.jsonl", "released")
    assert problem.error == "cannot be read: Permission denied"

    second = make_load([first.slices[1]], block_bytes=1, block_rows=1, created_ms=0, generation=1)
    commit(log, second)
    assert history.file_problems("/in") == []


def test_reasons_are_counted_most_first(history: History, emptied: ClickHouse) -> None:
    commit(log_of(emptied), one := load("a"))
    for line, reason in enumerate(["rare", "often", "often"]):
        reject(emptied, one.load_id, line, reason)
    assert history.top_reasons() == history.top_reasons("/in") == [("often", 2), ("rare", 1)]
    assert history.top_reasons("/other") == []
    assert history.top_reasons(limit=1) == [("often", 2)]


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (RejectedFilter(), [1, 2, 3]),
        (RejectedFilter(input="/in"), [1, 2, 3]),
        (RejectedFilter(input="/other"), []),
        (RejectedFilter(file="/in/trace/p1/a.jsonl"), [1, 3]),
        (RejectedFilter(file="trace/p1/a.jsonl"), [1, 3]),
        (RejectedFilter(file="a.jsonl"), [1, 3]),
        (RejectedFilter(file="p1/a.jsonl"), [1, 3]),
        (RejectedFilter(file=".jsonl"), []),
        (RejectedFilter(file="%"), []),
        (RejectedFilter(line=2), [2]),
        (RejectedFilter(reason="IS MISS"), [1, 2]),
        (RejectedFilter(reason="'"), [3]),
        (RejectedFilter(project_id="p2"), [2]),
        (RejectedFilter(event_type="log"), [3]),
        (RejectedFilter(load_id="no such load"), []),
        (RejectedFilter(file="a.jsonl", event_type="trace"), [1]),
    ],
)
def test_rejected_lines_are_found_by_what_is_known_of_them(
    history: History, emptied: ClickHouse, wanted: RejectedFilter, lines: list[int]
) -> None:
    commit(log_of(emptied), one := load("a"))
    reject(emptied, one.load_id, 1)
    reject(emptied, one.load_id, 2, file="trace/p2/b.jsonl", project_id="p2")
    reject(emptied, one.load_id, 3, "level: 'loud' is not one of debug", event_type="log")
    assert sorted(lines_of(history.rejected(wanted))) == lines
    assert history.count_rejected(wanted) == len(lines)


def test_lines_of_files_that_version_01_has_named_whole_are_found_by_any_part_of_their_path(
    history: History, emptied: ClickHouse
) -> None:
    reject(emptied, "a", 1, file="/in/trace/p1/a.jsonl")
    for wanted in ("/in/trace/p1/a.jsonl", "trace/p1/a.jsonl", "a.jsonl"):
        assert lines_of(history.rejected(RejectedFilter(file=wanted))) == [1]
    assert history.rejected(RejectedFilter(file="/other/trace/p1/a.jsonl")) == []


def test_the_lines_that_were_rejected_last_come_first(history: History, emptied: ClickHouse) -> None:
    reject(emptied, "a", 7)
    reject(emptied, "a", 8)
    reject(emptied, "b", 1, rejected_at=datetime(2026, 11, 21, tzinfo=timezone.utc))
    found = history.rejected(RejectedFilter())
    assert lines_of(found) == [1, 7, 8]
    assert found[1].rejected_at == REJECTED_AT and found[1].size == len(BODY)
    assert lines_of(history.rejected(RejectedFilter(), limit=2)) == [1, 7]


def test_the_bytes_come_back_as_they_were_however_many_are_asked_for(
    history: History, emptied: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [BODY, b"", b"\n\x00\xff", bytes(range(256)) * 8, b"last"]
    for line, body in enumerate(bodies):
        reject(emptied, "a", line, raw=body)
    reject(emptied, "b", 0, raw=b"of another load")
    wanted = history.rejected(RejectedFilter(load_id="a"))
    for batch_bytes in (1, 2060, 1 << 20):
        monkeypatch.setattr("beam_pipeline.history._BATCH_BYTES", batch_bytes)
        assert [raw for _, raw in history.raw(wanted)] == bodies
    assert list(history.raw([])) == []
