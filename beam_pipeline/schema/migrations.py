"""Brings a database to the declared schema in numbered steps, and tells, without touching it, whether it is there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from beam_pipeline.schema.options import MIN_DEDUP_WINDOW, SchemaOptions
from beam_pipeline.schema.rollups import ROLLUPS
from beam_pipeline.schema.tables import (
    EVENT_TABLES,
    FILES,
    LOADS,
    MIGRATIONS,
    MIGRATIONS_TABLE,
    REJECTED,
    Table,
    dedup_settings,
)
from transforms.clickhouse import ClickHouse, SchemaError
from transforms.events import TABLES

ALL_TABLES: tuple[Table, ...] = (
    *EVENT_TABLES,
    *(rollup.target for rollup in ROLLUPS.values()),
    REJECTED,
    LOADS,
    FILES,
    MIGRATIONS,
)
TABLE_NAMES: Mapping[str, str] = {event_type: table.table for event_type, table in TABLES.items()}
VIEW_NAMES: Mapping[str, str] = {event_type: table.stats_view for event_type, table in TABLES.items()}
_VIEWS = (*VIEW_NAMES.values(), *(rollup.materialized_view for rollup in ROLLUPS.values()))

_TTL_DAYS = re.compile(r"\bTTL (?!receipt_at)\w+ \+ toIntervalDay\((\d+)\)")
_SETTING = re.compile(r"(\w+) = (\d+)")


@dataclass(frozen=True)
class Migration:
    """A numbered step. Its statements may each be repeated, so that one that was cut short is simply done again."""

    version: int
    name: str

    def statements(self, options: SchemaOptions) -> Iterator[str]:
        """The statements in order: targets before the views that write into them, so that no insert is half rolled up."""
        days = options.new_ttls()
        for table in (REJECTED, LOADS, FILES, *(rollup.target for rollup in ROLLUPS.values()), *EVENT_TABLES):
            yield table.create(options, days.get(table.event_type, 0))
        for rollup in ROLLUPS.values():
            yield rollup.create_materialized_view(options)
        for rollup in ROLLUPS.values():
            yield rollup.create_view(options)

    @property
    def checksum(self) -> str:
        """Of what it does by default, to tell when a released migration was edited."""
        text = "\n".join(self.statements(SchemaOptions()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


MIGRATIONS_IN_ORDER = (Migration(1, "event tables, rollups with receipts, rejected events, load log"),)


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
    """Days that rows are kept, by event type; a type whose rows are kept for ever is not in it."""

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
    foreign = [problem for table in ALL_TABLES for problem in _differences(client, table)]
    if foreign:
        raise SchemaError(
            "the database has tables of the same names that are not ours:\n  "
            + "\n  ".join(foreign)
            + "\nuse another --clickhouse_database, or rename them"
        )
    client.command(MIGRATIONS.create(options))
    report = MigrationReport()
    done = _done(client)
    missing = _missing(client, _existing(client))
    for migration in MIGRATIONS_IN_ORDER:
        # A finished migration is done again when something of it was dropped since.
        if migration.version in done and not any(missing):
            continue
        _record(client, migration, "started")
        for statement in migration.statements(options):
            client.command(statement)
        _record(client, migration, "done")
        report.applied.append(migration.version)
    report.changed.extend(_apply_options(client, options))
    return report


def check_schema_status(client: ClickHouse) -> SchemaStatus:
    """Compares the database with what is declared. Reads only."""
    existing = _existing(client)
    missing_tables, missing_views = _missing(client, existing)
    done = _done(client) if MIGRATIONS_TABLE in existing else set()
    problems = [problem for table in ALL_TABLES for problem in _differences(client, table)]
    problems += _window_problems(existing)
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
            if (days := _ttl_days(existing.get(table.table, "")))
        },
    )


def drop_all_tables(client: ClickHouse, *, confirm: str) -> list[str]:
    """Drops every table and view of ours, with all data. `confirm` must be the database's name. Returns their names."""
    if confirm != client.config.database:
        raise SchemaError(f"confirm: {confirm!r} is not the name of the database, {client.config.database!r}")
    existing = _existing(client)
    ours = [name for name in (*_VIEWS, *(table.name for table in ALL_TABLES)) if name in existing]
    for name in ours:
        client.command(f"DROP TABLE IF EXISTS {name} SYNC")
    return ours


def _existing(client: ClickHouse) -> dict[str, str]:
    """The full engine declaration of every table and view of ours that there is."""
    rows = client.query(
        "SELECT name, engine_full FROM system.tables "
        "WHERE database = currentDatabase() AND startsWith(name, 'mastra_admin_')"
    )
    return {row["name"]: row["engine_full"] for row in rows}


def _missing(client: ClickHouse, existing: Mapping[str, str]) -> tuple[list[str], list[str]]:
    tables = [table.name for table in ALL_TABLES if table.name not in existing]
    return tables, [view for view in _VIEWS if view not in existing]


def _done(client: ClickHouse) -> set[int]:
    rows = client.query(f"SELECT DISTINCT version FROM {MIGRATIONS_TABLE} WHERE state = 'done'")
    return {row["version"] for row in rows}


def _record(client: ClickHouse, migration: Migration, state: str) -> None:
    schema = pa.schema(
        [("version", pa.uint32()), ("name", pa.string()), ("checksum", pa.string()), ("state", pa.string())]
    )
    row = {
        "version": migration.version,
        "name": migration.name,
        "checksum": migration.checksum,
        "state": state,
    }
    client.insert(MIGRATIONS_TABLE, pa.RecordBatch.from_pylist([row], schema))


def _differences(client: ClickHouse, table: Table) -> list[str]:
    """How a table that is there differs from the declared one, in columns, engine, keys; nothing for one that is not."""
    found = client.query(
        "SELECT engine, sorting_key, partition_key FROM system.tables "
        "WHERE database = currentDatabase() AND name = {name:String}",
        {"name": table.name},
    )
    if not found:
        return []
    (actual,) = found
    problems = []
    wanted = {"engine": table.engine.partition("(")[0], "sorting_key": ", ".join(table.order_by)}
    wanted["partition_key"] = table.partition_by
    engine = actual["engine"].removeprefix("Replicated").removeprefix("Shared")
    for name, value, expected in (
        ("engine", engine, wanted["engine"]),
        ("sorting key", actual["sorting_key"].strip("()"), wanted["sorting_key"]),
        ("partition key", actual["partition_key"], wanted["partition_key"]),
    ):
        if value != expected:
            problems.append(f"{table.name}: its {name} is {value or 'none'}, not {expected or 'none'}")
    columns = {
        row["name"]: row["type"]
        for row in client.query(
            "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {name:String}",
            {"name": table.name},
        )
    }
    for column in table.columns:
        there = columns.get(column.name)
        if there is None:
            problems.append(f"{table.name}: column {column.name} is missing")
        elif there != column.type:
            problems.append(f"{table.name}: column {column.name} is {there}, not {column.type}")
    return problems


def _window_problems(existing: Mapping[str, str]) -> list[str]:
    """Tables on which a repeated insert would not be recognised."""
    problems = []
    for table in ALL_TABLES:
        if table.deduplicated and table.name in existing:
            declaration = existing[table.name]
            replicated = declaration.startswith(("Replicated", "Shared"))
            name = "replicated_deduplication_window" if replicated else "non_replicated_deduplication_window"
            window = int(dict(_SETTING.findall(declaration)).get(name, 0))
            if window < MIN_DEDUP_WINDOW:
                problems.append(
                    f"{table.name}: {name} is {window}, so that repeated inserts would be counted twice; "
                    f"it must be at least {MIN_DEDUP_WINDOW}"
                )
    return problems


def _ttl_days(declaration: str) -> int:
    match = _TTL_DAYS.search(declaration)
    return int(match[1]) if match else 0


def _apply_options(client: ClickHouse, options: SchemaOptions) -> list[str]:
    """Changes the TTLs that are asked for, and windows that are too small, where they differ from what there is."""
    existing = _existing(client)
    cluster = f" ON CLUSTER `{options.cluster}`" if options.cluster else ""
    changed = []
    for table in ALL_TABLES:
        asked = options.ttl_of(table.event_type) if table.event_type else None
        if asked is not None and asked != _ttl_days(existing[table.name]):
            change = f"MODIFY TTL {table.ttl(asked)}" if table.ttl(asked) else "REMOVE TTL"
            client.command(f"ALTER TABLE {table.name}{cluster} {change}")
            changed.append(f"{table.name}: {change}")
        settings = dict(_SETTING.findall(existing[table.name]))
        windows = dedup_settings(options) if table.deduplicated else {}
        if any(int(settings.get(name, 0)) < value for name, value in windows.items()):
            change = "MODIFY SETTING " + ", ".join(f"{name} = {value}" for name, value in windows.items())
            client.command(f"ALTER TABLE {table.name}{cluster} {change}")
            changed.append(f"{table.name}: {change}")
    return changed
