"""One suite for every kind of storage: what the pipeline rests on when it lists, reads and moves.

What only a file system has is in `test_storage_local.py` and `test_storage_links.py`, what only object stores have in
`test_object_stores.py`.
"""

from __future__ import annotations

import os
import pickle
import threading

import pytest

from tests.support.places import LocalPlace, Place
from transforms.events import EVENT_TYPES
from transforms.storage import FileChanged, Moved, PendingFile, file_timestamp_ms, numbered, open_storage
from transforms.storage.ignored_files import IgnoredFile

NAME = "20261120T120000Z_ab12.jsonl"
TYPES = ("trace", "log")


def pending(place: Place, project: str | None = None) -> list[PendingFile]:
    return sorted(place.storage.list_pending(TYPES, project, lambda path, reason: pytest.fail(f"{path}: {reason}")))


def listed(place: Place, project: str | None = None) -> list[str]:
    return [place.within(file.path) for file in pending(place, project)]


def etag(place: Place, path: str) -> str:
    found = place.storage.etag(path)
    assert found is not None
    return found


def moved(place: Place, path: str, directory: str = "processed") -> str:
    done = place.storage.move(path, etag(place, path), directory)
    assert done.now
    return place.within(done.target)


# Listing


def test_lists_pending_files_of_the_types_and_nothing_else(place: Place) -> None:
    place.put(f"trace/p1/{NAME}")
    place.put(f"log/p2/{NAME}")
    place.put(f"log/p2/processed/{NAME}")
    place.put(f"metric/p1/{NAME}")
    place.put("trace/p1/.20261120T120000Z_cd.jsonl")
    place.put("trace/p1/20261120T120000Z_cd.jsonl.tmp")
    place.put(f"trace/{NAME}")
    assert listed(place) == [f"log/p2/{NAME}", f"trace/p1/{NAME}"]
    assert listed(place, "p1") == [f"trace/p1/{NAME}"]


def test_an_input_that_is_empty_has_no_files(place: Place) -> None:
    place.storage.check_writable()
    assert listed(place) == [] and listed(place, "p1") == []


def test_orders_by_the_time_in_the_name_then_by_path(place: Place) -> None:
    place.put("trace/p1/20991120T120001Z_aa.jsonl")
    place.put("trace/p2/20991120T120000Z_bb.jsonl")
    place.put("log/p1/20991120T120001Z_aa.jsonl")
    place.put("log/p1/no-time.jsonl")
    assert listed(place) == [
        "log/p1/no-time.jsonl",
        "trace/p2/20991120T120000Z_bb.jsonl",
        "log/p1/20991120T120001Z_aa.jsonl",
        "trace/p1/20991120T120001Z_aa.jsonl",
    ]


def test_a_listing_tells_what_a_file_is(place: Place) -> None:
    path = place.put(f"log/p 1/{NAME}", b"0123456789")
    (file,) = pending(place)
    assert (file.path, file.event_type, file.project_id, file.size) == (path, "log", "p 1", 10)
    assert file.etag == etag(place, path) == place.storage.read(path, 0, 3).etag
    assert abs(place.storage.now_ms() - file.modified_ms) < 600_000, "one machine, one clock"


def test_a_name_with_an_impossible_time_goes_by_its_modification_time() -> None:
    assert file_timestamp_ms("20261120T120000Z_ab.jsonl", 7) == 1795176000000
    assert file_timestamp_ms("20261340T120000Z_ab.jsonl", 7) == 7
    assert file_timestamp_ms("events.jsonl", 7) == 7


ODD_NAMES = [
    *(
        "a b.jsonl",
        "a+b.jsonl",
        "a%2Fb.jsonl",
        "a&b=c.jsonl",
        "ä€😀.jsonl",
        "a'b\"c.jsonl",
        "a;b,c@d$e.jsonl",
        "a\\b.jsonl",
    ),
    *("a?b.jsonl", "a#1.jsonl", "[a]*.jsonl", "{a}.jsonl", "a~b.jsonl", "<a>.jsonl"),
]


def test_a_name_may_have_any_character(place: Place) -> None:
    """It is listed, read, moved and deleted by it."""
    for name in ODD_NAMES:
        place.put(f"trace/p 1/{name}", name.encode())
    files = pending(place)
    assert sorted(place.within(file.path) for file in files) == sorted(f"trace/p 1/{name}" for name in ODD_NAMES)
    for file in files:
        name = file.path.rpartition("/")[2]
        assert place.storage.read(file.path, 0, 99).data == name.encode()
        target = place.storage.move(file.path, file.etag).target
        assert target == place.path(f"trace/p 1/processed/{name}")
        assert place.storage.delete(target, etag(place, target))
    assert place.names() == []


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
    "trace/p1/a.jsonl.gz": "compressed: ",
    "trace/p1/a.jsonl.ZST": "compressed: ",
    f"trace/p1/.{NAME}.swp": "temporary: ",
    f"trace/p1/.{NAME}": "temporary: ",
    f"trace/p1/{NAME}.tmp": "temporary: ",
    f"trace/p1/{NAME}~": "temporary: ",
    f"trace/p1/#{NAME}#": "temporary: ",
    "trace/.DS_Store": "temporary: ",
}


def ignored(place: Place, types: tuple[str, ...] = EVENT_TYPES, project: str | None = None) -> dict[str, str]:
    """What is ignored, by its path within the input: the reason, and the hint."""
    found: list[IgnoredFile] = []
    others = tuple(kind for kind in EVENT_TYPES if kind not in types)
    list(
        place.storage.list_pending(
            types, project, lambda path, reason: pytest.fail(reason), found.append, other_types=others
        )
    )
    short = {place.within(file.path): f"{file.reason.value}: {file.hint}" for file in found}
    assert len(short) == len(found), "something was listed twice"
    return short


def test_each_file_that_is_not_loaded_is_told_once_with_the_reason(place: Place) -> None:
    for path in ODD:
        place.put(path)
    place.put(f"trace/p1/{NAME}")
    place.put("trace/p1/no-time.jsonl")
    place.put(f"trace/p1/processed/{NAME}")
    place.put(f"trace/p1/processed/{NAME}.gz")
    place.put(f"logs/p1/processed/{NAME}")
    place.put(f"trace/p1/sub/processed/{NAME}")
    place.put("package.json")
    place.put(".git/config.jsonl")
    place.put("docs/api/deep/down/x.jsonl")
    assert ignored(place) == ODD
    assert listed(place) == [f"trace/p1/{NAME}", "trace/p1/no-time.jsonl"]


def test_what_is_not_asked_for_is_not_ignored(place: Place) -> None:
    for path in ODD:
        place.put(path)
    assert ignored(place, ("log",)) == {
        path: ODD[path] if "invoices" not in path else "unknown_type: event types are log"
        for path in (f"logs/p1/{NAME}", f"invoices/p1/{NAME}.gz", NAME, f"log/{NAME}", "log/notes.txt")
    }
    other = ignored(place, project="p2")
    assert set(other) == {f"Spans/{NAME}", NAME, f"log/{NAME}", "log/notes.txt", "trace/.DS_Store"}
    assert listed(place, "p2") == []


# Reading


def test_reads_ranges(place: Place) -> None:
    path = place.put(f"trace/p1/{NAME}", b"0123456789")
    for start, end, data in (
        (0, 10, b"0123456789"),
        (3, 5, b"34"),
        (8, 99, b"89"),
        (10, 12, b""),
        (50, 99, b""),
        (3, 3, b""),
    ):
        content = place.storage.read(path, start, end)
        assert (content.data, content.etag, content.size) == (data, etag(place, path), 10), (start, end)


def test_an_empty_file_is_read_as_such(place: Place) -> None:
    path = place.put(f"trace/p1/{NAME}", b"")
    content = place.storage.read(path, 0, 10)
    assert (content.data, content.etag, content.size) == (b"", etag(place, path), 0)
    assert moved(place, path) == f"trace/p1/processed/{NAME}"


def test_a_large_range_is_read_as_a_whole(place: Place) -> None:
    data = os.urandom(5_000_000)
    path = place.put(f"trace/p1/{NAME}", data)
    assert place.storage.read(path, 0, len(data)).data == data
    assert place.storage.read(path, 1_234_567, 4_000_000).data == data[1_234_567:4_000_000]


def test_what_is_not_there_cannot_be_read(place: Place) -> None:
    for start, end in ((0, 10), (0, 0)):
        with pytest.raises(FileNotFoundError):
            place.storage.read(place.path(f"trace/p1/{NAME}"), start, end)


def test_the_etag_changes_with_the_content(place: Place) -> None:
    path = place.put(f"trace/p1/{NAME}", b"one\n")
    first = etag(place, path)
    assert first == etag(place, path)
    place.put(f"trace/p1/{NAME}", b"two\n")
    assert etag(place, path) != first
    assert place.storage.etag(path + ".none") is None
    assert place.storage.etag(place.path("trace/p1")) is None or isinstance(place, LocalPlace)


# Moving


def test_a_move_keeps_name_and_bytes(place: Place) -> None:
    path = place.put(f"trace/p1/{NAME}", b"one\n")
    assert moved(place, path) == f"trace/p1/processed/{NAME}"
    assert place.names() == [f"trace/p1/processed/{NAME}"]
    assert place.get(f"trace/p1/processed/{NAME}") == b"one\n"
    assert listed(place) == []


def test_a_move_goes_to_any_directory_beside_the_file(place: Place) -> None:
    assert moved(place, place.put(f"trace/p1/{NAME}"), "failed") == f"trace/p1/failed/{NAME}"


def test_a_move_never_overwrites(place: Place) -> None:
    for number, content in enumerate((b"one\n", b"two\n", b"three\n", b"four\n")):
        target = moved(place, place.put(f"trace/p1/{NAME}", content))
        assert place.get(target) == content
        suffix = f".{number + 1}" if number else ""
        assert target == f"trace/p1/processed/20261120T120000Z_ab12{suffix}.jsonl"
    assert place.get(f"trace/p1/processed/{NAME}") == b"one\n"


def test_a_name_that_is_taken_is_numbered_before_what_it_ends_in() -> None:
    names = zip(*(numbered(name) for name in ("a.jsonl", "a.b.jsonl.gz", "a.jsonl.jsonl", "odd")), strict=False)
    assert [next(names) for _ in range(3)] == [
        ("a.jsonl", "a.b.jsonl.gz", "a.jsonl.jsonl", "odd"),
        ("a.2.jsonl", "a.b.2.jsonl.gz", "a.jsonl.2.jsonl", "odd.2"),
        ("a.3.jsonl", "a.b.3.jsonl.gz", "a.jsonl.3.jsonl", "odd.3"),
    ]


def test_a_move_can_be_repeated_after_it_was_done(place: Place) -> None:
    path = place.put(f"trace/p1/{NAME}")
    tag = etag(place, path)
    target = place.storage.move(path, tag).target
    assert place.storage.move(path, tag) == Moved(target, now=False)
    place.put("trace/p1/another.jsonl")
    assert place.storage.move(path, tag) == Moved(target, now=False)
    assert place.names() == ["trace/p1/another.jsonl", f"trace/p1/processed/{NAME}"]


def test_a_file_that_changed_is_neither_moved_nor_deleted(place: Place) -> None:
    path = place.put(f"trace/p1/{NAME}", b"one\n")
    tag = etag(place, path)
    place.put(f"trace/p1/{NAME}", b"one and more\n")
    with pytest.raises(FileChanged):
        place.storage.move(path, tag)
    with pytest.raises(FileChanged):
        place.storage.delete(path, tag)
    assert place.names() == [f"trace/p1/{NAME}"] and place.get(f"trace/p1/{NAME}") == b"one and more\n"


def test_a_file_that_is_gone_is_moved_nowhere_and_deleted_already(place: Place) -> None:
    path = place.put(f"trace/p1/{NAME}")
    tag = etag(place, path)
    assert place.storage.delete(path, tag) is True
    assert place.storage.delete(path, tag) is False
    assert place.storage.move(path, tag) == Moved("", now=False)
    assert place.names() == []


def test_many_movers_of_one_file_agree_on_one_target(place: Place) -> None:
    for number in range(10):
        path = place.put(f"trace/p1/{number}.jsonl")
        tag = etag(place, path)
        results: list[Moved] = []
        threads = [
            threading.Thread(target=lambda p=path, e=tag, r=results: r.append(place.storage.move(p, e)))  # type: ignore[misc]
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {done.target for done in results} == {place.path(f"trace/p1/processed/{number}.jsonl")}
        assert sorted(done.now for done in results) == [False, False, False, True]
    assert len(place.names()) == 10


def test_nothing_is_written_but_where_files_are_moved(place: Place) -> None:
    path = place.put(f"trace/p1/{NAME}")
    place.storage.check_writable()
    assert place.storage.older_runs() == [] and place.storage.identity()
    pending(place)
    assert place.names() == [f"trace/p1/{NAME}"]
    moved(place, path)
    assert place.names() == [f"trace/p1/processed/{NAME}"]


def test_an_input_is_known_by_where_it_is(place: Place) -> None:
    known = place.storage.identity()
    place.put(f"trace/p1/{NAME}")
    assert place.storage.identity() == open_storage(place.storage.root).identity() == known


def test_a_pickled_storage_takes_no_connection_and_no_secret_along(place: Place) -> None:
    place.put(f"trace/p1/{NAME}")
    assert listed(place)
    pickled = pickle.dumps(place.storage)
    assert b"secret" not in pickled and len(pickled) < 300
    assert pickle.loads(pickled).root == place.storage.root


# Writing a small file


def test_a_small_file_is_written_in_place_of_what_is_there(place: Place) -> None:
    path = place.path(f"trace/p 1/failed/{NAME}.reason.txt")
    for content in (b"a reason\n", b"a reason\nand another\n"):
        place.storage.write(path, content)
        assert place.get(place.within(path)) == content
        found = place.storage.read(path, 0, 1000)
        assert found.data == content and found.etag == etag(place, path)
    assert place.names() == [place.within(path)]
    assert listed(place) == []


def test_a_file_moves_to_failed_and_back_and_there_again(place: Place) -> None:
    path = place.put(f"trace/p1/{NAME}", b"1\n")
    first = moved(place, path, "failed")
    assert first == f"trace/p1/failed/{NAME}" and listed(place) == []
    again = place.put(f"trace/p1/{NAME}", b"2\n")
    assert moved(place, again, "failed") == f"trace/p1/failed/{NAME.replace('.jsonl', '.2.jsonl')}"
    assert place.get(first) == b"1\n"
