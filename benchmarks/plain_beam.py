"""What one would write first: a Beam pipeline with an element for each event. The yardstick for blocks of rows.

    python -m benchmarks.plain_beam --input DIR     (events in the flat dialect)

It promises nothing: no load log, no validation, no rejected lines, files stay where they are.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipeline.schema import run_migrations
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.events import TABLES
from transforms.events.columns import FIELDS
from transforms.events.schemas import arrow_schema
from transforms.events.times import parse_time


def as_row(line: str) -> tuple[str, dict[str, Any]]:
    """A line as (event type, row)."""
    event = json.loads(line)
    kind = event["type"]
    row: dict[str, Any] = {}
    for field in FIELDS[kind]:
        value = event.get(field.json, field.default)
        if field.kind in ("required_time", "time", "recorded"):
            value = parse_time(value) if value is not None else None
        elif field.kind == "json":
            value = json.dumps(value) if field.json in event else field.default.decode()
        elif value is None and field.kind == "project":
            value = ""
        row[field.column] = value
    row["recorded_at"] = row["recorded_at"] or int(time.time() * 1000)
    return kind, row


class InsertRows(beam.DoFn):  # type: ignore[misc]
    """Inserts batches of rows."""

    def __init__(self, config: ClickHouseConfig) -> None:
        self._config = config

    def setup(self) -> None:
        self._client: ClickHouse = self._config.connect()

    def teardown(self) -> None:
        self._client.close()

    def process(self, batch: list[tuple[str, dict[str, Any]]]) -> Iterator[int]:
        by_type: dict[str, list[dict[str, Any]]] = {}
        for kind, row in batch:
            by_type.setdefault(kind, []).append(row)
        for kind, rows in by_type.items():
            table = TABLES[kind]
            self._client.insert(
                table.table, pa.RecordBatch.from_pylist(rows, arrow_schema(kind)), token=os.urandom(8).hex()
            )
        yield len(batch)


def run(input_directory: str, config: ClickHouseConfig) -> None:
    with config.connect(create=True) as client:
        run_migrations(client)
        with beam.Pipeline(FnApiRunner()) as pipeline:
            (
                pipeline
                | beam.Create(sorted(glob.glob(f"{input_directory}/*/*/*.jsonl")))
                | beam.Reshuffle()
                | beam.io.ReadAllFromText()
                | beam.Map(as_row)
                | beam.BatchElements(min_batch_size=10_000, max_batch_size=10_000)
                | beam.ParDo(InsertRows(config))
            )
        rows = sum(client.query(f"SELECT count() AS n FROM {table.table}")[0]["n"] for table in TABLES.values())
    print(json.dumps({"rows": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run(arguments.input, ClickHouseConfig(f"chdb://{directory}/clickhouse"))


if __name__ == "__main__":
    main()
