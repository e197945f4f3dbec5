"""The command line as users meet it: processes of their own on real files, in an embedded database and in a server."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_pipeline.cli import main
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.command_line import ROOT, SECRET, CommandLine, pending, processed, with_own_mounts
from tests.support.databases import copy_database
from transforms.events import EVENT_TYPES

EVENTS = 1500
MANY_EVENTS = 6_000
SMALL_LOADS = ("--load_bytes=64K", "--block_bytes=64K")
"""Makes a run of small files many loads, so that there is a middle to stop in."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseEndpoint]:
    """A server that wants the password that every command is run with."""
    with ClickHouseEndpoint(tmp_path_factory.mktemp("clickhouse"), password=SECRET) as endpoint:
        yield endpoint


@pytest.fixture(params=["embedded", "http"])
def line(request: pytest.FixtureRequest) -> CommandLine:
    """The command line on a fresh database: beside the input, or in a server."""
    return CommandLine() if request.param == "embedded" else on_server(request.getfixturevalue("server"))


def on_server(server: ClickHouseEndpoint) -> CommandLine:
    """The command line on a database of a server that is not there yet."""
    return CommandLine((f"--clickhouse_url={server.url}", f"--clickhouse_database=cli_{uuid.uuid4().hex[:8]}"))


@pytest.fixture
def local() -> CommandLine:
    """The command line on a fresh embedded database beside the input."""
    return CommandLine()


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """A directory with generated events."""
    return generate(tmp_path / "in", EVENTS, "--bad_ratio=0.01")


@pytest.fixture
def loadable(events: Path, database_to_copy: Path) -> Path:
    """The same, and beside it an embedded database that has all tables."""
    copy_database(database_to_copy, Path(f"{events}.clickhouse"))
    return events


@pytest.fixture
def many(tmp_path: Path, database_to_copy: Path) -> Path:
    """So many files that a run of small loads is still at it when its first file has moved, on any machine."""
    generate(tmp_path / "in", MANY_EVENTS, "--bad_ratio=0.01")
    copy_database(database_to_copy, tmp_path / "in.clickhouse")
    return tmp_path / "in"


def generate(directory: Path, events: int, *more: str) -> Path:
    done = CommandLine().run("generate", f"--output={directory}", f"--events={events}", "--events_per_file=100", *more)
    assert done.code == 0
    return directory


def lines_in(files: list[Path]) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in files)


def everything_below(directory: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(directory.rglob("*"))}


def test_compressed_events_are_generated_and_loaded(local: CommandLine, tmp_path: Path) -> None:
    events = generate(tmp_path / "in", 300, "--compression=zst")
    assert {path.suffix for path in events.rglob("*") if path.is_file()} == {".zst"}
    loaded = local.run("ingest", f"--input={events}", "--json")
    assert (loaded.code, loaded.json["events_ingested"]) == (0, 300), loaded.err


def test_generate_ingest_status(line: CommandLine, events: Path) -> None:
    files, lines = len(pending(events)), lines_in(pending(events))
    assert lines == EVENTS

    first = line.run("--runner=DirectRunner", f"--input={events}")
    assert first.code == 0
    assert first.err.startswith(f"loading {events} into ")
    loaded = {name: int(count.replace(",", "")) for name, count in re.findall(r"^(\w+) +([\d,]+)$", first.out, re.M)}
    rejected = int(re.search(r"warning: ([\d,]+) lines were rejected", first.err)[1])  # type: ignore[index]
    assert set(loaded) == {*EVENT_TYPES, "all"}
    assert loaded["all"] == sum(loaded[name] for name in EVENT_TYPES) == lines - rejected
    assert 0 < rejected < lines / 10
    assert f"\n{files:,} files in " in first.out
    assert pending(events) == [] and len(processed(events)) == files

    status = line.run("status", f"--input={events}", "--json").json
    (of_input,) = status["inputs"]
    assert status["initialized"] and of_input["input"] == str(events)
    assert of_input["pending"] == {"files": 0, "bytes": 0, "by_type": {}, "errors": {}, "ignored": []}
    assert of_input["rows"] == {name: loaded[name] for name in EVENT_TYPES}
    assert list(of_input["loads"]) == ["finalized"]
    assert of_input["loads"]["finalized"]["lines"] == lines
    assert sum(reason["lines"] for reason in of_input["rejected"]) == rejected
    assert of_input["unfinished"] == of_input["file_problems"] == []
    assert of_input["last_loads"][0]["duration_ms"] > 0

    text = line.run("status", *([] if line.connection else [f"--clickhouse_url=chdb://{events}.clickhouse"])).out
    assert f"input: {events}\n  pending: 0 files, 0 bytes\n" in text
    assert re.search(rf"finalized +\d+ +{files} ", text)


def test_once_is_what_happens_anyway(local: CommandLine, events: Path) -> None:
    assert local.run("ingest", "--once", f"--input={events}", "--json").json["events_ingested"] > 0
    assert pending(events) == []


def test_a_second_run_inserts_nothing_and_says_so(line: CommandLine, loadable: Path) -> None:
    assert line.run(f"--input={loadable}", "--json").json["events_ingested"] > 0
    second = line.run(f"--input={loadable}")
    assert (second.code, second.out) == (0, f"nothing to load: no pending files in {loadable}\n")
    status = line.run("status", f"--input={loadable}", "--json").json["inputs"][0]
    assert sum(status["rows"].values()) + status["loads"]["finalized"]["rejected"] == EVENTS


def test_json_is_all_there_is_on_standard_output(local: CommandLine, loadable: Path) -> None:
    result = local.run(f"--input={loadable}", "--json").json
    assert result["files_processed"] == len(processed(loadable))
    assert result["events_ingested"] + result["rejected"] == EVENTS
    assert sum(result["events_by_type"].values()) == result["events_ingested"]
    assert (result["errors"], result["interrupted"], result["skipped"], result["adopted"]) == ([], False, 0, 0)
    assert result["clickhouse_url"] == f"chdb://{loadable}.clickhouse" and result["duration_ms"] > 0
    assert "password" not in json.dumps(result)


def test_quiet_prints_what_somebody_has_to_know_and_no_more(local: CommandLine, tmp_path: Path) -> None:
    clean = generate(tmp_path / "clean", 100)
    done = local.run(f"--input={clean}", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_dry_run_touches_nothing(local: CommandLine, events: Path) -> None:
    before = everything_below(events.parent)
    done = local.run("ingest", f"--input={events}", "--dry_run", "--event_types=span", "--json")
    files = [path for path in pending(events) if path.parts[-3] == "span"]
    assert done.code == 0
    assert done.json["pending"] == {"span": {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}}
    days = {day: counts["span"]["files"] for day, counts in done.json["days"].items()}
    assert sum(days.values()) == len(files) and list(days) == sorted(days)
    assert [found["path"] for found in done.json["files"]] == sorted(map(str, files), key=lambda path: Path(path).name)
    shown = local.run(f"--input={events}", "--dry_run", "--max_files=3").out
    assert shown.startswith(f"would load {events} into ") and "the oldest 3 files in one run (--max_files)" in shown
    numbers, _, names = shown.partition("pending: ")
    assert re.search(r"^all +\d+ +[\d,]+$", numbers, re.M) and re.search(r"^\d{4}-\d\d-\d\d +\d", numbers, re.M)
    assert f"pending: {names}".count("pending: ") == len(pending(events))
    assert everything_below(events.parent) == before


def test_a_file_that_is_given_up_is_named_with_the_reason_wherever_one_looks(
    local: CommandLine, loadable: Path
) -> None:
    bad = loadable / "log" / "project-0" / "20200101T000000Z_bad.jsonl"
    bad.write_text("no JSON\n")
    options = ("--max_rejected_ratio=0.5", "--max_attempts=1")
    first = local.run(f"--input={loadable}", *options)
    assert first.code == 1 and f"error: {bad}: 1 of 1 lines are bad" in first.err
    assert "what failed is still pending, and the next run tries it again" in first.err and bad.exists()
    second = local.run(f"--input={loadable}", *options)
    assert second.code == 1 and f"error: {bad}: moved to failed/{bad.name}: 1 of 1 lines are bad" in second.err
    assert "1 file was moved to failed/, with the reason beside it; to try one again, move it back" in second.err
    assert "still pending" not in second.err and "nothing to load" not in second.out
    status = local.run("status", f"--input={loadable}").out
    assert f"files that were moved to failed/:\n  log/project-0/failed/{bad.name}: 1 of 1 lines are bad" in status
    assert local.run(f"--input={loadable}", *options).code == 0
    (bad.parent / "failed" / bad.name).unlink()
    assert "files that were moved to failed/" not in local.run("status", f"--input={loadable}").out


def test_rejected_lines_come_back_byte_for_byte_and_can_be_fed_again(line: CommandLine, tmp_path: Path) -> None:
    directory = tmp_path / "in"
    file = directory / "log" / "p1" / "20261120T120000Z_01.jsonl"
    file.parent.mkdir(parents=True)
    good = b'{"type":"log","id":"l1","level":"info","message":"m","timestamp":"2026-11-20T12:00:00Z"}'
    odd = b'{"type":"log","id":"l3","level":"info","message":"\x1b[31m\xff","timestamp":0}'
    file.write_bytes(b"\n".join([good, b'{"type":"log","id":', b"", odd, good.replace(b"l1", b"l2")]))
    assert line.run(f"--input={directory}", "--json").json["rejected"] == 2

    listed = line.run("rejected", f"--input={directory}", "--json").json
    assert listed["total"] == 2
    assert [(row["line"], row["byte_offset"]) for row in listed["rejected"]] == [
        (2, len(good) + 1),
        (4, len(good) + 22),
    ]
    within = f"log/p1/{file.name}"
    assert all(row["file"] == within and row["project_id"] == "p1" and row["reason"] for row in listed["rejected"])
    for name in (file.name, within, file):
        table = line.run("rejected", "list", f"--input={directory}", f"--file={name}", "--line=2").out
        assert "malformed JSON" in table and "1 of 1 rejected line\n" in table
    assert line.run("rejected", f"--input={directory}", "--reason=no such reason").out == "0 of 0 rejected lines\n"

    shown = line.run("rejected", "show", f"--input={directory}").out
    assert "\x1b" not in shown and "\\x1b[31m\\xff" in shown and f"file:        {within}\n" in shown
    showing = line.start("rejected", "show", "--raw", f"--input={directory}", "--line=4")
    raw = showing.process.communicate(timeout=60)[0]
    assert raw == odd + b"\n"
    seen = line.on_terminal("rejected", "show", "--raw", f"--input={directory}", "--line=4")
    assert "\x1b" not in seen and "\\x1b[31m\\xff" in seen

    mended = file.with_name("20261120T120001Z_mended.jsonl")
    mended.write_bytes(raw.replace(b"\x1b[31m\xff", b"m"))
    assert line.run(f"--input={directory}", "--json").json["events_by_type"] == {"log": 1}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_loads_in_hand_and_the_next_run_the_rest(
    line: CommandLine, many: Path, signum: signal.Signals
) -> None:
    files = len(pending(many))
    running = line.start(f"--input={many}", "--json", *SMALL_LOADS)
    running.wait_for(lambda: bool(processed(many)))
    running.process.send_signal(signum)
    stopped = running.finish()
    assert stopped.code == 128 + signum
    assert stopped.err.count("finishing the loads in hand") == 1
    assert "run the same command again" in stopped.err
    assert stopped.json["interrupted"] is True and stopped.json["errors"] == []
    assert 0 < len(processed(many)) < files
    assert stopped.json["files_processed"] == len(processed(many))

    rest = line.run(f"--input={many}", "--json").json
    assert rest["adopted"] > 0 and pending(many) == []
    for name in ("events_ingested", "rejected"):
        assert stopped.json[name] + rest[name] > 0
    assert sum(stopped.json[name] + rest[name] for name in ("events_ingested", "rejected")) == MANY_EVENTS
    loads = line.run("status", f"--input={many}", "--json").json["inputs"][0]["loads"]
    assert list(loads) == ["finalized"] and loads["finalized"]["lines"] == MANY_EVENTS


def test_a_second_interrupt_ends_at_once_and_loses_nothing(local: CommandLine, many: Path) -> None:
    running = local.start(f"--input={many}", *SMALL_LOADS)
    running.wait_for(lambda: bool(processed(many)))
    running.process.send_signal(signal.SIGINT)
    assert running.process.stderr is not None
    assert any(b"finishing the loads in hand" in line for line in iter(running.process.stderr.readline, b""))
    running.process.send_signal(signal.SIGINT)
    assert running.finish().code == 130
    assert pending(many) != []
    assert local.run(f"--input={many}", "--json").code == 0
    loads = local.run("status", f"--input={many}", "--json").json["inputs"][0]["loads"]
    assert list(loads) == ["finalized"] and loads["finalized"]["lines"] == MANY_EVENTS


def test_status_while_ingest_runs_says_who_has_the_database(local: CommandLine, loadable: Path) -> None:
    running = local.start(f"--input={loadable}", *SMALL_LOADS)
    running.wait_for(lambda: bool(processed(loadable)))
    running.process.send_signal(signal.SIGSTOP)
    try:
        for command in ("status", "ingest"):
            refused = local.run(command, f"--input={loadable}")
            assert refused.code == 1 and refused.out == ""
            assert f"{loadable}.clickhouse is in use by process {running.process.pid}" in refused.err
        dry = local.run("ingest", f"--input={loadable}", "--dry_run")
        assert dry.code == 1 and "in use by process" in dry.out and "would load" in dry.out
    finally:
        running.process.send_signal(signal.SIGCONT)
    assert running.finish().code == 0


def test_a_full_disk_is_named_and_the_files_stay(local: CommandLine, tmp_path: Path) -> None:
    directory, database = generate(tmp_path / "in", 20_000), tmp_path / "db"
    database.mkdir()
    wrapper = with_own_mounts(f"mount -t tmpfs -o size=2M tmpfs {database}")
    if wrapper is None:
        pytest.skip("this user may not mount")
    url = f"--clickhouse_url=chdb://{database}/ch"
    full = local.run(f"--input={directory}", url, "--retry_attempts=1", wrapper=wrapper)
    assert full.code == 1 and "not enough space" in full.err.lower()
    left = len(pending(directory))
    assert left > 0
    assert local.run(f"--input={directory}", url, "--json").json["files_processed"] == left


def test_a_directory_that_is_read_only_is_told_and_nothing_is_loaded(local: CommandLine, events: Path) -> None:
    wrapper = with_own_mounts(f"mount --bind {events} {events}; mount -o remount,bind,ro {events}")
    if wrapper is None:
        pytest.skip("this user may not mount")
    refused = local.run(f"--input={events}", wrapper=wrapper)
    assert refused.code == 1 and f"{events} is not writable" in refused.err
    assert local.run("status", f"--input={events}", wrapper=wrapper).code == 0


def test_a_file_that_may_not_be_read_is_named_and_the_others_are_loaded(local: CommandLine, loadable: Path) -> None:
    secret, *others = pending(loadable)
    secret.chmod(0)
    # Root reads everything unless it gives that up.
    given_up = "-dac_override,-dac_read_search"
    wrapper = [] if os.geteuid() else ["setpriv", f"--bounding-set={given_up}", f"--inh-caps={given_up}"]
    done = local.run(f"--input={loadable}", "--json", wrapper=wrapper)
    assert (done.code, done.json["files_processed"], pending(loadable)) == (1, len(others), [secret])
    assert done.json["errors"] == [{"name": str(secret), "reason": "Permission denied"}]
    secret.chmod(0o644)
    assert local.run(f"--input={loadable}", "--json").json["files_processed"] == 1


def test_a_server_that_is_not_there_is_told(local: CommandLine, events: Path) -> None:
    nowhere = ("--clickhouse_url=http://127.0.0.1:9", "--retry_delay=1ms")
    for command in ("ingest", "status"):
        done = local.run(command, f"--input={events}", *nowhere, "--json")
        assert done.code == 1 and "http://127.0.0.1:9 cannot be reached" in done.json["error"]
    assert processed(events) == []


def test_a_wrong_password_is_told(server: ClickHouseEndpoint, events: Path) -> None:
    line = on_server(server)
    for command in ("ingest", "status"):
        done = line.run(command, f"--input={events}", CLICKHOUSE_PASSWORD="wrong-7a1")
        assert done.code == 1 and done.out == "" and "wrong-7a1" not in done.err
        assert "default: Authentication failed" in done.err


def test_a_password_from_a_file(server: ClickHouseEndpoint, events: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}\n")
    reference = f"--clickhouse_password_from=file:{tmp_path}/password"
    assert on_server(server).run(f"--input={events}", reference, CLICKHOUSE_PASSWORD="wrong").code == 0
    missing = on_server(server).run(f"--input={events}", f"{reference}.not")
    assert missing.code == 1 and "cannot be read" in missing.err


def test_a_server_that_dies_in_the_middle_costs_a_second_run(tmp_path: Path, events: Path) -> None:
    with ClickHouseEndpoint(tmp_path / "clickhouse", password=SECRET) as server:
        line = on_server(server)
        running = line.start(f"--input={events}", "--json", "--retry_delay=10ms", *SMALL_LOADS)
        running.wait_for(lambda: bool(processed(events)))
        server.kill()
        broken = running.finish()
        assert broken.code == 1 and "cannot be reached" in broken.err
        assert len(broken.json["errors"]) > 0 and len(broken.err.splitlines()) < 25
        assert len(pending(events)) > 0
        server.start()
        assert line.run(f"--input={events}", "--json").code == 0
        loads = line.run("status", f"--input={events}", "--json").json["inputs"][0]["loads"]
    assert list(loads) == ["finalized"] and loads["finalized"]["lines"] == EVENTS


@pytest.mark.parametrize(
    ("nth", "named"),
    [
        (1, "error: http://127.0.0.1:"),
        (2, "what earlier runs left could not be taken up: http://127.0.0.1:"),
        (3, "could not be assigned to a load: http://127.0.0.1:"),
    ],
    ids=["the run's first look", "AdoptLoads", "RecordLoads"],
)
def test_a_server_that_is_away_for_a_look_is_named(
    server: ClickHouseEndpoint, events: Path, nth: int, named: str
) -> None:
    line = on_server(server)
    assert line.run("migrate").code == 0
    server.fault("status", "state != 'finalized'", nth=nth, times=3)
    try:
        broken = line.run(f"--input={events}", "--retry_delay=10ms")
    finally:
        server.clear_faults()
    assert broken.code == 1 and named in broken.err and "answered with HTTP status 500" in broken.err
    assert (broken.out == "") == bool(pending(events)) == (nth != 2)
    assert line.run(f"--input={events}").code == 0
    assert pending(events) == []


def test_files_that_another_run_has_are_left_to_it_and_said(server: ClickHouseEndpoint, events: Path) -> None:
    line = on_server(server)
    held = server.fault("hold", "INSERT INTO `?mastra_admin_(traces|spans|logs|metrics|scores)`? ", nth=7)
    running = line.start(f"--input={events}", "--json", *SMALL_LOADS)

    def has_moved_what_it_has_committed() -> bool:
        states = line.run("status", f"--input={events}", "--json").json["inputs"][0]["loads"]
        return states.keys() == {"assigned", "finalized"}

    running.wait_for(lambda: bool(server.struck(held) and processed(events) and has_moved_what_it_has_committed()))
    running.process.send_signal(signal.SIGSTOP)
    try:
        left = len(pending(events))
        other = line.run(f"--input={events}")
        status = line.run("status", f"--input={events}", "--json").json["inputs"][0]
    finally:
        server.clear_faults()
        running.process.send_signal(signal.SIGCONT)
    assert (other.code, other.out) == (0, "")
    owner = rf"run [0-9a-f]{{8}} \(host {re.escape(os.uname().nodename)}, active \d+ s ago\)"
    assert re.search(f"{left} files skipped: being loaded by {owner}", other.err)
    assert {load["owner_lives"] for load in status["unfinished"]} == {True}
    assert running.finish().code == 0 and pending(events) == []
    assert line.run("status", f"--input={events}", "--json").json["inputs"][0]["loads"]["finalized"]["lines"] == EVENTS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--inptu=x"], "--inptu: there is no such option; did you mean --input?"),
        (["--user=me"], "--user: there is no such option; did you mean --clickhouse_user?"),
        (["--type=log"], "--type: there is no such option\n"),
        (["--runer=DirectRunner"], "--runer: there is no such option; did you mean --runner?"),
        (["status", "--quiet"], "--quiet: there is no such option"),
        (["--input=/tmp/a\x1b[31mb"], "--input: /tmp/a\\x1b[31mb does not exist"),
        (["ingst"], "'ingst' is not a command; did you mean ingest?"),
        (["ingest", "some/where"], "'some/where': what is it for?"),
        (["--input=/no/such/directory", "--max_files=0"], "--input: /no/such/directory does not exist"),
        (["--input=/no/such/directory", "--max_files=0"], "--max_files: 0 must be at least 1"),
        (["--input=/etc/passwd"], "--input: /etc/passwd is not a directory"),
        (["--input=/tmp", "--runner=FlinkRunner", "--unknown_to_python=1"], "cannot share an embedded database"),
        (["--input=/tmp", "--clickhouse_password=hush-4f1d7c"], "CLICKHOUSE_PASSWORD"),
        (["--input=/tmp", "--clickhouse_password", "hush-4f1d7c"], "CLICKHOUSE_PASSWORD"),
        (["--input=/tmp", "--clickhouse_url=http://me:hush-4f1d7c@h:1"], "CLICKHOUSE_PASSWORD"),
        (["--input=/tmp", "--pasword=hush-4f1d7c"], "--pasword: there is no such option"),
        (["--input=/tmp", "--clickhouse_password_from=hush-4f1d7c"], "env:NAME, file:/path or gcp-secret:"),
        (["status"], "--clickhouse_url"),
        (["drop", "--input=/tmp/none"], "say --confirm=default"),
        (["migrate", "--input=/tmp/none", "--ttl_days=-1"], "--ttl_days"),
        (["generate"], "--output: is missing"),
        (
            ["generate", "--output=x", "--deployments=9999999999"],
            "--deployments: 9999999999 must be from 1 to 1,000,000",
        ),
        (["generate", "--output=x", "--dialect=flatt"], "--dialect: 'flatt' is not one of flat, envelope, mixed"),
        (["generate", "--output=x", "--end=9999-12-31"], "--end: must be from 1900 to 2299"),
        (["rejected", "--input=/tmp/none", "--line=-1"], "--line: -1 must be at least 0"),
        (["rejected", "--input=/tmp/none", "--limit=-1"], "--limit: -1 must be at least 0"),
        (
            ["query", "traces", "--input=/tmp/none", "--since=9999999999999999"],
            "--since: '9999999999999999' is not a time",
        ),
        (["query", "traces", "--input=/tmp/none", "--since=3600"], "how long ago with its unit"),
        (["status", "--clickhouse_url=me:hush-4f1d7c@h:8123"], "must not hold a user or a password"),
        (["status", "--clickhouse_url=http://h:1/?user=a&pass=hush-4f1d7c"], "must not hold a user or a password"),
        (["x" * 5000], "'" + "x" * 79 + "… is not a command"),
        (["--" + "x" * 5000], "--" + "x" * 78 + ": there is no such option"),
    ],
)
def test_wrong_command_lines(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CLICKHOUSE_URL", "INGEST_INPUT"):
        monkeypatch.delenv(name, raising=False)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and SECRET not in printed.err
    assert message in printed.err and len(printed.err) < 500
    assert all(line.startswith("error: ") for line in printed.err.splitlines())


def test_a_wrong_command_line_in_a_process_of_its_own(local: CommandLine) -> None:
    done = local.run("--input=/no/such/directory", "--clickhouse_url=http://h:1", "--max_files=x", "--inptu=y")
    assert (done.code, done.out) == (2, "")
    done = local.run("--input=/no/such/directory", "--max_files=0", "--json")
    assert done.code == 2 and "/no/such/directory does not exist; " in done.json["error"]


def test_help(local: CommandLine) -> None:
    alone = local.run()
    assert alone.code == 2 and "commands (ingest is the default):" in alone.err
    asked = local.run("--help")
    assert (asked.code, asked.out) == (0, alone.err)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", local.run("--version").out)
    assert "--max_rejected_ratio" in local.run("--input=x", "--help").out


def test_an_environment_that_names_the_input_needs_no_argument(local: CommandLine, loadable: Path) -> None:
    assert local.run(INGEST_INPUT=str(loadable)).code == 0
    assert pending(loadable) == []


def test_directories_without_events(local: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "app" / "observability").mkdir(parents=True)
    hinted = local.run(f"--input={tmp_path}/app")
    assert hinted.code == 0 and f"did you mean --input={tmp_path}/app/observability?" in hinted.out
    empty = local.run(f"--input={tmp_path}/app/observability")
    assert empty.code == 0 and "it has no directory trace/, span/, log/, metric/, score/" in empty.out


def test_status_and_rejected_before_anything_is_loaded(line: CommandLine, events: Path) -> None:
    before = everything_below(events.parent)
    status = line.run("status", f"--input={events}")
    assert status.code == 0 and "nothing has been loaded here" in status.out
    assert f"pending: {len(pending(events))} files" in status.out
    rejected = line.run("rejected", f"--input={events}")
    assert rejected.code == 1 and "is not there yet; nothing has been loaded" in rejected.err
    assert everything_below(events.parent) == before


def test_migrate_check_and_drop(line: CommandLine, tmp_path: Path) -> None:
    directory = f"--input={tmp_path}/in"
    unready = line.run("migrate", "--check", directory, "--json")
    assert unready.code == 1 and not unready.json["up_to_date"] and unready.json["problems"]
    assert line.run("migrate", directory, "--ttl_days=7").code == 0
    checked = line.run("migrate", "--check", directory, "--json")
    assert checked.code == 0 and checked.json["ttl_days"] == {name: 30 if name == "log" else 7 for name in EVENT_TYPES}
    assert "nothing to do" in line.run("migrate", directory).out
    database = next((part.split("=")[1] for part in line.connection if "database" in part), "default")
    assert line.run("drop", directory, "--confirm=other").code == 2
    assert line.run("migrate", "--check", directory).code == 0
    assert "mastra_admin_traces" in line.run("drop", directory, f"--confirm={database}").out
    assert line.run("migrate", "--check", directory).code == 1


def test_old_events_are_warned_about(local: CommandLine, tmp_path: Path) -> None:
    directory = generate(tmp_path / "in", 100, "--start=2020-01-01", "--end=2020-01-02")
    done = local.run(f"--input={directory}")
    assert done.code == 0 and "warning: 100 events are older" in done.err and "--ttl_days=0" in done.err


def test_debug_shows_where_it_happened(local: CommandLine, events: Path) -> None:
    done = local.run("status", f"--input={events}", "--clickhouse_url=http://127.0.0.1:9", "--debug", noise=True)
    assert done.code == 1 and "Traceback" in done.err


def test_a_terminal_shows_one_line_that_changes(local: CommandLine, loadable: Path) -> None:
    leader, follower = pty.openpty()
    command = local.command(f"--input={loadable}", *SMALL_LOADS)
    process = subprocess.Popen(command, stdout=follower, stderr=follower, cwd=ROOT, env=os.environ | {"TERM": "xterm"})
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # what reading gives when the last writer is gone
        while part := os.read(leader, 65536):
            shown += part
    os.close(leader)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert re.search(
        r"\d+% [\d,]+/[\d,]+ files, [\d.,]+ \w+ of [\d.,]+ \w+, (\w+ left, )?[\d,]+ events, [\d,]+/s, 0 rejected, 0 errors",
        text,
    )
    assert "\x1b[2K" in text and re.search(r"files in \d+ loads", text)


def test_a_reader_that_has_seen_enough_is_no_error(local: CommandLine, loadable: Path) -> None:
    assert local.run(f"--input={loadable}", "--quiet").code == 0
    running = local.start("rejected", "show", f"--input={loadable}", "--limit=100000")
    assert running.process.stdout is not None
    running.process.stdout.close()
    running.process.wait(timeout=60)
    assert running.process.stderr is not None and running.process.stderr.read() == b""


def test_names_that_are_not_text_or_obeyed_by_a_terminal(local: CommandLine, tmp_path: Path) -> None:
    directory = generate(tmp_path / "in", 100, "--event_types=log")
    file = pending(directory)[0]
    odd = file.with_name("20261120T120000Z_\x1b[31m[bold].jsonl")
    shutil.copy(file, odd)
    Path(os.fsdecode(os.fsencode(file.parent) + b"/20261120T120000Z_\xff.jsonl")).write_bytes(file.read_bytes())
    done = local.run(f"--input={directory}")
    assert "\x1b" not in done.out + done.err
    assert (done.code, "not UTF-8" in done.err) == (1, True)
    assert len(processed(directory)) == 2
