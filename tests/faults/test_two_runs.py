"""Two runs at the same moment on one directory and one server, left alone or with one of them killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.runs import Run, assert_a_plain_run_completes, start
from tests.support.dataset import Dataset
from tests.support.waiting import eventually
from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.loads.runs import RUNS_TABLE

pytestmark = pytest.mark.faults


def known_runs(client: ClickHouse) -> dict[str, float]:
    """The runs that have ever said that they live, and how many milliseconds ago they did so last."""
    rows = client.query(
        f"SELECT run_id, toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(max(renewed_at)) AS ago "
        f"FROM {RUNS_TABLE} GROUP BY run_id"
    )
    return {row["run_id"]: row["ago"] for row in rows}


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
    with server_database.connect() as client:
        eventually(lambda: len(known_runs(client)) == 2 or not other.process.is_alive())
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


PAUSED_AT = [
    "between_file_rows_and_the_entry",
    "between_the_entry_and_load_rows",
    "before_the_first_insert",
    "after_the_first_insert",
    "after_the_last_insert",
    "half_way_through_the_commit",
    "before_the_first_move",
    "after_the_moves",
]


@contextmanager
def paused_at(point: str, server_database: ClickHouseConfig, dataset: Dataset, *options: str) -> Iterator[Run]:
    """A run that has come to a point and is stopped there."""
    reached = Path(dataset.root).parent / point
    run = start(server_database, dataset, *options, pause=reached)
    try:
        eventually(reached.exists)
        yield run
    finally:
        run.process.kill()  # or else nothing would ever end it


def go_on(run: Run) -> tuple[int, str]:
    """Wakes a run up that was paused, and waits for its end."""
    assert run.process.pid is not None
    os.kill(run.process.pid, signal.SIGCONT)
    return run.finish()


@pytest.mark.parametrize("point", PAUSED_AT)
def test_a_run_that_is_paused_for_too_long_loses_its_loads_and_does_no_harm_when_it_goes_on(
    server_database: ClickHouseConfig, dataset: Dataset, point: str
) -> None:
    """As a laptop that is closed, or a machine that is moved: another run finishes what it has begun, then it wakes up."""
    with paused_at(point, server_database, dataset, "--lease=2s") as paused:
        with server_database.connect() as client:
            eventually(lambda: min(known_runs(client).values()) > 2000)
        code, output = start(server_database, dataset).finish()
        assert code == 0 and "Traceback" not in output and "skipped" not in output, output
        code, output = go_on(paused)
    assert code in (0, 1) and "Traceback" not in output, output
    assert_a_plain_run_completes(server_database, dataset)


def test_a_run_that_is_paused_keeps_its_loads_until_its_lease_has_passed(
    server_database: ClickHouseConfig, dataset: Dataset
) -> None:
    with paused_at("after_the_first_insert", server_database, dataset, "--lease=1h") as paused:
        code, output = start(server_database, dataset).finish()
        assert code == 0 and "5 files skipped: being loaded by run " in output, output
        code, output = go_on(paused)
    assert code == 0, output
    assert_a_plain_run_completes(server_database, dataset)
