"""A worker for a minute under arrival, in a process of its own: what it holds, and the tables hold, does not grow with its looks.

`python -m benchmarks.worker_hour` measures the same for an hour; docs/performance.md has what it found.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.dataset import Dataset, wrongs
from tests.support.long_worker import FILES, Arrivals, LongWorker
from transforms.loads.inputs import INPUTS_TABLE
from transforms.loads.journal import JOURNAL_TABLE
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE
from transforms.loads.runs import RUNS_TABLE

SECONDS = float(os.environ.get("WORKER_SECONDS", "60"))
VERSIONS = 3
"""Rows of a load, and of a file, until they are merged: assigned, committed, finalized."""
PARTS = 20
"""Of a table: each insert makes one, and merges leave some five."""


@pytest.mark.timeout(900)
def test_a_worker_under_arrival_holds_no_more_after_a_minute(tmp_path: Path) -> None:
    with (
        ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint,
        LongWorker(endpoint, tmp_path / "worker", poll_interval="500ms") as worker,
    ):
        arrivals = Arrivals(Dataset(str(worker.root)), 0.5, lines=5)
        arrivals.start()
        worker.wait_for(lambda: worker.counter("files_loaded_total") >= 5 * FILES)
        before = worker.held()
        time.sleep(SECONDS)
        arrivals.stop()
        files = len(arrivals.dataset.files)
        worker.wait_for(lambda: worker.counter("files_loaded_total") == files)

        # A look may be under way at the very moment.
        worker.wait_for(lambda: worker.held().open_files == before.open_files)
        worker.wait_for(lambda: worker.held().temporary_files == before.temporary_files)
        # Merges are the server's, at a time of its own.
        worker.wait_for(lambda: worker.held().most_parts <= PARTS)
        after = worker.held()
        assert after.looks > before.looks
        assert after.threads <= before.threads + 2
        assert after.rss_mb < before.rss_mb + 50

        loads = worker.counter("loads_recorded_total")
        assert worker.counter("loads_committed_total") == loads
        assert after.final_rows[FILES_TABLE] == files <= after.rows[FILES_TABLE] <= VERSIONS * files
        assert after.final_rows[LOADS_TABLE] == loads <= after.rows[LOADS_TABLE] <= VERSIONS * loads
        assert after.rows[JOURNAL_TABLE] == loads
        assert after.final_rows[RUNS_TABLE] <= loads, "a look that loads nothing writes no row"
        assert after.final_rows[INPUTS_TABLE] == 1

        # Every scrape of the real command has what is declared.
        assert worker.counter("insert_duration_seconds_count") == worker.counter("blocks_inserted_total") > 0
        assert worker.counter("statements_total") > worker.counter("runs_total")
        assert worker.stop() == 0
        assert wrongs(worker.client, arrivals.dataset) == []
