"""A path that comes again: the same content is recognised, what is new is loaded, and the input may move or have two names."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.runs import assert_a_plain_run_completes, start
from tests.support.command_line import pending, processed
from tests.support.dataset import Dataset
from tests.support.inbox import Inbox, numbered, text
from transforms.clickhouse import ClickHouseConfig

pytestmark = pytest.mark.faults

FILE = "log/p0/20261120T120000Z_0b.jsonl"
LINES = numbered(FILE, range(60))

both = pytest.mark.parametrize("inbox", ["embedded", "http"], indirect=True)
"""Over both transports; tests without it use the embedded engine."""


one_or_several_loads = pytest.mark.parametrize("loaded", ["one load", "several loads"], indirect=True)


@pytest.fixture
def loaded(request: pytest.FixtureRequest, inbox: Inbox) -> Inbox:
    """An inbox with a file of six chunks, which is loaded: in three loads, unless `request.param` says `one load`."""
    one = getattr(request, "param", "") == "one load"
    inbox.configure(block_bytes=2_000, load_bytes=1_000_000 if one else 4_000)
    inbox.write(FILE, LINES)
    inbox.assert_all_arrives()
    return inbox


def upload(inbox: Inbox) -> None:
    """The uploader has had no answer and sends its file again."""
    inbox.replace(FILE, text(LINES))


def copy_back(inbox: Inbox) -> None:
    (path,) = processed(inbox.root)
    shutil.copyfile(path, inbox.root / FILE)


def restore(inbox: Inbox) -> None:
    """As `cp -p` or a backup: the modification time comes back, too."""
    (path,) = processed(inbox.root)
    shutil.copy2(path, inbox.root / FILE)


def move_back(inbox: Inbox) -> None:
    (path,) = processed(inbox.root)
    path.rename(inbox.root / FILE)


# The same content.


@both
@one_or_several_loads
@pytest.mark.parametrize("come_again", [upload, copy_back, restore, move_back])
def test_a_loaded_file_comes_again(loaded: Inbox, come_again: Callable[[Inbox], None]) -> None:
    before = loaded.arrivals()
    come_again(loaded)
    result = loaded.run()
    assert (result.events_ingested, result.errors) == (0, [])
    assert loaded.arrivals() == before
    assert pending(loaded.root) == []
    assert {path.read_text() for path in processed(loaded.root)} == {text(LINES)}


def test_a_loaded_file_comes_again_and_again(loaded: Inbox) -> None:
    for _ in range(3):
        upload(loaded)
        loaded.run()
    loaded.assert_all_arrives()


def test_a_loaded_file_comes_again_together_with_a_new_one(loaded: Inbox) -> None:
    upload(loaded)
    other = "trace/p1/20261120T120001Z_0c.jsonl"
    loaded.write(other, numbered(other, range(60)))
    loaded.assert_all_arrives()


def test_each_of_two_contents_of_one_path_is_recognised(loaded: Inbox) -> None:
    other = numbered(FILE, range(100, 130))
    loaded.replace(FILE, text(other))
    loaded.expect(FILE, other)
    loaded.assert_all_arrives()
    for content in (LINES, other, LINES):
        loaded.replace(FILE, text(content))
        assert loaded.run().events_ingested == 0
    loaded.assert_all_arrives()


# A longer one, and other content.


@both
@one_or_several_loads
def test_a_loaded_file_comes_again_with_more_lines(loaded: Inbox) -> None:
    more = numbered(FILE, range(60, 100))
    loaded.replace(FILE, text([*LINES, *more]))
    loaded.expect(FILE, more)
    assert loaded.run().events_ingested == len(more)
    loaded.assert_all_arrives()
    # That content is known now, too, and so is what it began with.
    for content in (LINES + more, LINES):
        loaded.replace(FILE, text(content))
        assert loaded.run().events_ingested == 0
    loaded.assert_all_arrives()


def test_a_file_that_was_moved_back_grows(loaded: Inbox) -> None:
    move_back(loaded)
    loaded.append(FILE, numbered(FILE, range(60, 63)))
    loaded.assert_all_arrives()


def test_the_last_line_had_no_end_and_gets_one(inbox: Inbox) -> None:
    path = inbox.write(FILE, LINES)
    path.write_text(text(LINES)[:-1])
    inbox.assert_all_arrives()
    inbox.replace(FILE, text(LINES))
    inbox.assert_all_arrives()


def test_half_a_line_was_rejected_and_the_file_comes_again_with_the_whole_line(inbox: Inbox) -> None:
    path = inbox.write(FILE, LINES[:59])
    path.write_text(text(LINES)[:-20])
    inbox.dataset.rejected.append((FILE, len(text(LINES[:59]))))
    inbox.assert_all_arrives()
    inbox.replace(FILE, text(LINES))
    inbox.expect(FILE, LINES[59:])
    inbox.assert_all_arrives()


@both
def test_other_content_comes_under_the_same_name(loaded: Inbox) -> None:
    other = numbered(FILE, range(100, 160))
    loaded.replace(FILE, text(other))
    loaded.expect(FILE, other)
    loaded.assert_all_arrives()
    assert {path.read_text() for path in processed(loaded.root)} == {text(LINES), text(other)}


def test_the_first_half_of_the_old_content_is_other_content(loaded: Inbox) -> None:
    """Somebody has truncated it, or it means something else: nobody knows, and nothing is dropped unseen."""
    loaded.replace(FILE, text(LINES[:30]))
    loaded.run()
    # The table may have made one row of the two already.
    there = {identity: arrived.rolled_up for identity, arrived in loaded.arrivals().items()}
    assert there == {identity: 2 if number < 30 else 1 for number, (_, identity) in enumerate(LINES)}
    assert {path.read_text() for path in processed(loaded.root)} == {text(LINES), text(LINES[:30])}


# In processes: killed, then touched; and an input that is reached in another way.

ONE_LOAD = ("--load_bytes=1M", "--block_bytes=6K")


@pytest.fixture
def big(tmp_path: Path) -> Dataset:
    """Two files of some five chunks each."""
    dataset = Dataset(str(tmp_path / "observability"))
    for path in (FILE, "trace/p1/20261120T120001Z_0c.jsonl"):
        kind, project, name = path.split("/")
        dataset.add_file(kind, project, name, list(numbered(path, range(200))))
    dataset.save(tmp_path / "dataset.json")
    return dataset


@pytest.mark.parametrize("point", ["after_the_first_insert", "between_blocks", "before_the_first_move"])
def test_killed_and_then_touched(server_database: ClickHouseConfig, big: Dataset, point: str) -> None:
    assert start(server_database, big, *ONE_LOAD, kill=point).finish()[0] == -signal.SIGKILL
    for path in pending(Path(big.root)):
        os.utime(path)
    # A file that has changed since may be for the second run.
    start(server_database, big, *ONE_LOAD).finish()
    assert_a_plain_run_completes(server_database, big, *ONE_LOAD)


@pytest.mark.parametrize("point", ["after_the_first_insert", "between_blocks", "before_the_first_move"])
def test_killed_and_then_grown(server_database: ClickHouseConfig, big: Dataset, tmp_path: Path, point: str) -> None:
    assert start(server_database, big, *ONE_LOAD, kill=point).finish()[0] == -signal.SIGKILL
    for path in big.files:
        more = numbered(path, range(200, 250))
        with open(Path(big.root, path), "a") as file:
            file.write(text(more))
        big.events[path.split("/")[0]] += [identity for _, identity in more if identity]
    big.save(tmp_path / "dataset.json")
    start(server_database, big, *ONE_LOAD).finish()
    assert_a_plain_run_completes(server_database, big, *ONE_LOAD)


@pytest.mark.parametrize("point", ["between_blocks", "before_the_first_move"])
def test_killed_and_then_the_input_is_renamed(
    server_database: ClickHouseConfig, big: Dataset, tmp_path: Path, point: str
) -> None:
    assert start(server_database, big, *ONE_LOAD, kill=point).finish()[0] == -signal.SIGKILL
    Path(big.root).rename(tmp_path / "elsewhere")
    big.root = str(tmp_path / "elsewhere")
    big.save(tmp_path / "dataset.json")
    assert_a_plain_run_completes(server_database, big, *ONE_LOAD)


def test_the_input_is_renamed_when_all_is_loaded_and_a_file_comes_again(
    server_database: ClickHouseConfig, big: Dataset, tmp_path: Path
) -> None:
    assert_a_plain_run_completes(server_database, big)
    Path(big.root).rename(tmp_path / "elsewhere")
    big.root = str(tmp_path / "elsewhere")
    big.save(tmp_path / "dataset.json")
    for path in processed(Path(big.root)):
        path.rename(path.parents[1] / path.name)
    assert_a_plain_run_completes(server_database, big)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{tmp}/observability", "{tmp}/link"),
        ("{tmp}/link", "{tmp}/observability"),
        ("{tmp}/observability", "observability"),
        ("observability", "{tmp}/observability"),
        ("link/../observability/", "./link"),
    ],
)
def test_killed_and_then_the_input_is_given_in_another_way(
    server_database: ClickHouseConfig, big: Dataset, tmp_path: Path, first: str, second: str
) -> None:
    (tmp_path / "link").symlink_to("observability")
    root = first.format(tmp=tmp_path)
    assert start(server_database, big, *ONE_LOAD, root=root, kill="between_blocks").finish()[0] == -signal.SIGKILL
    assert_a_plain_run_completes(server_database, big, *ONE_LOAD, root=second.format(tmp=tmp_path))
