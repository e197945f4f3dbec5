"""Runs over compressed files that are killed anywhere: a later plain run leaves every line exactly once."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.faults.runs import assert_a_plain_run_completes, start
from tests.support.compress import compress
from tests.support.dataset import Dataset, make_dataset
from transforms.clickhouse import ClickHouseConfig

pytestmark = pytest.mark.faults

SEVERAL_LOADS = ("--load_bytes=3K", "--block_bytes=2K", "--event_types=trace,log", "--page_files=3")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Files of each kind, one of which is compressed although its name does not say so."""
    dataset = make_dataset(tmp_path / "observability", files=3, lines=40, projects=1, suffixes=(".gz", "", ".zst"))
    path = next(path for path in dataset.files if path.startswith("trace/") and path.endswith(".jsonl"))
    target = Path(dataset.root, path)
    target.write_bytes(compress(target.read_bytes(), ".gz"))
    dataset.save(tmp_path / "dataset.json")
    return dataset


@pytest.mark.parametrize(
    ("point", "options"),
    [
        ("between_blocks", ()),
        ("before_the_first_move", ()),
        ("after_the_first_insert", SEVERAL_LOADS),
        ("between_blocks", SEVERAL_LOADS),
        ("after_the_commit", SEVERAL_LOADS),
        ("before_the_final_record", SEVERAL_LOADS),
    ],
)
def test_killed_at_a_point_then_run_again(
    database: ClickHouseConfig, dataset: Dataset, point: str, options: tuple[str, ...]
) -> None:
    code, output = start(database, dataset, *options, kill=point).finish()
    assert code == -signal.SIGKILL, f"the point was not reached:\n{output}"
    assert_a_plain_run_completes(database, dataset)


def test_killed_at_random_times_again_and_again(database: ClickHouseConfig, dataset: Dataset) -> None:
    chance = random.Random(17)
    codes = []
    for _ in range(6):
        kill = f"{chance.randint(1, 60)},{chance.uniform(0, 0.03):.4f}"
        codes.append(start(database, dataset, *SEVERAL_LOADS, kill=kill).finish()[0])
    assert codes.count(-signal.SIGKILL) >= 2, "the kills came too late to matter"
    assert_a_plain_run_completes(database, dataset)
