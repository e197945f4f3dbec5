"""Statements for servers that no test has: clusters and replicated tables. They are parsed, not run."""

from __future__ import annotations

import pytest

from beam_pipeline.schema import SchemaOptions
from beam_pipeline.schema.migrations import MIGRATIONS_IN_ORDER
from beam_pipeline.schema.tables import MIGRATIONS
from tests.unit.schema import expected
from transforms.clickhouse import ClickHouse
from transforms.loads.rows import FILES_TABLE

VARIANTS = {
    "plain": SchemaOptions(),
    "cluster": SchemaOptions(cluster="{cluster}"),
    "replicated": SchemaOptions(replicated=True, dedup_window=5000),
    "both": SchemaOptions(cluster="a-b.c", replicated=True),
}


def statements(options: SchemaOptions) -> list[str]:
    migrations = (statement for migration in MIGRATIONS_IN_ORDER for statement in migration.statements(options))
    return [MIGRATIONS.create(options), *migrations]


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_each_statement_is_one_that_the_engine_reads_and_may_be_repeated(
    embedded_admin: ClickHouse, options: SchemaOptions
) -> None:
    for statement in statements(options):
        embedded_admin.query("SELECT formatQuery({statement:String})", {"statement": statement})  # fails if it cannot
        # What is inserted replaces itself; what is deleted is what was there before.
        is_insert = statement.split()[:3] == ["INSERT", "INTO", FILES_TABLE]
        is_delete = f"ALTER TABLE {FILES_TABLE} " in statement and " DELETE WHERE input = '' " in statement
        assert " IF NOT EXISTS " in statement or "OR REPLACE VIEW" in statement or is_insert or is_delete
        assert (f" ON CLUSTER `{options.cluster}`" in statement) == (
            bool(options.cluster) and not (is_insert or is_delete)
        )


def test_replicated_tables_remember_inserts_for_thirty_days() -> None:
    window = "replicated_deduplication_window = 5000, replicated_deduplication_window_seconds = 2592000"
    tables = [statement for statement in statements(VARIANTS["replicated"]) if "CREATE TABLE" in statement]
    assert len(tables) == len(expected.TABLES)
    for statement in tables:
        name = statement.split()[5]
        assert f"ENGINE = Replicated{expected.TABLES[name].engine}" in statement
        assert (window in statement) == expected.TABLES[name].window


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (SchemaOptions(ttl_days=36_501), "--ttl_days: 36501 must be from 0"),
        (SchemaOptions(logs_ttl_days=-1), "--logs_ttl_days: -1 must be from 0"),
        (SchemaOptions(dedup_window=999), "--dedup_window: 999 must be at least 1000"),
        (SchemaOptions(cluster="a` b"), "--cluster: 'a` b' is not a cluster's name"),
        (SchemaOptions(cluster="a\n"), "--cluster: 'a\\n' is not a cluster's name"),
        (SchemaOptions(cluster=""), "--cluster: '' is not a cluster's name"),
    ],
)
def test_options_that_cannot_work_are_told(options: SchemaOptions, problem: str) -> None:
    (told,) = options.problems()
    assert told.startswith(problem)


@pytest.mark.parametrize("options", [*VARIANTS.values(), SchemaOptions(ttl_days=0, logs_ttl_days=36_500)])
def test_options_that_work_have_no_problems(options: SchemaOptions) -> None:
    assert options.problems() == []
