"""Two runs at the same moment on one directory and one server, left alone or with one of them killed."""

from __future__ import annotations

import signal

import pytest

from tests.faults.runs import assert_a_plain_run_completes, start
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.dataset import Dataset

pytestmark = pytest.mark.faults


def test_two_runs_share_the_files(server: ClickHouseEndpoint, dataset: Dataset) -> None:
    runs = [start(server.url, dataset) for _ in range(2)]
    for run in runs:
        code, output = run.finish()
        assert code == 0 and "Traceback" not in output, output
    output = assert_a_plain_run_completes(server.url, dataset)
    assert "nothing to load" in output


@pytest.mark.parametrize("point", ["after_some_loads_are_recorded", "between_blocks", "half_way_through_the_moves"])
def test_one_of_two_runs_is_killed(server: ClickHouseEndpoint, dataset: Dataset, point: str) -> None:
    victim, other = start(server.url, dataset, kill=point), start(server.url, dataset)
    code, output = other.finish()
    assert code == 0 and "Traceback" not in output, output
    assert victim.finish()[0] in (-signal.SIGKILL, 0)
    assert_a_plain_run_completes(server.url, dataset)


def test_a_run_takes_up_what_another_leaves_that_dies_meanwhile(server: ClickHouseEndpoint, dataset: Dataset) -> None:
    """The first is killed with loads recorded; two more begin at once, and each of its loads is finished by one of them."""
    killed = start(server.url, dataset, kill="after_the_first_insert")
    assert killed.finish()[0] == -signal.SIGKILL
    runs = [start(server.url, dataset) for _ in range(2)]
    for run in runs:
        code, output = run.finish()
        assert code == 0 and "Traceback" not in output, output
    assert_a_plain_run_completes(server.url, dataset)
