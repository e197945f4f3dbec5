"""A load is finished as it was recorded, also when tokens are forgotten, a server died half-way, or a file has gone."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pytest

from beam_pipeline.schema import SchemaOptions, run_migrations
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


def fill_window(client: ClickHouse, table: str, window: int) -> None:
    """As many inserts by somebody else as the table remembers, so that it forgets ours; their rows are deleted again."""
    columns = TABLES["trace"]
    assert table == columns.table
    client.insert(table, stranger("first"), token=STRANGER)
    # Each row is a block, and is remembered as one.
    one_row = {"max_block_size": 1, "min_insert_block_size_rows": 1, "max_insert_block_size": 1, "max_threads": 1}
    client.command(
        f"INSERT INTO {table} (trace_id, project_id, name, start_time, recorded_at) "
        f"SELECT toString(number), '{STRANGER}', 'n', addMonths(toDateTime64('2100-01-01', 3), number % 50), "
        f"toDateTime64(0, 3) FROM numbers({window + 10}) ORDER BY ALL",
        settings={**one_row, "deduplicate_insert_select": "force_enable"},
    )
    client.insert(table, stranger("second"), token=STRANGER)
    there = client.query(f"SELECT trace_id FROM {table} WHERE trace_id IN ('first', 'second') ORDER BY ALL")
    assert [row["trace_id"] for row in there] == ["first", "second"], "the window still remembers"
    for name in (table, columns.rollup):
        client.command(f"ALTER TABLE {name} DELETE WHERE project_id = '{STRANGER}' SETTINGS mutations_sync = 1")


def test_the_deduplication_window_was_filled_by_others(server: ClickHouseEndpoint, dataset: Dataset) -> None:
    with ClickHouseConfig(server.url).connect() as client:
        run_migrations(client, SchemaOptions(dedup_window=1000))
        # Dead between two blocks of traces: one is in, one is not.
        assert start(server.url, dataset, "--event_types=trace", kill="between_blocks").finish()[0] == -signal.SIGKILL
        before = client.query(f"SELECT count() AS n FROM {TABLES['trace'].table}")[0]["n"]
        assert before > 0
        fill_window(client, TABLES["trace"].table, 1000)
        # The window has forgotten: the same insert under the same token would now count again.
        assert_a_plain_run_completes(server.url, dataset)


def test_a_server_that_died_between_table_and_rollup(server: ClickHouseEndpoint, dataset: Dataset) -> None:
    """The rows are in the table, the rollup lacks them, and their token is forgotten: only the rollup is completed."""
    with ClickHouseConfig(server.url).connect() as client:
        run_migrations(client, SchemaOptions(dedup_window=1000))
        table = TABLES["trace"]
        assert start(server.url, dataset, "--event_types=trace", kill="between_blocks").finish()[0] == -signal.SIGKILL
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
        fill_window(client, table.table, 1000)
        assert_a_plain_run_completes(server.url, dataset)
        (again,) = client.query(
            f"SELECT count() AS n FROM {table.table} WHERE load_id = {{load_id:String}} AND block = {{block:String}}",
            {"load_id": load_id, "block": block},
        )
        assert again["n"] == receipt["count"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_that_dies_and_is_started_again(server: ClickHouseEndpoint, dataset: Dataset, when: str) -> None:
    server.fault("kill", "INSERT INTO .*mastra_admin_spans", when=when, nth=2)
    code, output = start(server.url, dataset).finish()
    assert code == 1, output
    assert "Traceback" not in output and "cannot be reached" in output
    server.wait_for_death()
    server.restart()
    assert_a_plain_run_completes(server.url, dataset)


@pytest.mark.parametrize("fault", ["drop", "status"])
def test_inserts_that_are_committed_but_reported_failed(
    server: ClickHouseEndpoint, dataset: Dataset, fault: str
) -> None:
    """Each first insert into a table is committed, and the answer lost: the retry must not count again."""
    options = {"status": 503, "code": 999} if fault == "status" else {}
    struck = [
        server.fault(fault, f"INSERT INTO .*{table.table}`? ", when="after", nth=nth, **options)
        for table in TABLES.values()
        for nth in (1, 3)
    ]
    assert_a_plain_run_completes(server.url, dataset)
    assert sum(server.struck(number) for number in struck) >= 5


def test_a_server_that_is_away_leaves_everything_pending(server: ClickHouseEndpoint, dataset: Dataset) -> None:
    server.stop()
    code, output = start(server.url, dataset).finish()
    assert code == 1 and "cannot be reached" in output and "Traceback" not in output, output
    assert all(os.path.exists(os.path.join(dataset.root, path)) for path in dataset.files)
    server.restart()
    assert_a_plain_run_completes(server.url, dataset)


@pytest.mark.parametrize("change", ["gone", "replaced", "away for a run"])
def test_a_file_of_an_unfinished_load_is_no_longer_what_it_was(
    url: str, dataset: Dataset, tmp_path: Path, change: str
) -> None:
    """The other files of the load are not held up, and nothing of them counts twice, whatever was inserted before."""
    assert start(url, dataset, kill="between_blocks").finish()[0] == -signal.SIGKILL
    victim = next(path for path in dataset.files if os.path.exists(os.path.join(dataset.root, path)))
    kind, project, name = victim.split("/")
    path = Path(dataset.root, victim)
    if change == "away for a run":
        path.rename(tmp_path / "away")
        code, output = start(url, dataset).finish()
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
        code, output = start(url, dataset).finish()
        assert code == 1 and "Traceback" not in output and str(path) in output, output
    assert_a_plain_run_completes(url, dataset)


@pytest.mark.parametrize("rolled_up", [False, True])
def test_a_server_that_died_after_it_had_noted_a_token_and_before_it_had_the_part(
    server: ClickHouseEndpoint, dataset: Dataset, rolled_up: bool
) -> None:
    """ClickHouse takes the repeated insert for a duplicate, says that all is well, and drops the rows."""
    table = TABLES["trace"]
    with ClickHouseConfig(server.url).connect() as client:
        run_migrations(client, SchemaOptions(dedup_window=1000))
        for name in (table.table, table.rollup):
            client.command(f"SYSTEM STOP MERGES {name}")
        assert start(server.url, dataset, "--event_types=trace", kill="between_blocks").finish()[0] == -signal.SIGKILL
        lost = [part_directory(client, table.table)]
        if not rolled_up:
            lost.append(part_directory(client, table.rollup))
    server.stop()
    for directory in lost:
        shutil.rmtree(directory)
    server.restart()
    assert_a_plain_run_completes(server.url, dataset)


def part_directory(client: ClickHouse, table: str) -> str:
    """Where the oldest part of a table is; gone, it is as if it had never been committed, but for the token."""
    query = "SELECT path FROM system.parts WHERE active AND table = {table:String} ORDER BY modification_time LIMIT 1"
    return str(client.query(query, {"table": table})[0]["path"])
