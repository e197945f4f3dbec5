"""Makes the fixture of this directory: a database and an input directory as version 0.1 leaves them when it is killed.

Made with the code of commit e406ebe ("version 0.1"), whose rows, log and locks these are. To make it again:

    git worktree add CHECKOUT e406ebe
    cp tests/support/version_01/make_fixture.py CHECKOUT/tests/support/
    cd CHECKOUT && python -m tests.support.make_fixture OUTPUT

It takes a minute, needs the embedded engine, and writes into OUTPUT what this directory holds besides Python:

    schema.sql            what creates the tables and views, as the server tells it, without the name of the database
    rows/TABLE.native.gz  all rows of a table as they are stored, superseded ones, too, in ClickHouse's Native format, which
                          keeps the states of aggregate functions
    input.tar.gz          the input directory: files with their modification times, hard links, links, lock files
    expected.json         what was written into which file, where that must end, and how far each scenario has come

Each scenario is a project with files of its own and a run (`--project_id`) that is killed at a point. The next run would take
up what this one leaves: so the lock of the dead run is held here until all is made, and others take it for alive. Then all
are dead at once, as after a power failure.

Paths in the rows are below /INPUT. `etags` in expected.json are those that the log has of the files that are there; they
begin with the inode, so whoever puts the files into another place has to put their new etags into the rows.
"""

from __future__ import annotations

import fcntl
import functools
import gzip
import io
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import clickhouse_connect

from tests.faults import driver
from tests.faults.points import POINTS, Point, into_events
from tests.support import processes
from tests.support.clickhouse_endpoint import HOST, ClickHouseEndpoint
from tests.support.dataset import event
from tests.support.stages import InThisThread
from transforms import write_to_clickhouse
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.events import REJECTED_TABLE, TABLES
from transforms.loads.log import LoadLog
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE
from transforms.storage.local_listing import etag_of

DATABASE = "database_of_version_01"
INPUT = "/INPUT"
OPTIONS = ("--block_bytes=2K", "--retry_delay=0.1", f"--clickhouse_database={DATABASE}")
SLICED = ("--load_bytes=1K", "--block_bytes=512")
FIRST_MODIFIED_S = 1_795_176_000
"""2026-11-20T12:00:00Z. Whole seconds, which an archive keeps exactly."""
LINE_BYTES = 128
"""Of the lines of `ALIGNED` scenarios, whose loads are cut between two lines and not in one."""
ALIGNED = ("grown_part", "grown_inserted")
WITH_BAD_LINES = (
    *("final", "large", "grown", "pending", "released"),
    *("before_rejected_are_stored", "after_rejected_are_stored"),
)
KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Scenario:
    """A project, and the run that is killed over it."""

    project: str
    types: tuple[str, ...]
    kill: str = ""
    """The point; '' for a run that ends by itself."""
    files: int = 1
    """Of each type."""
    lines: int = 5
    options: tuple[str, ...] = ()
    code: int = KILLED
    replace: bool = False
    """Whether the second file is replaced once its load is recorded."""
    grow: bool = False
    """Whether the first file is appended to once the run is dead."""


def at_point(point: str, *types: str, files: int = 1) -> Scenario:
    """A scenario that is called after its point."""
    return Scenario(point, types, point, files)


SCENARIOS = (
    at_point("before_anything_is_recorded", "trace"),
    at_point("between_file_rows_and_load_row", "span"),
    at_point("after_some_loads_are_recorded", "trace", "log", "metric", "score"),
    at_point("before_the_first_insert", "score", "span"),
    at_point("after_the_first_insert", "trace"),
    at_point("between_blocks", "log", "metric", "score"),
    at_point("before_rejected_are_stored", "span"),
    at_point("after_rejected_are_stored", "log", "score"),
    at_point("after_the_last_insert", "trace", "metric"),
    at_point("half_way_through_the_commit", "span", "log"),
    at_point("after_the_commit", "score", "trace"),
    at_point("before_the_first_move", "metric", files=2),
    at_point("in_the_middle_of_a_move", "log", files=2),
    at_point("half_way_through_the_moves", "trace", files=3),
    at_point("after_the_moves", "span", "metric"),
    at_point("before_the_final_record", "log", "score"),
    at_point("after_the_final_record", "trace", "span"),
    Scenario("released", ("log",), "after_the_first_insert", files=3, replace=True),
    Scenario("given_back", ("score",), files=2, code=1, replace=True),
    Scenario("large", ("trace",), "in_the_second_load", lines=24, options=SLICED),
    Scenario("large_committed", ("metric",), "after_a_commit", lines=24, options=SLICED),
    Scenario("grown", ("span",), "before_the_first_move", grow=True),
    Scenario("grown_part", ("log",), "between_loads", lines=16, options=SLICED, grow=True),
    Scenario("grown_in_a_line", ("log",), "between_loads", lines=16, options=SLICED, grow=True),
    Scenario("grown_inserted", ("score",), "in_the_second_load", lines=16, options=SLICED, grow=True),
    Scenario("lost_rollup", ("trace",), "after_the_first_insert"),
    Scenario("lost_rows", ("score",), "after_the_first_insert"),
    # The last one: it ends by itself, so that another run would take up its loads. Of the logs nothing is inserted, of the
    # metrics all but the last chunk.
    Scenario("failed", ("log", "metric"), lines=8, options=("--max_rejected=0", "--block_bytes=512"), code=1),
)
"""Runs killed at each of the points in tests/faults/points.py, and what else may have happened to files and server."""

COUNTED_TWICE = {
    "grown_in_a_line": "0.1 loads the line again that the first load's range ends in",
    "grown_inserted": "0.1 loads the whole range again, of which one block is in the table",
}
"""Scenarios of which 0.1 itself inserts lines a second time when it takes them up, and how."""


@dataclass
class File:
    """What was written into one file."""

    path: str
    """Where it is to be in the end, below the root."""
    project: str
    lines: int = 0
    events: dict[str, list[str]] = field(default_factory=dict)
    """Ids by table."""
    rejected: list[int] = field(default_factory=list)
    """Byte offsets of bad lines."""


@dataclass
class Input:
    """The input directory while it is made."""

    root: Path
    files: dict[str, File] = field(default_factory=dict)
    """By a name for each."""
    modified_s: int = FIRST_MODIFIED_S
    held: dict[str, int] = field(default_factory=dict)
    """Descriptors that hold the locks of dead runs, by run."""

    def write(self, project: str, event_type: str, number: int, lines: int, *, again: str = "") -> Path:
        """A new pending file; `again` marks the ids of one that comes in the place of another."""
        directory, name = self.root / event_type / project, file_name(event_type, number)
        directory.mkdir(parents=True, exist_ok=True)
        processed = f"{name.removesuffix('.jsonl')}.2.jsonl" if (directory / "processed" / name).exists() else name
        self.files[f"{event_type}/{project}/{processed}"] = File(
            f"{event_type}/{project}/processed/{processed}", project
        )
        (directory / name).write_bytes(b"")
        return self.append(project, event_type, number, lines, again=again)

    def append(self, project: str, event_type: str, number: int, lines: int, *, again: str = "") -> Path:
        """More lines at the end of the file that was written last under this name."""
        path = self.root / event_type / project / file_name(event_type, number)
        file = [file for name, file in self.files.items() if name.startswith(str(path.relative_to(self.root))[:-6])][-1]
        with path.open("ab") as stream:
            for line in range(file.lines, file.lines + lines):
                # In one scenario each file has an event of another type, too.
                kind = "metric" if project == "final" and line == 4 else event_type
                identity = f"{kind}-{project}-{number}-{line}{again}"
                if is_bad(project, event_type, line):
                    text = f'{{"broken {identity}'
                    file.rejected.append(stream.tell())
                else:
                    text = make_event(kind, identity, line)
                    file.events.setdefault(TABLES[kind].table, []).append(identity)
                text = text.ljust(LINE_BYTES - 1 if project in ALIGNED else 0)
                stream.write(f"{text}\n".encode())
                file.lines += 1
        os.utime(path, (self.modified_s, self.modified_s))
        self.modified_s += 60
        return path

    def hold_dead_run(self) -> str:
        """Takes the lock of the run that has just died, and tells its name; '' when it has ended by itself."""
        new = set(os.listdir(self.root / ".ingest" / "runs")) - set(self.held)
        for run_id in new:
            self.held[run_id] = os.open(self.root / ".ingest" / "runs" / run_id, os.O_RDWR)
            fcntl.flock(self.held[run_id], fcntl.LOCK_SH)
        return "".join(new)

    def let_go(self) -> None:
        while self.held:
            os.close(self.held.popitem()[1])


def file_name(event_type: str, number: int) -> str:
    """Of two months."""
    month = 10 if event_type in ("span", "metric") else 11
    return f"2026{month}20T12{number:02d}00Z_{number:04x}.jsonl"


def is_bad(project: str, event_type: str, line: int) -> bool:
    if project == "failed":
        return line == (1 if event_type == "log" else 7)
    return line == 3 and project in WITH_BAD_LINES


def make_event(kind: str, identity: str, line: int) -> str:
    """Of two months and two hours, with something for rollups to add up."""
    at = f"2100-{10 if line % 4 == 2 else 11}-20T1{line % 2}:00:{line:02d}.000Z"
    if kind in ("trace", "span"):
        return event(kind, identity, at=at, durationMs=100 * line, status="error" if line % 3 == 0 else "ok")
    return (
        event(kind, identity, at=at, value=line + 0.5) if kind in ("metric", "score") else event(kind, identity, at=at)
    )


def child(arguments: list[str]) -> int:
    """`tests.faults.driver` with more points, and a file that may be replaced when its load has just been recorded."""
    committed: list[bool] = []
    Point(LoadLog, "commit", "after").arm(lambda: committed.append(True))

    def after_a_commit(*given: Any, **named: Any) -> bool:
        return bool(committed) and into_events(*given, **named)

    POINTS["after_a_commit"] = Point(LoadLog, "commit", "after")
    POINTS["between_loads"] = Point(ClickHouse, "insert", "before", condition=after_a_commit)
    POINTS["in_the_second_load"] = Point(ClickHouse, "insert", "before", nth=2, condition=after_a_commit)
    # Each insert is done before the next block is cut, so that what is in the tables follows from the point.
    vars(write_to_clickhouse)["ThreadPoolExecutor"] = lambda *_, **__: InThisThread()
    if arguments[0].startswith("--replace="):
        new, old = arguments.pop(0).removeprefix("--replace=").split(",")
        Point(LoadLog, "assign", "after").arm(functools.partial(os.replace, new, old))
    return driver.main(arguments)


def run(url: str, made: Input, project: str, *options: str, kill: str = "", code: int = 0, replace: str = "") -> str:
    """An ingest of one project, which must end with this code; returns the run's name if it was killed."""
    arguments = [f"--replace={replace}"] if replace else []
    arguments += [f"--kill={kill}"] if kill else []
    arguments += ["--", "ingest", f"--input={made.root}", f"--clickhouse_url={url}", f"--project_id={project}"]
    output = made.root.parent / "output"
    process = processes.start(child, [*arguments, *OPTIONS, *options], output)
    process.join(120)
    assert process.exitcode == code, f"{project} ended with {process.exitcode}:\n{output.read_text()}"
    return made.hold_dead_run()


def make_scenario(url: str, made: Input, scenario: Scenario) -> str:
    """Writes the files, runs, and does to them what happens meanwhile; returns the run's name."""
    for event_type in scenario.types:
        for number in range(scenario.files):
            made.write(scenario.project, event_type, number, scenario.lines)
    replace = ""
    if scenario.replace:
        path = made.root / scenario.types[0] / scenario.project / file_name(scenario.types[0], 1)
        old, new = path.rename(made.root.parent / "old"), made.root.parent / "new"
        made.write(scenario.project, scenario.types[0], 1, 4, again="-new").rename(new)
        old.rename(path)
        replace = f"{new},{path}"
    options = {"kill": scenario.kill, "code": scenario.code, "replace": replace}
    run_id = run(url, made, scenario.project, *scenario.options, **options)  # type: ignore[arg-type]
    if scenario.grow:
        made.append(scenario.project, scenario.types[0], 0, 3)
    return run_id


def make_everything(url: str, made: Input, client: ClickHouse) -> dict[str, str]:
    """All scenarios one after the other; returns the runs that were killed by project."""
    for number, event_type in enumerate(TABLES):
        made.write("final", event_type, number, 5)
    run(url, made, "final")
    made.write("final", "trace", 0, 3, again="-again")  # another file under the same name
    run(url, made, "final")
    for table in names(client, "NOT LIKE '%View'"):
        client.command(f"SYSTEM STOP MERGES {table}")
    for number, event_type in enumerate(("log", "metric")):
        made.write("adopted", event_type, number, 5)
    run(url, made, "adopted", kill="after_the_first_insert", code=KILLED)
    made.let_go()  # so that the next run takes it up
    runs = {"adopted": run(url, made, "adopted", kill="after_an_adopted_block", code=KILLED)}
    for scenario in SCENARIOS:
        runs[scenario.project] = make_scenario(url, made, scenario)
    for number, event_type in enumerate(TABLES):
        made.write("pending", event_type, number, 4)
    made.let_go()
    return {project: run_id for project, run_id in runs.items() if run_id}


def move_by_hand(root: Path) -> dict[str, str]:
    """A loaded file comes back, and there are some that 0.1 ignores for ever; returns these with its reason."""
    metrics = root / "metric" / "final"
    (metrics / "processed" / file_name("metric", 3)).rename(metrics / file_name("metric", 3))
    logs = root / "log" / "final"
    (logs / "20261121T120000Z_11.jsonl").hardlink_to(logs / "processed" / file_name("log", 2))
    (logs / "20261121T120000Z_22.jsonl").symlink_to(f"processed/{file_name('log', 2)}")
    (logs / "notes.txt").write_text("not events\n")
    reasons = {
        "20261121T120000Z_11.jsonl": "other_name",
        "20261121T120000Z_22.jsonl": "other_name",
        "notes.txt": "suffix",
    }
    return {f"log/final/{name}": reason for name, reason in reasons.items()}


def lose_parts(endpoint: ClickHouseEndpoint, client: ClickHouse) -> None:
    """Takes from the server what it lacks when it has died between a table and its rollup, or before a table's part."""
    lost = []
    for project, table in (("lost_rollup", TABLES["trace"].rollup), ("lost_rows", TABLES["score"].table)):
        (part,) = client.query(
            "SELECT path FROM system.parts WHERE active AND database = currentDatabase() AND table = {table:String} "
            f"AND name IN (SELECT _part FROM {table} WHERE project_id = {{project:String}})",
            {"table": table, "project": project},
        )
        lost.append(part["path"])
    endpoint.stop()
    for path in lost:
        shutil.rmtree(path)
    endpoint.start()


def names(client: ClickHouse, engine: str) -> list[str]:
    """The names of tables or views."""
    sql = f"SELECT name FROM system.tables WHERE database = currentDatabase() AND engine {engine} ORDER BY engine, name"
    return [row["name"] for row in client.query(sql)]


def dump(client: ClickHouse, port: int, root: Path, output: Path) -> None:
    """Writes the schema, tables before views, and the rows."""
    raw = clickhouse_connect.get_client(host=HOST, port=port, database=DATABASE)
    tables, views = names(client, "NOT LIKE '%View'"), names(client, "LIKE '%View'")
    statements = [raw.command(f"SHOW CREATE TABLE {name} FORMAT TSVRaw") for name in (*tables, *views)]
    schema = ";\n\n".join(str(statement).replace(f"{DATABASE}.", "") for statement in statements)
    assert DATABASE not in schema and schema.count(";") == len(statements) - 1
    (output / "schema.sql").write_text(f"{schema}\n")
    paths = {FILES_TABLE: ("path", "moved_to", "error"), LOADS_TABLE: ("input", "error"), REJECTED_TABLE: ("file",)}
    (output / "rows").mkdir()
    for name in tables:
        replaced = [f"replaceAll({column}, '{root}', '{INPUT}') AS {column}" for column in paths.get(name, ())]
        columns = f"* REPLACE ({', '.join(replaced)})" if replaced else "*"
        rows = raw.raw_query(f"SELECT {columns} FROM {name}", fmt="Native", settings={"max_threads": 1})
        assert str(root).encode() not in rows
        (output / "rows" / f"{name}.native.gz").write_bytes(gzip.compress(rows, mtime=0))


def archive(root: Path, output: Path) -> None:
    """Writes the input directory, without whose it is."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = int(member.mtime)
        return member

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            tar.add(path, path.relative_to(root).as_posix(), recursive=False, filter=anonymous)
    (output / "input.tar.gz").write_bytes(gzip.compress(data.getvalue(), mtime=0))


def state(client: ClickHouse, project: str) -> dict[str, Any]:
    """How far a project is: its loads in the log, and its rows in the tables and in the rollups."""

    def count(what: str, tables: Iterable[str]) -> int:
        sql = " UNION ALL ".join(f"SELECT {what} AS n FROM {table} WHERE project_id = '{project}'" for table in tables)
        return sum(row["n"] for row in client.query(sql))

    loads = client.query(
        f"SELECT concat(event_type, ' ', state, ', attempt ', toString(attempt)) AS told FROM {LOADS_TABLE} FINAL WHERE "
        f"load_id IN (SELECT load_id FROM {FILES_TABLE} WHERE project_id = '{project}') ORDER BY ALL"
    )
    return {
        "loads": [load["told"] for load in loads],
        "rows": count("count()", (table.table for table in TABLES.values())),
        "rolled_up": count("sum(count)", (table.stats_view for table in TABLES.values())),
        "rejected": count("count()", [REJECTED_TABLE]),
    }


def main(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    directory = Path(os.path.realpath(tempfile.mkdtemp()))
    made = Input(directory / "observability")
    with ClickHouseEndpoint(directory / "clickhouse") as endpoint:
        with ClickHouseConfig(endpoint.url).connect() as admin:
            admin.command(f"CREATE DATABASE {DATABASE}")
        with ClickHouseConfig(endpoint.url, database=DATABASE).connect() as client:
            runs = make_everything(endpoint.url, made, client)
            left = move_by_hand(made.root)
            lose_parts(endpoint, client)
            dump(client, endpoint.port, made.root, output)
            projects = dict.fromkeys(file.project for file in made.files.values())
            states = {project: state(client, project) for project in projects}
    archive(made.root, output)
    there = [path for path in sorted(made.root.rglob("*.jsonl")) if not path.is_symlink()]
    expected = {
        "files": [asdict(file) for file in made.files.values()],
        "left": left,
        "counted_twice": COUNTED_TWICE,
        "runs": runs,
        "states": states,
        "etags": {path.relative_to(made.root).as_posix(): etag_of(path.stat()) for path in there},
    }
    (output / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    shutil.rmtree(directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
