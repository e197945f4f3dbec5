"""Migrations that are killed, or run at once: the next one finishes them. On the embedded engine, for speed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from beam_pipeline.schema import SchemaOptions, check_schema_status, drop_all_tables, run_migrations
from transforms.clickhouse import ClickHouse
from transforms.events import EVENT_TYPES, TABLES
from transforms.loads.inputs import INPUTS_TABLE
from transforms.loads.journal import JOURNAL_TABLE
from transforms.loads.runs import RUNS_TABLE

OPTIONS = SchemaOptions(ttl_days=7, logs_ttl_days=0, embedded=True)
OF_LATER_MIGRATIONS = {JOURNAL_TABLE, RUNS_TABLE, INPUTS_TABLE}
OTHER_OPTIONS = SchemaOptions(ttl_days=0, logs_ttl_days=9, dedup_window=200_000, embedded=True)


class Killed(Exception):
    """Stands for the end of the process."""


class Mortal:
    """A client that does so many statements and no more."""

    def __init__(self, client: ClickHouse, statements: int) -> None:
        self.config, self.query = client.config, client.query
        self._client, self._left = client, statements

    def command(self, sql: str) -> None:
        self._live()
        self._client.command(sql)

    def insert(self, table: str, rows: Any, **options: Any) -> None:
        self._live()
        self._client.insert(table, rows, **options)

    def _live(self) -> None:
        if not self._left:
            raise Killed
        self._left -= 1


@contextmanager
def migrated(client: ClickHouse, options: SchemaOptions) -> Iterator[None]:
    run_migrations(client, options)
    try:
        yield
    finally:
        drop_all_tables(client, confirm=client.config.database)


def declared(client: ClickHouse) -> list[dict[str, Any]]:
    return client.query(
        "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name"
    )


def names(client: ClickHouse) -> set[str]:
    return {row["name"] for row in declared(client)}


def recorded(client: ClickHouse) -> list[dict[str, Any]]:
    return client.query("SELECT DISTINCT version, name, state FROM mastra_admin_schema_migrations ORDER BY ALL")


def survives(client: ClickHouse, options: SchemaOptions, statements: int) -> bool:
    try:
        run_migrations(Mortal(client, statements), options)
    except Killed:
        return False
    return True


def test_a_migration_killed_after_any_statement_is_finished_by_the_next(embedded: ClickHouse) -> None:
    with migrated(embedded, OPTIONS):
        wanted, names_wanted = (declared(embedded), recorded(embedded)), names(embedded)
    for statements in itertools.count():
        if survives(embedded, OPTIONS, statements):
            break
        made = names(embedded)
        assert made < names_wanted or not check_schema_status(embedded).up_to_date, statements
        # Each run goes on from where the one before was killed; to let each fifth end keeps the test short.
        if statements % 5:
            continue
        run_migrations(embedded, OPTIONS)
        assert (declared(embedded), recorded(embedded)) == wanted, statements
        for name in names(embedded) - made | {"mastra_admin_schema_migrations"}:
            embedded.command(f"DROP TABLE {name} SYNC")
    # Only the first run of them all finds an empty database; the others do one migration after the other.
    assert statements >= len(names_wanted - OF_LATER_MIGRATIONS) + 2, (
        "each table and view of the first migration, that it was started and done"
    )
    assert (declared(embedded), recorded(embedded)) == wanted


def test_a_migration_that_adds_columns_is_finished_by_the_next(embedded: ClickHouse) -> None:
    run_migrations(embedded, OPTIONS)
    wanted = declared(embedded), recorded(embedded)
    for event_type in EVENT_TYPES:
        embedded.command(f"ALTER TABLE {TABLES[event_type].table} DROP COLUMN sequence")
    embedded.command("ALTER TABLE mastra_admin_schema_migrations DELETE WHERE version = 3 SETTINGS mutations_sync = 2")
    for statements in itertools.count():
        if survives(embedded, OPTIONS, statements):
            break
        assert not check_schema_status(embedded).up_to_date
    assert statements == len(EVENT_TYPES) + 3, "each column, the table that records it, that it was started and done"
    assert (declared(embedded), recorded(embedded)) == wanted


def test_options_that_were_applied_in_part_are_finished_by_the_next(embedded: ClickHouse) -> None:
    with migrated(embedded, OTHER_OPTIONS):
        wanted = declared(embedded)
    run_migrations(embedded, OPTIONS)
    # Each run takes up where the one before was killed, and gets a little further.
    runs = next(runs for runs in itertools.count(1) if survives(embedded, OTHER_OPTIONS, 1 + runs))
    assert declared(embedded) == wanted
    assert runs > 5, "TTL and window of each event table and rollup, and a window more"


def test_a_killed_repair_of_what_was_dropped_is_finished_by_the_next(embedded: ClickHouse) -> None:
    run_migrations(embedded, OPTIONS)
    wanted = declared(embedded)
    for name in ("mastra_admin_spans_hourly", "mastra_admin_spans_hourly_mv", "mastra_admin_spans_hourly_stats"):
        embedded.command(f"DROP TABLE {name} SYNC")
    assert not survives(embedded, OPTIONS, 10)
    assert not check_schema_status(embedded).up_to_date
    run_migrations(embedded, OPTIONS)
    assert declared(embedded) == wanted


def test_migrations_at_once_come_to_the_same_end(embedded: ClickHouse) -> None:
    with migrated(embedded, OPTIONS):
        wanted = declared(embedded), recorded(embedded)
    start = threading.Barrier(4)

    def run(_: int) -> list[int]:
        start.wait()
        return run_migrations(embedded, OPTIONS).applied

    with ThreadPoolExecutor(start.parties) as threads:
        assert [1, 2, 3, 4, 5, 6] in threads.map(run, range(start.parties))
    assert (declared(embedded), recorded(embedded)) == wanted
