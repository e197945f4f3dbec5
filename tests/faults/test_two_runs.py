"""Two runs at the same moment on one directory and one server, left alone or with one of them killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.runs import assert_a_plain_run_completes, start
from tests.support.dataset import Dataset
from tests.support.waiting import eventually
from transforms.clickhouse import ClickHouseConfig

pytestmark = pytest.mark.faults


def test_two_runs_share_the_files(on_endpoint: ClickHouseConfig, dataset: Dataset) -> None:
    """Which make the tables, too, both at once."""
    runs = [start(on_endpoint, dataset) for _ in range(2)]
    for run in runs:
        code, output = run.finish()
        assert code == 0 and "Traceback" not in output, output
    output = assert_a_plain_run_completes(on_endpoint, dataset)
    assert "nothing to load" in output


@pytest.mark.parametrize("point", ["after_some_loads_are_recorded", "between_blocks", "half_way_through_the_moves"])
def test_one_of_two_runs_is_killed(
    server_database: ClickHouseConfig, dataset: Dataset, tmp_path: Path, point: str
) -> None:
    """It is at a point that matters, with loads of its own; the other has begun."""
    victim = start(server_database, dataset, hold=tmp_path / point)
    eventually((tmp_path / point).exists)
    other = start(server_database, dataset)
    runs = Path(dataset.root, ".ingest", "runs")
    eventually(lambda: len(os.listdir(runs)) == 2 or not other.process.is_alive())
    victim.process.kill()
    assert victim.finish()[0] == -signal.SIGKILL
    code, output = other.finish()
    assert code == 0 and "Traceback" not in output, output
    assert_a_plain_run_completes(server_database, dataset)


def test_a_run_takes_up_what_another_leaves_that_dies_meanwhile(
    server_database: ClickHouseConfig, dataset: Dataset
) -> None:
    """The first is killed with loads recorded; two more begin at once, and each of its loads is finished by one of them."""
    killed = start(server_database, dataset, kill="after_the_first_insert")
    assert killed.finish()[0] == -signal.SIGKILL
    runs = [start(server_database, dataset) for _ in range(2)]
    for run in runs:
        code, output = run.finish()
        assert code == 0 and "Traceback" not in output, output
    assert_a_plain_run_completes(server_database, dataset)
