"""The spans of a trace as a tree, even if spans are missing or refer to each other in a circle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from beam_pipeline.query.model import Span

_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class SpanNode:
    """A span and its children, earliest first."""

    span: Span
    depth: int
    """0 for a root."""
    children: tuple[SpanNode, ...]
    self_time_ms: int | None
    """The part of its duration in which no child was running; None without a duration."""
    is_orphan: bool
    """Whether it is a root because its parent is missing."""
    is_cycle: bool
    """Whether it is a root because it is its own ancestor; of the spans in a circle, the earliest is the root."""


@dataclass(frozen=True, slots=True)
class SpanTree:
    """All spans of a trace, each once."""

    roots: tuple[SpanNode, ...]

    def walk(self) -> Iterator[SpanNode]:
        """All nodes, parents before their children, earliest first."""
        waiting = list(reversed(self.roots))
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))

    def __len__(self) -> int:
        return sum(1 for _ in self.walk())


def build_span_tree(spans: Iterable[Span]) -> SpanTree:
    """A tree of the spans of one trace, of any depth. The ids must differ."""
    ordered = sorted(spans, key=_order)
    by_id = {span.id: span for span in ordered}
    children: dict[str, list[Span]] = {span.id: [] for span in ordered}
    roots, orphans, cycles = list[Span](), set[str](), set[str]()
    for span in ordered:
        if span.parent_span_id in by_id:
            children[span.parent_span_id or ""].append(span)
        else:
            roots.append(span)
            if span.parent_span_id:
                orphans.add(span.id)
    depths = _depths(roots, children)
    for span in ordered:
        if span.id in depths:
            continue
        # No root leads here, so an ancestor is in a cycle.
        start = _earliest_of_cycle(span, by_id)
        children[start.parent_span_id or ""].remove(start)
        roots.append(start)
        cycles.add(start.id)
        depths |= _depths([start], children)
    nodes: dict[str, SpanNode] = {}
    for span in sorted(ordered, key=lambda span: -depths[span.id]):
        below = tuple(nodes[child.id] for child in children[span.id])
        nodes[span.id] = SpanNode(
            span=span,
            depth=depths[span.id],
            children=below,
            self_time_ms=_self_time_ms(span, children[span.id]),
            is_orphan=span.id in orphans,
            is_cycle=span.id in cycles,
        )
    return SpanTree(tuple(nodes[span.id] for span in sorted(roots, key=_order)))


def _order(span: Span) -> tuple[datetime, str]:
    return span.start_time, span.id


def _depths(roots: Sequence[Span], children: Mapping[str, Sequence[Span]]) -> dict[str, int]:
    depths = {}
    level = [span.id for span in roots]
    depth = 0
    while level:
        depths.update(dict.fromkeys(level, depth))
        level = [child.id for identity in level for child in children[identity]]
        depth += 1
    return depths


def _earliest_of_cycle(span: Span, by_id: Mapping[str, Span]) -> Span:
    seen: dict[str, None] = {}
    while span.id not in seen:
        seen[span.id] = None
        span = by_id[span.parent_span_id or ""]
    path = list(seen)
    return min((by_id[identity] for identity in path[path.index(span.id) :]), key=_order)


def interval_of(span: Span) -> tuple[datetime, datetime] | None:
    """When a span started and ended, by its duration or else by its end; None if neither is known."""
    if span.duration_ms is not None:
        try:
            return span.start_time, span.start_time + max(span.duration_ms, 0) * _MS
        except OverflowError:
            return span.start_time, datetime.max.replace(tzinfo=span.start_time.tzinfo)
    return None if span.end_time is None else (span.start_time, max(span.start_time, span.end_time))


def _self_time_ms(span: Span, children: Sequence[Span]) -> int | None:
    own = interval_of(span)
    if own is None:
        return None
    busy = timedelta(0)
    position, end = own
    for start, stop in sorted(filter(None, map(interval_of, children))):
        start, stop = max(start, position), min(stop, end)
        if stop > start:
            busy += stop - start
            position = stop
    return (end - own[0] - busy) // _MS
