"""Whether somebody is loading into a database whose tables are about to be changed or dropped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from transforms.loads.rows import LOADS_TABLE
from transforms.loads.runs import RUNS_TABLE, live_runs
from transforms.storage import StorageError, open_storage

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse


def older_run(client: ClickHouse, *directories: str) -> str:
    """A run of version 0.1 that is under way in these directories or any that were loaded from; '' when there is none.

    It writes no journal, and says that it is there by a lock in its input: one on another machine's disk is not seen.
    """
    known = (
        [row["input"] for row in client.query(f"SELECT DISTINCT input FROM {LOADS_TABLE}")]
        if _has(client, LOADS_TABLE)
        else []
    )
    for directory in {*directories, *known}:
        if os.path.isdir(directory):
            for run_id in open_storage(directory).older_runs():
                return f"run {run_id} of version 0.1 is loading {directory}"
    return ""


def refuse_older_runs(client: ClickHouse, *directories: str) -> None:
    """Raises StorageError when a run of version 0.1 is under way."""
    found = older_run(client, *directories)
    if found:
        raise StorageError(
            f"{found}; wait until it has ended, since it does not know the new tables; nothing was changed"
        )


def runs_under_way(client: ClickHouse) -> list[str]:
    """The runs that are loading into this database, in words."""
    if not _has(client, RUNS_TABLE):
        return []
    rows = client.query(
        f"SELECT run_id, any(input) AS input FROM {RUNS_TABLE} WHERE renewed_at > now() - toIntervalHour(1) GROUP BY run_id"
    )
    inputs = {row["run_id"]: row["input"] for row in rows}
    return [f"{owner.describe()} is loading {inputs[run_id]}" for run_id, owner in live_runs(client, inputs).items()]


def refuse_runs(client: ClickHouse, *directories: str) -> None:
    """Raises StorageError when any run is under way."""
    found = older_run(client, *directories) or next(iter(runs_under_way(client)), "")
    if found:
        raise StorageError(f"{found}; stop it first; nothing was changed")


def _has(client: ClickHouse, table: str) -> bool:
    return bool(
        client.query(
            "SELECT 1 FROM system.tables WHERE database = currentDatabase() AND name = {table:String}", {"table": table}
        )
    )
