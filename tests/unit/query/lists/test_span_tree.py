"""Span trees of any shape, with parents that are missing and spans that are their own ancestors."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from beam_pipeline.query import Span, SpanNode, build_span_tree
from tests.support import query_events as events

MS = timedelta(milliseconds=1)


def span(
    identity: str, parent: str | None = None, start: int = 0, duration: int | None = 10, end: int | None = None
) -> Span:
    return Span(
        **events.row(
            "span",
            id=identity,
            trace_id="t",
            parent_span_id=parent,
            start_time=events.NOON + start * MS,
            end_time=None if end is None else events.NOON + end * MS,
            duration_ms=duration,
        )
    )


def shape(node: SpanNode) -> object:
    return (node.span.id, [shape(child) for child in node.children]) if node.children else node.span.id


def shapes(*spans: Span) -> list[object]:
    return [shape(root) for root in build_span_tree(spans).roots]


def test_children_are_below_their_parents_earliest_first() -> None:
    spans = [span("c", "a", 5), span("b", "a", 7), span("d", "b", 8), span("a"), span("e", "a", 5)]
    assert shapes(*spans) == [("a", ["c", "e", ("b", ["d"])])]
    tree = build_span_tree(spans)
    assert [(node.span.id, node.depth) for node in tree.walk()] == [("a", 0), ("c", 1), ("e", 1), ("b", 1), ("d", 2)]
    assert len(tree) == 5


def test_a_span_without_its_parent_is_a_root_and_an_orphan() -> None:
    tree = build_span_tree([span("a"), span("b", "missing", 1), span("c", "b", 2), span("d", "", 3)])
    assert [(node.span.id, node.depth, node.is_orphan) for node in tree.walk()] == [
        ("a", 0, False),
        ("b", 0, True),
        ("c", 1, False),
        ("d", 0, False),
    ]


def test_a_cycle_is_cut_at_its_earliest_span() -> None:
    tree = build_span_tree(
        [span("a", "c", 3), span("b", "a", 1), span("c", "b", 2), span("d", "a", 0), span("s", "s", 9)]
    )
    assert [shape(root) for root in tree.roots] == [("b", [("c", [("a", ["d"])])]), "s"]
    assert [node.span.id for node in tree.walk() if node.is_cycle] == ["b", "s"]


def test_self_time_is_without_children_and_counts_their_overlap_once() -> None:
    spans = [
        span("a", None, 0, 100),
        *(span("b", "a", 10, 20), span("c", "a", 20, 20), span("d", "a", 90, 50), span("e", "a", -50, 55)),
        *(span("f", "a", 60, None, end=70), span("g", "a", 75, None), span("h", "a", 80, -5)),
    ]
    nodes = {node.span.id: node.self_time_ms for node in build_span_tree(spans).walk()}
    assert nodes["a"] == 100 - 5 - 30 - 10 - 10
    assert (nodes["b"], nodes["f"], nodes["g"], nodes["h"]) == (20, 10, None, 0)
    assert build_span_tree([span("a", duration=2**62)]).roots[0].self_time_ms > 0  # type: ignore[operator]


def test_any_depth() -> None:
    chain = [span(str(place), str(place - 1) if place else None) for place in range(5000)]
    tree = build_span_tree(chain)
    assert max(node.depth for node in tree.walk()) == 4999
    assert build_span_tree([]).roots == ()


@given(st.lists(st.tuples(st.none() | st.integers(0, 9), st.integers(0, 3), st.none() | st.integers(0, 9)), max_size=9))
def test_each_span_is_there_once_below_its_parent_or_a_root(parents: list[tuple[int | None, int, int | None]]) -> None:
    spans = [
        span(str(place), None if parent is None else str(parent), start, duration)
        for place, (parent, start, duration) in enumerate(parents)
    ]
    tree = build_span_tree(spans)
    assert sorted(node.span.id for node in tree.walk()) == sorted(one.id for one in spans)
    assert len(tree) == len(spans)
    for root in tree.roots:
        assert root.depth == 0
        assert root.is_cycle + root.is_orphan + (not root.span.parent_span_id) == 1
    for node in tree.walk():
        assert node.self_time_ms is None or 0 <= node.self_time_ms <= (node.span.duration_ms or 0)
        for child in node.children:
            assert (child.span.parent_span_id, child.depth) == (node.span.id, node.depth + 1)
            assert not child.is_orphan and not child.is_cycle
