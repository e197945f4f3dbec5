"""Loads are cut within their bounds, lose no byte, and are the same whenever the same is recorded."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from transforms.loads import Load, Slice, cut_loads, delivery_ms, make_load


def slices(sizes: list[int]) -> list[Slice]:
    return [Slice(f"/in/{i:02}.jsonl", "trace", "p", 0, 0, size, f"e{i}", 0, size) for i, size in enumerate(sizes)]


def load(parts: list[Slice], block_bytes: int = 100, generation: int = 0) -> Load:
    return make_load(parts, block_bytes=block_bytes, block_rows=10, created_ms=1, generation=generation)


def anywhere(part: Slice, offset: int) -> int:
    """For files of which each byte is a line."""
    return offset


def covered(parts: list[Slice]) -> dict[str, list[tuple[int, int]]]:
    """The ranges by file, joined where one begins at the end of the other."""
    joined: dict[str, list[tuple[int, int]]] = {}
    for part in parts:
        ranges = joined.setdefault(part.path, [])
        if ranges and ranges[-1][1] == part.start:
            ranges[-1] = (ranges[-1][0], part.end)
        else:
            ranges.append((part.start, part.end))
    return joined


@given(st.lists(st.integers(0, 500), max_size=30), st.integers(1, 200), st.integers(1, 5))
def test_groups_stay_within_their_bounds_and_cover_every_byte(
    sizes: list[int], load_bytes: int, load_files: int
) -> None:
    groups = list(cut_loads(slices(sizes), load_bytes=load_bytes, load_files=load_files, next_line=anywhere))
    assert all(len(group) <= load_files and sum(part.length for part in group) <= load_bytes for group in groups)
    assert covered([part for group in groups for part in group]) == {
        f"/in/{i:02}.jsonl": [(0, size)] for i, size in enumerate(sizes)
    }


@given(
    st.lists(st.lists(st.integers(1, 90), max_size=20), max_size=8),
    st.integers(1, 200),
    st.integers(1, 5),
)
def test_large_slices_are_cut_where_lines_begin(
    line_lengths: list[list[int]], load_bytes: int, load_files: int
) -> None:
    """Files of lines of these lengths: a group is longer than it may be by a part of a line at most."""
    begins = {f"/in/{i:02}.jsonl": [0, *accumulate(lengths)] for i, lengths in enumerate(line_lengths)}

    def next_line(part: Slice, offset: int) -> int:
        return min(begin for begin in begins[part.path] if begin >= offset)

    sizes = [sum(lengths) for lengths in line_lengths]
    groups = list(cut_loads(slices(sizes), load_bytes=load_bytes, load_files=load_files, next_line=next_line))
    for group in groups:
        assert len(group) <= load_files
        assert all(part.start in begins[part.path] and part.end in begins[part.path] for part in group)
        assert sum(part.length for part in group) <= load_bytes or len(group) == 1
        assert group[0].length < load_bytes + 90
    assert covered([part for group in groups for part in group]) == {
        f"/in/{i:02}.jsonl": [(0, size)] for i, size in enumerate(sizes)
    }


@given(st.lists(st.integers(0, 500), min_size=1, max_size=30), st.integers(1, 200))
def test_chunks_stay_within_their_bounds_and_cover_every_byte(sizes: list[int], block_bytes: int) -> None:
    whole = load(slices(sizes), block_bytes)
    chunks = list(whole.chunks())
    assert all(chunk and sum(part.length for part in chunk) <= block_bytes for chunk in chunks)
    assert covered([part for chunk in chunks for part in chunk]) == {
        f"/in/{i:02}.jsonl": [(0, size)] for i, size in enumerate(sizes)
    }


def test_chunks_do_not_depend_on_what_was_released() -> None:
    whole = load(slices([60, 60, 60]))
    assert list(replace(whole, released=frozenset({1})).chunks()) == list(whole.chunks())


def test_the_id_is_a_digest_of_the_membership() -> None:
    parts = slices([10, 20])
    assert load(parts).load_id == load(parts).load_id == load([parts[1], parts[0]]).load_id
    others = [
        load([parts[0]]),
        load([replace(parts[0], path="/other.jsonl"), parts[1]]),
        load([parts[0], replace(parts[1], etag="other")]),
        load([parts[0], replace(parts[1], end=19)]),
        load(parts, block_bytes=99),
        load(parts, generation=1),
    ]
    assert len({load(parts).load_id, *(other.load_id for other in others)}) == len(others) + 1


def test_members_know_their_place() -> None:
    assert [part.position for part in load(slices([1, 2, 3])).slices] == [0, 1, 2]
    assert [
        part.whole for part in (slices([5])[0], replace(slices([5])[0], start=1), replace(slices([5])[0], end=4))
    ] == [
        True,
        False,
        False,
    ]


def test_members_are_ordered_so_that_blocks_are_large() -> None:
    """By type, project and age, so that few blocks hold rows of the same table and month."""
    first = slices([10])[0]
    members = [
        first,
        replace(first, path="/in/01.jsonl", start=4),
        replace(first, path="/in/01.jsonl", end=4),
        replace(first, path="/in/00.jsonl", timestamp_ms=1),
        replace(first, path="/in/00.jsonl", project_id="q"),
        replace(first, path="/in/00.jsonl", event_type="zebra"),
        replace(first, path="/in/00.jsonl", event_type="log"),
    ]
    made = load([members[n] for n in (5, 1, 4, 6, 2, 3, 0)])
    assert [replace(part, position=0) for part in made.slices] == [members[n] for n in (6, 0, 2, 1, 3, 4, 5)]
    assert (made.event_type, load([first]).event_type) == ("mixed", "trace")


@given(
    st.lists(st.integers(0, 900), min_size=1, max_size=60),
    st.integers(0, 60),
    st.tuples(st.integers(1, 500), st.integers(1, 500), st.integers(1, 9), st.integers(1, 5)),
)
def test_the_loads_of_later_files_have_later_versions(
    sizes: list[int], second_month: int, bounds: tuple[int, int, int, int]
) -> None:
    """Files of two months that are assigned in groups, whatever the order of the groups."""
    load_bytes, block_bytes, load_files, block_rows = bounds
    block_bytes = min(block_bytes, load_bytes)
    files = slices(sizes)
    months = [files[:second_month], files[second_month:]]
    groups = [month[at : at + load_files] for month in months for at in range(0, len(month), load_files)]
    end_ms = 0
    before: list[Slice] = []
    for group in groups:
        created_ms = delivery_ms(
            len(before),
            sum(part.size for part in before),
            1 + (len(before) >= second_month),
            load_bytes=load_bytes,
            load_files=load_files,
            block_bytes=block_bytes,
            block_rows=block_rows,
        )
        assert created_ms >= end_ms
        for members in cut_loads(group, load_bytes=load_bytes, load_files=load_files, next_line=anywhere):
            made = make_load(members, block_bytes=block_bytes, block_rows=block_rows, created_ms=created_ms)
            created_ms = end_ms = made.end_ms
        before += group


def test_versions_hardly_run_ahead_of_the_clock() -> None:
    defaults = {"load_bytes": 128 << 20, "load_files": 1000, "block_bytes": 32 << 20, "block_rows": 250_000}
    assert delivery_ms(50_000, 100 << 20, 1, **defaults) < 300
    assert delivery_ms(100, 10 << 30, 70, **defaults) < 10_000
