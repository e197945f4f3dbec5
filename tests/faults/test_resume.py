"""A load is finished as it was recorded, also when tokens are forgotten, a server died half-way, or a file has gone."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pytest

from beam_pipeline.schema import SchemaOptions
from beam_pipeline.schema.options import DEFAULT_DEDUP_WINDOW
from beam_pipeline.schema.table import dedup_settings
from tests.faults.runs import assert_a_plain_run_completes, start
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.dataset import Dataset, event
from transforms.blocks.rollups import ROLLUP_SOURCES
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.events import TABLES

pytestmark = pytest.mark.faults

STRANGER = "somebody-else"


def stranger(trace_id: str) -> pa.RecordBatch:
    time = pa.array([4_102_444_800_000], pa.timestamp("ms", "UTC"))
    return pa.RecordBatch.from_arrays(
        [pa.array([trace_id]), pa.array([STRANGER]), pa.array(["n"]), time, time],
        names=["trace_id", "project_id", "name", "start_time", "recorded_at"],
    )


def fill_windows(client: ClickHouse, event_type: str) -> None:
    """More inserts by somebody else than a table and its rollup remember, so that they forget ours.

    They remember two for as long as that takes. The rows of the others are deleted again.
    """
    table = TABLES[event_type]
    remember(client, event_type, 2)
    for trace_id, token in (("first", STRANGER), ("other", "one"), ("another", "two"), ("second", STRANGER)):
        client.insert(table.table, stranger(trace_id), token=token)
    for name, count in ((table.table, "count()"), (table.stats_view, "sum(count)")):
        (found,) = client.query(f"SELECT {count} AS n FROM {name} WHERE project_id = '{STRANGER}'")
        assert found["n"] == 4, "the window still remembers"
    for name in (table.table, table.rollup):
        client.command(f"ALTER TABLE {name} DELETE WHERE project_id = '{STRANGER}' SETTINGS mutations_sync = 1")
    remember(client, event_type, DEFAULT_DEDUP_WINDOW)


def remember(client: ClickHouse, event_type: str, inserts: int) -> None:
    """Sets how many inserts a table and its rollup remember."""
    settings = dedup_settings(SchemaOptions(dedup_window=inserts))
    for name in (TABLES[event_type].table, TABLES[event_type].rollup):
        client.command(
            f"ALTER TABLE {name} MODIFY SETTING " + ", ".join(f"{one} = {settings[one]}" for one in settings)
        )


def test_the_deduplication_window_was_filled_by_others(server_database: ClickHouseConfig, dataset: Dataset) -> None:
    with server_database.connect() as client:
        # Dead between two blocks of traces: one is in, one is not.
        assert (
            start(server_database, dataset, "--event_types=trace", kill="between_blocks").finish()[0] == -signal.SIGKILL
        )
        before = client.query(f"SELECT count() AS n FROM {TABLES['trace'].table}")[0]["n"]
        assert before > 0
        fill_windows(client, "trace")
        # The window has forgotten: the same insert under the same token would now count again.
        assert_a_plain_run_completes(server_database, dataset)


def test_a_server_that_died_between_table_and_rollup(server_database: ClickHouseConfig, dataset: Dataset) -> None:
    """The rows are in the table, the rollup lacks them, and their token is forgotten: only the rollup is completed."""
    with server_database.connect() as client:
        table = TABLES["trace"]
        assert (
            start(server_database, dataset, "--event_types=trace", kill="between_blocks").finish()[0] == -signal.SIGKILL
        )
        (receipt,) = client.query(
            f"SELECT receipt, count FROM {table.rollup} WHERE receipt != '' ORDER BY receipt LIMIT 1"
        )
        load_id, _, block = receipt["receipt"].partition("/")
        # As if the server had died before the rollup was written: everything of the block goes from there, and then
        # what the others blocks had counted is put back.
        client.command(f"TRUNCATE TABLE {table.rollup}")
        others = client.query(
            f"SELECT DISTINCT load_id, toString(block) AS block FROM {table.table} "
            "WHERE NOT (load_id = {load_id:String} AND block = {block:String})",
            {"load_id": load_id, "block": block},
        )
        for other in others:
            select = ROLLUP_SOURCES["trace"].select("load_id = {load_id:String} AND block = {block:String}")
            client.command(f"INSERT INTO {table.rollup} {select}", other)
        fill_windows(client, "trace")
        assert_a_plain_run_completes(server_database, dataset)
        (again,) = client.query(
            f"SELECT count() AS n FROM {table.table} WHERE load_id = {{load_id:String}} AND block = {{block:String}}",
            {"load_id": load_id, "block": block},
        )
        assert again["n"] == receipt["count"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_that_dies_and_is_started_again(server: ClickHouseEndpoint, dataset: Dataset, when: str) -> None:
    database = ClickHouseConfig(server.url)
    server.fault("kill", "INSERT INTO .*mastra_admin_spans", when=when, nth=2)
    code, output = start(database, dataset).finish()
    assert code == 1, output
    assert "Traceback" not in output and "cannot be reached" in output
    server.wait_for_death()
    server.restart()
    assert_a_plain_run_completes(database, dataset)


@pytest.mark.parametrize("fault", ["drop", "status"])
def test_inserts_that_are_committed_but_reported_failed(
    endpoint: ClickHouseEndpoint, server_database: ClickHouseConfig, dataset: Dataset, fault: str
) -> None:
    """Each first insert into a table is committed, and the answer lost: the retry must not count again."""
    options = {"status": 503, "code": 999} if fault == "status" else {}
    struck = [
        endpoint.fault(fault, f"INSERT INTO .*{table.table}`? ", when="after", nth=nth, **options)
        for table in TABLES.values()
        for nth in (1, 3)
    ]
    assert_a_plain_run_completes(server_database, dataset)
    assert sum(endpoint.struck(number) for number in struck) >= 5


def test_a_server_that_is_away_leaves_everything_pending(server: ClickHouseEndpoint, dataset: Dataset) -> None:
    database = ClickHouseConfig(server.url)
    server.stop()
    code, output = start(database, dataset).finish()
    assert code == 1 and "cannot be reached" in output and "Traceback" not in output, output
    assert all(os.path.exists(os.path.join(dataset.root, path)) for path in dataset.files)
    server.restart()
    assert_a_plain_run_completes(database, dataset)


@pytest.mark.parametrize("change", ["gone", "replaced", "away for a run"])
def test_a_file_of_an_unfinished_load_is_no_longer_what_it_was(
    database: ClickHouseConfig, dataset: Dataset, tmp_path: Path, change: str
) -> None:
    """The other files of the load are not held up, and nothing of them counts twice, whatever was inserted before."""
    assert start(database, dataset, kill="between_blocks").finish()[0] == -signal.SIGKILL
    victim = next(path for path in dataset.files if os.path.exists(os.path.join(dataset.root, path)))
    kind, project, name = victim.split("/")
    path = Path(dataset.root, victim)
    if change == "away for a run":
        path.rename(tmp_path / "away")
        code, output = start(database, dataset).finish()
        assert code == 1 and f"{path}: is gone" in output, output
        (tmp_path / "away").rename(path)
    else:
        dataset.lose(victim)
        path.unlink()
        if change == "replaced":
            dataset.add_file(
                kind, project, name, [(event(kind, f"new-{number}"), f"new-{number}") for number in range(3)]
            )
        dataset.save(tmp_path / "dataset.json")
        code, output = start(database, dataset).finish()
        assert code == 1 and "Traceback" not in output and str(path) in output, output
    assert_a_plain_run_completes(database, dataset)


@pytest.mark.parametrize("rolled_up", [False, True])
def test_a_server_that_died_after_it_had_noted_a_token_and_before_it_had_the_part(
    server: ClickHouseEndpoint, dataset: Dataset, rolled_up: bool
) -> None:
    """ClickHouse takes the repeated insert for a duplicate, says that all is well, and drops the rows."""
    table, database = TABLES["trace"], ClickHouseConfig(server.url)
    with database.connect() as client:
        for name in (table.table, table.rollup):
            client.command(f"SYSTEM STOP MERGES {name}")
        assert start(database, dataset, "--event_types=trace", kill="between_blocks").finish()[0] == -signal.SIGKILL
        lost = [part_directory(client, table.table)]
        if not rolled_up:
            lost.append(part_directory(client, table.rollup))
    server.stop()
    for directory in lost:
        shutil.rmtree(directory)
    server.restart()
    assert_a_plain_run_completes(database, dataset)


def part_directory(client: ClickHouse, table: str) -> str:
    """Where the oldest part of a table is; gone, it is as if it had never been committed, but for the token."""
    query = "SELECT path FROM system.parts WHERE active AND table = {table:String} ORDER BY modification_time LIMIT 1"
    return str(client.query(query, {"table": table})[0]["path"])
