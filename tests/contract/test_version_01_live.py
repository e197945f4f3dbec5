"""A run of version 0.1 that is still alive when a newer one begins on the same input and server."""

# PREPARED FOR THE NEXT VERSION. All of this passes with 0.1 itself (commit e406ebe), which asks by `LocalStorage.is_held` and
# `LocalStorage.exclusive`. The next version has no locks of its own below INPUT/.ingest/, but must still see those of a run of
# 0.1 that is alive. When it is there:
#   * the class TestLiveRun tests the helper, not the program. Where `is_held` and `exclusive` are gone, put in their place
#     what the next version asks 0.1's locks by;
#   * the test below it stays as it is: it names nothing of either version. If the next version refuses to start beside a live
#     run of 0.1 in place of leaving its loads alone, only what is said of the first `process_once` changes.

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from beam_pipeline import IngestConfig, IngestionWorker
from tests.support.version_01 import counts, restore, wrongs
from tests.support.version_01.live_run import LiveRun
from transforms.clickhouse import ClickHouseConfig
from transforms.storage import Storage


class TestLiveRun:
    def test_it_is_held_for_as_long_as_it_lives(self, storage: Storage, root: Path) -> None:
        run = LiveRun(root, "a run")
        assert not storage.is_held("a run")
        run.start()
        assert storage.is_held("a run") and storage.is_held("a run"), "a look leaves it as it is"
        assert not storage.is_held("another")
        run.stop()
        assert not storage.is_held("a run") and not run.run_file.exists()

    def test_a_killed_one_leaves_its_file_and_no_lock(self, storage: Storage, root: Path) -> None:
        run = LiveRun(root, "a run")
        run.start()
        run.kill()
        assert run.run_file.exists() and not storage.is_held("a run")
        storage.forget_dead()
        assert not run.run_file.exists()

    def test_it_is_not_tidied_away(self, storage: Storage, root: Path) -> None:
        with LiveRun(root, "a run") as run:
            storage.forget_dead()
            assert run.run_file.exists() and storage.is_held("a run")

    def test_two_of_them(self, storage: Storage, root: Path) -> None:
        with LiveRun(root, "one") as one, LiveRun(root, "other") as other:
            assert one.pid != other.pid != os.getpid()
            one.kill()
            assert [storage.is_held(name) for name in ("one", "other")] == [False, True]

    def test_the_lock_is_shared(self, storage: Storage, root: Path) -> None:
        """As it is among the processes of one run."""
        with storage.hold("a run"):
            with LiveRun(root, "a run"):
                pass
            assert storage.is_held("a run")
            with LiveRun(root, "a run") as run:
                run.kill()
            assert storage.is_held("a run")

    def test_a_shard_is_its_own_while_it_assigns(self, storage: Storage, root: Path) -> None:
        with LiveRun(root, "a run", shard="log-0") as run, storage.exclusive("log-1"):
            assert run.shard_file is not None and storage.is_held("a run")
            with run.shard_file.open() as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with storage.exclusive("log-0"):
            pass

    def test_a_killed_one_gives_its_shard_back(self, storage: Storage, root: Path) -> None:
        run = LiveRun(root, "a run", shard="log-0")
        run.start()
        run.kill()
        with storage.exclusive("log-0"):
            pass

    def test_it_starts_and_stops_again(self, storage: Storage, root: Path) -> None:
        run = LiveRun(root, "a run")
        for _ in range(2):
            run.start()
            assert storage.is_held("a run")
            run.stop()
            run.stop()
        assert not storage.is_held("a run")


LIVE = ("before_the_first_insert", "after_the_first_insert", "adopted", "large")
"""Scenarios whose runs live on: nothing is inserted, a part, a part in a second attempt, one load of four and a half."""


def test_loads_of_a_live_run_are_left_alone_until_it_ends(http_config: ClickHouseConfig, tmp_path: Path) -> None:
    """On a server only: an embedded database is open in one process at a time."""
    root = tmp_path / "observability"
    with http_config.connect() as client:
        expected = restore(client, root)
        pending = [path for project in LIVE for path in sorted(root.glob(f"*/{project}/*.jsonl"))]
        worker = IngestionWorker(IngestConfig(input=str(root), clickhouse=http_config))
        worker.init()
        runs = [LiveRun(root, expected.runs[project]) for project in LIVE]
        for run in runs:
            run.start()
        result = worker.process_once()
        assert (result.skipped, result.unfinished) == (len(pending), 0)
        there = counts(client)
        assert {project: there[project] for project in LIVE} == {project: expected.counts[project] for project in LIVE}
        assert all(path.exists() for path in pending)
        assert there["pending"]["rows"] > 0, "everything else is loaded"
        for run, end in zip(runs, (LiveRun.stop, LiveRun.kill) * 2, strict=True):
            end(run)
        result = worker.process_once()
        worker.close()
        assert (result.skipped, result.unfinished, result.errors) == (0, 0, [])
        assert wrongs(client, root) == []
