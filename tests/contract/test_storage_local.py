"""What a directory on a file system has beside the contract: kinds of files, links, identity, and runs of version 0.1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.test_storage import ODD, TYPES
from tests.support.version_01.live_run import LiveRun
from transforms.events import EVENT_TYPES
from transforms.storage import Moved, Storage, StorageError, open_storage
from transforms.storage.ignored_files import IgnoredFile
from transforms.storage.local import LocalStorage

NAME = "20261120T120000Z_ab12.jsonl"


def put(root: Path, path: str, content: bytes = b"{}\n") -> str:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return str(target)


def listed(storage: Storage) -> tuple[list[str], dict[str, str]]:
    errors: dict[str, str] = {}
    files = sorted(storage.list_pending(TYPES, None, errors.__setitem__))
    return [os.path.relpath(file.path, storage.root) for file in files], errors


def test_names_what_cannot_be_a_file_and_lists_the_rest(root: Path, storage: Storage) -> None:
    put(root, f"trace/p1/{NAME}")
    (root / "trace/p1/x.jsonl").mkdir()
    (root / "trace/p1/gone.jsonl").symlink_to(root / "nowhere")
    os.mkfifo(root / "trace/p1/pipe.jsonl")
    files, errors = listed(storage)
    assert files == [f"trace/p1/{NAME}"]
    assert errors == {
        str(root / "trace/p1/x.jsonl"): "is not a regular file",
        str(root / "trace/p1/pipe.jsonl"): "is not a regular file",
        str(root / "trace/p1/gone.jsonl"): "is a link to a file that does not exist",
    }


def test_a_move_that_was_cut_in_the_middle_is_finished(root: Path, storage: Storage) -> None:
    path = put(root, f"trace/p1/{NAME}")
    etag = storage.etag(path) or ""
    (root / "trace/p1/processed").mkdir()
    os.link(path, root / "trace/p1/processed" / NAME)
    assert storage.move(path, etag) == Moved(str(root / "trace/p1/processed" / NAME), now=True)
    assert not os.path.exists(path)


def test_nothing_is_written_but_where_files_are_moved(root: Path, storage: Storage) -> None:
    path = put(root, f"trace/p1/{NAME}")
    storage.check_writable()
    assert storage.older_runs() == [] and storage.identity()
    assert os.listdir(root) == ["trace"]
    assert storage.move(path, storage.etag(path) or "").now
    assert os.listdir(root) == ["trace"] and os.listdir(root / "trace/p1") == ["processed"]


def test_a_directory_is_known_by_what_it_is_and_not_by_its_path(root: Path, storage: Storage) -> None:
    known = storage.identity()
    put(root, f"trace/p1/{NAME}")
    assert storage.identity() == known
    elsewhere = root.rename(root.parent / "elsewhere")
    assert open_storage(str(elsewhere)).identity() == known
    root.mkdir()
    assert open_storage(str(root)).identity() != known
    (root.parent / "link").symlink_to(elsewhere)
    assert open_storage(str(root.parent / "link")).identity() == known


def test_a_new_directory_is_not_one_that_was_removed(root: Path, storage: Storage) -> None:
    """A file system gives the number of one to the next."""
    known = set()
    for number in range(50):
        directory = root / str(number)
        directory.mkdir()
        known.add(open_storage(str(directory)).identity())
        directory.rmdir()
    assert len(known) == 50


def test_runs_of_version_01_are_told_for_as_long_as_they_live(root: Path, storage: Storage) -> None:
    with LiveRun(root, "one") as one, LiveRun(root, "two", shard="log-0") as two:
        assert storage.older_runs() == storage.older_runs() == ["one", "two"], "a look leaves them as they are"
        two.kill()
        assert storage.older_runs() == ["one"] and two.run_file.exists()
        one.stop()
        assert storage.older_runs() == []


LOOK = """
import sys
from transforms.storage import open_storage
storage = open_storage(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print({run for _ in range(5000) for run in storage.older_runs()})
"""


def test_what_a_killed_run_of_version_01_left_is_no_run_however_many_look_at_once(root: Path, storage: Storage) -> None:
    killed = LiveRun(root, "killed")
    killed.start()
    killed.kill()
    looking = [
        subprocess.Popen(
            [sys.executable, "-c", LOOK, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in looking:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in looking:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in looking] == ["set()\n"] * 2


def test_what_cannot_be_an_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        LocalStorage(str(tmp_path / "none")).check_writable()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is not a directory"):
        LocalStorage(str(tmp_path / "file")).check_writable()


def test_each_directory_is_read_once(root: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ODD:
        put(root, path)
    put(root, f"trace/p1/{NAME}")
    read: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(os.path.relpath(path, root)) or scandir(path))  # type: ignore[func-returns-value]
    ignored: list[IgnoredFile] = []
    list(storage.list_pending(EVENT_TYPES, None, lambda path, reason: pytest.fail(reason), ignored.append))
    assert len(read) == len(set(read))
    read.clear()
    listed(storage)
    assert sorted(read) == ["log", "trace", "trace/p1"]
