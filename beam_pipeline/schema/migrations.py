"""Brings a database to the declared schema in numbered steps, and tells, without touching it, whether it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from beam_pipeline.schema.inspection import (
    Existing,
    missing_columns,
    read_existing,
    table_differences,
    view_differences,
    window_problems,
)
from beam_pipeline.schema.options import SchemaOptions
from beam_pipeline.schema.rollups import ROLLUPS
from beam_pipeline.schema.table import Table, dedup_settings
from beam_pipeline.schema.tables import (
    EVENT_TABLES,
    FILES,
    INPUTS,
    JOURNAL,
    LOADS,
    MIGRATIONS,
    MIGRATIONS_TABLE,
    REJECTED,
    RUNS,
)
from beam_pipeline.schema.views import View
from transforms.clickhouse import SchemaError
from transforms.clickhouse.batches import batch_of
from transforms.events import TABLES

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

ALL_TABLES: tuple[Table, ...] = (
    *EVENT_TABLES,
    *(rollup.target for rollup in ROLLUPS.values()),
    REJECTED,
    LOADS,
    FILES,
    JOURNAL,
    RUNS,
    INPUTS,
    MIGRATIONS,
)
ALL_VIEWS: tuple[View, ...] = (
    *(rollup.stats_view for rollup in ROLLUPS.values()),
    *(rollup.materialized_view for rollup in ROLLUPS.values()),
)
TABLE_NAMES: Mapping[str, str] = {event_type: table.table for event_type, table in TABLES.items()}
VIEW_NAMES: Mapping[str, str] = {event_type: table.stats_view for event_type, table in TABLES.items()}


@dataclass(frozen=True)
class Migration:
    """A numbered step. Its statements may each be repeated, so that one that was cut short is simply done again."""

    version: int
    name: str
    statements: Callable[[SchemaOptions], Iterator[str]]


def _create_everything(options: SchemaOptions) -> Iterator[str]:
    """What a new database has: all tables and views as they are declared now."""
    yield from _create_later(4, options)
    yield from _create_first(options)


def _create_first(options: SchemaOptions) -> Iterator[str]:
    """Targets before the views that write into them, so that no insert is half rolled up."""
    days = options.new_ttls()
    for table in (REJECTED, LOADS, FILES, *(rollup.target for rollup in ROLLUPS.values()), *EVENT_TABLES):
        yield table.create(options, days.get(table.event_type, 0))
    for rollup in ROLLUPS.values():
        yield rollup.materialized_view.create(options)
    for rollup in ROLLUPS.values():
        yield rollup.stats_view.create(options)


def _create_later(version: int, options: SchemaOptions) -> Iterator[str]:
    for table in ALL_TABLES:
        if table.since == version:
            yield table.create(options)


def _add_columns(version: int, options: SchemaOptions) -> Iterator[str]:
    """Tables that the first migration has just made have them."""
    for table in ALL_TABLES:
        yield from table.add_columns(version, options)


def _add_journal(options: SchemaOptions) -> Iterator[str]:
    """Files in the log go by their path within the input from here on, wherever that is."""
    yield from _create_later(4, options)
    yield from _add_columns(4, options)
    columns = ", ".join(column.name for column in FILES.columns if column.since < 4 and column.name != "path")
    yield f"""
        INSERT INTO {FILES.name} (path, input, {columns})
        SELECT substring(f.path, length(l.prefix) + 1), l.input, {columns}
        FROM (SELECT * FROM {FILES.name} FINAL WHERE input = '') AS f
        INNER JOIN (
            SELECT load_id AS id, input, concat(trim(TRAILING '/' FROM input), '/') AS prefix FROM {LOADS.name} FINAL
        ) AS l ON f.load_id = l.id
        WHERE startsWith(f.path, l.prefix)
    """
    # Not ON CLUSTER, as the insert is not: replicated tables pass both on by themselves.
    yield f"ALTER TABLE {FILES.name} DELETE WHERE input = '' SETTINGS mutations_sync = 2"


MIGRATIONS_IN_ORDER = (
    Migration(1, "event tables, rollups with receipts, rejected events, load log", _create_first),
    Migration(2, "hashes of what identifies an event", partial(_add_columns, 2)),
    Migration(3, "the order of rows that one chunk of a load delivered", partial(_add_columns, 3)),
    Migration(4, "journal, runs and inputs; paths within the input", _add_journal),
    Migration(5, "loads that have a part of a file which its slices do not tell of", partial(_add_columns, 5)),
    Migration(6, "failed attempts at a file that are the file's own fault", partial(_add_columns, 6)),
)


@dataclass(frozen=True)
class MigrationReport:
    """What `run_migrations` did: the versions it applied, and the changes that options asked for."""

    applied: list[int] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SchemaStatus:
    """How a database compares with what is declared."""

    is_initialized: bool
    """Every table and view is there."""
    version: int
    """The last migration that was finished; 0 for none."""
    pending: list[int]
    missing_tables: list[str]
    missing_views: list[str]
    problems: list[str]
    """What makes loading unsafe or impossible, in sentences: windows that are not set, columns or engines that differ."""
    ttl_days: Mapping[str, int]
    """Days that rows are kept, by event type. Absent: for ever. 0: by TTL rules that are not ours."""
    replicated: bool = False
    """Whether the journal is a replicated table."""

    @property
    def up_to_date(self) -> bool:
        """Whether loading can start."""
        return not self.shortcomings()

    def shortcomings(self) -> list[str]:
        """What keeps loading from starting, in sentences; nothing when the database is up to date."""
        missing = [f"{name}: is missing" for name in (*self.missing_tables, *self.missing_views)]
        return [*(f"migration {version}: is not done" for version in self.pending), *missing, *self.problems]


def run_migrations(client: ClickHouse, options: SchemaOptions | None = None) -> MigrationReport:
    """Applies what is pending, and the TTLs that are asked for. Safe to repeat, to kill, and to run twice at once.

    Raises SchemaError before anything is changed when a table of another shape has one of our names.
    """
    options = options or SchemaOptions(embedded=client.config.embedded)
    problems = options.problems()
    if problems:
        raise SchemaError("; ".join(problems))
    foreign = _differences(read_existing(client))
    if foreign:
        raise SchemaError(
            "the database has tables of the same names that are not ours:\n  "
            + "\n  ".join(foreign)
            + "\nuse another --clickhouse_database, or rename them"
        )
    client.command(MIGRATIONS.create(options))
    report = MigrationReport()
    done = _done(client)
    existing = read_existing(client)
    incomplete = {column.since for table in ALL_TABLES for column in missing_columns(table, existing)}
    incomplete |= {table.since for table in ALL_TABLES if table.name not in existing}
    incomplete |= {1 for view in ALL_VIEWS if view.name not in existing}
    if not done and set(existing) == {MIGRATIONS_TABLE}:
        # An empty database gets the tables as they are declared now, and needs nothing of what brings older ones there.
        _record(client, MIGRATIONS_IN_ORDER, "started")
        for statement in _create_everything(options):
            client.command(statement)
        _record(client, MIGRATIONS_IN_ORDER, "done")
        report.applied.extend(migration.version for migration in MIGRATIONS_IN_ORDER)
        return report
    for migration in MIGRATIONS_IN_ORDER:
        # A finished migration is done again when something of it was dropped since.
        if migration.version in done and migration.version not in incomplete:
            continue
        _record(client, [migration], "started")
        for statement in migration.statements(options):
            client.command(statement)
        _record(client, [migration], "done")
        report.applied.append(migration.version)
    report.changed.extend(_apply_options(client, options))
    return report


def check_schema_status(client: ClickHouse) -> SchemaStatus:
    """Compares the database with what is declared. Reads only."""
    existing = read_existing(client)
    missing_tables, missing_views = _missing(existing)
    done = _done(client) if MIGRATIONS_TABLE in existing else set()
    problems = _differences(existing)
    for table in ALL_TABLES:
        problems += [f"{table.name}: column {column.name} is missing" for column in missing_columns(table, existing)]
    problems += [problem for table in ALL_TABLES for problem in window_problems(table, existing)]
    problems += [f"{view.name}: is of another version of this program" for view in _outdated(existing)]
    return SchemaStatus(
        is_initialized=not missing_tables and not missing_views,
        version=max(done, default=0),
        pending=[migration.version for migration in MIGRATIONS_IN_ORDER if migration.version not in done],
        missing_tables=missing_tables,
        missing_views=missing_views,
        problems=problems,
        ttl_days={
            event_type: days
            for event_type, table in TABLES.items()
            if table.table in existing and (days := existing[table.table].ttl_days) is not None
        },
        replicated=JOURNAL.name in existing and existing[JOURNAL.name].replicated,
    )


def drop_all_tables(client: ClickHouse, *, confirm: str) -> list[str]:
    """Drops every table and view of ours, with all data. `confirm` must be the database's name. Returns their names."""
    if confirm != client.config.database:
        raise SchemaError(f"confirm: {confirm!r} is not the name of the database, {client.config.database!r}")
    existing = read_existing(client)
    ours = [
        name for name in (*(view.name for view in ALL_VIEWS), *(table.name for table in ALL_TABLES)) if name in existing
    ]
    for name in ours:
        client.command(f"DROP TABLE IF EXISTS {name} SYNC")
    return ours


def _missing(existing: Mapping[str, Existing]) -> tuple[list[str], list[str]]:
    tables = [table.name for table in ALL_TABLES if table.name not in existing]
    return tables, [view.name for view in ALL_VIEWS if view.name not in existing]


def _differences(existing: Mapping[str, Existing]) -> list[str]:
    """What stands under our names and is not what it should be."""
    problems = [problem for table in ALL_TABLES for problem in table_differences(table, existing)]
    return problems + [problem for view in ALL_VIEWS for problem in view_differences(view, existing)]


def _outdated(existing: Mapping[str, Existing]) -> list[View]:
    return [view for view in ALL_VIEWS if view.name in existing and existing[view.name].comment != view.comment]


def _done(client: ClickHouse) -> set[int]:
    rows = client.query(f"SELECT DISTINCT version FROM {MIGRATIONS_TABLE} WHERE state = 'done'")
    return {row["version"] for row in rows}


def _record(client: ClickHouse, migrations: Sequence[Migration], state: str) -> None:
    columns = {"version": "uint32", "name": "string", "state": "string"}
    rows = [{"version": migration.version, "name": migration.name, "state": state} for migration in migrations]
    client.insert(MIGRATIONS_TABLE, batch_of(rows, columns), idempotent=True)


def _apply_options(client: ClickHouse, options: SchemaOptions) -> list[str]:
    """Changes the TTLs that are asked for, windows that are too small, and views of other versions."""
    existing = read_existing(client)
    changed = []
    for table in ALL_TABLES:
        actual = existing[table.name]
        changes = []
        asked = options.ttl_of(table.event_type) if table.event_type else None
        if asked is not None and actual.ttl != table.ttl(asked).replace(" DELETE ", " "):
            changes.append(f"MODIFY TTL {table.ttl(asked)}" if table.ttl(asked) else "REMOVE TTL")
        windows = dedup_settings(options) if table.deduplicated else {}
        if any(actual.settings.get(name, 0) < value for name, value in windows.items()):
            changes.append("MODIFY SETTING " + ", ".join(f"{name} = {value}" for name, value in windows.items()))
        for change in changes:
            client.command(f"ALTER TABLE {table.name}{options.on_cluster} {change}")
            changed.append(f"{table.name}: {change}")
    for view in _outdated(existing):
        for statement in view.replace(options):
            client.command(statement)
        changed.append(f"{view.name}: replaced by this version's")
    return changed
