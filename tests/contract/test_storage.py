"""One suite for every kind of storage: what the pipeline rests on when it lists, reads and moves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.version_01.live_run import LiveRun
from transforms.events import EVENT_TYPES
from transforms.storage import FileChanged, Moved, Storage, StorageError, file_timestamp_ms, open_storage
from transforms.storage.ignored_files import IgnoredFile
from transforms.storage.local import LocalStorage

NAME = "20261120T120000Z_ab12.jsonl"
TYPES = ("trace", "log")


def put(root: Path, path: str, content: bytes = b"{}\n") -> str:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return str(target)


def listed(storage: Storage, project: str | None = None) -> tuple[list[str], dict[str, str]]:
    errors: dict[str, str] = {}
    files = sorted(storage.list_pending(TYPES, project, errors.__setitem__))
    return [os.path.relpath(file.path, storage.root) for file in files], errors


def test_lists_pending_files_of_the_types_and_nothing_else(root: Path, storage: Storage) -> None:
    put(root, f"trace/p1/{NAME}")
    put(root, f"log/p2/{NAME}")
    put(root, f"log/p2/processed/{NAME}")
    put(root, f"metric/p1/{NAME}")
    put(root, "trace/p1/.20261120T120000Z_cd.jsonl")
    put(root, "trace/p1/20261120T120000Z_cd.jsonl.tmp")
    put(root, f"trace/{NAME}")
    assert listed(storage) == ([f"log/p2/{NAME}", f"trace/p1/{NAME}"], {})
    assert listed(storage, "p1") == ([f"trace/p1/{NAME}"], {})


def test_orders_by_the_time_in_the_name_then_by_path(root: Path, storage: Storage) -> None:
    put(root, "trace/p1/20261120T120001Z_aa.jsonl")
    put(root, "trace/p2/20261120T120000Z_bb.jsonl")
    put(root, "log/p1/20261120T120001Z_aa.jsonl")
    os.utime(put(root, "log/p1/no-time.jsonl"), (1, 1))
    assert listed(storage)[0] == [
        "log/p1/no-time.jsonl",
        "trace/p2/20261120T120000Z_bb.jsonl",
        "log/p1/20261120T120001Z_aa.jsonl",
        "trace/p1/20261120T120001Z_aa.jsonl",
    ]


def test_a_name_with_an_impossible_time_goes_by_its_modification_time() -> None:
    assert file_timestamp_ms("20261120T120000Z_ab.jsonl", 7) == 1795176000000
    assert file_timestamp_ms("20261340T120000Z_ab.jsonl", 7) == 7
    assert file_timestamp_ms("events.jsonl", 7) == 7


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


def test_reads_ranges(root: Path, storage: Storage) -> None:
    path = put(root, f"trace/p1/{NAME}", b"0123456789")
    assert storage.read(path, 0, 10).data == b"0123456789"
    assert storage.read(path, 3, 5).data == b"34"
    assert storage.read(path, 8, 99).data == b"89"
    assert storage.read(path, 10, 12).data == b""


def test_the_etag_changes_with_the_content(root: Path, storage: Storage) -> None:
    path = put(root, f"trace/p1/{NAME}", b"one\n")
    first = storage.etag(path)
    assert first is not None and first == storage.etag(path)
    with open(path, "ab") as file:
        file.write(b"two\n")
    assert storage.etag(path) != first
    assert storage.etag(path + ".none") is None


def moved(storage: Storage, path: str) -> str:
    done = storage.move(path, storage.etag(path) or "")
    assert done.now
    return done.target


def test_moves_keep_the_name_and_the_etag(root: Path, storage: Storage) -> None:
    path = put(root, f"trace/p1/{NAME}", b"one\n")
    etag = storage.etag(path)
    target = moved(storage, path)
    assert target == str(root / "trace/p1/processed" / NAME)
    assert storage.etag(target) == etag and not os.path.exists(path)


def test_a_move_never_overwrites(root: Path, storage: Storage) -> None:
    for number, content in enumerate((b"one\n", b"two\n", b"three\n")):
        target = moved(storage, put(root, f"trace/p1/{NAME}", content))
        assert Path(target).read_bytes() == content
        assert os.path.basename(target) == (NAME if number == 0 else f"20261120T120000Z_ab12.{number + 1}.jsonl")
    assert Path(root / "trace/p1/processed" / NAME).read_bytes() == b"one\n"


def test_a_move_can_be_repeated_after_it_was_done(root: Path, storage: Storage) -> None:
    path = put(root, f"trace/p1/{NAME}")
    etag = storage.etag(path) or ""
    target = storage.move(path, etag).target
    assert storage.move(path, etag) == Moved(target, now=False)
    put(root, f"trace/p1/{NAME}", b"another file under the same name\n")
    assert storage.move(path, etag) == Moved(target, now=False)
    assert os.path.exists(path)


def test_a_move_that_was_cut_in_the_middle_is_finished(root: Path, storage: Storage) -> None:
    path = put(root, f"trace/p1/{NAME}")
    etag = storage.etag(path) or ""
    (root / "trace/p1/processed").mkdir()
    os.link(path, root / "trace/p1/processed" / NAME)
    assert storage.move(path, etag) == Moved(str(root / "trace/p1/processed" / NAME), now=True)
    assert not os.path.exists(path)


def test_a_file_that_changed_is_neither_moved_nor_deleted(root: Path, storage: Storage) -> None:
    path = put(root, f"trace/p1/{NAME}", b"one\n")
    etag = storage.etag(path) or ""
    put(root, f"trace/p1/{NAME}", b"one and more\n")
    with pytest.raises(FileChanged):
        storage.move(path, etag)
    with pytest.raises(FileChanged):
        storage.delete(path, etag)
    assert Path(path).read_bytes() == b"one and more\n"


def test_a_file_that_is_gone_is_moved_nowhere_and_deleted_already(root: Path, storage: Storage) -> None:
    assert storage.move(str(root / "trace/p1" / NAME), "some-etag") == Moved("", now=False)
    assert not storage.delete(str(root / "trace/p1" / NAME), "some-etag")


def test_many_movers_of_one_file_agree_on_one_target(root: Path, storage: Storage) -> None:
    for number in range(20):
        path = put(root, f"trace/p1/{number}.jsonl")
        etag = storage.etag(path) or ""
        targets: list[Moved] = []
        threads = [
            threading.Thread(target=lambda p=path, e=etag, t=targets: t.append(storage.move(p, e)))  # type: ignore[misc]
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {done.target for done in targets} == {str(root / f"trace/p1/processed/{number}.jsonl")}
        assert sorted(done.now for done in targets) == [False, False, False, True]
    assert len(os.listdir(root / "trace/p1/processed")) == 20


def test_nothing_is_written_but_where_files_are_moved(root: Path, storage: Storage) -> None:
    path = put(root, f"trace/p1/{NAME}")
    storage.check_writable()
    assert storage.older_runs() == [] and storage.identity()
    assert os.listdir(root) == ["trace"]
    moved(storage, path)
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
    with pytest.raises(StorageError, match="scheme 'ftp'"):
        open_storage("ftp://host/dir")


def ignored(storage: Storage, types: tuple[str, ...] = EVENT_TYPES, project: str | None = None) -> dict[str, str]:
    """What is ignored, by its path below the root: the reason, and the hint."""
    found: list[IgnoredFile] = []
    others = tuple(kind for kind in EVENT_TYPES if kind not in types)
    list(
        storage.list_pending(types, project, lambda path, reason: pytest.fail(reason), found.append, other_types=others)
    )
    short = {os.path.relpath(file.path, storage.root): f"{file.reason.value}: {file.hint}" for file in found}
    assert len(short) == len(found), "something was listed twice"
    return short


ODD = {
    f"logs/p1/{NAME}": "unknown_type: did you mean log/?",
    f"Spans/{NAME}": "unknown_type: did you mean span/?",
    f"invoices/p1/{NAME}.gz": "unknown_type: event types are trace, span, log, metric, score",
    NAME: "no_project: ",
    f"log/{NAME}": "no_project: ",
    "log/notes.txt": "no_project: ",
    f"trace/.p1/{NAME}": "hidden_project: ",
    f"trace/p1/sub/{NAME}": "nested: ",
    "trace/p1/sub/sub/notes.txt": "nested: ",
    "trace/p1/a.JSONL": "suffix: rename it to a.jsonl",
    "trace/p1/a.ndjson": "suffix: rename it to a.jsonl",
    "trace/p1/a.json": "suffix: ",
    "trace/p1/a.jsonl.1": "suffix: ",
    "trace/p1/notes": "suffix: ",
    "trace/p1/a.jsonl.bz2": "compressed: ",
    "trace/p1/a.ndjson.xz": "compressed: ",
    "trace/p1/a.jsonl.ZST": "suffix: rename it to a.jsonl.zst",
    f"trace/p1/.{NAME}.swp": "temporary: ",
    f"trace/p1/.{NAME}": "temporary: ",
    f"trace/p1/{NAME}.tmp": "temporary: ",
    f"trace/p1/{NAME}~": "temporary: ",
    f"trace/p1/#{NAME}#": "temporary: ",
    "trace/.DS_Store": "temporary: ",
}


def test_each_file_that_is_not_loaded_is_told_once_with_the_reason(root: Path, storage: Storage) -> None:
    for path in ODD:
        put(root, path)
    put(root, f"trace/p1/{NAME}")
    put(root, "trace/p1/no-time.jsonl")
    put(root, f"trace/p1/processed/{NAME}")
    put(root, f"trace/p1/processed/{NAME}.gz")
    put(root, f"logs/p1/processed/{NAME}")
    put(root, f"trace/p1/sub/processed/{NAME}")
    put(root, "package.json")
    put(root, ".git/config.jsonl")
    put(root, "docs/api/deep/down/x.jsonl")
    assert ignored(storage) == ODD
    assert listed(storage)[0] == [f"trace/p1/{NAME}", "trace/p1/no-time.jsonl"]


def test_what_is_not_asked_for_is_not_ignored(root: Path, storage: Storage) -> None:
    for path in ODD:
        put(root, path)
    assert ignored(storage, ("log",)) == {
        path: ODD[path] if "invoices" not in path else "unknown_type: event types are log"
        for path in (f"logs/p1/{NAME}", f"invoices/p1/{NAME}.gz", NAME, f"log/{NAME}", "log/notes.txt")
    }
    other = ignored(storage, project="p2")
    assert set(other) == {f"Spans/{NAME}", NAME, f"log/{NAME}", "log/notes.txt", "trace/.DS_Store"}
    assert listed(storage, "p2") == ([], {})


def test_each_directory_is_read_once(root: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ODD:
        put(root, path)
    put(root, f"trace/p1/{NAME}")
    read: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(os.path.relpath(path, root)) or scandir(path))  # type: ignore[func-returns-value]
    ignored(storage)
    assert len(read) == len(set(read))
    read.clear()
    listed(storage)
    assert sorted(read) == ["log", "trace", "trace/p1"]
