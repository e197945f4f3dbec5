"""The engine's own limit: INSERT … SELECT … FROM file(…) into the same tables and rollups, with no validation at all.

    python -m benchmarks.engine_limit --input DIR     (events in the flat dialect)

Prints one JSON line. Runs in a process of its own, since there is one embedded engine a process.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time

from beam_pipeline.schema import run_migrations
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.events import EVENT_TYPES, TABLES
from transforms.events.columns import FIELDS

_READ = {"required_number": "Nullable(Float64)", "number": "Nullable(Float64)", "duration": "Nullable(Int64)"}
_TIMES = ("required_time", "time", "recorded")


def insert_statement(event_type: str, path: str) -> str:
    """Reads the plan's columns of one event type from its files, by the names of the flat dialect."""
    names, columns, structure = [], [], []
    for field in FIELDS[event_type]:
        nullable = field.kind in ("nullable", "number", "duration", "time")
        column = f"`{field.json}`"
        if field.kind in _TIMES:
            column = f"parseDateTime64BestEffortOrNull({column}, 3, 'UTC')"
            column = column if nullable else f"ifNull({column}, now64(3))"
        elif field.kind not in _READ and not nullable:
            default = field.default.decode() if isinstance(field.default, bytes) else field.default or ""
            column = f"ifNull({column}, '{default}')"
        elif field.kind == "required_number":
            column = f"ifNull({column}, 0)"
        names.append(field.column)
        columns.append(column)
        structure.append(f"`{field.json}` {_READ.get(field.kind, 'Nullable(String)')}")
    return (
        f"INSERT INTO {TABLES[event_type].table} ({', '.join(names)}) SELECT {', '.join(columns)} "
        f"FROM file('{path}/{event_type}/*/*.jsonl', JSONEachRow, '{', '.join(structure)}')"
    )


def measure(client: ClickHouse, path: str) -> dict[str, float]:
    run_migrations(client)
    started = time.time()
    rows = 0
    for event_type in EVENT_TYPES:
        client.command(insert_statement(event_type, path), settings={"input_format_skip_unknown_fields": 1})
        rows += client.query(f"SELECT count() AS n FROM {TABLES[event_type].table}")[0]["n"]
    seconds = time.time() - started
    return {
        "rows": rows,
        "seconds": round(seconds, 2),
        "rows_per_s": round(rows / seconds),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        ClickHouseConfig(f"chdb://{directory}/clickhouse").connect(create=True) as client,
    ):
        print(json.dumps(measure(client, arguments.input)))


if __name__ == "__main__":
    main()
