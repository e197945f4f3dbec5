"""Of several deliveries of one event the last counts: lines in the order of their file, files by age, later runs last."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beam_pipeline import ClickHouseQueryProvider, IngestionWorker
from tests.support.databases import FOR_EVER, make_tables
from tests.support.dataset import event
from transforms import match_files
from transforms.clickhouse import ClickHouse
from transforms.config import IngestConfig

HOURS = ("2100-11-20T12:00:00.000Z", "2100-11-20T13:00:00.000Z")
MONTHS = (10, 11)
Delivered = dict[str, dict[str, Any]]


@pytest.fixture
def config(tmp_path: Path, embedded: ClickHouse) -> IngestConfig:
    make_tables(embedded, FOR_EVER)
    return IngestConfig(input=str(tmp_path), clickhouse=embedded.config)


def worker(config: IngestConfig) -> IngestionWorker:
    made = IngestionWorker(config, schema=FOR_EVER)
    made.init()
    return made


def write(config: IngestConfig, name: str, *lines: str) -> None:
    path = Path(config.input, "trace", "p", f"{name}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def names_listed(client: ClickHouse) -> dict[str, str]:
    """What a list of all traces shows."""
    with ClickHouseQueryProvider(client) as provider:
        return {trace.id: trace.name for trace in provider.list_traces(per_page=1000, count="none")}


def names_grouped(client: ClickHouse) -> dict[str, int]:
    """How many traces have which name, of those that a query of numbers counts."""
    with ClickHouseQueryProvider(client) as provider:
        groups = provider.error_rate(group_by=["name"], source="events").groups
        return {str(group.group["name"]): group.count for group in groups}


def names_merged(client: ClickHouse) -> dict[tuple[str, str], str]:
    """What is left of the rows of each key (of a trace: its id and time) by merges."""
    client.command("OPTIMIZE TABLE mastra_admin_traces FINAL")
    rows = client.query("SELECT trace_id, toString(start_time) AS at, name FROM mastra_admin_traces")
    return {(row["trace_id"], row["at"][11:13]): row["name"] for row in rows}


def deliver(config: IngestConfig, seed: int) -> Iterator[dict[str, Any]]:
    """Writes files of two months that have few traces, each many times; yields what is delivered, first to last."""
    choose = random.Random(seed)
    number = 0
    for month in MONTHS:
        for file in range(5):
            delivered = []
            for _ in range(8):
                number += 1
                trace = {"id": f"t{choose.randrange(12)}", "at": choose.choice(HOURS), "name": f"n{number}"}
                delivered.append(trace)
            lines = [event("trace", trace["id"], at=trace["at"], name=trace["name"]) for trace in delivered]
            if choose.random() < 0.3:
                lines.insert(choose.randrange(len(lines)), "broken")
            write(config, f"2026{month}20T12000{file}Z_{file}", *lines)
            yield from delivered


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({}, id="one load a month"),
        pytest.param({"block_rows": 3}, id="several inserts a chunk"),
        pytest.param({"block_bytes": 400}, id="files in several chunks"),
        pytest.param({"load_bytes": 1_200, "block_bytes": 1_200, "inserts_in_flight": 1}, id="several loads"),
        pytest.param({"load_files": 2, "block_rows": 5}, id="groups of two files"),
    ],
)
def test_the_last_line_wins_however_loads_are_cut(config: IngestConfig, sizes: dict[str, int]) -> None:
    config = replace(config, **sizes)  # type: ignore[arg-type]
    last: dict[str, str] = {}
    last_at: dict[tuple[str, str], str] = {}
    for trace in deliver(config, seed=len(sizes)):
        last[trace["id"]] = trace["name"]
        last_at[trace["id"], trace["at"][11:13]] = trace["name"]
    with closing(worker(config)) as loading:
        result = loading.process_once()
        assert (result.errors, result.events_ingested) == ([], 80)
        assert names_listed(loading.client) == last
        assert names_grouped(loading.client) == dict.fromkeys(last.values(), 1)
        assert names_merged(loading.client) == last_at
        assert names_listed(loading.client) == last


@pytest.mark.parametrize("at", HOURS)
def test_a_later_delivery_wins_though_the_clock_went_back(
    config: IngestConfig, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    class AnHourAhead:
        """The clock of a loader that is set right after its first run."""

        def time(self) -> float:
            return real.time() + 3600

    real = match_files.time
    with closing(worker(config)) as loading:
        write(config, "20261120T120000Z_0", event("trace", "t", at=HOURS[0], name="running", status="unset"))
        with monkeypatch.context() as ahead:
            ahead.setattr(match_files, "time", AnHourAhead())
            assert loading.process_once().events_ingested == 1
        write(config, "20261120T110000Z_0", event("trace", "t", at=at, name="done", status="ok"))
        assert loading.process_once().events_ingested == 1
        assert names_listed(loading.client) == {"t": "done"}
        assert names_merged(loading.client)["t", at[11:13]] == "done"


def test_rows_of_the_version_before_are_in_one_order_in_every_query(config: IngestConfig) -> None:
    lines = [event("trace", f"t{n % 3}", at=HOURS[n % 2], name=f"n{n}") for n in range(12)]
    write(config, "20261120T120000Z_0", *lines)
    with closing(worker(config)) as loading:
        loading.client.command("ALTER TABLE mastra_admin_traces DROP COLUMN sequence")
        loading.client.command(
            "INSERT INTO mastra_admin_traces (trace_id, project_id, deployment_id, name, start_time, recorded_at, ingested_at, "
            "load_id, block) SELECT concat('t', toString(number % 3)), 'p', '', concat('n', toString(number)), "
            "toDateTime64('2100-11-20 12:00:00', 3, 'UTC') + number % 2, now64(3), toDateTime64(1, 3), 'l', "
            "concat('0.210011.', toString(number % 4)) FROM numbers(12)"
        )
        loading.init()  # migrates
        listed = names_listed(loading.client)
        assert names_grouped(loading.client) == dict.fromkeys(listed.values(), 1)
        assert names_listed(loading.client) == listed
        assert loading.process_once().events_ingested == 12
        assert names_listed(loading.client) == {"t0": "n9", "t1": "n10", "t2": "n11"}


def test_what_a_line_says_is_stored_beside_its_place(config: IngestConfig) -> None:
    """The numbers grow with the lines of a chunk, over files, also where lines are bad or of another type."""
    first = [event("trace", "a"), "broken", json.dumps({"type": "log"}), event("trace", "b")]
    write(config, "20261120T120000Z_0", *first)
    write(config, "20261120T120000Z_1", event("log", "c"), event("trace", "d"), event("log", "e"), event("trace", "f"))
    with closing(worker(config)) as loading:
        loading.process_once()
        rows = loading.client.query("SELECT trace_id, sequence FROM mastra_admin_traces ORDER BY sequence")
    size = sum(len(line) + 1 for line in first)
    assert [(row["trace_id"], row["sequence"]) for row in rows] == [
        ("a", 0),
        ("b", 3),
        ("d", size + 1),
        ("f", size + 3),
    ]
