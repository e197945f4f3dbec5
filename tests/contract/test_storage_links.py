"""What every kind of storage that has links does with them: each file once, and moves that break nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from transforms.storage import FileChanged, Moved, Storage
from transforms.storage.ignored_files import IgnoredFile, IgnoreReason

NAME = "20261120T120000Z_ab12.jsonl"
OTHER = "20261120T130000Z_cd34.jsonl"


def put(path: Path, content: bytes = b"{}\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def link(path: Path, target: Path | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def listed(storage: Storage, *types: str) -> tuple[list[str], dict[str, IgnoreReason], dict[str, str]]:
    """The pending files, what is ignored, and what is an error; all below the root."""
    ignored: list[IgnoredFile] = []
    errors: dict[str, str] = {}
    files = sorted(
        storage.list_pending(
            types or ("trace", "log"), None, errors.__setitem__, ignored.append, other_types=("span", "metric", "score")
        )
    )
    short = {os.path.relpath(file.path, storage.root): file.reason for file in ignored}
    assert len(short) == len(ignored)
    return (
        [os.path.relpath(file.path, storage.root) for file in files],
        short,
        {os.path.relpath(path, storage.root): reason for path, reason in errors.items()},
    )


def move(storage: Storage, path: Path) -> Path:
    done = storage.move(str(path), storage.etag(str(path)) or "")
    assert done.now
    return Path(done.target)


# Listing


def test_a_link_out_of_the_input_is_a_pending_file(tmp_path: Path, root: Path, storage: Storage) -> None:
    link(root / "trace/p" / NAME, put(tmp_path / "elsewhere.txt", b"12345\n"))
    (file,) = storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(reason))
    assert (file.path, file.size, file.linked) == (str(root / "trace/p" / NAME), 6, True)
    assert storage.read(file.path, 0, 9).data == b"12345\n"


@pytest.mark.parametrize("hard", [False, True])
def test_two_names_of_one_file_are_one_file(tmp_path: Path, root: Path, storage: Storage, hard: bool) -> None:
    target = put(tmp_path / "elsewhere")
    for path in ("trace/p", "log/q"):
        (root / path).mkdir(parents=True)
        if hard:
            os.link(target, root / path / NAME)
        else:
            link(root / path / NAME, target)
    files, ignored, errors = listed(storage)
    assert (files, ignored, errors) == ([f"trace/p/{NAME}"], {f"log/q/{NAME}": IgnoreReason.OTHER_NAME}, {})


@pytest.mark.parametrize("place", [f"log/q/{NAME}", f"log/q/processed/{NAME}", f"trace/p/{NAME}", f"span/p/{NAME}"])
def test_a_link_to_an_event_file_of_the_input_is_not_a_second_one(root: Path, storage: Storage, place: str) -> None:
    """Also where that is of a type that is not asked for: it is loaded under its own name, sooner or later."""
    link(root / "trace/p" / OTHER, put(root / place))
    files, ignored, errors = listed(storage)
    assert files == [place] * (place.split("/")[0] != "span" and "processed" not in place)
    assert (ignored, errors) == ({f"trace/p/{OTHER}": IgnoreReason.OTHER_NAME}, {})


def test_a_link_gives_a_file_of_the_input_the_name_that_it_lacks(root: Path, storage: Storage) -> None:
    put(root / ".store" / "blob")
    put(root / "trace/p" / "events.ndjson")
    link(root / "trace/p" / NAME, "../../.store/blob")
    link(root / "trace/p" / OTHER, "events.ndjson")
    files, ignored, errors = listed(storage)
    assert (files, errors) == ([f"trace/p/{NAME}", f"trace/p/{OTHER}"], {})
    assert ignored == {"trace/p/events.ndjson": IgnoreReason.SUFFIX}


def test_directories_that_are_links_are_followed_once(tmp_path: Path, root: Path, storage: Storage) -> None:
    put(tmp_path / "disk/p" / NAME)
    put(tmp_path / "logs/q" / NAME)
    link(root / "trace/p", tmp_path / "disk/p")
    link(root / "trace/again", tmp_path / "disk/p")
    link(root / "log", tmp_path / "logs")
    files, ignored, errors = listed(storage)
    assert (files, errors) == ([f"log/q/{NAME}", f"trace/again/{NAME}"], {}) or (
        (files, errors) == ([f"log/q/{NAME}", f"trace/p/{NAME}"], {})
    )
    assert list(ignored.values()) == [IgnoreReason.LINKED_DIRECTORY]


@pytest.mark.parametrize("target", [".", "..", "../..", "../log", "../log/q", "../log/q/processed", "p"])
def test_a_directory_link_that_leads_back_lists_nothing_twice(root: Path, storage: Storage, target: str) -> None:
    put(root / "log/q" / NAME)
    put(root / "log/q/processed" / NAME)
    put(root / "trace/p" / NAME)
    link(root / "trace/back", target)
    files, ignored, errors = listed(storage)
    assert (files, errors) == ([f"log/q/{NAME}", f"trace/p/{NAME}"], {})
    assert ignored == {"trace/back": IgnoreReason.LINKED_DIRECTORY}


@pytest.mark.parametrize("target", ["log", ".", ".."])
def test_a_type_directory_that_leads_back_lists_nothing_twice(root: Path, storage: Storage, target: str) -> None:
    put(root / "log/q" / NAME)
    link(root / "trace", target)
    assert listed(storage) == ([f"log/q/{NAME}"], {"trace": IgnoreReason.LINKED_DIRECTORY}, {})


def test_links_that_lead_nowhere_are_errors_and_keep_nothing_back(root: Path, storage: Storage) -> None:
    put(root / "log/q" / NAME)
    link(root / "trace", "none")
    link(root / "log/circle", "circle")
    link(root / "log/gone", "none")
    link(root / "log/q" / OTHER, OTHER)
    link(root / "log/q/x.jsonl", "none")
    files, ignored, errors = listed(storage)
    assert (files, ignored) == ([f"log/q/{NAME}"], {})
    assert errors == {
        "trace": "is a link that leads nowhere",
        "log/circle": "is a link that leads nowhere",
        "log/gone": "is a link that leads nowhere",
        f"log/q/{OTHER}": "cannot be looked at: Too many levels of symbolic links",
        "log/q/x.jsonl": "is a link to a file that does not exist",
    }


def test_an_editor_s_lock_that_is_a_link_to_nowhere_is_a_temporary_file(root: Path, storage: Storage) -> None:
    link(root / "log/q" / f".#{NAME}", "me@host.123")
    link(root / "log" / ".#notes", "me@host.123")
    assert listed(storage) == (
        [],
        {f"log/q/.#{NAME}": IgnoreReason.TEMPORARY, "log/.#notes": IgnoreReason.TEMPORARY},
        {},
    )


# Moving and deleting


@pytest.mark.parametrize("absolute", [False, True])
def test_a_moved_link_still_resolves(tmp_path: Path, root: Path, storage: Storage, absolute: bool) -> None:
    target = put(tmp_path / "store" / "blob", b"content\n")
    path = link(root / "trace/p" / NAME, target if absolute else "../../../store/blob")
    moved = move(storage, path)
    assert moved == root / "trace/p/processed" / NAME
    assert moved.is_symlink() and moved.read_bytes() == b"content\n" and not os.path.lexists(path)
    assert target.read_bytes() == b"content\n"


def test_a_moved_link_resolves_where_directories_are_links_themselves(
    tmp_path: Path, root: Path, storage: Storage
) -> None:
    put(tmp_path / "far/off/blob", b"content\n")
    (tmp_path / "disk/deep/p").mkdir(parents=True)
    (tmp_path / "archive").mkdir()
    link(root / "trace/p", tmp_path / "disk/deep/p")
    link(tmp_path / "disk/deep/p/processed", tmp_path / "archive")
    link(tmp_path / "disk/deep/p/way", tmp_path / "far/off")
    moved = move(storage, link(root / "trace/p" / NAME, "way/../off/blob"))
    assert moved.read_bytes() == b"content\n"
    assert os.listdir(tmp_path / "archive") == [NAME]


def test_a_link_whose_move_was_cut_in_the_middle_is_finished(tmp_path: Path, root: Path, storage: Storage) -> None:
    target = put(tmp_path / "blob")
    path = link(root / "trace/p" / NAME, target)
    etag = storage.etag(str(path)) or ""
    second = link(root / "trace/p/processed" / NAME, target)
    assert storage.move(str(path), etag) == Moved(str(second), now=True)
    assert storage.move(str(path), etag) == Moved(str(second), now=False)
    assert not os.path.lexists(path) and target.exists()


@pytest.mark.parametrize("to", ["nowhere", NAME, f"../{NAME}", "/etc/passwd/x", "."])
def test_a_name_in_processed_is_taken_wherever_it_leads(root: Path, storage: Storage, to: str) -> None:
    """One that leads to the pending file itself, too: that is not where the file was moved to."""
    taken = link(root / "trace/p/processed" / NAME, to)
    moved = move(storage, put(root / "trace/p" / NAME, b"content\n"))
    assert moved == root / "trace/p/processed/20261120T120000Z_ab12.2.jsonl"
    assert moved.read_bytes() == b"content\n" and os.readlink(taken) == to


def test_a_pending_link_to_nowhere_in_processed_s_way_is_no_endless_loop(root: Path, storage: Storage) -> None:
    link(root / "trace/p/processed" / NAME, "../nowhere")
    path = link(root / "trace/p" / NAME, "nowhere")
    assert storage.move(str(path), "some-etag") == Moved("", now=False)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_processed_that_is_no_directory_is_named(root: Path, storage: Storage, make: object) -> None:
    path = put(root / "trace/p" / NAME)
    make(root / "trace/p/processed")  # type: ignore[operator]
    with pytest.raises(Exception, match="trace/p/processed is not a directory"):
        move(storage, path)
    assert path.exists()


def test_deleting_a_link_leaves_what_it_leads_to(tmp_path: Path, root: Path, storage: Storage) -> None:
    target = put(tmp_path / "blob")
    path = link(root / "trace/p" / NAME, target)
    etag = storage.etag(str(path)) or ""
    assert storage.delete(str(path), etag) and not storage.delete(str(path), etag)
    assert target.exists() and not os.path.lexists(path)


def test_a_link_whose_target_changed_is_neither_moved_nor_deleted(tmp_path: Path, root: Path, storage: Storage) -> None:
    target = put(tmp_path / "blob")
    path = link(root / "trace/p" / NAME, target)
    etag = storage.etag(str(path)) or ""
    put(target, b"more than before\n")
    with pytest.raises(FileChanged):
        storage.move(str(path), etag)
    with pytest.raises(FileChanged):
        storage.delete(str(path), etag)
