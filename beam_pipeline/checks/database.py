"""Whether ClickHouse can be reached and has, or can be given, what loading needs. Changes nothing in it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from beam_pipeline.checks.check import Check, failed, ok, skipped, warning
from beam_pipeline.checks.grants import missing_rights
from beam_pipeline.checks.input import compare_clocks
from beam_pipeline.runs_under_way import runs_under_way
from beam_pipeline.schema import SchemaStatus, check_schema_status
from beam_pipeline.schema.inspection import read_existing, window_problems
from beam_pipeline.schema.migrations import ALL_TABLES
from beam_pipeline.wording import counted
from transforms.clickhouse import AccessDenied, ClickHouseConfig, ClickHouseError, SchemaError, Unavailable
from transforms.clickhouse.errors import UNKNOWN_DATABASE

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

REACH, LOG_IN, DATABASE, TABLES = "reach ClickHouse", "log in", "database", "tables"
WINDOWS, RIGHTS, CLOCK, SERVER = "deduplication windows", "select and insert", "clock of ClickHouse", "one server"
DISK, RUNS = "free disk", "other runs"
_OF_TABLES = (TABLES, WINDOWS, RIGHTS)
_OF_SERVER = (CLOCK, SERVER, DISK, RUNS)
_CONNECTIONS = 4
"""Made one after the other, to see whether they all come to one server."""
_LITTLE_BYTES = 1 << 30
_TO_MAKE = ("CREATE TABLE", "CREATE VIEW")
_TO_CHANGE = ("ALTER TABLE", "CREATE TABLE", "CREATE VIEW", "DROP VIEW")


def check_database(config: ClickHouseConfig) -> Iterator[Check]:
    """Tries what a run does with its database, each failing thing once: without retries."""
    config = replace(config, retry_attempts=1)
    try:
        client = config.connect()
    except AccessDenied as error:
        yield ok(REACH, config.place)
        yield failed(LOG_IN, f"as {config.user}: {error}", _advice_on_password(config))
        yield from _skip((DATABASE, *_OF_TABLES, *_OF_SERVER), "nobody is logged in")
    except SchemaError as error:
        if error.code != UNKNOWN_DATABASE:
            yield failed(REACH, str(error))
            yield from _skip((LOG_IN, DATABASE, *_OF_TABLES, *_OF_SERVER), "ClickHouse cannot be used")
        elif config.embedded:
            yield from _without_embedded(config)
        else:
            yield from _without_database(config)
    except ClickHouseError as error:
        advice = "look whether the server runs, and at --clickhouse_url" if isinstance(error, Unavailable) else ""
        yield failed(REACH, str(error), advice)
        yield from _skip((LOG_IN, DATABASE, *_OF_TABLES, *_OF_SERVER), "ClickHouse cannot be reached")
    else:
        with client:
            yield from _reached(config, client)
            yield ok(DATABASE, config.database)
            yield from _guarded(_OF_TABLES, lambda: _tables(client))
            yield from _server(config, client)
            yield from _guarded((RUNS,), lambda: _runs(client))


def _skip(names: tuple[str, ...], reason: str) -> Iterator[Check]:
    return (skipped(name, reason) for name in names)


def _guarded(names: tuple[str, ...], checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks; when a statement fails that they need, the first of those that are left has failed."""
    left = list(names)
    try:
        for check in checks():
            left.remove(check.name)
            yield check
    except ClickHouseError as error:
        first, *others = left
        yield failed(first, str(error))
        yield from _skip(tuple(others), f"{first} could not be checked")


def _advice_on_password(config: ClickHouseConfig) -> str:
    kind, _, place = config.password.partition(":")
    where = f"the environment variable {place}" if kind == "env" else f"the file {place}"
    is_empty = kind == "env" and not os.environ.get(place)
    return (
        f"the password is taken from {where}{', which is not set' if is_empty else ''}; see --clickhouse_password_from"
    )


def _reached(config: ClickHouseConfig, client: ClickHouse) -> Iterator[Check]:
    yield ok(REACH, f"{config.place}, version {client.server_version}")
    yield ok(LOG_IN, "not needed" if config.embedded else f"as {config.user}")


def _without_embedded(config: ClickHouseConfig) -> Iterator[Check]:
    """An embedded database that is still to be made."""
    assert config.path is not None
    parent = config.path
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    yield ok(REACH, "the embedded engine")
    yield ok(LOG_IN, "not needed")
    if os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK):
        yield ok(DATABASE, f"{config.path} does not exist yet; the first run makes it")
    else:
        yield failed(
            DATABASE,
            f"{config.path} does not exist, and {parent} is not a directory that this user may write into",
            "give another place: --clickhouse_url=chdb:///path",
        )
    yield from _skip((*_OF_TABLES, CLOCK, SERVER), "there is no database yet")
    yield _disk_of(parent)
    yield ok(RUNS, "none")


def _without_database(config: ClickHouseConfig) -> Iterator[Check]:
    """A server that does not have the database: whether it may be made there."""
    try:
        with replace(config, database="default").connect() as client:
            yield from _reached(config, client)
            rights = ("CREATE DATABASE", *_TO_MAKE, "SELECT", "INSERT")
            yield from _guarded(
                (DATABASE,), lambda: _may(client, DATABASE, rights, f"{config.database} does not exist")
            )
            yield from _skip(_OF_TABLES, "there is no database yet")
            yield from _server(config, client)
    except ClickHouseError as error:
        yield ok(REACH, config.place)
        yield ok(LOG_IN, f"as {config.user}")
        yield failed(
            DATABASE, f"{config.database} does not exist, nor can this user use another one to make it: {error}"
        )
        yield from _skip((*_OF_TABLES, *_OF_SERVER), "there is no database")
        return
    yield ok(RUNS, "none")


def _may(client: ClickHouse, name: str, rights: tuple[str, ...], lacks: str) -> Iterator[Check]:
    """Whether the first run may make what is lacking, by what the server says of the user's rights."""
    config = client.config
    grants = [str(next(iter(row.values()))) for row in client.query("SHOW GRANTS")]
    missing = [] if config.embedded else missing_rights(grants, rights, config.database)
    if not missing:
        yield ok(name, f"{lacks}; the first run makes it")
        return
    by_role = any(" ON " not in line for line in grants)
    advice = (
        f"have somebody run `migrate` who may, or GRANT {', '.join(missing)} ON {config.database}.* TO {config.user}"
    )
    if by_role:
        yield warning(
            name, f"{lacks}; whether a role of {config.user} gives {', '.join(missing)} cannot be told", advice
        )
    else:
        yield failed(name, f"{lacks}, and {config.user} has no right to {', '.join(missing)}", advice)


def _tables(client: ClickHouse) -> Iterator[Check]:
    status = check_schema_status(client)
    existing = read_existing(client)
    windows = [problem for table in ALL_TABLES for problem in window_problems(table, existing)]
    others = [problem for problem in status.problems if problem not in windows]
    migrate = "run: python -m beam_pipeline migrate"
    if not existing:
        yield from _may(client, TABLES, (*_TO_MAKE, "SELECT", "INSERT"), "the tables do not exist")
    elif status.pending or status.missing_tables or status.missing_views:
        yield from _may(client, TABLES, _TO_CHANGE, "; ".join(_lacking(status)))
    elif others:
        yield failed(TABLES, "; ".join(others), migrate)
    else:
        yield ok(TABLES, f"version {status.version}{', replicated' if status.replicated else ''}")
    if windows:
        yield failed(WINDOWS, "; ".join(windows), migrate)
    elif existing:
        yield ok(WINDOWS, "set on every table that needs one")
    else:
        yield skipped(WINDOWS, "there are no tables yet")
    there = [table.name for table in ALL_TABLES if table.name in existing]
    yield _rights(client, there) if there else skipped(RIGHTS, "there are no tables yet")


def _lacking(status: SchemaStatus) -> list[str]:
    found = [f"migration {version} is not done" for version in status.pending]
    missing = [*status.missing_tables, *status.missing_views]
    return found + ([f"{counted(len(missing), 'table or view', 'tables or views')} missing"] if missing else [])


def _rights(client: ClickHouse, tables: list[str]) -> Check:
    """Reads from and inserts into each table, nothing: with the settings of a run, which a profile may forbid."""
    problems: dict[str, str] = {}
    for table in tables:
        try:
            client.insert_nothing(table)
        except ClickHouseError as error:
            problems[table] = str(error)
    if not problems:
        return ok(RIGHTS, f"on {counted(len(tables), 'table')}")
    table, reason = next(iter(problems.items()))
    more = f", and {len(problems) - 1} more like this" if len(problems) > 1 else ""
    config = client.config
    return failed(RIGHTS, f"{table}: {reason}{more}", f"GRANT SELECT, INSERT ON {config.database}.* TO {config.user}")


def _server(config: ClickHouseConfig, client: ClickHouse) -> Iterator[Check]:
    yield from _guarded((CLOCK,), lambda: _clock(client))
    yield from _guarded((SERVER,), lambda: _one_server(config))
    yield from _guarded((DISK,), lambda: _disk(config, client))


def _clock(client: ClickHouse) -> Iterator[Check]:
    before = time.time()
    (row,) = client.query("SELECT toUnixTimestamp64Milli(now64(3)) AS ms")
    middle_ms = (before + time.time()) * 500
    yield compare_clocks(
        CLOCK, int(row["ms"]) - middle_ms, "times in the load log are by both clocks; leases go by ClickHouse's"
    )


def _one_server(config: ClickHouseConfig) -> Iterator[Check]:
    """Whether several new connections come to one server: what is inserted is read back at once."""
    if config.embedded:
        yield ok(SERVER, "embedded")
        return
    names: dict[str, str] = {}
    for _ in range(_CONNECTIONS):
        with replace(config, database="default").connect() as client:
            (row,) = client.query("SELECT toString(serverUUID()) AS id, hostName() AS host")
            names[row["id"]] = row["host"]
    if len(names) == 1:
        yield ok(SERVER, f"{_CONNECTIONS} connections came to {next(iter(names.values()))}")
    else:
        yield failed(
            SERVER,
            f"{len(names)} servers answer at this address ({', '.join(sorted(names.values()))}), and what was inserted into "
            "one cannot be read from another at once",
            "give the address of one of them",
        )


def _disk(config: ClickHouseConfig, client: ClickHouse) -> Iterator[Check]:
    if config.path is not None:
        yield _disk_of(config.path)
        return
    try:
        rows = client.query("SELECT name, free_space FROM system.disks WHERE free_space > 0 AND type = 'Local'")
    except AccessDenied:
        yield skipped(DISK, "this user may not read system.disks")
        return
    if rows:
        least = min(rows, key=lambda row: int(row["free_space"]))
        yield _free(int(least["free_space"]), f"disk {least['name']} of the server")
    else:
        yield ok(DISK, "the server has no local disks")


def _disk_of(path: str) -> Check:
    return _free(shutil.disk_usage(path).free, path)


def _free(size: int, where: str) -> Check:
    found = f"{size / 1e9:,.1f} GB on {where}"
    if size >= _LITTLE_BYTES:
        return ok(DISK, found)
    return warning(DISK, found, "events take about a tenth of their files' size, and merges need room for a while")


def _runs(client: ClickHouse) -> Iterator[Check]:
    found = runs_under_way(client)
    yield ok(RUNS, f"{'; '.join(found)}; several may run at once" if found else "none")
