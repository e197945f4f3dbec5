"""What a path in JSON may mean, and how it is written."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipeline.commands.query_options import grouping, json_filter, label_paths, merged
from beam_pipeline.query import BadArgument
from beam_pipeline.query.json_paths import MAX_READINGS, JsonPath, path_name, read_path, readings

keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
exact = st.lists(keys | st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=4).map(tuple)


@pytest.mark.parametrize(
    ("path", "means"),
    [
        ("a", [("a",)]),
        ("", [("",)]),
        ("a.b.c", [("a.b.c",), ("a.b", "c"), ("a", "b.c"), ("a", "b", "c")]),
        ("a.0", [("a.0",), ("a", "0"), ("a", 0)]),
        ("a.-1", [("a.-1",), ("a", "-1"), ("a", -1)]),
        ("a.01", [("a.01",), ("a", "01")]),
        (".a", [(".a",), ("", "a")]),
        (("a.b", 0), [("a.b", 0)]),
    ],
)
def test_the_longest_keys_come_first(path: JsonPath, means: list[tuple[str | int, ...]]) -> None:
    assert list(readings("labels", path)) == means


def test_a_path_of_six_dots_is_read_in_all_ways_and_a_longer_one_not_at_all() -> None:
    assert len(readings("labels", "a.b.c.d.e.f.g")) == MAX_READINGS
    for path in ("a.b.c.d.e.f.g.h", "0.1.2.3.4.5", "." * 100_000):
        with pytest.raises(BadArgument, match=r"labels: .* must be .* up to 6 dots; or a tuple of its keys"):
            readings("labels", path)
    assert readings("labels", tuple("abcdefgh")) == [tuple("abcdefgh")]


@pytest.mark.parametrize("path", [(), 5, None, ["a"], ("a", True), ("a", None), ("a", 2**31), ("\ud800",), "\ud800"])
def test_anything_else_is_no_path(path: object) -> None:
    with pytest.raises(BadArgument, match="labels: "):
        readings("labels", path)


@given(exact, keys)
def test_an_exact_path_can_be_typed_as_json(path: JsonPath, value: str) -> None:
    typed = path_name(path, "")
    assert read_path(f"{typed}={value}") == (path, f"={value}")
    assert json_filter(f"{typed}=[{value}") == (path, f"[{value}")
    assert label_paths(grouping(f"name,{path_name(path, 'labels')} , status")) == (("name", "status"), (path,))


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("http.method=GET", ("http.method", "GET")),
        ("a=b=c", ("a", "b=c")),
        ('["a=b"]=c', (("a=b",), "c")),
        ('["events", 0, "name"]=exception', (("events", 0, "name"), "exception")),
        ('[""]=1', (("",), 1)),
        ("a=1.5", ("a", 1.5)),
        ('a="1.5"', ("a", "1.5")),
        ("a=null", ("a", None)),
        ("a=NaN", ("a", "NaN")),
        ("a=-Infinity", ("a", "-Infinity")),
        ("a=[1]", ("a", "[1]")),
        ("a=", ("a", "")),
    ],
)
def test_a_filter_is_a_path_and_a_value(typed: str, means: tuple[JsonPath, object]) -> None:
    assert json_filter(typed) == means


@pytest.mark.parametrize("typed", ["=1", "a", "[a]=1", '["a"]', '["a"', "[]=1", "[true]=1", "[1.5]=1", "[[]]=1"])
def test_what_is_no_filter_is_refused_with_what_would_be(typed: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as"):
        json_filter(typed)


def test_one_place_cannot_have_two_values() -> None:
    assert merged([("a", 1), ("b", 2), ("a", 1)]) == {"a": 1, "b": 2}
    with pytest.raises(argparse.ArgumentTypeError, match="'a' cannot be both 1 and 2"):
        merged([("a", 1), ("a", 2)])


def test_labels_that_are_typed_wrong_are_refused() -> None:
    for typed in ('labels["a"]b', "labels[a]", "labels["):
        with pytest.raises(argparse.ArgumentTypeError, match="labels"):
            grouping(typed)
    assert label_paths(grouping("labels.service.name,,name")) == (("name",), ("service.name",))
