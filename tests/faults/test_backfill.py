"""A backlog that is loaded a range at a time: also when runs are killed, and when each may load only so many files."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.runs import start
from tests.support.command_line import pending
from tests.support.dataset import Dataset, row_wrongs
from tests.support.inbox import Inbox, bad, numbered
from transforms.clickhouse import ClickHouseConfig

pytestmark = pytest.mark.faults

RANGE = ("--since=2026-11-05", "--until=2026-11-15")


def path_of(day: int) -> str:
    return f"log/p0/202611{day:02}T120000Z_{day:02}.jsonl"


@pytest.mark.parametrize("kill", ["between_blocks", "after_the_commit", "half_way_through_the_moves"])
def test_a_range_whose_run_was_killed_goes_on_with_the_same_command(
    server_database: ClickHouseConfig, tmp_path: Path, kill: str
) -> None:
    dataset = Dataset(str(tmp_path / "observability"))
    for day in range(5, 15):
        dataset.add_file("log", "p0", Path(path_of(day)).name, list(numbered(path_of(day), range(40))))
    outside = Dataset(dataset.root)
    for day in (1, 4, 15, 20):
        outside.add_file("log", "p0", Path(path_of(day)).name, list(numbered(path_of(day), range(5))))
    dataset.save(tmp_path / "dataset.json")
    code, said = start(server_database, dataset, *RANGE, kill=kill).finish()
    assert code == -signal.SIGKILL, said
    code, said = start(server_database, dataset, *RANGE).finish()
    assert code == 0, said
    with server_database.connect() as client:
        assert row_wrongs(client, dataset) == []
    assert pending(Path(dataset.root)) == sorted(Path(dataset.root) / path for path in outside.files)


def test_a_run_loads_so_many_files_the_oldest_first(inbox: Inbox) -> None:
    for day in range(1, 8):
        inbox.write(path_of(day), numbered(path_of(day), range(5)))
    inbox.worker._max_files, inbox.worker._page_files = 3, 2
    for files, left in ((3, 4), (3, 1), (1, 0), (0, 0)):
        result = inbox.run()
        assert (result.files_processed, result.left, result.errors) == (files, left, []), inbox.said()
        assert [path.name[6:8] for path in pending(inbox.root)] == [f"{day:02}" for day in range(8 - left, 8)]
    inbox.assert_all_is_there()


def test_files_that_fail_do_not_count_as_some_of_them(inbox: Inbox) -> None:
    """Otherwise the ten oldest would keep all others waiting for ever."""
    for day in range(1, 5):
        inbox.write(path_of(day), [bad(line) for line in numbered(path_of(day), range(5))])
    for day in range(5, 9):
        inbox.write(path_of(day), numbered(path_of(day), range(5)))
    inbox.configure(max_rejected=0)
    inbox.worker._max_files = 2
    assert [(inbox.run().files_processed, inbox.results[-1].left) for _ in range(3)] == [(2, 2), (2, 0), (0, 0)]
    assert [len(result.errors) for result in inbox.results] == [4, 4, 4]
