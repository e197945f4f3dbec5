"""Killed anywhere, a later plain run leaves every line exactly once, in the tables, in the rollups, in processed/."""

from __future__ import annotations

import random
import signal

import pytest

from tests.faults.points import POINTS, POINTS_OF_ADOPTION
from tests.faults.runs import assert_a_plain_run_completes, start
from tests.support.dataset import Dataset
from transforms.clickhouse import ClickHouseConfig

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point_then_run_again(database: ClickHouseConfig, dataset: Dataset, point: str) -> None:
    code, output = start(database, dataset, kill=point).finish()
    assert code == -signal.SIGKILL, f"the point was not reached:\n{output}"
    assert_a_plain_run_completes(database, dataset)


@pytest.mark.parametrize("point", POINTS_OF_ADOPTION)
def test_killed_again_while_taking_up_what_a_killed_run_left(
    database: ClickHouseConfig, dataset: Dataset, point: str
) -> None:
    assert start(database, dataset, kill="after_the_first_insert").finish()[0] == -signal.SIGKILL
    code, output = start(database, dataset, kill=point).finish()
    assert code == -signal.SIGKILL, f"the point was not reached:\n{output}"
    assert_a_plain_run_completes(database, dataset)


FILES_IN_SEVERAL_LOADS = ("--load_bytes=3K", "--block_bytes=2K", "--event_types=trace,log", "--page_files=2")


@pytest.mark.parametrize(
    "point", ["between_blocks", "after_the_commit", "before_the_first_move", "before_the_final_record"]
)
def test_killed_while_files_are_in_several_loads(database: ClickHouseConfig, dataset: Dataset, point: str) -> None:
    """A file leaves pending when the last of its loads is committed, whichever run that is in."""
    code, output = start(database, dataset, *FILES_IN_SEVERAL_LOADS, kill=point).finish()
    assert code == -signal.SIGKILL, f"the point was not reached:\n{output}"
    assert_a_plain_run_completes(database, dataset)


def test_killed_at_random_times_again_and_again(empty_database: ClickHouseConfig, dataset: Dataset) -> None:
    """In the middle of any statement or of what comes between two; the schema alone takes some forty."""
    chance = random.Random(20)
    codes = []
    for _ in range(10):
        kill = f"{chance.randint(1, 90)},{chance.uniform(0, 0.03):.4f}"
        codes.append(start(empty_database, dataset, kill=kill).finish()[0])
    assert codes.count(-signal.SIGKILL) >= 3, "the kills came too late to matter"
    assert set(codes) <= {-signal.SIGKILL, 0}
    assert_a_plain_run_completes(empty_database, dataset)
