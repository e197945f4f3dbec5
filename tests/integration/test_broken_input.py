"""What lands, what is rejected and why, and what stays, when files and lines are not as they should be."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import timezone
from pathlib import Path
from typing import Any

import pytest

from beam_pipeline import ClickHouseQueryProvider, IngestionWorker, ProcessingResult
from beam_pipeline.commands.base import print_json
from beam_pipeline.commands.query_events import event_json, print_events, print_events_csv
from tests.support.databases import make_tables
from tests.support.dataset import DAY, event
from transforms.clickhouse import ClickHouse
from transforms.config import IngestConfig
from transforms.events import REJECTED_TABLE, TABLES
from transforms.loads.journal import Journal
from transforms.storage.local import LocalStorage

NAME = "20261120T120000Z_00ab.jsonl"
GOOD = event("trace", "good")


class Ingest:
    """Runs of the pipeline over one input directory into one database, in this process."""

    def __init__(self, root: Path, client: ClickHouse) -> None:
        self.root = root
        self.client = client

    def write(self, content: bytes | str, project: str = "p", kind: str = "trace", name: str = NAME) -> Path:
        path = self.root / kind / project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def run(self, **options: Any) -> ProcessingResult:
        worker = IngestionWorker(IngestConfig(input=str(self.root), clickhouse=self.client.config, **options))
        try:
            worker.init()
            return worker.process_once()
        finally:
            worker.close()

    def ids(self, project: str, kind: str = "trace") -> list[str]:
        """Every row's id, a repeated one as often as it is there."""
        table = TABLES[kind]
        rows = self.client.query(
            f"SELECT {table.id_column} AS id FROM {table.table} WHERE project_id = {{project:String}} ORDER BY id",
            {"project": project},
        )
        return [row["id"] for row in rows]

    def rejected(self, project: str) -> list[tuple[int, str]]:
        """(line, reason) of every rejected line of a project's files."""
        rows = self.client.query(
            f"SELECT line, reason FROM {REJECTED_TABLE} WHERE project_id = {{project:String}} ORDER BY file, line",
            {"project": project},
        )
        return [(row["line"], row["reason"]) for row in rows]


@pytest.fixture
def ingest(tmp_path: Path, embedded: ClickHouse) -> Ingest:
    make_tables(embedded)
    (tmp_path / "in").mkdir()
    return Ingest(tmp_path / "in", embedded)


def lines(*texts: str | bytes) -> bytes:
    return b"".join((text if isinstance(text, bytes) else text.encode()) + b"\n" for text in texts)


CASES: dict[str, tuple[bytes, list[str], list[tuple[int, str]]]] = {
    # name: content, ids that land, (line, how the reason begins) of what is rejected
    "empty": (b"", [], []),
    "only-blank-lines": (b"\n\n  \n\r\n\t\n", [], []),
    "blank-lines": (lines("", event("trace", "a"), "", "", event("trace", "b"), ""), ["a", "b"], []),
    "byte-order-mark": (b"\xef\xbb\xbf" + lines(GOOD), ["good"], []),
    "carriage-returns": (GOOD.encode() + b"\r\n" + event("trace", "b").encode() + b"\r\n", ["b", "good"], []),
    "no-final-newline": (GOOD.encode(), ["good"], []),
    "invalid-utf8": (lines(GOOD, GOOD.encode().replace(b"good", b"\xff")), ["good"], [(2, "line: invalid UTF-8")]),
    "truncated": (lines(GOOD, GOOD[:40], event("trace", "b")), ["b", "good"], [(2, "line: malformed JSON")]),
    "array": (lines("[1]", GOOD), ["good"], [(1, "line: expected `object`, got `array`")]),
    "null": (lines("null", GOOD), ["good"], [(1, "line: expected `object`, got `null`")]),
    "unknown-type": (lines('{"type": "event"}', GOOD), ["good"], [(1, "type: 'event' is not one of")]),
    "no-type": (lines('{"id": "x"}', GOOD), ["good"], [(1, "type: is missing")]),
    "unknown-status": (lines(GOOD, event("trace", "x", status="fine")), ["good"], [(2, "status: 'fine' is not one of")]),
    "missing-id": (lines('{"type": "trace", "name": "n", "startTime": 0}', GOOD), ["good"], [(1, "id: is missing")]),
    "wrong-types": (
        lines(event("trace", "x", name=[]), event("trace", "x", startTime={}), event("trace", "x", durationMs="1"), GOOD),
        ["good"],
        [(1, "name: expected"), (2, "startTime: expected"), (3, "durationMs: expected")],
    ),
    "huge-numbers": (
        lines(event("trace", "x", durationMs=10**30), GOOD, GOOD[:-2] + "1e999}", event("trace", "b", durationMs=2**63 - 1)),
        ["b", "good"],
        [(1, "durationMs: "), (3, "durationMs: ")],
    ),
    "times-out-of-range": (
        lines(*(event("trace", "x", at=at) for at in ("1850-01-01", "2500-01-01", "2026-13-01")), GOOD),
        ["good"],
        [(1, "startTime: '1850-01-01' is not a time"), (2, "startTime: '2500-01-01' is"), (3, "startTime: '2026-13-01' is")],
    ),
    "times-in-other-units": (
        lines(
            *(event("trace", "x", startTime=at) for at in (1763640000, 1763640000.5, 1763640000000000, 1763640000000000000)),
            *(event("trace", f"{n}", startTime=at) for n, at in enumerate((4118731200000, 4118731200000.5, "21001120T000000Z"))),
            event("trace", "3", startTime="21001120T000000Z", endTime="2100-11-20T00:00:01.5Z", durationMs=1.5),
        ),
        ["0", "1", "2", "3"],
        [
            *((1, "startTime: 1763640000 looks like seconds"), (2, "startTime: 1763640000.5 looks like seconds")),
            *((3, "startTime: 1763640000000000 looks like micro"), (4, "startTime: 1763640000000000000 looks like nano")),
        ],
    ),
    "half-characters": (
        lines(*(event("trace", identity, name="\ud83d", input={"a": "\udc00"}) for identity in ("cut \ud83d", "b")), "bad"),
        ["b", "cut \ufffd"],
        [(3, "line: malformed JSON")],
    ),
    "joined-files": (lines(GOOD, b"\xef\xbb\xbf" + event("trace", "b").encode()), ["b", "good"], []),
    "control-characters": (lines(event("trace", "a\0b\u2028", name="\0")), ["a\0b\u2028"], []),
    "deep-nesting": (
        lines(f'{GOOD[:-1]}, "metadata": {"[" * 50_000}{"]" * 50_000}}}', GOOD),
        ["good"],
        [(1, "line: nested too deeply")],
    ),
    "150-months": (
        lines(*(event("trace", f"{n:03d}", at=f"{2100 + n // 12}-{n % 12 + 1:02d}-15T00:00:00Z") for n in range(150))),
        [f"{n:03d}" for n in range(150)],
        [],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def all_cases(
    tmp_path_factory: pytest.TempPathFactory, embedded_admin: ClickHouse
) -> Iterator[tuple[Ingest, ProcessingResult]]:
    """One run over all the cases, each a project with one file: none may disturb another."""
    from tests.support.databases import fresh_database

    with fresh_database(embedded_admin) as config, config.connect() as client:
        ingest = Ingest(tmp_path_factory.mktemp("cases"), client)
        for name, (content, _, _) in CASES.items():
            ingest.write(content, project=name)
        yield ingest, ingest.run()


@pytest.mark.parametrize("name", CASES)
def test_lines(all_cases: tuple[Ingest, ProcessingResult], name: str) -> None:
    ingest, _ = all_cases
    _, ids, rejected = CASES[name]
    assert ingest.ids(name) == ids
    found = ingest.rejected(name)
    assert [line for line, _ in found] == [line for line, _ in rejected]
    assert all(reason.startswith(start) for (_, reason), (_, start) in zip(found, rejected, strict=True)), found
    assert os.listdir(ingest.root / "trace" / name) == ["processed"]


def test_all_of_them_count(all_cases: tuple[Ingest, ProcessingResult]) -> None:
    _, result = all_cases
    assert (result.errors, result.files_processed) == ([], len(CASES))
    assert result.events_ingested == sum(len(ids) for _, ids, _ in CASES.values())
    assert result.rejected == sum(len(rejected) for _, _, rejected in CASES.values())


def test_a_line_of_50_megabytes_is_rejected_whole(ingest: Ingest) -> None:
    long = GOOD.replace("good", "x" * 50_000_000)
    ingest.write(lines(GOOD, long, event("trace", "after")))
    result = ingest.run()
    assert (result.events_ingested, result.rejected, result.errors) == (2, 1, [])
    assert ingest.ids("p") == ["after", "good"]
    assert ingest.rejected("p") == [(2, f"line: {len(long)} bytes are more than 8388608")]
    (kept,) = ingest.client.query(f"SELECT length(raw) AS bytes, line, byte_offset FROM {REJECTED_TABLE}")
    assert kept == {"bytes": len(long), "line": 2, "byte_offset": len(GOOD) + 1}


def test_a_line_that_cannot_be_held_leaves_its_file_and_not_the_others(ingest: Ingest) -> None:
    long = ingest.write(lines(GOOD.replace("good", "x" * 3_000_000)), project="long")
    ingest.write(lines(GOOD))
    result = ingest.run(block_bytes=100_000, max_line_bytes=100_000, max_held_line_bytes=1_000_000)
    assert result.events_ingested == 1 and long.exists()
    (error,) = result.errors
    assert error.name == str(long) and "is longer than 1000000 bytes" in error.reason
    assert ingest.run().rejected == 0 and ingest.ids("long") == ["x" * 3_000_000]


def test_ids_that_come_twice_are_one_event_when_read_and_two_lines_in_the_counts(ingest: Ingest) -> None:
    ingest.write(lines(event("trace", "a", name="first"), event("trace", "a", name="second")))
    result = ingest.run()
    assert result.events_ingested == 2
    table = TABLES["trace"].table
    assert [row["name"] for row in ingest.client.query(f"SELECT name FROM {table} FINAL")] == ["second"]


def test_a_later_delivery_of_an_event_replaces_it_whatever_the_order_of_merges(ingest: Ingest) -> None:
    ingest.write(lines(event("trace", "a", name="old")), name="20261120T120000Z_00.jsonl")
    ingest.run()
    ingest.write(lines(event("trace", "a", name="new")), name="20261120T110000Z_00.jsonl")
    ingest.run()
    table = TABLES["trace"].table
    ingest.client.command(f"OPTIMIZE TABLE {table} FINAL")
    assert [row["name"] for row in ingest.client.query(f"SELECT name FROM {table}")] == ["new"]


def test_the_same_name_again_is_new_and_overwrites_nothing(ingest: Ingest) -> None:
    first, second = lines(event("trace", "first")), lines(event("trace", "second"))
    path = ingest.write(first)
    ingest.run()
    ingest.write(second)
    assert ingest.run().events_ingested == 1
    assert ingest.ids("p") == ["first", "second"]
    kept = sorted((path.parent / "processed").iterdir())
    assert [file.name for file in kept] == ["20261120T120000Z_00ab.2.jsonl", NAME]
    assert [file.read_bytes() for file in kept] == [second, first]


def meanwhile(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, act: Callable[[], object], when: str) -> None:
    """Does something once, before or after a method is called for the first time."""
    original = getattr(owner, method)
    done: list[bool] = []

    def called(*arguments: Any, **named: Any) -> Any:
        first = not done
        done.append(True)
        if first and when == "before":
            act()
        result = original(*arguments, **named)
        if first and when == "after":
            act()
        return result

    monkeypatch.setattr(owner, method, called)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_a_file_that_disappears_after_it_was_recorded(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ingest.write(lines(GOOD))
    ingest.write(lines(event("trace", "other")), name="20261120T120001Z_00.jsonl")
    meanwhile(monkeypatch, Journal, "append", path.unlink, "after")
    result = ingest.run()
    (error,) = result.errors
    assert (error.name, result.events_ingested) == (str(path), 1)
    assert error.reason.startswith("is gone")
    assert ingest.ids("p") == ["other"]
    assert ingest.run().errors == []


def test_a_file_that_grows_before_it_is_read_is_left_for_the_next_run(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ingest.write(lines(GOOD))
    meanwhile(monkeypatch, Journal, "append", lambda: append(path, event("trace", "more") + "\n"), "after")
    result = ingest.run()
    assert [(error.name, error.reason.partition(" since")[0]) for error in result.errors] == [(str(path), "changed")]
    assert ingest.ids("p") == []
    assert ingest.run().events_ingested == 2
    assert ingest.ids("p") == ["good", "more"]


@pytest.mark.parametrize("cut", [0, 20])
def test_a_file_that_grows_after_it_was_read_loads_only_what_is_new(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """With `cut`, the writer had come half-way through a line, which is rejected then and loaded whole later."""
    more = event("trace", "more") + "\n"
    path = ingest.write(lines(GOOD) + more[:cut].encode())
    meanwhile(monkeypatch, LocalStorage, "move", lambda: append(path, more[cut:]), "before")
    result = ingest.run()
    assert (result.errors, result.changed, result.files_processed) == ([], 1, 0)
    assert path.exists()
    result = ingest.run()
    assert (result.errors, result.events_ingested) == ([], 1)
    assert ingest.ids("p") == ["good", "more"]
    assert len(ingest.rejected("p")) == (1 if cut else 0)
    assert (path.parent / "processed" / NAME).read_text() == GOOD + "\n" + more


def test_what_looks_like_a_file_and_is_none_is_named(ingest: Ingest) -> None:
    good = ingest.write(lines(GOOD))
    directory = good.with_name("20261120T120000Z_dir.jsonl")
    directory.mkdir()
    link = good.with_name("20261120T120000Z_link.jsonl")
    link.symlink_to(ingest.root / "nowhere")
    pipe = good.with_name("20261120T120000Z_pipe.jsonl")
    os.mkfifo(pipe)
    result = ingest.run()
    assert result.events_ingested == 1
    assert {error.name: error.reason for error in result.errors} == {
        str(directory): "is not a regular file",
        str(link): "is a link to a file that does not exist",
        str(pipe): "is not a regular file",
    }


def test_files_that_are_not_ours_are_left_alone(ingest: Ingest) -> None:
    others = [
        ingest.write(b"x", name="notes.txt"),
        ingest.write(b"x", name=".20261120T120000Z_00.jsonl"),
        ingest.write(b"x", name="20261120T120000Z_00.jsonl.tmp"),
        ingest.write(b"x", kind="invoices"),
        ingest.write(b"x", project=".hidden"),
    ]
    assert (ingest.run().files_processed, ingest.run().errors) == (0, [])
    assert [path.read_bytes() for path in others] == [b"x"] * len(others)
    assert ingest.client.query(f"SELECT count() AS n FROM {REJECTED_TABLE}") == [{"n": 0}]


@pytest.mark.parametrize("limit", [{"max_rejected": 2}, {"max_rejected_ratio": 0.5}])
def test_of_a_load_that_is_mostly_garbage_the_worst_file_stays(ingest: Ingest, limit: dict[str, Any]) -> None:
    bad = ingest.write(lines(GOOD, "x", "y", "z"), project="bad")
    ingest.write(lines(event("log", "fine")), kind="log")
    result = ingest.run(**limit)
    (error,) = result.errors
    option = next(iter(limit))
    assert f"3 of 4 lines are bad, more than --{option}={limit[option]} allows" in error.reason
    assert error.name == str(bad) and bad.exists()
    assert ingest.ids("p", "log") == ["fine"]
    assert (ingest.ids("bad"), ingest.rejected("bad")) == ([], [])
    assert ingest.run().rejected == 3
    assert ingest.ids("bad") == ["good"]
    assert not bad.exists()


def test_enough_bad_lines_after_good_blocks_are_inserted_change_nothing_that_is_in(ingest: Ingest) -> None:
    """The limit is found to be passed in a later block; those before it are in already, and are not inserted again later."""
    good = [event("trace", f"{number:03d}") for number in range(100)]
    ingest.write(lines(*good, *["bad"] * 300))
    first = ingest.run(max_rejected=200, block_bytes=4_000)
    assert len(first.errors) == 1 and 0 < first.events_ingested <= 100 and first.rejected <= 200
    assert ingest.ids("p") == [f"{number:03d}" for number in range(first.events_ingested)]
    second = ingest.run(block_bytes=4_000)
    ingested, rejected = first.events_ingested + second.events_ingested, first.rejected + second.rejected
    assert (second.errors, ingested, rejected) == ([], 100, 300)
    assert [line for line, _ in ingest.rejected("p")] == [*range(101, 401)]
    assert ingest.ids("p") == [f"{number:03d}" for number in range(100)]
    stats = ingest.client.query(f"SELECT sum(count) AS n FROM {TABLES['trace'].stats_view}")
    assert stats == [{"n": 100}]


def test_names_that_need_care(ingest: Ingest) -> None:
    project = "a b'c\"d\\e%f;--ü日"
    names = ["20261120T120000Z_{x}.jsonl", "no time.jsonl", "20261120T999999Z_bad.jsonl", "'; DROP TABLE x.jsonl"]
    for name in names:
        ingest.write(lines(event("trace", name)), project=project, name=name)
    result = ingest.run()
    assert (result.errors, result.events_ingested) == ([], len(names))
    assert ingest.ids(project) == sorted(names)
    assert sorted(os.listdir(ingest.root / "trace" / project / "processed")) == sorted(names)


def test_files_named_after_impossible_times_block_nothing(ingest: Ingest) -> None:
    """Their lines without `recordedAt` are rejected; their other lines, and the files of the same loads, are loaded."""
    recorded = f"{DAY}T12:00:00Z"
    times = ["00010101T000000Z", "18991231T235959Z", "23000101T000000Z", "99991231T235959Z"]
    for time in times:
        has = event("trace", f"{time}-has", recordedAt=recorded)
        ingest.write(lines(has, event("trace", "lacks")), name=f"{time}_aa.jsonl")
        ingest.write(lines(event("trace", f"{time}-neighbour", recordedAt=recorded)), name=f"{time}_bb.jsonl")
    ingest.write(lines(GOOD))
    result = ingest.run()
    assert (result.errors, result.events_ingested, result.rejected) == ([], 9, 4)
    assert ingest.ids("p") == [*(f"{time}-{which}" for time in times for which in ("has", "neighbour")), "good"]
    for (line, reason), time in zip(ingest.rejected("p"), times, strict=True):
        assert line == 2 and reason.startswith(f"recordedAt: is missing, and the time of the file, {time[:4]}-")
    assert os.listdir(ingest.root / "trace" / "p") == ["processed"]


@pytest.fixture
def any_times(tmp_path: Path) -> Iterator[Path]:
    """A directory whose file system keeps modification times of any year, where the machine has one."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as directory:
        yield Path(directory)


def test_a_file_modified_before_the_year_1_blocks_nothing(any_times: Path, embedded: ClickHouse) -> None:
    ingest = Ingest(any_times, embedded)
    odd = ingest.write(
        lines(event("trace", "has", recordedAt=f"{DAY}T12:00:00Z"), event("trace", "lacks")), name="odd.jsonl"
    )
    os.utime(odd, (-(10**12), -(10**12)))
    ingest.write(lines(GOOD))
    if os.stat(odd).st_mtime > -(10**12):  # this file system cannot tell, and takes the earliest time that it can
        assert ingest.run().errors == []
        return
    result = ingest.run()
    assert (result.errors, result.events_ingested, result.rejected) == ([], 2, 1)
    assert ingest.rejected("p")[0][1].startswith(
        "recordedAt: is missing, and the time of the file, 0001-01-01T00:00:00"
    )


def test_projects_and_files_with_odd_names_load_beside_others(ingest: Ingest) -> None:
    projects = ["a\nb", "a\tb", "\x01", "\ufeff", "\\N", "{x}", "p" * 255, "日" * 85]
    longest = "20261120T120000Z_" + "x" * (255 - len("20261120T120000Z_.jsonl")) + ".jsonl"
    for project in projects:
        for name in (longest, "20261120T120000Z_\n\t\\.jsonl"):
            ingest.write(lines(event("trace", name), "bad"), project=project, name=name)
    ingest.write(lines(GOOD))
    result = ingest.run()
    assert (result.errors, result.events_ingested, result.rejected) == ([], 17, 16)
    for project in projects:
        assert len(ingest.ids(project)) == len(ingest.rejected(project)) == 2
        assert os.listdir(ingest.root / "trace" / project) == ["processed"]


def test_half_characters_can_be_read_and_asked_for(ingest: Ingest, capsys: pytest.CaptureFixture[str]) -> None:
    kept = r'{"a": 1, "\udc00": "cut \ud83d"}'
    line = event("log", "l", message="cut \ud83d", attributes="X").replace('"X"', kept)
    ingest.write(lines(line, event("log", "other", attributes={"a": 1})), kind="log")
    assert ingest.run().events_ingested == 2
    provider = ClickHouseQueryProvider(ingest.client, project_id="p")
    (log,) = provider.list_logs(message_contains="\ufffd")
    assert (log.message, log.attributes_json) == ("cut \ufffd", kept)
    assert log.attributes == {"a": 1, "\ufffd": "cut \ufffd"}
    assert {found.id for found in provider.list_logs(attributes={"a": 1})} == {"l", "other"}
    assert [found.id for found in provider.list_logs(attributes={"\ufffd": "cut \ufffd"})] == ["l"]
    print_json(event_json(log))
    print_events("log", [log], timezone.utc)
    print_events_csv("log", [log], timezone.utc)
    shown, _, rest = capsys.readouterr().out.partition("\n")
    assert json.loads(shown)["attributes"] == log.attributes
    assert (shown + rest).encode()


def test_the_project_in_a_line_wins_over_the_path_and_all_types_go_to_their_tables(ingest: Ingest) -> None:
    ingest.write(lines(*(event(kind, kind, projectId="inside") for kind in TABLES)), project="path")
    assert ingest.run().events_by_type == dict.fromkeys(TABLES, 1)
    assert [ingest.ids("inside", kind) for kind in TABLES] == [[kind] for kind in TABLES]


def test_json_of_any_shape_comes_back_as_it_was(ingest: Ingest) -> None:
    shapes = ['{"a": 1}', "[1, 2]", '"text"', "0", "true", "null", '{"deep": {"er": ["\\u00e9", "é", 1.0e5]}}']
    for number, shape in enumerate(shapes):
        line = GOOD.replace("good", str(number)).replace('"durationMs"', f'"input": {shape}, "durationMs"')
        ingest.write(lines(line), name=f"20261120T12000{number}Z_00.jsonl")
    ingest.run()
    rows = ingest.client.query(f"SELECT input FROM {TABLES['trace'].table} ORDER BY trace_id")
    assert [row["input"] for row in rows] == ["" if shape == "null" else shape for shape in shapes]
    assert [json.loads(row["input"] or "null") for row in rows] == [json.loads(shape) for shape in shapes]
