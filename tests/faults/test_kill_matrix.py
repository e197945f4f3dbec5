"""Killed anywhere, a later plain run leaves every line exactly once, in the tables, in the rollups, in processed/."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.points import POINTS, POINTS_OF_ADOPTION
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.dataset import Dataset, make_dataset

pytestmark = [pytest.mark.faults]

SMALL = ["--load_bytes=20K", "--block_bytes=6K", "--inserts_in_flight=2", "--retry_delay=0.1"]
"""So that the small dataset makes several loads of several blocks."""


@pytest.fixture(params=["embedded", "http"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of its own: a kill of the process is a kill of the embedded engine, too."""
    if request.param == "embedded":
        yield f"chdb://{tmp_path}/clickhouse"
    else:
        with ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint:
            yield endpoint.url


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = make_dataset(tmp_path / "observability", files=2, lines=40)
    dataset.save(tmp_path / "dataset.json")
    return dataset


def start(url: str, dataset: Dataset, *, kill: str = "", check: bool = False) -> subprocess.Popen[str]:
    driver = [sys.executable, "-m", "tests.faults.driver"]
    driver += [f"--kill={kill}"] if kill else []
    driver += [f"--check={Path(dataset.root).parent / 'dataset.json'}"] if check else []
    arguments = ["ingest", f"--input={dataset.root}", f"--clickhouse_url={url}", *SMALL]
    return subprocess.Popen(
        [*driver, "--", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def assert_a_plain_run_completes(url: str, dataset: Dataset) -> None:
    code, output = finish(start(url, dataset, check=True))
    assert code == 0, output
    (line,) = [line for line in output.splitlines() if line.startswith("WRONGS ")]
    assert json.loads(line.removeprefix("WRONGS ")) == [], output


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point_then_run_again(url: str, dataset: Dataset, point: str) -> None:
    code, output = finish(start(url, dataset, kill=point))
    assert code == -signal.SIGKILL, f"the point was not reached:\n{output}"
    assert_a_plain_run_completes(url, dataset)


@pytest.mark.parametrize("point", POINTS_OF_ADOPTION)
def test_killed_again_while_taking_up_what_a_killed_run_left(url: str, dataset: Dataset, point: str) -> None:
    assert finish(start(url, dataset, kill="after_the_first_insert"))[0] == -signal.SIGKILL
    code, output = finish(start(url, dataset, kill=point))
    assert code == -signal.SIGKILL, f"the point was not reached:\n{output}"
    assert_a_plain_run_completes(url, dataset)


def test_killed_at_random_times_again_and_again(url: str, dataset: Dataset) -> None:
    chance = random.Random(20)
    kills = 0
    for _ in range(10):
        process = start(url, dataset)
        time.sleep(chance.uniform(1.5, 5.0))
        kills += process.poll() is None
        process.kill()
        finish(process)
    assert kills >= 3, "the kills came too late to matter"
    assert_a_plain_run_completes(url, dataset)
