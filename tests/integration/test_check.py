"""`check` as an operator meets it before the first night: each thing that is missing is named, and nothing is changed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.command_line import SECRET, CommandLine, pending, with_own_mounts
from tests.support.databases import copy_database
from tests.support.dataset import event
from transforms.clickhouse import ClickHouse, ClickHouseConfig

NAME = "20261120T120000Z_00ab.jsonl"
CHECKS = [
    *("input exists", "list files", "read a file", "move a file", "clock of the input"),
    *("reach ClickHouse", "log in", "database", "tables", "deduplication windows", "select and insert"),
    *("clock of ClickHouse", "one server", "free disk", "other runs", "parser"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseEndpoint]:
    with ClickHouseEndpoint(tmp_path_factory.mktemp("clickhouse"), password=SECRET) as endpoint:
        yield endpoint


@pytest.fixture
def faulty(server: ClickHouseEndpoint) -> Iterator[ClickHouseEndpoint]:
    """The server, for tests that set faults."""
    yield server
    server.clear_faults()


@pytest.fixture
def admin(server: ClickHouseEndpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClickHouse]:
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", SECRET)
    with ClickHouseConfig(server.url).connect() as client:
        yield client


@pytest.fixture
def line(server: ClickHouseEndpoint) -> CommandLine:
    """The command line on a database of the server that is not there yet."""
    return CommandLine((f"--clickhouse_url={server.url}", f"--clickhouse_database=check_{uuid.uuid4().hex[:8]}"))


@pytest.fixture
def migrated(line: CommandLine) -> CommandLine:
    """The same, with all tables."""
    assert line.run("migrate").code == 0
    return line


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """A directory with one pending file."""
    path = tmp_path / "in/trace/p" / NAME
    path.parent.mkdir(parents=True)
    path.write_text(event("trace", "1") + "\n")
    return tmp_path / "in"


def checked(line: CommandLine, *arguments: str, failed: tuple[str, ...] = (), **more: Any) -> dict[str, dict[str, str]]:
    """The checks by name; exactly these have failed."""
    done = line.run("check", "--json", *arguments, **more)
    checks = {check["name"]: check for check in done.json["checks"]}
    assert list(checks) == CHECKS
    assert [name for name, check in checks.items() if check["outcome"] == "failed"] == list(failed), checks
    assert (done.code, done.json["ok"]) == (int(bool(failed)), not failed)
    return checks


def everything_below(directory: Path) -> list[str]:
    return sorted(map(str, directory.rglob("*")))


def test_a_first_run_has_all_that_it_needs_and_nothing_is_made(events: Path, tmp_path: Path) -> None:
    before = everything_below(tmp_path)
    checks = checked(CommandLine(), f"--input={events}")
    assert checks["list files"]["found"] == "1 file pending"
    assert checks["database"]["found"] == f"{events}.clickhouse does not exist yet; the first run makes it"
    assert checks["tables"]["outcome"] == "skipped"
    assert everything_below(tmp_path) == before


def test_an_embedded_database_with_tables(events: Path, tmp_path: Path, database_to_copy: Path) -> None:
    copy_database(database_to_copy, Path(f"{events}.clickhouse"))
    checks = checked(CommandLine(), f"--input={events}")
    assert {check["outcome"] for check in checks.values()} == {"ok"}
    assert everything_below(events) == [str(events / part) for part in ("trace", "trace/p", f"trace/p/{NAME}")]


def test_a_server_without_the_database_is_not_given_one(line: CommandLine, events: Path, admin: ClickHouse) -> None:
    checks = checked(line, f"--input={events}")
    assert "does not exist; the first run makes it" in checks["database"]["found"]
    database = line.connection[1].partition("=")[2]
    assert not admin.query("SELECT 1 FROM system.databases WHERE name = {name:String}", {"name": database})


def test_a_server_with_tables_gets_no_row_and_no_part(migrated: CommandLine, events: Path, admin: ClickHouse) -> None:
    database = migrated.connection[1].partition("=")[2]
    parts = "SELECT table, name, rows FROM system.parts WHERE database = {name:String} AND active ORDER BY ALL"
    before = admin.query(parts, {"name": database})
    checks = checked(migrated, f"--input={events}")
    assert {check["outcome"] for check in checks.values()} == {"ok"}
    assert checks["select and insert"]["found"] == "on 17 tables"
    assert admin.query(parts, {"name": database}) == before
    assert pending(events) and not (events / "trace/p/processed").exists()


def test_people_get_a_line_for_each(migrated: CommandLine, events: Path) -> None:
    done = migrated.run("check", f"--input={events}")
    first, *lines, last = done.out.splitlines()
    assert first.startswith(f"a run from {events} into {migrated.connection[0].partition('=')[2]}")
    assert [text[9:].partition(":")[0] for text in lines] == CHECKS and done.code == 0
    assert last == "a run has all that it needs"


def test_an_input_that_is_not_there_and_a_server_that_is_away_are_both_told(tmp_path: Path) -> None:
    checks = checked(
        CommandLine(("--clickhouse_url=http://127.0.0.1:1",)),
        f"--input={tmp_path}/none",
        failed=("input exists", "reach ClickHouse"),
    )
    assert f"{tmp_path}/none does not exist" in checks["input exists"]["found"]
    assert "127.0.0.1:1 cannot be reached: Connection refused" in checks["reach ClickHouse"]["found"]


def test_a_wrong_password_is_told_and_where_it_comes_from(migrated: CommandLine, events: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("wrong")
    checks = checked(
        migrated, f"--input={events}", f"--clickhouse_password_from=file:{tmp_path}/secret", failed=("log in",)
    )
    assert checks["reach ClickHouse"]["outcome"] == "ok"
    assert f"the password is taken from the file {tmp_path}/secret" in checks["log in"]["advice"]
    checks = checked(migrated, f"--input={events}", failed=("log in",), CLICKHOUSE_PASSWORD="")
    assert "CLICKHOUSE_PASSWORD, which is not set" in checks["log in"]["advice"]


DENIED = (
    "Code: 497. DB::Exception: loader: Not enough privileges. To execute this query, it's necessary to have the grant "
    "INSERT(id) ON db.mastra_admin_spans. (ACCESS_DENIED)"
)


def test_a_missing_right_is_named(migrated: CommandLine, events: Path, faulty: ClickHouseEndpoint) -> None:
    faulty.fault("status", "INSERT INTO .?mastra_admin_spans.? SELECT", status=403, code=497, message=DENIED, times=0)
    checks = checked(migrated, f"--input={events}", failed=("select and insert",))
    assert "necessary to have the grant INSERT(id) ON db.mastra_admin_spans" in checks["select and insert"]["found"]
    assert checks["select and insert"]["advice"].startswith("GRANT SELECT, INSERT ON check_")


def test_a_database_that_may_not_be_made(line: CommandLine, events: Path, faulty: ClickHouseEndpoint) -> None:
    faulty.fault("status", "SHOW GRANTS", status=403, code=497, message=DENIED, times=0)
    checks = checked(line, f"--input={events}", failed=("database",))
    assert "Not enough privileges" in checks["database"]["found"]


def test_windows_that_are_not_set_and_tables_of_another_version(
    migrated: CommandLine, events: Path, admin: ClickHouse
) -> None:
    database = migrated.connection[1].partition("=")[2]
    admin.command(f"ALTER TABLE {database}.mastra_admin_logs MODIFY SETTING non_replicated_deduplication_window = 0")
    admin.command(
        f"ALTER TABLE {database}.mastra_admin_schema_migrations DELETE WHERE version = 6 SETTINGS mutations_sync = 2"
    )
    checks = checked(migrated, f"--input={events}", failed=("deduplication windows",))
    assert "mastra_admin_logs: non_replicated_deduplication_window is 0" in checks["deduplication windows"]["found"]
    assert checks["tables"]["found"] == "migration 6 is not done; the first run makes it"


def test_a_file_that_may_not_be_read(events: Path, database_to_copy: Path) -> None:
    copy_database(database_to_copy, Path(f"{events}.clickhouse"))
    (events / "trace/p" / NAME).chmod(0)
    # Root reads everything unless it gives that up.
    given_up = "-dac_override,-dac_read_search"
    wrapper = [] if os.geteuid() else ["setpriv", f"--bounding-set={given_up}", f"--inh-caps={given_up}"]
    checks = checked(CommandLine(), f"--input={events}", failed=("read a file",), wrapper=wrapper)
    assert checks["read a file"]["found"].endswith(f"{NAME}: Permission denied")


def test_a_directory_in_which_files_cannot_be_moved(events: Path, database_to_copy: Path) -> None:
    """Of a project, where the input itself may be written into. Nothing is left behind."""
    copy_database(database_to_copy, Path(f"{events}.clickhouse"))
    project = events / "trace/p"
    wrapper = with_own_mounts(f"mount --bind {project} {project}; mount -o remount,bind,ro {project}")
    if wrapper is None:
        pytest.skip("this user may not mount")
    checks = checked(CommandLine(), f"--input={events}", failed=("move a file",), wrapper=wrapper)
    assert f"cannot write a file in {project}" in checks["move a file"]["found"]
    assert [path.name for path in project.iterdir()] == [NAME]


def test_a_processed_directory_that_is_a_file(events: Path, database_to_copy: Path) -> None:
    copy_database(database_to_copy, Path(f"{events}.clickhouse"))
    (events / "trace/p/processed").write_text("in the way")
    checks = checked(CommandLine(), f"--input={events}", failed=("move a file",))
    assert "processed is not a directory" in checks["move a file"]["found"]
    assert sorted(path.name for path in (events / "trace/p").iterdir()) == [NAME, "processed"]


def test_an_embedded_database_that_is_in_use(events: Path, database_to_copy: Path, tmp_path: Path) -> None:
    copy_database(database_to_copy, tmp_path / "db")
    with ClickHouseEndpoint(tmp_path / "db"):
        line = CommandLine((f"--clickhouse_url=chdb://{tmp_path}/db",))
        checks = checked(line, f"--input={events}", failed=("reach ClickHouse",))
    assert "is in use" in checks["reach ClickHouse"]["found"]


def test_another_run_is_named_and_no_hindrance(migrated: CommandLine, events: Path, admin: ClickHouse) -> None:
    database = migrated.connection[1].partition("=")[2]
    admin.command(
        f"INSERT INTO {database}.mastra_admin_ingest_runs (run_id, process, input, host, lease_ms) "
        "VALUES ('7f3a0000', 'elsewhere 1 2', '/data', 'web-2', 60000)"
    )
    checks = checked(migrated, f"--input={events}")
    assert "run 7f3a0000 (host web-2" in checks["other runs"]["found"]
    assert "is loading /data; several may run at once" in checks["other runs"]["found"]


def test_what_cannot_be_listed_is_named(events: Path, database_to_copy: Path) -> None:
    copy_database(database_to_copy, Path(f"{events}.clickhouse"))
    (events / "trace/p" / f"x{NAME}").symlink_to("nowhere")
    checks = checked(CommandLine(), f"--input={events}", failed=("list files",))
    assert "is a link to a file that does not exist; 1 file pending" in checks["list files"]["found"]


def test_wrong_options_are_told_as_by_ingest(tmp_path: Path) -> None:
    done = CommandLine().run("check", f"--input={tmp_path}", "--max_attempts=-1", "--max_files=0")
    assert done.code == 2 and "--max_attempts: -1" in done.err and "--max_files: 0" in done.err
