"""A database and an input that version 0.1 left in the middle of everything: a later version finishes them.

The fixture is `tests/support/version_01`. With 0.1 itself this shows that the fixture is right, with a later version that it
takes over. Nothing is asked of the load log but for the documented columns of `mastra_admin_ingest_loads`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from beam_pipeline import IngestConfig, IngestionWorker, ProcessingResult
from beam_pipeline.schema import MigrationReport, SchemaStatus, check_schema_status, run_migrations
from beam_pipeline.schema.migrations import MIGRATIONS_IN_ORDER
from tests.conftest import fresh_database
from tests.support.version_01 import Expected, counts, restore, wrongs
from transforms.clickhouse import ClickHouse
from transforms.events import TABLES

LATER = [migration.version for migration in MIGRATIONS_IN_ORDER if migration.version > 3]
"""Steps of the schema that 0.1 does not know."""

CHANGED = {"released", "given_back", "grown", "grown_part", "grown_in_a_line", "grown_inserted"}
"""Scenarios of which a file is not the one that was recorded."""


@dataclass
class TakeOver:
    """What was so one step after the other: the database as it was left, migrated, and after two runs."""

    client: ClickHouse
    root: Path
    expected: Expected
    restored: SchemaStatus
    restored_counts: dict[str, dict[str, int]]
    restored_wrongs: list[str]
    p50: list[tuple[float, float, float]]
    """Least, middle and greatest of each cell of a rollup."""
    report: MigrationReport
    migrated: SchemaStatus
    migrated_counts: dict[str, dict[str, int]]
    first: ProcessingResult
    wrongs: list[str]
    """After the first run."""
    second: ProcessingResult


@pytest.fixture(scope="module", params=["embedded_admin", "server_admin"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TakeOver]:
    root = tmp_path_factory.mktemp("version_01") / "observability"
    with fresh_database(request.getfixturevalue(request.param)) as config, config.connect() as client:
        expected = restore(client, root)
        restored, restored_counts, restored_wrongs = check_schema_status(client), counts(client), wrongs(client, root)
        cells = client.query(f"SELECT min_duration_ms, p50, max_duration_ms FROM {TABLES['trace'].stats_view}")
        report = run_migrations(client)
        migrated, migrated_counts = check_schema_status(client), counts(client)
        worker = IngestionWorker(IngestConfig(input=str(root), clickhouse=config))
        worker.init()
        first = worker.process_once()
        found = wrongs(client, root)
        second = worker.process_once()
        worker.close()
        yield TakeOver(
            client=client,
            root=root,
            expected=expected,
            restored=restored,
            restored_counts=restored_counts,
            restored_wrongs=restored_wrongs,
            p50=[(row["min_duration_ms"], row["p50"], row["max_duration_ms"]) for row in cells],
            report=report,
            migrated=migrated,
            migrated_counts=migrated_counts,
            first=first,
            wrongs=found,
            second=second,
        )


def test_the_schema_is_that_of_version_01(done: TakeOver) -> None:
    assert (done.restored.version, done.restored.pending) == (3, LATER)
    assert done.restored.up_to_date or LATER, done.restored.shortcomings()
    assert done.restored.ttl_days == {"trace": 90, "span": 90, "log": 30, "metric": 90, "score": 90}
    assert done.restored.is_initialized or LATER


def test_rows_and_states_of_aggregate_functions_are_those_that_were_stored(done: TakeOver) -> None:
    assert done.restored_counts == done.expected.counts
    assert done.p50 and all(least <= middle <= greatest for least, middle, greatest in done.p50)
    assert any(least < middle < greatest for least, middle, greatest in done.p50)


def test_what_is_unfinished_is_found_wrong(done: TakeOver) -> None:
    """The check that the other tests rest on sees something of each kind."""
    told = "\n".join(done.restored_wrongs)
    assert all(f"{table.table}: ['{event_type}-" in told for event_type, table in TABLES.items())
    for what in ("mastra_admin_traces_hourly_stats: [(", "mastra_admin_rejected_events: [(", "'state': 'assigned'"):
        assert what in told
    assert "log/pending/20261120T120200Z_0002.jsonl is pending" in told
    assert "log/pending/processed/20261120T120200Z_0002.jsonl is not there" in told


def test_the_scenarios_are_in_the_states_that_matter(done: TakeOver) -> None:
    """So that a fixture that is made again holds what this one does."""
    states, written = done.expected.states, Counter[str]()
    for file in done.expected.files:
        written[file.project] += sum(map(len, file.events.values()))
    kinds = {load.partition(",")[0] for state in states.values() for load in state["loads"]}
    assert kinds >= {f"{event_type} {state}" for event_type in TABLES for state in ("finalized", "assigned")}
    assert kinds >= {"trace committed", "span committed", "metric committed", "log failed", "metric failed"}
    nothing = {project for project, state in states.items() if state["loads"] and state["rows"] == 0}
    some = {project for project, state in states.items() if 0 < state["rows"] < written[project]}
    assert nothing >= {"after_some_loads_are_recorded", "before_the_first_insert"}
    assert some >= {"after_the_first_insert", "between_blocks", "adopted", "released", "large", "failed", "grown_part"}
    assert {project for project, state in states.items() if state["rolled_up"] < state["rows"]} == {"lost_rollup"}
    assert {project for project, state in states.items() if state["rows"] < state["rolled_up"]} == {"lost_rows"}
    assert [states[project]["loads"] for project in ("pending", "before_anything_is_recorded")] == [[], []]
    assert set(states["adopted"]["loads"]) == {"log assigned, attempt 2", "metric assigned, attempt 2"}


def test_migrating_does_what_is_new_and_leaves_the_rows_alone(done: TakeOver) -> None:
    assert set(LATER) <= set(done.report.applied) and (LATER or not done.report.applied)
    assert done.migrated.up_to_date, done.migrated.shortcomings()
    assert done.migrated_counts == done.expected.counts


def test_one_run_finishes_everything(done: TakeOver) -> None:
    assert done.wrongs == []
    assert (done.first.skipped, done.first.unfinished, done.first.interrupted) == (0, 0, False)


def test_errors_name_only_files_that_are_not_what_they_were(done: TakeOver) -> None:
    """A later version may know better what to do about them than to name them."""
    projects = {Path(error.name).parent.name for error in done.first.errors}
    assert projects <= CHANGED, done.first.errors


def test_what_the_run_counts_is_what_it_did(done: TakeOver) -> None:
    """Loads that were committed by it count whole, with the blocks that the killed runs had inserted."""
    there = sum(counted["rows"] for counted in done.expected.counts.values())
    assert done.first.events_ingested >= sum(map(len, done.expected.events().values())) - there > 0


def test_a_further_run_finds_nothing_to_do(done: TakeOver) -> None:
    second = done.second
    assert (second.files_processed, second.events_ingested, second.rejected, second.loads, second.adopted) == (0,) * 5
    assert (second.skipped, second.unfinished, second.errors) == (0, 0, [])
    assert wrongs(done.client, done.root) == []
    for table in TABLES.values():
        done.client.command(f"OPTIMIZE TABLE {table.table} FINAL")
        done.client.command(f"OPTIMIZE TABLE {table.rollup} FINAL")
    assert wrongs(done.client, done.root) == []
