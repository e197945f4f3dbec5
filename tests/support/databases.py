"""Databases for tests: fresh ones, and all tables in them without running the migrations each time.

The migrations take some forty statements and look at the database in between. Once they have run in this process, what
they made is known and made again from that: a statement for each table and view, and their rows.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from beam_pipeline.cli import main
from beam_pipeline.schema import SchemaOptions, run_migrations
from beam_pipeline.schema.tables import MIGRATIONS_TABLE
from tests.support import processes
from transforms.clickhouse import ClickHouse, ClickHouseConfig

FOR_EVER = SchemaOptions(ttl_days=0, logs_ttl_days=0)
"""Nothing expires."""


@contextmanager
def fresh_database(admin: ClickHouse) -> Iterator[ClickHouseConfig]:
    """Makes a database and drops it."""
    database = f"t_{uuid.uuid4().hex[:12]}"
    admin.command(f"CREATE DATABASE {database}")
    try:
        yield replace(admin.config, database=database)
    finally:
        admin.command(f"DROP DATABASE {database} SYNC")


@dataclass(frozen=True)
class Made:
    """What the migrations have made in a database."""

    database: str
    statements: tuple[str, ...]
    """Creates each table and view, in this database by name; views come behind what they read."""
    rows: tuple[tuple[str, pa.Table], ...]
    """What stands in the tables that are not empty, by table."""

    @staticmethod
    def read(client: ClickHouse) -> Made:
        found = client.query(
            "SELECT name, create_table_query, total_rows > 0 AS filled FROM system.tables "
            "WHERE database = currentDatabase() ORDER BY endsWith(engine, 'View'), name"
        )
        rows = ((row["name"], client.query_arrow(f"SELECT * FROM {row['name']}")) for row in found if row["filled"])
        return Made(client.config.database, tuple(row["create_table_query"] for row in found), tuple(rows))

    def make(self, client: ClickHouse) -> None:
        for statement in self.statements:
            client.command(statement.replace(f"{self.database}.", f"{client.config.database}."))
        for name, rows in self.rows:
            client.insert(name, rows, idempotent=True)


_made: dict[tuple[str, SchemaOptions], Made] = {}


def make_tables(client: ClickHouse, options: SchemaOptions | None = None) -> None:
    """Makes in an empty database what `run_migrations` makes there with these options.

    The first time in this process, for a server and options, by `run_migrations` itself. Not for tests of migrations.
    """
    options = options or SchemaOptions(embedded=client.config.embedded)
    key = (client.config.url, options)
    if key in _made:
        _made[key].make(client)
    else:
        run_migrations(client, options)
        _made[key] = Made.read(client)


def empty_tables(client: ClickHouse) -> None:
    """Takes all rows out of the tables, and with them the tokens of their inserts: what comes again counts again."""
    for row in client.query(
        "SELECT DISTINCT table FROM system.parts WHERE database = currentDatabase() AND table != {migrations:String}",
        {"migrations": MIGRATIONS_TABLE},
    ):
        client.command(f"TRUNCATE TABLE {row['table']}")


def make_database_to_copy(directory: Path) -> Path:
    """Makes an embedded database with all tables in a directory, by the command that makes them, in its own process."""
    said = directory.with_name(f"{directory.name}.txt")
    process = processes.start(main, ["migrate", f"--clickhouse_url=chdb://{directory}"], said)
    process.join()
    assert process.exitcode == 0, said.read_text()
    return directory


def copy_database(source: Path, target: Path) -> None:
    """Copies an embedded database that nobody has open. Its links lead from within to within."""
    shutil.copytree(source, target, symlinks=True)
