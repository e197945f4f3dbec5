"""Files under odd names, in odd places and behind links: each is loaded once or told, and counted where it belongs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from beam_pipeline import IngestionWorker, ProcessingResult
from beam_pipeline.cli import main
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.command_line import CommandLine, Finished
from tests.support.databases import make_tables
from tests.support.dataset import event
from transforms import finalize_files
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.config import IngestConfig
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE

NAME = "20261120T120000Z_ab12.jsonl"
Ingest = Callable[..., ProcessingResult]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def embedded(embedded: ClickHouse) -> ClickHouse:
    """An embedded database with all tables."""
    make_tables(embedded)
    return embedded


@pytest.fixture
def ingest(root: Path, embedded: ClickHouse) -> Ingest:
    """A run of the pipeline over the input into an embedded database."""
    return lambda **options: run(IngestConfig(input=str(root), clickhouse=embedded.config, **options))


def run(config: IngestConfig) -> ProcessingResult:
    worker = IngestionWorker(config)
    try:
        worker.init()
        return worker.process_once()
    finally:
        worker.close()


def put(path: Path, *ids: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(event("trace", name) + "\n" for name in ids))
    return path


def ids(client: ClickHouse) -> list[str]:
    return [row["id"] for row in client.query("SELECT trace_id AS id FROM mastra_admin_traces ORDER BY id")]


def counts(result: ProcessingResult) -> tuple[int, int, dict[str, int], int]:
    return (
        *(result.files_processed, result.events_ingested),
        {group.reason.value: group.files for group in result.ignored},
        len(result.errors),
    )


@pytest.fixture
def command(root: Path, embedded: ClickHouse, capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """A command on the input, in this process."""
    url, database = embedded.config.url, embedded.config.database

    def call(*arguments: str) -> Finished:
        capsys.readouterr()
        code = main([*arguments, f"--input={root}", f"--clickhouse_url={url}", f"--clickhouse_database={database}"])
        return Finished(code, *capsys.readouterr())

    return call


# Names and places


def test_a_run_tells_what_it_does_not_load_once_by_reason(root: Path, ingest: Ingest) -> None:
    put(root / "trace/p" / NAME, "good")
    for number in range(3):
        put(root / f"traces/p/{number}.jsonl", "wrong")
    put(root / "trace/p/b.JSONL", "wrong")
    put(root / "trace/p/sub/c.jsonl", "wrong")
    assert counts(ingest()) == (1, 1, {"unknown_type": 3, "nested": 1, "suffix": 1}, 0)
    (group, *_) = ingest().ignored
    assert group.example.startswith(str(root / "traces/p")) and group.hint == "did you mean trace/?"


def test_the_pages_of_a_run_tell_it_once(root: Path, embedded: ClickHouse) -> None:
    for number in range(5):
        put(root / f"trace/p/2026112{number}T000000Z_a.jsonl", str(number))
    put(root / "trace/p/b.JSONL", "wrong")
    worker = IngestionWorker(IngestConfig(input=str(root), clickhouse=embedded.config), page_files=2)
    worker.init()
    assert counts(worker.process_once()) == (5, 5, {"suffix": 1}, 0)
    worker.close()


def test_files_from_the_future_and_names_without_a_time_are_loaded(
    root: Path, ingest: Ingest, embedded: ClickHouse
) -> None:
    for number, ahead_s in enumerate((60, 3600, 400 * 86_400)):
        path, later = put(root / f"trace/p/{number}.jsonl", f"future-{number}"), time.time() + ahead_s
        os.utime(path, (later, later))
    assert counts(ingest()) == (3, 3, {}, 0)
    assert ids(embedded) == ["future-0", "future-1", "future-2"]


def test_the_command_line_says_what_is_ignored_and_lists_it_when_asked(
    root: Path, command: Callable[..., Finished]
) -> None:
    put(root / "trace/p" / NAME, "good")
    odd = [put(root / "logs/p" / NAME, "wrong"), put(root / "trace/p/b.ndjson", "wrong")]
    temporary = put(root / "trace/p" / f"{NAME}.tmp", "half")
    said = (
        f"1 file ignored: the directory is not an event type ({odd[0]}; did you mean log/?)",
        f"1 file ignored: the name does not end in .jsonl, .jsonl.gz or .jsonl.zst ({odd[1]}; rename it to b.jsonl)",
        f"1 file ignored: hidden or temporary ({temporary})",
    )
    dry = command("ingest", "--dry_run")
    assert dry.code == 0 and all(f"\n{text}\n" in dry.out for text in said)
    for path in (*odd, temporary):
        assert f"ignored: {path}: " in dry.out
    listed = command("ingest", "--dry_run", "--json").json
    assert sorted(file["path"] for file in listed["ignored_files"]) == sorted(map(str, [*odd, temporary]))
    assert [group["reason"] for group in listed["ignored"]] == ["unknown_type", "suffix", "temporary"]

    done = command("ingest")
    assert done.code == 0
    assert all(f"warning: {text}\n" in done.err for text in said[:2]) and f"\n{said[2]}\n" in done.err
    quiet = command("ingest", "--quiet")
    assert quiet.code == 0 and quiet.err == f"warning: {said[0]}\nwarning: {said[1]}\n"

    status = command("status")
    assert all(f"  {text}\n" in status.out for text in said)
    (of_input,) = command("status", "--json").json["inputs"]
    assert of_input["pending"]["ignored"] == listed["ignored"]


def test_an_input_may_have_any_name(tmp_path: Path, embedded: ClickHouse) -> None:
    root = tmp_path / "a?b#c%20d e&f=g;h ü日\ni'j\"k\\l{m}*[n]"
    put(root / "trace/p" / NAME, "a")
    assert counts(run(IngestConfig(input=str(root), clickhouse=embedded.config))) == (1, 1, {}, 0)
    assert counts(run(IngestConfig(input=str(root), clickhouse=embedded.config))) == (0, 0, {}, 0)
    assert os.listdir(root / "trace/p/processed") == [NAME]
    (log,) = embedded.query(f"SELECT any(input) AS input, any(path) AS path FROM {LOADS_TABLE}, {FILES_TABLE}")
    assert log == {"input": str(root), "path": f"trace/p/{NAME}"}


def test_an_embedded_database_lies_beside_an_input_of_any_name(tmp_path: Path) -> None:
    line = CommandLine()
    name = "a?b#c%20d e\nü"
    put(tmp_path / name / "trace/p" / NAME, "a")
    loaded = line.run(f"--input={tmp_path / name}", "--json")
    assert (loaded.code, loaded.json["events_ingested"]) == (0, 1), loaded.err
    assert sorted(os.listdir(tmp_path)) == sorted([name, f"{name.replace('?', '%3F')}.clickhouse"])
    assert (tmp_path / f"{name.replace('?', '%3F')}.clickhouse" / "store").is_dir()
    assert line.run("status", f"--input={tmp_path / name}", "--json").json["inputs"][0]["rows"] == {"trace": 1}


# Links


@pytest.mark.parametrize("hard", [False, True])
def test_two_names_of_one_file_load_once_in_this_run_and_in_later_ones(
    tmp_path: Path, root: Path, ingest: Ingest, embedded: ClickHouse, hard: bool
) -> None:
    target = put(tmp_path / "store/blob", "a", "b")
    names = [root / "trace/p" / NAME, root / "trace/q" / NAME]
    for name in names:
        name.parent.mkdir(parents=True)
        os.link(target, name) if hard else name.symlink_to("../../../store/blob")
    assert counts(ingest()) == (1, 2, {"other_name": 1}, 0)
    assert counts(ingest()) == (0, 0, {"other_name": 1}, 0)
    assert ids(embedded) == ["a", "b"]
    (moved,) = root.glob("*/*/processed/*")
    assert moved.read_text() == target.read_text()
    (left,) = [name for name in names if name.exists()]
    left.unlink()
    assert counts(ingest()) == (0, 0, {}, 0)


def test_a_name_that_leads_nowhere_in_processed_blocks_nothing(
    root: Path, ingest: Ingest, embedded: ClickHouse
) -> None:
    path = put(root / "trace/p" / NAME, "a")
    (root / "trace/p/processed").mkdir()
    (root / "trace/p/processed" / NAME).symlink_to("nowhere")
    put(root / "trace/p/20261120T130000Z_cd.jsonl", "b")
    assert counts(ingest()) == (2, 2, {}, 0)
    assert ids(embedded) == ["a", "b"] and not path.exists()


def test_deleting_what_is_loaded_deletes_links_only(tmp_path: Path, root: Path, ingest: Ingest) -> None:
    target = put(tmp_path / "blob", "a")
    (root / "trace/p").mkdir(parents=True)
    (root / "trace/p" / NAME).symlink_to(target)
    assert counts(ingest(delete_after_process=True)) == (1, 1, {}, 0)
    assert target.exists() and not os.path.lexists(root / "trace/p" / NAME)


# What failed before


def test_files_that_could_not_be_moved_are_counted_by_the_run_that_moves_them(
    root: Path, ingest: Ingest, embedded: ClickHouse
) -> None:
    for number in range(3):
        put(root / f"trace/p/2026112{number}T000000Z_a.jsonl", str(number))
    in_the_way = root / "trace/p/processed"
    in_the_way.touch()
    first = ingest()
    assert counts(first) == (0, 3, {}, 3)
    assert {error.reason for error in first.errors} == {
        f"is loaded, but could not be moved: {in_the_way} is not a directory; move it out of the way"
    }
    assert counts(ingest())[:2] == (0, 0)
    in_the_way.unlink()
    assert counts(ingest()) == (3, 0, {}, 0)
    assert ids(embedded) == ["0", "1", "2"]
    (totals,) = embedded.query(f"SELECT sum(files) AS files, sum(lines) AS lines FROM {LOADS_TABLE} FINAL")
    assert totals == {"files": 3, "lines": 3}


def test_files_of_a_load_that_failed_before_are_not_said_to_be_another_run_s(
    root: Path, command: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        put(root / f"trace/p/2026112{number}T000000Z_a.jsonl", str(number))
    with monkeypatch.context() as wrong:
        wrong.setattr(finalize_files, "check_sums", lambda parsed, receipts: "the sums differ")
        first = command("ingest")
        assert first.code == 1 and "another run" not in first.err and "the sums differ" in first.err
        assert first.err.endswith("what failed is still pending, and the next run tries it again\n")
        second = command("ingest")
    assert second.code == 1 and "another run" not in second.err and "the sums differ" in second.err
    assert "3 files are still pending: their loads were begun by an earlier run" in second.err
    assert "the next run tries again" in second.err
    assert command("ingest", "--json").json["files_processed"] == 3


def test_files_that_were_given_back_before_are_not_said_to_be_another_run_s(
    root: Path, command: Callable[..., Finished]
) -> None:
    for number in range(3):
        path = put(root / f"trace/p/2026112{number}T000000Z_a.jsonl", str(number))
        path.write_text(path.read_text() + "bad\n")
    for _ in range(2):
        failed = command("ingest", "--max_rejected=0")
        assert failed.code == 1 and "another run" not in failed.err and "earlier run" not in failed.err
        assert failed.err.count("1 of 2 lines are bad, more than --max_rejected=0 allows") == 3
        assert failed.err.endswith("what failed is still pending, and the next run tries it again\n")
    assert command("ingest", "--json").json["files_processed"] == 3


# A server that fails for a moment


@pytest.fixture
def flaky(root: Path, http_config: ClickHouseConfig, endpoint: ClickHouseEndpoint) -> IngestConfig:
    """A configuration that loads into the endpoint, into tables that are there already."""
    if http_config.url != endpoint.url:
        pytest.skip("a real server does not fail when it is asked to")
    config = IngestConfig(input=str(root), clickhouse=replace(http_config, retry_delay_s=0.01))
    with config.connect() as client:
        make_tables(client)
    return config


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_that_fails_while_files_are_assigned_costs_nothing(
    root: Path, flaky: IngestConfig, endpoint: ClickHouseEndpoint, when: str
) -> None:
    fault = endpoint.fault("status", f"INSERT INTO .*({FILES_TABLE}|{LOADS_TABLE})", when=when, status=502, times=2)
    put(root / "trace/p" / NAME, "a")
    assert counts(run(flaky)) == (1, 1, {}, 0)
    assert endpoint.struck(fault) == 2
    with flaky.connect() as client:
        assert ids(client) == ["a"]
        (log,) = client.query(
            f"SELECT count() AS loads, sum(lines) AS lines, any(state) AS state FROM {LOADS_TABLE} FINAL"
        )
    assert log == {"loads": 1, "lines": 1, "state": "finalized"}
