"""The schema in the engine, over both transports: what migrate makes, keeps, refuses and drops, and what a check tells."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from beam_pipeline.query import ClickHouseQueryProvider, SchemaNotMigrated
from beam_pipeline.schema import (
    SchemaOptions,
    check_schema_status,
    connect_if_there,
    connect_or_create,
    drop_all_tables,
    run_migrations,
)
from beam_pipeline.worker import IngestionWorker, SchemaOutOfDate
from tests.support.databases import fresh_database
from tests.unit.schema import expected
from tests.unit.schema.rows import batch, event
from transforms.clickhouse import ClickHouse, ClickHouseConfig, SchemaError
from transforms.config import IngestConfig
from transforms.events import EVENT_TYPES, TABLES

UTC = timezone.utc
NOON = datetime(2100, 11, 20, 12, tzinfo=UTC)
"""In the future, so that no TTL deletes anything while a test counts."""
FOREIGN = "CREATE TABLE mastra_admin_traces (id String, x Int32) ENGINE = MergeTree ORDER BY id"
OURS = {*expected.TABLES, *expected.STATS_VIEWS, *expected.MATERIALIZED_VIEWS}
WITH_WINDOW = [name for name, table in expected.TABLES.items() if table.window]
WINDOW = "non_replicated_deduplication_window"
VERSIONS = [1, 2, 3, 4, 5, 6]
"""The migrations that there are."""


@pytest.fixture(scope="module", params=["embedded_admin", "server_admin"])
def shared(request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """A database that was migrated by default; tests leave it as whole as they find it."""
    with fresh_database(request.getfixturevalue(request.param)) as config, config.connect() as client:
        assert run_migrations(client).applied == VERSIONS
        yield client


@pytest.fixture
def migrated(clickhouse: ClickHouse) -> ClickHouse:
    run_migrations(clickhouse)
    return clickhouse


class ReadOnly:
    """A client with which nothing can be changed."""

    def __init__(self, client: ClickHouse) -> None:
        self.config = client.config
        self._client = client

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return self._client.query(sql, parameters, {"readonly": 2})


def everything(client: ClickHouse) -> list[dict[str, Any]]:
    """All that is in the database, by declaration and row count."""
    return client.query(
        "SELECT name, create_table_query, total_rows FROM system.tables "
        "WHERE database = currentDatabase() ORDER BY name"
    )


def declarations(client: ClickHouse) -> dict[str, dict[str, Any]]:
    rows = client.query(
        "SELECT name, engine, engine_full, sorting_key, partition_key, create_table_query FROM system.tables "
        "WHERE database = currentDatabase()"
    )
    return {row["name"]: row for row in rows}


def columns(client: ClickHouse) -> dict[str, list[str]]:
    rows = client.query(
        "SELECT table, name || ' ' || type || if(default_kind = '', '', concat(' ', default_kind, ' ', "
        "default_expression)) AS declared FROM system.columns WHERE database = currentDatabase() ORDER BY table, position"
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["table"], []).append(row["declared"])
    return found


def ttl_rule(declaration: str) -> str:
    found = re.search(r" TTL (.*?)(?: SETTINGS |$)", declaration)
    return found[1] if found else ""


def ttl_rules(client: ClickHouse) -> dict[str, str]:
    rules = {name: ttl_rule(row["engine_full"]) for name, row in declarations(client).items()}
    return {name: rules[name] for kind in TABLES.values() for name in (kind.table, kind.rollup)}


def days_kept(ttl_days: int, logs_ttl_days: int) -> dict[str, str]:
    """The rules as they must be, 0 for none."""
    rules = {}
    for event_type, table in TABLES.items():
        days = logs_ttl_days if event_type == "log" else ttl_days
        cells = f"hour + toIntervalDay({days}) WHERE receipt = '', " if days else ""
        rules[table.table] = f"{table.time_column} + toIntervalDay({days})" if days else ""
        rules[table.rollup] = cells + expected.RECEIPT_TTL
    return rules


def counts(client: ClickHouse, event_type: str) -> tuple[int, int, list[int]]:
    """Rows of the table, events that the stats view tells, and what the receipts say."""
    table = TABLES[event_type]
    (row,) = client.query(
        f"SELECT (SELECT count() FROM {table.table}) AS rows, (SELECT sum(count) FROM {table.stats_view}) AS counted, "
        f"(SELECT groupArray(count) FROM {table.rollup} WHERE receipt != '') AS receipts"
    )
    return row["rows"], row["counted"], row["receipts"]


# What migrate makes


def test_the_tables_and_views_are_those_declared_and_no_others(shared: ClickHouse) -> None:
    assert set(declarations(shared)) == OURS


def test_columns_are_those_declared(shared: ClickHouse) -> None:
    found = columns(shared)
    assert {name: set(found[name]) for name in expected.TABLES} == {
        name: table.columns for name, table in expected.TABLES.items()
    }
    assert {name: found[name] for name in expected.STATS_VIEWS} == expected.STATS_VIEWS


def test_engines_and_keys_are_those_declared(shared: ClickHouse) -> None:
    found = declarations(shared)
    for name, table in expected.TABLES.items():
        engine = re.split(" (?:PARTITION|ORDER) BY ", found[name]["engine_full"])[0]
        keys = (found[name]["sorting_key"].strip("()"), found[name]["partition_key"])
        assert (name, engine, *keys) == (name, table.engine, table.sorting_key, table.partition_key)


def test_ttls_are_those_declared(shared: ClickHouse) -> None:
    found = declarations(shared)
    assert {name: ttl_rule(found[name]["engine_full"]) for name in expected.TABLES} == {
        name: table.ttl for name, table in expected.TABLES.items()
    }


def test_windows_are_set_where_loading_inserts_and_what_saves_memory_only_embedded(shared: ClickHouse) -> None:
    saves_memory = {
        "min_columns_to_activate_adaptive_write_buffer",
        "vertical_merge_algorithm_min_columns_to_activate",
        "vertical_merge_algorithm_min_rows_to_activate",
    }
    found = declarations(shared)
    for name, table in expected.TABLES.items():
        settings = dict(re.findall(r"(\w+) = (\d+)", found[name]["engine_full"].partition(" SETTINGS ")[2]))
        wanted = {WINDOW: "100000"} if table.window else {}
        wanted |= dict.fromkeys(saves_memory, "1") if shared.config.embedded else {}
        settings.pop("index_granularity", None)
        assert (name, settings) == (name, wanted)


def test_lookups_by_id_have_indexes(shared: ClickHouse) -> None:
    rows = shared.query(
        "SELECT table, groupArray(expr || ' ' || type_full) AS indexes FROM system.data_skipping_indices "
        "WHERE database = currentDatabase() GROUP BY table"
    )
    assert {row["table"]: set(row["indexes"]) for row in rows} == {
        name: table.indexes for name, table in expected.TABLES.items() if table.indexes
    }


def test_views_read_the_rollups_and_materialized_views_write_them(shared: ClickHouse) -> None:
    found, database = declarations(shared), shared.config.database
    for name, target in expected.MATERIALIZED_VIEWS.items():
        source = target.removesuffix("_hourly")
        assert found[name]["engine"] == "MaterializedView"
        assert f" TO {database}.{target} (" in found[name]["create_table_query"]
        assert re.search(rf" FROM {database}\.{source}[ )]", found[name]["create_table_query"])
    for name in expected.STATS_VIEWS:
        assert found[name]["engine"] == "View"
        assert f" FROM {database}.{name.removesuffix('_stats')} AS " in found[name]["create_table_query"]


def test_a_second_migration_does_nothing(shared: ClickHouse) -> None:
    before = everything(shared)
    report = run_migrations(shared)
    assert (report.applied, report.changed, everything(shared)) == ([], [], before)


def test_a_migration_is_recorded(shared: ClickHouse) -> None:
    rows = shared.query(
        "SELECT version, state, name != '' AS sum FROM mastra_admin_schema_migrations ORDER BY state, version"
    )
    assert rows == [
        {"version": version, "state": state, "sum": 1} for state in ("started", "done") for version in VERSIONS
    ]


# What a check tells


def test_a_migrated_database_is_up_to_date(shared: ClickHouse) -> None:
    status = check_schema_status(ReadOnly(shared))
    assert (status.up_to_date, status.is_initialized, status.shortcomings()) == (True, True, [])
    assert (status.version, status.pending, status.missing_tables, status.missing_views) == (6, [], [], [])
    assert status.ttl_days == {"trace": 90, "span": 90, "log": 30, "metric": 90, "score": 90}


def test_a_check_of_an_empty_database_tells_that_all_is_missing_and_makes_nothing(clickhouse: ClickHouse) -> None:
    status = check_schema_status(ReadOnly(clickhouse))
    assert (status.up_to_date, status.is_initialized, status.version, status.pending) == (False, False, 0, VERSIONS)
    assert {*status.missing_tables, *status.missing_views} == OURS
    assert (status.problems, status.ttl_days) == ([], {})
    assert everything(clickhouse) == []


def test_looking_for_a_database_that_is_not_there_makes_none(clickhouse_config: ClickHouseConfig) -> None:
    absent = replace(clickhouse_config, database=f"{clickhouse_config.database}_absent")
    assert connect_if_there(absent) is None
    with clickhouse_config.connect() as client:
        ask = "SELECT count() AS n FROM system.databases WHERE name = {name:String}"
        assert client.query(ask, {"name": absent.database}) == [{"n": 0}]
        try:
            with connect_or_create(absent):
                assert client.query(ask, {"name": absent.database}) == [{"n": 1}]
        finally:
            client.command(f"DROP DATABASE IF EXISTS {absent.database} SYNC")


def test_what_is_missing_is_told_and_made_again(shared: ClickHouse) -> None:
    lost_tables = ["mastra_admin_logs", "mastra_admin_schema_migrations", "mastra_admin_traces_hourly"]
    lost_views = ["mastra_admin_scores_hourly_stats", "mastra_admin_spans_hourly_mv"]
    for name in (*lost_tables, *lost_views):
        shared.command(f"DROP TABLE {name} SYNC")
    before = everything(shared)
    status = check_schema_status(ReadOnly(shared))
    assert (sorted(status.missing_tables), sorted(status.missing_views)) == (lost_tables, lost_views)
    assert {line.partition(":")[0] for line in status.shortcomings()} == {
        *(f"migration {version}" for version in VERSIONS),
        *lost_tables,
        *lost_views,
    }
    assert (status.version, status.pending, status.is_initialized, status.up_to_date) == (0, VERSIONS, False, False)
    assert everything(shared) == before
    run_migrations(shared)
    assert check_schema_status(shared).up_to_date and set(declarations(shared)) == OURS


CHANGES = [
    ("mastra_admin_logs", "DROP COLUMN message", "column message is missing"),
    ("mastra_admin_scores", "MODIFY COLUMN value Float32", "column value is Float32, not Float64"),
    ("mastra_admin_spans", "RENAME COLUMN events TO occurrences", "column events is missing"),
    ("mastra_admin_ingest_files", "DROP COLUMN digest", "column digest is missing"),
    ("mastra_admin_ingest_files", "DROP COLUMN input", "column input is missing"),
    ("mastra_admin_ingest_journal", f"MODIFY SETTING {WINDOW} = 100", f"{WINDOW} is 100"),
    ("mastra_admin_traces", "DROP COLUMN event_hash", "column event_hash is missing"),
    ("mastra_admin_logs", "DROP COLUMN sequence", "column sequence is missing"),
    ("mastra_admin_rejected_events", f"MODIFY SETTING {WINDOW} = 0", f"{WINDOW} is 0"),
    ("mastra_admin_metrics", f"RESET SETTING {WINDOW}", f"{WINDOW} is 0"),
    ("mastra_admin_traces_hourly", f"MODIFY SETTING {WINDOW} = 999", f"{WINDOW} is 999"),
]


def test_every_change_by_hand_is_told_with_table_and_column(migrated: ClickHouse) -> None:
    for table, change, _ in CHANGES:
        migrated.command(f"ALTER TABLE {table} {change}")
    status = check_schema_status(ReadOnly(migrated))
    told = sorted(f"{table}: {problem}" for table, _, problem in CHANGES)
    assert [line[: len(wanted)] for line, wanted in zip(sorted(status.problems), told, strict=True)] == told
    assert status.shortcomings() == status.problems and not status.up_to_date and status.is_initialized


def test_no_run_starts_without_a_window_until_migrate_has_healed_it(shared: ClickHouse, tmp_path: Path) -> None:
    shared.command(f"ALTER TABLE mastra_admin_logs_hourly MODIFY SETTING {WINDOW} = 0")
    worker = IngestionWorker(IngestConfig(input=str(tmp_path), clickhouse=shared.config))
    with closing(worker), pytest.raises(SchemaOutOfDate, match=f"mastra_admin_logs_hourly: {WINDOW} is 0"):
        worker.process_once()
    assert run_migrations(shared).changed == [f"mastra_admin_logs_hourly: MODIFY SETTING {WINDOW} = 100000"]
    assert check_schema_status(shared).up_to_date


@pytest.mark.parametrize(("version", "lacks"), [(1, ("event_hash", "sequence")), (2, ("sequence",))])
def test_a_database_of_an_earlier_version_is_told_and_brought_up_to_date_with_its_rows(
    migrated: ClickHouse, tmp_path: Path, version: int, lacks: tuple[str, ...]
) -> None:
    wanted = declarations(migrated)
    for event_type in EVENT_TYPES:
        for column in lacks:
            migrated.command(f"ALTER TABLE {TABLES[event_type].table} DROP COLUMN {column}")
    of_later_versions = f"version > {version} SETTINGS mutations_sync = 2"
    migrated.command(f"ALTER TABLE mastra_admin_schema_migrations DELETE WHERE {of_later_versions}")
    pending = [later for later in VERSIONS if later > version]
    rows = batch("span", [event("span", NOON) for _ in range(3)], load_id="load", block="0")
    migrated.insert("mastra_admin_spans", rows)
    status = check_schema_status(ReadOnly(migrated))
    assert (status.version, status.pending, status.is_initialized, status.up_to_date) == (version, pending, True, False)
    assert sorted(status.problems) == sorted(
        f"{TABLES[kind].table}: column {column} is missing" for kind in EVENT_TYPES for column in lacks
    )
    worker = IngestionWorker(IngestConfig(input=str(tmp_path), clickhouse=migrated.config))
    with closing(worker), pytest.raises(SchemaOutOfDate, match=f"migration {version + 1}: is not done"):
        worker.process_once()
    provider, to_migrate = ClickHouseQueryProvider(migrated), rf"({'|'.join(lacks)}).*python -m beam_pipeline migrate$"
    with pytest.raises(SchemaNotMigrated, match=to_migrate):
        provider.list_spans()
    # Numbers need `sequence` only where events have several rows: then not a wrong answer, but the same error.
    if version == 1:
        with pytest.raises(SchemaNotMigrated, match=to_migrate):
            provider.error_rate(of="span", source="events")
    else:
        assert [group.count for group in provider.error_rate(of="span", source="events").groups] == [3]
        migrated.insert("mastra_admin_spans", rows, token="again")
        with pytest.raises(SchemaNotMigrated, match=r"sequence.*python -m beam_pipeline migrate$"):
            provider.error_rate(of="span", source="events")
        migrated.command("OPTIMIZE TABLE mastra_admin_spans FINAL")

    assert run_migrations(migrated).applied == pending
    assert check_schema_status(migrated).up_to_date and declarations(migrated) == wanted
    (there,) = migrated.query(
        "SELECT count() AS rows, countIf(event_hash = cityHash64(project_id, trace_id, span_id)) AS hashed "
        "FROM mastra_admin_spans"
    )
    assert there == {"rows": 3, "hashed": 3}
    assert ClickHouseQueryProvider(migrated).list_spans().total == 3


def test_files_of_version_01_are_told_by_their_paths_within_the_input(migrated: ClickHouse) -> None:
    """And their inputs by the directories that they were in. What no load has counts for nothing, and goes."""
    before_the_journal(migrated)
    of_loads = "INSERT INTO mastra_admin_ingest_loads (load_id, input, state, version) VALUES"
    migrated.command(
        f"{of_loads} ('a', '/in', 'assigned', 1), ('a', '/in', 'committed', 2), ('b', '/in/log', 'failed', 1)"
    )
    of_files = "INSERT INTO mastra_admin_ingest_files (path, load_id, range_start, range_end, state, version) VALUES"
    migrated.command(
        f"{of_files} ('/in/log/p/x.jsonl', 'a', 0, 9, 'assigned', 1), ('/in/log/p/x.jsonl', 'a', 0, 9, 'committed', 2), "
        "('/in/log/p/x.jsonl', 'a', 9, 12, 'released', 2), ('/in/log/log/p/x.jsonl', 'b', 0, 1, 'assigned', 1), "
        "('/in/log/p/x.jsonl', 'never recorded', 0, 9, 'assigned', 1)"
    )
    wanted = [
        ("/in", "log/p/x.jsonl", "a", 0, 9, "committed"),
        ("/in", "log/p/x.jsonl", "a", 9, 12, "released"),
        ("/in/log", "log/p/x.jsonl", "b", 0, 1, "assigned"),
    ]
    for _ in range(2):
        run_migrations(migrated)
        rows = migrated.query(
            "SELECT input, path, load_id, range_start, range_end, toString(state) FROM mastra_admin_ingest_files FINAL "
            "ORDER BY load_id, range_start"
        )
        assert [tuple(row.values()) for row in rows] == wanted
        # As if it had been killed at its end.
        migrated.command(
            "ALTER TABLE mastra_admin_schema_migrations DELETE WHERE version = 4 SETTINGS mutations_sync = 2"
        )


def test_a_database_of_the_version_before_the_journal_needs_that_alone(migrated: ClickHouse) -> None:
    wanted = declarations(migrated)
    before_the_journal(migrated)
    status = check_schema_status(ReadOnly(migrated))
    assert (status.version, status.pending, status.up_to_date) == (3, [4, 5, 6], False)
    assert sorted(status.missing_tables) == [f"mastra_admin_ingest_{name}" for name in ("inputs", "journal", "runs")]
    assert run_migrations(migrated).applied == [4, 5, 6]
    assert check_schema_status(migrated).up_to_date and declarations(migrated) == wanted


def before_the_journal(client: ClickHouse) -> None:
    """Takes away what migrations have brought from version 4 on."""
    for name in ("journal", "runs", "inputs"):
        client.command(f"DROP TABLE mastra_admin_ingest_{name} SYNC")
    columns = ("at_end", "input", "partly_in", "own_fault")
    client.command(f"ALTER TABLE mastra_admin_ingest_files {', '.join(f'DROP COLUMN {name}' for name in columns)}")
    client.command("ALTER TABLE mastra_admin_schema_migrations DELETE WHERE version >= 4 SETTINGS mutations_sync = 2")


# Tokens


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_block_that_is_inserted_twice_counts_once(shared: ClickHouse, event_type: str) -> None:
    rows = batch(event_type, [event(event_type, NOON) for _ in range(3)], load_id="load", block="0")
    for token in ("first", "first", "second", "first"):
        shared.insert(TABLES[event_type].table, rows, token=token)
    assert counts(shared, event_type) == (6, 6, [3, 3])


def test_a_window_is_as_large_as_asked_and_grows_when_more_is_asked(embedded: ClickHouse) -> None:
    run_migrations(embedded, SchemaOptions(dedup_window=5000))
    found = declarations(embedded)
    assert all(f" {WINDOW} = 5000" in found[name]["engine_full"] for name in WITH_WINDOW)
    assert check_schema_status(embedded).up_to_date
    report = run_migrations(embedded, SchemaOptions(dedup_window=6000))
    assert report.changed == [f"{name}: MODIFY SETTING {WINDOW} = 6000" for name in WITH_WINDOW]
    found = declarations(embedded)
    assert all(f" {WINDOW} = 6000" in found[name]["engine_full"] for name in WITH_WINDOW)


# How long rows are kept


def test_ttl_options_are_those_of_new_tables_and_their_rollups(clickhouse: ClickHouse) -> None:
    run_migrations(clickhouse, SchemaOptions(ttl_days=7, logs_ttl_days=0))
    assert ttl_rules(clickhouse) == days_kept(7, 0)
    assert check_schema_status(clickhouse).ttl_days == {"trace": 7, "span": 7, "metric": 7, "score": 7}

    report = run_migrations(clickhouse, SchemaOptions(logs_ttl_days=3))
    assert {change.partition(":")[0] for change in report.changed} == {"mastra_admin_logs", "mastra_admin_logs_hourly"}
    assert ttl_rules(clickhouse) == days_kept(7, 3)

    run_migrations(clickhouse, SchemaOptions(ttl_days=0, logs_ttl_days=36_500))
    assert ttl_rules(clickhouse) == days_kept(0, 36_500)
    assert check_schema_status(clickhouse).ttl_days == {"log": 36_500}


def test_a_ttl_that_is_asked_for_later_takes_what_is_old_but_no_receipts(embedded: ClickHouse) -> None:
    run_migrations(embedded, SchemaOptions(ttl_days=0, logs_ttl_days=0))
    for year in (1901, 1950, 2200, 2299):
        for kind in ("trace", "log"):
            rows = batch(kind, [event(kind, datetime(year, 1, 1, tzinfo=UTC))], load_id=str(year), block="0")
            embedded.insert(TABLES[kind].table, rows)
    assert counts(embedded, "trace") == counts(embedded, "log") == (4, 4, [1, 1, 1, 1])

    run_migrations(embedded, SchemaOptions(ttl_days=1, logs_ttl_days=36_500))
    while embedded.query("SELECT 1 FROM system.mutations WHERE database = currentDatabase() AND NOT is_done"):
        time.sleep(0.01)
    for kind in ("trace", "log"):
        for table in (TABLES[kind].table, TABLES[kind].rollup):
            embedded.command(f"OPTIMIZE TABLE {table} FINAL")
    assert counts(embedded, "trace") == (2, 2, [1, 1, 1, 1])
    assert counts(embedded, "log") == (3, 3, [1, 1, 1, 1])


def test_for_ever_is_for_ever_whatever_ttl_somebody_has_set(embedded: ClickHouse) -> None:
    run_migrations(embedded)
    embedded.command("ALTER TABLE mastra_admin_scores MODIFY TTL timestamp + INTERVAL 1 MONTH")
    run_migrations(embedded, SchemaOptions(ttl_days=0, logs_ttl_days=0))
    assert ttl_rules(embedded) == days_kept(0, 0)


# What migrate refuses, and drop


def test_a_table_of_another_product_is_refused_and_nothing_is_changed(clickhouse: ClickHouse) -> None:
    clickhouse.command(FOREIGN)
    clickhouse.command("INSERT INTO mastra_admin_traces VALUES ('a', 1)")
    before = everything(clickhouse)
    with pytest.raises(SchemaError, match="mastra_admin_traces: column trace_id is missing") as raised:
        run_migrations(clickhouse)
    assert "not ours" in str(raised.value) and "--clickhouse_database" in str(raised.value)
    assert everything(clickhouse) == before
    assert check_schema_status(ReadOnly(clickhouse)).up_to_date is False


def test_a_table_with_our_columns_and_another_key_is_refused(clickhouse: ClickHouse) -> None:
    declared = ", ".join(sorted(expected.TABLES["mastra_admin_scores"].columns))
    clickhouse.command(f"CREATE TABLE mastra_admin_scores ({declared}) ENGINE = MergeTree ORDER BY (project_id, id)")
    before = everything(clickhouse)
    with pytest.raises(SchemaError) as raised:
        run_migrations(clickhouse)
    for problem in (
        "engine is MergeTree, not ReplacingMergeTree",
        "sorting key is project_id, id, not project_id, deployment_id, timestamp, name, id",
        "partition key is none, not toYYYYMM(timestamp)",
    ):
        assert f"mastra_admin_scores: its {problem}" in str(raised.value)
    assert everything(clickhouse) == before


@pytest.mark.parametrize("name", ["mastra_admin_traces_hourly_stats", "mastra_admin_traces_hourly_mv"])
def test_a_table_in_the_place_of_a_view_is_refused_and_keeps_its_rows(clickhouse: ClickHouse, name: str) -> None:
    # In the TypeScript product …_hourly_stats are not views but hold rows.
    clickhouse.command(
        f"CREATE TABLE {name} (project_id String, count UInt64) ENGINE = SummingMergeTree ORDER BY project_id"
    )
    clickhouse.command(f"INSERT INTO {name} VALUES ('p', 1)")
    before = everything(clickhouse)
    with pytest.raises(SchemaError, match=name):
        run_migrations(clickhouse)
    assert everything(clickhouse) == before


VIEWS_OF_ANOTHER_VERSION = {
    "mastra_admin_logs_hourly_mv": "ALTER TABLE {} MODIFY QUERY SELECT project_id, now() AS hour FROM mastra_admin_logs",
    "mastra_admin_logs_hourly_stats": "CREATE OR REPLACE VIEW {} AS SELECT 1",
}


@pytest.mark.parametrize("name", VIEWS_OF_ANOTHER_VERSION)
def test_a_view_of_another_version_is_told_and_replaced(migrated: ClickHouse, name: str) -> None:
    before = declarations(migrated)
    migrated.command(VIEWS_OF_ANOTHER_VERSION[name].format(name))
    migrated.command(f"ALTER TABLE {name} MODIFY COMMENT 'select of another version'")
    assert check_schema_status(migrated).problems == [f"{name}: is of another version of this program"]
    assert run_migrations(migrated).changed == [f"{name}: replaced by this version's"]
    assert declarations(migrated) == before
    assert check_schema_status(migrated).up_to_date


def test_options_that_are_wrong_change_nothing(clickhouse: ClickHouse) -> None:
    with pytest.raises(SchemaError, match=r"--ttl_days: -1.*--dedup_window: 0"):
        run_migrations(clickhouse, SchemaOptions(ttl_days=-1, dedup_window=0))
    assert everything(clickhouse) == []


@pytest.mark.parametrize("confirm", ["", "yes", "default"])
def test_drop_asks_for_the_name_of_the_database(shared: ClickHouse, confirm: str) -> None:
    with pytest.raises(SchemaError, match=f"not the name of the database, '{shared.config.database}'"):
        drop_all_tables(shared, confirm=confirm)
    assert set(declarations(shared)) == OURS


def test_drop_takes_what_is_ours_and_leaves_the_rest(migrated: ClickHouse) -> None:
    others = ["another", "mastra_admin_users"]
    for name in others:
        migrated.command(f"CREATE TABLE {name} (id String) ENGINE = MergeTree ORDER BY id")
        migrated.command(f"INSERT INTO {name} VALUES ('a')")
    migrated.command("DROP TABLE mastra_admin_logs SYNC")
    dropped = drop_all_tables(migrated, confirm=migrated.config.database)
    assert sorted(dropped) == sorted(OURS - {"mastra_admin_logs"})
    assert [(row["name"], row["total_rows"]) for row in everything(migrated)] == [(name, 1) for name in others]
    assert drop_all_tables(migrated, confirm=migrated.config.database) == []


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        ("timestamp + INTERVAL 45 DAY", 45),
        ("timestamp + INTERVAL 45 DAY DELETE, timestamp + INTERVAL 7 DAY RECOMPRESS CODEC(ZSTD(9))", 45),
        ("timestamp + INTERVAL 7 DAY RECOMPRESS CODEC(ZSTD(9))", None),
        ("timestamp + INTERVAL 2 MONTH", 0),
        ("timestamp + INTERVAL 45 DAY DELETE WHERE level = 'debug'", 0),
    ],
)
def test_the_status_tells_how_long_rows_are_kept_and_when_nobody_knows(
    embedded: ClickHouse, rule: str, days: int | None
) -> None:
    run_migrations(embedded)
    embedded.command(f"ALTER TABLE mastra_admin_logs MODIFY TTL {rule}")
    assert check_schema_status(embedded).ttl_days.get("log") == days
