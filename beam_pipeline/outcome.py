"""What a run did, by the journal's entries of it and the load log: wherever its workers were, and however often restarted."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from transforms import metrics
from transforms.config import IngestConfig
from transforms.loads.journal import JOURNAL_TABLE
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE
from transforms.report import Failure

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

_MINE = (
    f"load_id IN (SELECT load_id FROM {JOURNAL_TABLE} "
    "WHERE input = {input:String} AND number > {since:UInt64} AND run_id = {run_id:String})"
)


def load_failures(client: ClickHouse, config: IngestConfig, *, since: int) -> list[Failure]:
    """Loads of a run that failed, and files that it could not load or move.

    `since` is the last entry of the journal before the run: what was loaded earlier is not read. Raises ClickHouseError.
    """
    rows = client.query(
        f"""
        SELECT 'load' AS kind, load_id AS name, error AS reason FROM {LOADS_TABLE} FINAL
        WHERE {_MINE} AND run_id = {{run_id:String}} AND state = 'failed'
        UNION ALL
        SELECT 'file' AS kind, path AS name, error AS reason FROM {FILES_TABLE} FINAL WHERE {_MINE} AND error != ''
        """,
        _parameters(config, since),
    )
    return [
        Failure(
            f"load {row['name']}" if row["kind"] == "load" else os.path.join(config.input, row["name"]), row["reason"]
        )
        for row in rows
    ]


def load_counts(client: ClickHouse, config: IngestConfig, *, since: int) -> Counter[str]:
    """The metrics of a run that can be told from the load log, by name. Raises ClickHouseError."""
    (loads,) = client.query(
        f"""
        SELECT count() AS loads, sum(rejected) AS rejected, sum(expired) AS expired, countIf(attempt > 1) AS adopted,
               sum(bytes) AS bytes_read, sumMap(events) AS by_type
        FROM {LOADS_TABLE} FINAL
        WHERE {_MINE} AND run_id = {{run_id:String}} AND state IN ('committed', 'finalized')
        """,
        _parameters(config, since),
    )
    (files,) = client.query(
        f"SELECT uniqExact(path) AS moved FROM {FILES_TABLE} FINAL WHERE {_MINE} AND state = 'finalized'",
        _parameters(config, since),
    )
    return Counter(
        {
            metrics.LOADS_COMMITTED.name: int(loads["loads"]),
            metrics.LOADS_ADOPTED.name: int(loads["adopted"]),
            metrics.LINES_REJECTED.name: int(loads["rejected"]),
            metrics.EVENTS_EXPIRED.name: int(loads["expired"]),
            metrics.BYTES_READ.name: int(loads["bytes_read"]),
            metrics.FILES_LOADED.name: int(files["moved"]),
        }
        | {metrics.EVENTS_BY_TYPE[name].name: int(rows) for name, rows in loads["by_type"].items()}
    )


def _parameters(config: IngestConfig, since: int) -> dict[str, str | int]:
    return {"input": config.name, "since": since, "run_id": config.run_id}
