"""How many statements a run takes: docs/decisions.md has the formula, and these tests its numbers."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from beam_pipeline import IngestConfig, IngestionWorker
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.dataset import Dataset, event, wrongs
from transforms.clickhouse import ClickHouseConfig
from transforms.events import REJECTED_TABLE, TABLES

EVENT_TABLES = {table.table for table in TABLES.values()} | {REJECTED_TABLE}


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[ClickHouseEndpoint]:
    with ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint:
        yield endpoint


@pytest.fixture
def config(endpoint: ClickHouseEndpoint, tmp_path: Path) -> IngestConfig:
    (tmp_path / "in").mkdir()
    return IngestConfig(str(tmp_path / "in"), ClickHouseConfig(endpoint.url, password="env:NOT_SET"))


@pytest.fixture
def worker(config: IngestConfig) -> Iterator[IngestionWorker]:
    worker = IngestionWorker(config)
    worker.init()
    yield worker
    worker.close()


def write(root: str, *, projects: int, months: int = 1, lines: int = 20) -> Dataset:
    """A file of each type for each project and month."""
    dataset = Dataset(root)
    for event_type in TABLES:
        for project in range(projects):
            for month in range(months):
                name = f"2026{month + 1:02}20T120000Z_{project:04x}.jsonl"
                made = [(f"{event_type}-{project}-{month}-{number}") for number in range(lines)]
                dataset.add_file(
                    event_type, f"p{project}", name, [(event(event_type, identity), identity) for identity in made]
                )
    return dataset


def statements(endpoint: ClickHouseEndpoint, since: int) -> tuple[int, int]:
    """How many there were, and how many of them inserted blocks of events."""
    requests = [request["query"] for request in endpoint.requests()[since:]]
    blocks = [query for query in requests if any(query.startswith(f"INSERT INTO `{table}`") for table in EVENT_TABLES)]
    return len(requests), len(blocks)


def test_250_small_files_of_all_types_and_many_projects(
    worker: IngestionWorker, endpoint: ClickHouseEndpoint, config: IngestConfig
) -> None:
    dataset = write(config.input, projects=50)
    before = len(endpoint.requests())
    result = worker.process_once()
    total, blocks = statements(endpoint, before)
    assert (result.files_processed, result.loads, result.errors) == (250, 1, [])
    assert blocks == 5 and result.statements == total
    assert total - blocks <= 26
    assert wrongs(worker.client, dataset) == []


def test_many_loads_and_months_are_assigned_by_one_entry_and_committed_in_groups(
    worker: IngestionWorker, endpoint: ClickHouseEndpoint, config: IngestConfig
) -> None:
    write(config.input, projects=2, months=12)
    worker.config = replace(config, load_files=5)
    before = len(endpoint.requests())
    result = worker.process_once()
    total, blocks = statements(endpoint, before)
    assert (result.files_processed, result.loads) == (120, 24)
    entries = endpoint.requests("INSERT INTO `mastra_admin_ingest_journal`")
    assert len(entries) == 1
    groups = len(endpoint.requests("receipt AS load_block"))
    assert groups < 24
    assert total <= 24 + blocks + 24 + 6 * groups


def test_nothing_to_do_takes_two_statements_beside_the_checks_at_the_start(
    worker: IngestionWorker, endpoint: ClickHouseEndpoint, config: IngestConfig
) -> None:
    write(config.input, projects=1)
    worker.process_once()
    with_nothing = IngestionWorker(config)
    before = len(endpoint.requests())
    assert with_nothing.process_once().files_processed == 0
    queries = [request["query"] for request in endpoint.requests()[before:]]
    of_the_connection = [
        query for query in queries if "version()" in query or "system.settings" in query or "1 AS" in query
    ]
    assert len(queries) - len(of_the_connection) <= 5, queries
    before = len(endpoint.requests())
    with_nothing.process_once()
    assert len(endpoint.requests()) - before == 1
    with_nothing.close()


def test_idle_looks_grow_neither_the_log_nor_memory(worker: IngestionWorker, endpoint: ClickHouseEndpoint) -> None:
    for _ in range(20):
        worker.process_once()
    rows = worker.client.query("SELECT sum(total_rows) AS n FROM system.tables WHERE database = currentDatabase()")
    before = len(endpoint.requests())
    gc.collect()
    tracemalloc.start()
    start, _ = tracemalloc.get_traced_memory()
    for _ in range(300):
        worker.process_once()
    gc.collect()
    end, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(endpoint.requests()) - before == 300
    assert (
        worker.client.query("SELECT sum(total_rows) AS n FROM system.tables WHERE database = currentDatabase()") == rows
    )
    assert (end - start) / 300 < 500, "bytes that each look has left behind"
