"""A table that takes no more parts: inserts are tried again, and what is given up is loaded once merges have caught up."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_pipeline import IngestConfig, IngestionWorker
from tests.support.databases import make_tables
from tests.support.dataset import Dataset, event, wrongs
from transforms.clickhouse import ClickHouse
from transforms.events import TABLES
from transforms.loads.journal import JOURNAL_TABLE

LOGS = TABLES["log"].table
THRESHOLDS = "parts_to_delay_insert", "parts_to_throw_insert"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = Dataset(str(tmp_path / "in"))
    for number in range(3):
        add_file(dataset, number)
    return dataset


def add_file(dataset: Dataset, number: int) -> None:
    lines: list[tuple[str, str | None]] = [(event("log", f"{number}-{line}"), f"{number}-{line}") for line in range(10)]
    dataset.add_file("log", "p", f"20261120T12000{number}Z_{number:02x}.jsonl", lines)


def take_no_more_parts(client: ClickHouse) -> None:
    client.command(f"SYSTEM STOP MERGES {LOGS}")
    client.command(f"ALTER TABLE {LOGS} MODIFY SETTING {', '.join(f'{name} = 1' for name in THRESHOLDS)}")


def take_parts_again(client: ClickHouse) -> None:
    client.command(f"ALTER TABLE {LOGS} RESET SETTING {', '.join(THRESHOLDS)}")
    client.command(f"SYSTEM START MERGES {LOGS}")


def test_a_load_is_tried_again_and_then_left_until_there_is_room(
    dataset: Dataset, clickhouse: ClickHouse, waits: list[float]
) -> None:
    make_tables(clickhouse)
    worker = IngestionWorker(IngestConfig(dataset.root, clickhouse.config))
    assert not worker.process_once().errors
    add_file(dataset, 3)
    add_file(dataset, 4)
    take_no_more_parts(clickhouse)
    full = worker.process_once()
    assert full.files_processed == 0
    assert "TOO_MANY_PARTS" in full.errors[0].reason
    first = clickhouse.config.retry_delay_s
    assert waits == [first, 2 * first], "the statement is tried three times, with growing waits"
    states = clickhouse.query(f"SELECT count() AS n FROM {JOURNAL_TABLE}")
    still = worker.process_once()
    assert "TOO_MANY_PARTS" in still.errors[0].reason and still.adopted == 1
    assert clickhouse.query(f"SELECT count() AS n FROM {JOURNAL_TABLE}") != states, "each run is another attempt"
    take_parts_again(clickhouse)
    last = worker.process_once()
    assert (last.files_processed, last.adopted, last.errors) == (2, 1, [])
    worker.close()
    assert wrongs(clickhouse, dataset) == []
