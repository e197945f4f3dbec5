"""A run of version 0.1 that is still alive when a newer one begins on the same input and server."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from beam_pipeline import IngestConfig, IngestionWorker
from tests.support.version_01 import counts, restore, wrongs
from tests.support.version_01.live_run import LiveRun
from transforms.clickhouse import ClickHouseConfig
from transforms.storage import Storage, StorageError


class TestLiveRun:
    def test_it_is_seen_for_as_long_as_it_lives(self, storage: Storage, root: Path) -> None:
        run = LiveRun(root, "a run")
        assert storage.older_runs() == []
        run.start()
        assert storage.older_runs() == ["a run"] == storage.older_runs(), "a look leaves it as it is"
        run.stop()
        assert storage.older_runs() == [] and not run.run_file.exists()

    def test_a_killed_one_leaves_its_file_and_no_lock(self, storage: Storage, root: Path) -> None:
        run = LiveRun(root, "a run")
        run.start()
        run.kill()
        assert run.run_file.exists() and storage.older_runs() == []

    def test_two_of_them(self, storage: Storage, root: Path) -> None:
        with LiveRun(root, "one") as one, LiveRun(root, "other") as other:
            assert one.pid != other.pid != os.getpid()
            one.kill()
            assert storage.older_runs() == ["other"]

    def test_a_shard_is_its_own_while_it_assigns(self, storage: Storage, root: Path) -> None:
        with LiveRun(root, "a run", shard="log-0") as run:
            assert run.shard_file is not None and storage.older_runs() == ["a run"]
            with run.shard_file.open() as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_it_starts_and_stops_again(self, storage: Storage, root: Path) -> None:
        run = LiveRun(root, "a run")
        for _ in range(2):
            run.start()
            assert storage.older_runs() == ["a run"]
            run.stop()
            run.stop()
        assert storage.older_runs() == []


LIVE = ("before_the_first_insert", "after_the_first_insert", "adopted", "large")
"""Scenarios whose runs live on: nothing is inserted, a part, a part in a second attempt, one load of four and a half."""


def test_nothing_is_loaded_beside_a_live_run(http_config: ClickHouseConfig, tmp_path: Path) -> None:
    """It does not read the journal, so that both could load one file. On a server only: an embedded database is one process's."""
    root = tmp_path / "observability"
    with http_config.connect() as client:
        expected = restore(client, root)
        before = counts(client)
        worker = IngestionWorker(IngestConfig(input=str(root), clickhouse=http_config))
        runs = [LiveRun(root, expected.runs[project]) for project in LIVE]
        for run in runs:
            run.start()
            with pytest.raises(StorageError, match=r"of version 0\.1 is loading"):
                worker.init()
            with pytest.raises(StorageError, match=r"of version 0\.1 is loading") as refused:
                worker.process_once()
            assert f"(or remove {root}/.ingest if it has)" in str(refused.value)
        assert counts(client) == before
        for run, end in zip(runs, (LiveRun.stop, LiveRun.kill) * 2, strict=True):
            end(run)
        worker.init()
        result = worker.process_once()
        worker.close()
        assert (result.skipped, result.unfinished) == (0, 0)
        assert wrongs(client, root) == []
