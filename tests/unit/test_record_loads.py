"""What of pending files is to be loaded, by what the load log says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import xxhash

from transforms.loads.log import Ownership
from transforms.record_loads import Assignment, assign_files
from transforms.storage import PendingFile
from transforms.storage.local import LocalStorage

CONTENT = b"0123456\n" * 4


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path))


@pytest.fixture
def file(storage: LocalStorage) -> PendingFile:
    path = Path(storage.root, "trace", "p", "20261120T120000Z_00.jsonl")
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    (found,) = storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(f"{path}: {reason}"))
    return found


def owned(file: PendingFile, **values: object) -> Ownership:
    """The whole file in a committed load of another run."""
    whole = Ownership(
        path=file.path,
        load_id="load",
        run_id="another run",
        attempt=1,
        load_state="committed",
        state="committed",
        etag=file.etag,
        size=file.size,
        start=0,
        end=file.size,
        digest=xxhash.xxh3_128_hexdigest(CONTENT),
    )
    return replace(whole, **values)  # type: ignore[arg-type]


def assigned(storage: LocalStorage, file: PendingFile, *records: Ownership) -> Assignment:
    return assign_files([file], {file.path: list(records)} if records else {}, storage, "this run")


def ranges(assignment: Assignment) -> list[tuple[int, int]]:
    return [(part.start, part.end) for part in assignment.new]


def test_a_file_that_no_load_has_is_new(storage: LocalStorage, file: PendingFile) -> None:
    (part,) = assigned(storage, file).new
    assert (part.path, part.project_id, part.timestamp_ms, part.modified_ms, part.size, part.etag) == (
        *(file.path, "p", file.timestamp_ms, file.modified_ms, 32, file.etag),
    )
    assert part.whole


def test_an_empty_file_is_new_once(storage: LocalStorage, file: PendingFile) -> None:
    empty = replace(file, size=0)
    assert ranges(assigned(storage, empty)) == [(0, 0)]
    assert assigned(storage, empty, owned(empty)) == Assignment(loaded={"load"})


@pytest.mark.parametrize("load_state", ["committed", "finalized"])
@pytest.mark.parametrize("state", ["committed", "finalized"])
def test_a_file_that_a_committed_load_has_is_loaded(
    storage: LocalStorage, file: PendingFile, load_state: str, state: str
) -> None:
    assert assigned(storage, file, owned(file, load_state=load_state, state=state)) == Assignment(loaded={"load"})


@pytest.mark.parametrize("state", ["assigned", "committed"])
@pytest.mark.parametrize("load_state", ["assigned", "failed"])
def test_a_file_of_an_unfinished_load_is_left_to_its_run(
    storage: LocalStorage, file: PendingFile, load_state: str, state: str
) -> None:
    """Also between the two writes of a commit, when the file is said to be committed and the load is not."""
    others = owned(file, load_state=load_state, state=state)
    with storage.hold(others.run_id):
        assert assigned(storage, file, others) == Assignment(skipped=1)
    assert assigned(storage, file, others) == Assignment(unfinished=1), "its run has ended"


@pytest.mark.parametrize("state", ["assigned", "committed"])
def test_a_load_that_this_run_has_recorded_is_emitted_again(
    storage: LocalStorage, file: PendingFile, state: str
) -> None:
    mine = owned(file, load_state="assigned", state=state, run_id="this run")
    assert assigned(storage, file, mine) == Assignment(again={"load"})
    assert assigned(storage, file, replace(mine, attempt=2)) == Assignment(unfinished=1), "AdoptLoads emits it"
    assert assigned(storage, file, replace(mine, load_state="failed")) == Assignment(unfinished=1), "it was tried"


def test_what_was_given_back_is_new(storage: LocalStorage, file: PendingFile) -> None:
    for load_state in ("assigned", "failed", "committed", "finalized"):
        assert ranges(assigned(storage, file, owned(file, load_state=load_state, state="released"))) == [(0, 32)]


def test_the_rest_of_a_file_of_which_loads_have_parts_is_new(storage: LocalStorage, file: PendingFile) -> None:
    first, last = owned(file, end=8), owned(file, start=24, load_id="last")
    assert ranges(assigned(storage, file, last, first)) == [(8, 24)]
    assert ranges(assigned(storage, file, last)) == [(0, 24)]
    assert ranges(assigned(storage, file, first)) == [(8, 32)]
    middle = owned(file, start=8, end=24, load_id="middle")
    assert assigned(storage, file, last, first, middle).new == []


def test_a_file_that_has_grown_since_gives_what_is_new(storage: LocalStorage, file: PendingFile) -> None:
    before = owned(file, etag="before", end=24, size=24, digest=xxhash.xxh3_128_hexdigest(CONTENT[:24]))
    grown = assigned(storage, file, before)
    assert (ranges(grown), grown.grown) == ([(24, 32)], [(before, file)])


def test_a_line_that_was_cut_when_it_was_loaded_is_loaded_whole(storage: LocalStorage, file: PendingFile) -> None:
    before = owned(file, etag="before", end=20, size=20, digest=xxhash.xxh3_128_hexdigest(CONTENT[:20]))
    assert ranges(assigned(storage, file, before)) == [(16, 32)]


@pytest.mark.parametrize(
    "changes", [{"digest": xxhash.xxh3_128_hexdigest(b"other")}, {"digest": ""}, {"end": 40, "size": 40}]
)
def test_a_file_that_was_replaced_is_new(storage: LocalStorage, file: PendingFile, changes: dict[str, object]) -> None:
    assert assigned(storage, file, owned(file, etag="before", **changes)) == Assignment(new=assigned(storage, file).new)


def test_files_are_assigned_oldest_first(storage: LocalStorage, file: PendingFile) -> None:
    later, earlier = (replace(file, path=f"{file.path}{n}", timestamp_ms=file.timestamp_ms + n) for n in (1, -1))
    found = assign_files([later, file, earlier], {}, storage, "this run")
    assert [part.path for part in found.new] == [earlier.path, file.path, later.path]
