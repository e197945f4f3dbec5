"""What of pending files is to be loaded, by what the journal and the load log say of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xxhash

from transforms.assign_files import Assignment, assign_files
from transforms.loads.journal import Holding, Tail
from transforms.loads.rows import FileRecord, version
from transforms.loads.runs import Owner
from transforms.storage import PendingFile
from transforms.storage.contents import Contents
from transforms.storage.local import LocalStorage

CONTENT = b"0123456\n" * 4
OWNER = Owner("another run", "web-2", 4.0)


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path))


@pytest.fixture
def file(storage: LocalStorage) -> PendingFile:
    return pending(storage, CONTENT)


def pending(storage: LocalStorage, content: bytes) -> PendingFile:
    path = Path(storage.root, "trace", "p", "20261120T120000Z_00.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    (found,) = storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(f"{path}: {reason}"))
    return found


def owned(file: PendingFile, **values: Any) -> FileRecord:
    """The whole file in a committed load."""
    whole = FileRecord(
        path="trace/p/20261120T120000Z_00.jsonl",
        load_id="load",
        start=0,
        end=file.size,
        position=0,
        size=file.size,
        etag=file.etag,
        modified_ms=file.modified_ms,
        timestamp_ms=file.timestamp_ms,
        project_id=file.project_id,
        state="committed",
        version=version(1, "committed"),
        digest=xxhash.xxh3_128_hexdigest(CONTENT),
        load_state="committed",
    )
    record = replace(whole, **values)
    return replace(record, at_end=record.end >= record.size)


def held(state: str = "assigned", **values: Any) -> Holding:
    """The load of `owned`, in the hands of another run."""
    return replace(Holding("load", 1, "another run", 1, 0, 1, 1, state=state), **values)


def assigned(
    storage: LocalStorage,
    file: PendingFile,
    *records: FileRecord,
    holdings: tuple[Holding, ...] = (),
    owners: tuple[Owner, ...] = (),
    reload: bool = False,
) -> Assignment:
    """With the journal's unfinished loads, and the runs that live."""
    tail = Tail(unfinished={holding.load_id: holding for holding in holdings})
    alive = {owner.run_id: owner for owner in owners}
    known = {file.path: list(records)} if records else {}
    return assign_files([file], known, tail, Contents(storage), run_id="this run", alive=alive.get, reload=reload)


def ranges(assignment: Assignment) -> list[tuple[int, int]]:
    return [(part.start, part.end) for part in assignment.new]


def test_a_file_that_no_load_has_is_new(storage: LocalStorage, file: PendingFile) -> None:
    (part,) = assigned(storage, file).new
    assert (part.path, part.project_id, part.timestamp_ms, part.modified_ms, part.size, part.etag) == (
        *(file.path, "p", file.timestamp_ms, file.modified_ms, 32, file.etag),
    )
    assert part.whole and part.event_type == "trace"


def test_an_empty_file_is_new_once(storage: LocalStorage) -> None:
    empty = pending(storage, b"")
    assert ranges(assigned(storage, empty)) == [(0, 0)]
    record = owned(empty, digest=xxhash.xxh3_128_hexdigest(b""))
    for again in (empty, replace(empty, etag="that of a copy")):
        assert assigned(storage, again, record) == Assignment(loaded=[(again, [record])])


@pytest.mark.parametrize("load_state", ["committed", "finalized"])
@pytest.mark.parametrize("state", ["committed", "finalized"])
def test_a_file_that_a_committed_load_has_is_loaded(
    storage: LocalStorage, file: PendingFile, load_state: str, state: str
) -> None:
    """Also while the journal has the load as one of which files are to be moved."""
    record = owned(file, load_state=load_state, state=state)
    for holdings in ((), (held("committed"),)):
        assert assigned(storage, file, record, holdings=holdings) == Assignment(loaded=[(file, [record])])


@pytest.mark.parametrize("state", ["assigned", "committed"])
@pytest.mark.parametrize("load_state", ["assigned", "failed", ""])
def test_a_file_of_an_unfinished_load_is_left_to_its_run(
    storage: LocalStorage, file: PendingFile, load_state: str, state: str
) -> None:
    """Also between the two writes of a commit, when the file is said to be committed and the load is not.

    And also before the history has anything of a load that is in the journal.
    """
    record = owned(file, load_state=load_state, state=state)
    holdings = (held(load_state or "assigned"),)
    assert assigned(storage, file, record, holdings=holdings, owners=(OWNER,)) == Assignment(skipped={file.path: OWNER})
    assert assigned(storage, file, record, holdings=holdings) == Assignment(unfinished=1), "its run has ended"


@pytest.mark.parametrize("state", ["assigned", "committed"])
@pytest.mark.parametrize("load_state", ["assigned", "failed", ""])
def test_what_a_worker_has_written_that_lost_the_race_for_its_entry_counts_for_nothing(
    storage: LocalStorage, file: PendingFile, load_state: str, state: str
) -> None:
    """It has written the files of a load, and then another worker has the entry, so that the load does not exist."""
    record = owned(file, load_state=load_state, state=state)
    assert assigned(storage, file, record, owners=(OWNER,)) == Assignment(new=assigned(storage, file).new)
    other = held(load_id="the load that exists")
    assert ranges(assigned(storage, file, record, holdings=(other,))) == [(0, 32)]


@pytest.mark.parametrize("state", ["assigned", "committed"])
def test_a_load_that_this_run_has_recorded_is_emitted_again(
    storage: LocalStorage, file: PendingFile, state: str
) -> None:
    record, mine = owned(file, load_state="assigned", state=state), held(run_id="this run")
    assert assigned(storage, file, record, holdings=(mine,)) == Assignment(again={"load"})
    adopted = replace(mine, attempt=2)
    assert assigned(storage, file, record, holdings=(adopted,)) == Assignment(unfinished=1), "AdoptLoads emits it"
    failed = replace(mine, state="failed")
    assert assigned(storage, file, record, holdings=(failed,)) == Assignment(unfinished=1), "it was tried"


def test_a_file_of_several_unfinished_loads_waits_for_them_all(storage: LocalStorage, file: PendingFile) -> None:
    records = [
        owned(file, end=16, state="assigned", load_state="assigned", load_id="first"),
        owned(file, start=16, state="assigned", load_state="failed", load_id="second"),
    ]
    dead, alive = held("failed", load_id="second", run_id="dead run"), held(load_id="first")
    found = assigned(storage, file, *records, holdings=(dead, alive), owners=(OWNER,))
    assert found == Assignment(skipped={file.path: OWNER})
    mine = held(load_id="first", run_id="this run")
    assert assigned(storage, file, *records, holdings=(dead, mine)) == Assignment(again={"first"})
    done = replace(records[0], state="committed", load_state="committed")
    assert assigned(storage, file, done, records[1], holdings=(dead,)) == Assignment(unfinished=1)


def test_what_was_given_back_is_new(storage: LocalStorage, file: PendingFile) -> None:
    for load_state in ("assigned", "failed", "committed", "finalized"):
        record = owned(file, load_state=load_state, state="released")
        holdings = (held(load_state),) if load_state in ("assigned", "failed") else ()
        assert ranges(assigned(storage, file, record, holdings=holdings, owners=(OWNER,))) == [(0, 32)]


def test_the_rest_of_a_file_of_which_loads_have_parts_is_new(storage: LocalStorage, file: PendingFile) -> None:
    first, last = owned(file, end=8), owned(file, start=24, load_id="last")
    assert ranges(assigned(storage, file, last, first)) == [(8, 24)]
    assert ranges(assigned(storage, file, last)) == [(0, 24)]
    assert ranges(assigned(storage, file, first)) == [(8, 32)]
    middle = owned(file, start=8, end=24, load_id="middle")
    assert assigned(storage, file, last, first, middle).new == []


def test_the_rest_of_a_slice_that_ended_early_begins_where_it_was_read_to(
    storage: LocalStorage, file: PendingFile
) -> None:
    """Lines began there, so nothing is taken twice; whatever is in the middle of a line now is not looked at."""
    assert ranges(assigned(storage, file, owned(file, end=20))) == [(20, 32)]


def test_a_file_that_has_grown_since_gives_what_is_new(storage: LocalStorage, file: PendingFile) -> None:
    before = owned(file, etag="before", end=24, size=24, digest=xxhash.xxh3_128_hexdigest(CONTENT[:24]))
    grown = assigned(storage, file, before)
    assert (ranges(grown), grown.grown, grown.loaded) == ([(24, 32)], [(file, [before])], [])


def test_a_line_that_was_cut_when_it_was_loaded_is_loaded_whole(storage: LocalStorage, file: PendingFile) -> None:
    before = owned(file, etag="before", end=20, size=20, digest=xxhash.xxh3_128_hexdigest(CONTENT[:20]))
    assert ranges(assigned(storage, file, before)) == [(16, 32)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_that_lacked_only_its_end_is_not_loaded_again(storage: LocalStorage, end: bytes) -> None:
    whole, more = b"0123456" + end + b"012", b"0123456" + end + b"012" + end + b"45" + end
    file = pending(storage, more)
    size = len(whole)
    before = owned(file, etag="before", end=size, size=size, digest=xxhash.xxh3_128_hexdigest(whole))
    assert ranges(assigned(storage, file, before)) == [(size, len(more))]


@pytest.mark.parametrize(
    "changes", [{"digest": xxhash.xxh3_128_hexdigest(b"other")}, {"digest": ""}, {"end": 40, "size": 40}]
)
def test_a_file_that_was_replaced_is_new(storage: LocalStorage, file: PendingFile, changes: dict[str, object]) -> None:
    assert assigned(storage, file, owned(file, etag="before", **changes)) == Assignment(new=assigned(storage, file).new)


def test_a_file_that_comes_again_is_told_by_its_content(storage: LocalStorage, file: PendingFile) -> None:
    """In one slice or in several."""
    whole = owned(file, etag="before", state="finalized", load_state="finalized")
    assert assigned(storage, file, whole) == Assignment(loaded=[(file, [whole])])
    parts = [
        replace(
            whole,
            start=start,
            end=end,
            load_id=name,
            at_end=end == file.size,
            digest=xxhash.xxh3_128_hexdigest(CONTENT[start:end]),
        )
        for name, start, end in (("second", 8, 32), ("first", 0, 8))
    ]
    assert assigned(storage, file, *parts) == Assignment(loaded=[(file, parts[::-1])])
    replaced = replace(parts[0], digest=xxhash.xxh3_128_hexdigest(b"other"))
    assert ranges(assigned(storage, file, replaced, parts[1])) == [(0, 32)], "it has only some of what was loaded"
    found = assigned(storage, file, replace(replaced, etag="of another"), parts[1])
    assert (ranges(found), found.grown) == ([(8, 32)], [(file, [parts[1]])]), "it begins with what was loaded"


@pytest.mark.parametrize("first", ["a part of it", "a whole"])
def test_a_range_that_is_a_part_of_one_content_and_all_of_another_was_loaded(
    storage: LocalStorage, file: PendingFile, first: str
) -> None:
    """In whichever order the log has the two."""
    digest = xxhash.xxh3_128_hexdigest(CONTENT[:16])
    part = owned(file, etag="long", end=16, size=40, digest=digest, load_id="part")
    rest = owned(file, etag="long", start=16, end=40, size=40, digest="of what is not there", load_id="rest")
    whole = owned(file, etag="short", end=16, size=16, digest=digest, load_id="whole")
    known = [part, rest, whole] if first == "a part of it" else [whole, part, rest]
    found = assigned(storage, file, *known)
    assert (ranges(found), found.grown) == ([(16, 32)], [(file, [whole])])
    assert ranges(assigned(storage, file, part, rest)) == [(0, 32)]


def test_a_shorter_file_is_new(storage: LocalStorage) -> None:
    """It begins what was loaded, but nobody has its digest."""
    file = pending(storage, CONTENT[:16])
    whole = owned(replace(file, size=32), etag="before")
    assert ranges(assigned(storage, file, whole)) == [(0, 16)]


def test_a_file_that_was_given_back_again_and_again_waits(storage: LocalStorage, file: PendingFile) -> None:
    """As it is; when it has changed since, it is tried at once."""
    given_back = [
        owned(file, state="released", load_id=f"{n}", error="Input/output error", age_ms=10_000 * (9 - n))
        for n in range(3)
    ]
    assert ranges(assigned(storage, file, *given_back[:2])) == [(0, 32)]
    due = [replace(record, age_ms=record.age_ms + 30_000) for record in given_back]
    assert ranges(assigned(storage, file, *due)) == [(0, 32)]
    last = replace(given_back[2], age_ms=18_000)
    assert assigned(storage, file, *given_back[:2], last) == Assignment(
        waiting={file.path: "Input/output error; failed 3 times, next attempt in 12 s"}
    )
    changed = replace(file, etag="changed")
    assert ranges(assigned(storage, changed, *given_back[:2], last)) == [(0, 32)]


def test_what_is_loaded_is_loaded_again_when_that_is_asked_for(storage: LocalStorage, file: PendingFile) -> None:
    """But what an unfinished load has is still that load's."""
    for etag in (file.etag, "before"):
        assert ranges(assigned(storage, file, owned(file, etag=etag), reload=True)) == [(0, 32)]
    unfinished = owned(file, state="assigned", load_state="assigned")
    assert assigned(storage, file, unfinished, holdings=(held(),), owners=(OWNER,), reload=True) == Assignment(
        skipped={file.path: OWNER}
    )


def test_files_are_assigned_oldest_first(storage: LocalStorage, file: PendingFile) -> None:
    later, earlier = (replace(file, path=f"{file.path}{n}", timestamp_ms=file.timestamp_ms + n) for n in (1, -1))
    found = assign_files(
        [later, file, earlier], {}, Tail(), Contents(storage), run_id="this run", alive=lambda run_id: None
    )
    assert [part.path for part in found.new] == [earlier.path, file.path, later.path]
    assert all(os.path.isabs(part.path) for part in found.new)
