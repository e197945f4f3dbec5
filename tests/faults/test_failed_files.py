"""Files that fail in each run: they do not keep others waiting, and `--max_attempts` moves them out of the way."""

from __future__ import annotations

import gzip
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.moments import before_reads
from tests.faults.runs import start
from tests.faults.test_file_life import fail_to_read
from tests.support.command_line import pending
from tests.support.dataset import Dataset
from tests.support.inbox import Arrived, Inbox, Line, bad, names, numbered, text
from transforms.clickhouse import ClickHouseConfig
from transforms.storage.local import LocalStorage

pytestmark = pytest.mark.faults

BIG = "log/p0/20261120T120000Z_0b.jsonl"
OTHERS = [f"log/p0/20261121T12{number:02}00Z_{number:02}.jsonl" for number in range(5)]
LINES = numbered(BIG, range(1_500))
BEHIND_THE_FIRST_CHUNKS = 3 * 48_000


def failed(inbox: Inbox) -> dict[str, str]:
    """What is in `failed/`, by name."""
    directory = (inbox.root / BIG).parent / "failed"
    return (
        {path.name: path.read_text(errors="replace") for path in sorted(directory.iterdir())}
        if directory.exists()
        else {}
    )


def with_a_bad_line(lines: Sequence[Line], number: int) -> list[Line]:
    return [*lines[:number], bad(lines[number]), *lines[number + 1 :]]


def test_ten_files_that_always_fail_do_not_keep_others_waiting(inbox: Inbox) -> None:
    failing = [f"log/p0/20261119T12{number:02}00Z_f{number}.jsonl" for number in range(10)]
    for path in failing:
        inbox.write(path, [bad(line) for line in numbered(path, range(5))])
    inbox.configure(max_rejected=0, max_attempts=3)
    for path in OTHERS:
        inbox.write(path, numbered(path, range(5)))
        result = inbox.run()
        assert result.files_processed == 1, inbox.said()
    assert [result.given_up for result in inbox.results] == [0, 0, 0, 10, 0]
    assert [len(result.errors) for result in inbox.results] == [10, 10, 10, 10, 0]
    assert not pending(inbox.root)
    assert sum(name.endswith(".jsonl") for name in failed(inbox)) == 10


def test_without_a_limit_they_stay_pending(inbox: Inbox) -> None:
    inbox.write(BIG, [bad(LINES[0])])
    inbox.configure(max_rejected=0)
    for _ in range(4):
        assert names(inbox.run(), BIG)
    assert pending(inbox.root) == [inbox.root / BIG] and not failed(inbox)


def test_what_was_loaded_of_it_stays_and_the_rest_goes_on_when_it_is_moved_back(inbox: Inbox) -> None:
    path = inbox.write(BIG, with_a_bad_line(LINES, 1_400))
    inbox.configure(max_rejected=0, max_attempts=2)
    for number in range(3):
        result = inbox.run()
        assert names(result, BIG) and result.given_up == (number == 2), inbox.said()
    (error,) = result.errors
    assert error.reason.startswith(f"moved to failed/{path.name}: 1 of ") and "in 2 attempts" in error.reason
    assert not path.exists()
    there = inbox.arrivals()
    assert 0 < len(there) < 1_400 and set(there.values()) == {Arrived(1, 1)}
    assert inbox.run().errors == []  # nobody looks into failed/

    moved_back = path.parent / "failed" / path.name
    moved_back.rename(path)
    for number in range(3):  # tried as often as a new one
        result = inbox.run()
        assert names(result, BIG) and result.given_up == (number == 2), inbox.said()
    moved_back.rename(path)
    inbox.configure(max_rejected=None)
    inbox.assert_all_arrives()
    inbox.assert_nothing_twice()


def test_the_reason_is_beside_it_once_for_each_content(inbox: Inbox) -> None:
    inbox.configure(max_rejected=0, max_attempts=1)
    for number in range(2):
        inbox.write(BIG, [bad(LINES[number]), bad(LINES[number])][: number + 1])
        inbox.run()
        inbox.run()
    name = Path(BIG).name
    reasons = failed(inbox)[f"{name}.reason.txt"]
    assert sorted(failed(inbox)) == [name.replace(".jsonl", ".2.jsonl"), name, f"{name}.reason.txt"]
    assert reasons.count("of 1 lines are bad") == 1 and reasons.count("of 2 lines are bad") == 1
    assert f"To try the rest again: mv failed/{name} ." in reasons


def test_a_file_that_cannot_be_read_counts_and_one_of_which_a_part_is_loaded_holds_up_no_other(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To see what of it is new it must be read, which nobody must wait for."""
    path = inbox.write(BIG, LINES)
    inbox.configure(max_attempts=4)
    with monkeypatch.context() as patch:
        before_reads(patch, path, BEHIND_THE_FIRST_CHUNKS, fail_to_read)
        assert names(inbox.run(), BIG)
    path.write_bytes(path.read_bytes())  # another content, for all that can be told without reading it
    with monkeypatch.context() as patch:
        before_reads(patch, path, 0, fail_to_read)
        for other in OTHERS[:2]:
            inbox.write(other, numbered(other, range(5)))
            result = inbox.run()
            assert names(result, BIG) and result.files_processed == 1, inbox.said()
        inbox.run()
        waiting = inbox.run()
        assert "next attempt in" in waiting.errors[0].reason, inbox.said()
    inbox.client.command(
        "ALTER TABLE mastra_admin_ingest_files UPDATE updated_at = updated_at - INTERVAL 1 HOUR WHERE 1 "
        "SETTINGS mutations_sync = 2"
    )
    inbox.assert_all_arrives()
    inbox.assert_nothing_twice()


def test_a_large_file_that_cannot_be_read_is_not_cut_and_holds_up_no_other(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = inbox.write(BIG, LINES)
    inbox.write(OTHERS[0], numbered(OTHERS[0], range(5)))
    inbox.configure(load_bytes=48_000, max_attempts=2)
    with monkeypatch.context() as patch:
        before_reads(patch, path, 0, fail_to_read)
        results = [inbox.run() for _ in range(3)]
    assert [result.files_processed for result in results] == [1, 0, 0], inbox.said()
    assert [result.given_up for result in results] == [0, 0, 1], inbox.said()


def test_what_is_not_its_own_fault_is_no_attempt(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system is away, or the server: the file has nothing to do with it."""

    def away() -> None:
        raise TimeoutError(110, "Connection timed out")

    path = inbox.write(BIG, LINES)
    inbox.configure(max_attempts=1)
    with monkeypatch.context() as patch:
        before_reads(patch, path, 0, away)
        assert names(inbox.run(), BIG) and names(inbox.run(), BIG)
    inbox.assert_all_arrives()
    assert not failed(inbox)


def test_a_file_that_changes_when_it_is_given_up_is_tried_as_a_new_one(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = inbox.write(BIG, [bad(LINES[0])])
    inbox.configure(max_rejected=0, max_attempts=1)
    inbox.run()
    write = LocalStorage.write

    def writing(storage: LocalStorage, name: str, data: bytes) -> None:
        write(storage, name, data)
        inbox.replace(BIG, f"{LINES[1][0]}\n")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "write", writing)
        result = inbox.run()
    assert (result.given_up, failed(inbox), path.exists()) == (0, {}, True), inbox.said()
    result = inbox.run()
    assert (result.events_ingested, result.errors) == (1, []), inbox.said()


def test_a_failed_directory_that_cannot_be_made_is_named(inbox: Inbox) -> None:
    path = inbox.write(BIG, [bad(LINES[0])])
    inbox.configure(max_rejected=0, max_attempts=1)
    inbox.run()
    (path.parent / "failed").write_text("in the way")
    result = inbox.run()
    assert "could not be moved to failed/" in result.errors[0].reason and result.given_up == 0 and path.exists()
    (path.parent / "failed").unlink()
    assert inbox.run().given_up == 1


def test_a_compressed_file_that_is_damaged_counts_and_goes_on_when_it_is_mended(inbox: Inbox) -> None:
    """Also one of which nobody can tell how much it holds."""
    whole = gzip.compress(text(LINES).encode())
    for path, content in ((f"{BIG}.gz", whole[: len(whole) // 2]), (f"{OTHERS[0]}.gz", b"\x1f\x8b damaged")):
        (inbox.root / path).parent.mkdir(parents=True, exist_ok=True)
        (inbox.root / path).write_bytes(content)
    inbox.configure(max_attempts=2)
    results = [inbox.run() for _ in range(4)]
    assert [result.given_up for result in results] == [0, 0, 2, 0], inbox.said()
    assert sum(name.endswith(".gz") for name in failed(inbox)) == 2
    (inbox.root / f"{BIG}.gz").write_bytes(whole)
    inbox.run()
    assert inbox.arrivals() == {identity: Arrived(1, 1) for _, identity in LINES}, inbox.said()


OPTIONS = ("--max_rejected=0", "--max_attempts=1")


@pytest.fixture
def bad_dataset(tmp_path: Path) -> Dataset:
    dataset = Dataset(str(tmp_path / "observability"))
    dataset.add_file("log", "p0", Path(BIG).name, [bad(LINES[0])])
    dataset.save(tmp_path / "dataset.json")
    return dataset


@pytest.mark.parametrize("point", ["between_the_reason_and_the_move", "after_a_file_was_given_up"])
def test_a_run_that_is_killed_while_it_gives_up_a_file(
    server_database: ClickHouseConfig, bad_dataset: Dataset, point: str
) -> None:
    assert start(server_database, bad_dataset, *OPTIONS).finish()[0] == 1
    assert start(server_database, bad_dataset, *OPTIONS, kill=point).finish()[0] == -signal.SIGKILL
    code, said = start(server_database, bad_dataset, *OPTIONS).finish()
    is_moved = point == "after_a_file_was_given_up"
    assert (code, "1 file was moved to failed/" in said) == ((0, False) if is_moved else (1, True)), said
    directory = (Path(bad_dataset.root) / BIG).parent / "failed"
    assert sorted(path.name for path in directory.iterdir()) == [Path(BIG).name, f"{Path(BIG).name}.reason.txt"]


def test_two_runs_give_up_a_file_at_once(server_database: ClickHouseConfig, bad_dataset: Dataset) -> None:
    assert start(server_database, bad_dataset, *OPTIONS).finish()[0] == 1
    runs = [start(server_database, bad_dataset, *OPTIONS) for _ in range(2)]
    finished = [run.finish() for run in runs]
    assert 1 in [code for code, _ in finished], finished
    assert all(code in (0, 1) and "Traceback" not in said for code, said in finished), finished
    directory = (Path(bad_dataset.root) / BIG).parent / "failed"
    assert sorted(path.name for path in directory.iterdir()) == [Path(BIG).name, f"{Path(BIG).name}.reason.txt"]
