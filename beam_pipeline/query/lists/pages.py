"""Pages of a list, by number or by a cursor, which is a position in the order of the list."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Literal

from beam_pipeline.query.arguments import whole
from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.errors import BadArgument
from beam_pipeline.query.lists.counts import Counted, count_events, first_are_single
from beam_pipeline.query.lists.cursors import decode_cursor, encode_cursor
from beam_pipeline.query.lists.newest import newest_rows, rows_at
from beam_pipeline.query.lists.order import Direction, Order, Position
from beam_pipeline.query.lists.parts import parts_in_time
from beam_pipeline.query.lists.sparse import find_few, rows_of
from beam_pipeline.query.model import Event, Page
from beam_pipeline.query.sources import Row, Source

DEFAULT_PER_PAGE = 50
MAX_PER_PAGE = 1000
MAX_SKIPPED = 10_000
"""The most events that a page number may skip, since they have to be read. A cursor skips none."""

Count = Literal["exact", "none"]


def read_page(
    database: Database,
    source: Source[Event],
    conditions: Conditions,
    *,
    page: int | None,
    per_page: int,
    cursor: str | None,
    count: Count,
    first: Direction = "newest",
) -> Page[Event]:
    """A page of the events whose newest version matches. Raises QueryError."""
    per_page = whole("per_page", per_page, 1, MAX_PER_PAGE)
    if count not in ("exact", "none"):
        raise BadArgument("count", count, "exact or none")
    if first not in ("newest", "oldest"):
        raise BadArgument("order", first, "newest or oldest")
    order = Order(source, first=first)
    after: Position | None = None
    if cursor is not None:
        if page is not None:
            raise BadArgument("page", page, "left out when there is a cursor")
        conditions, after = decode_cursor(cursor, conditions, order)
    else:
        page = whole("page", page or 0, 0, MAX_SKIPPED)
        if page * per_page > MAX_SKIPPED:
            raise BadArgument("page", page, f"at most {MAX_SKIPPED // per_page} for {per_page} a page; use the cursor")
    listing = _Listing(
        *(database, conditions, order, source.selection, after),
        skipped=(page or 0) * per_page,
        wanted=per_page + 1,
        counted=count == "exact",
    )
    rows, total = listing.read()
    has_more = len(rows) > per_page
    read = partial(read_page, database, source, conditions, page=None, per_page=per_page, count="none", first=first)
    return Page(
        items=[source.event(row) for row in rows[:per_page]],
        event_type=source.event_type,
        per_page=per_page,
        page=page,
        total=total,
        has_more=has_more,
        next_cursor=encode_cursor(conditions, order, order.position(rows[per_page - 1])) if has_more else None,
        read_next=lambda cursor: read(cursor=cursor),
    )


@dataclass
class _Listing:
    """A part of a list: `wanted` events in an order, after a position or after `skipped` others."""

    database: Database
    conditions: Conditions
    order: Order
    selection: str
    after: Position | None
    skipped: int
    wanted: int
    counted: bool
    """Whether to return the total."""
    counting: Future[Counted] | None = None

    def read(self) -> tuple[Sequence[Row], int | None]:
        """The rows of the events, and the total."""
        if not self.conditions.may_leave_few:
            self._count()
            rows = self._of_many(self._parts())
            return rows, self._total(rows)
        # The first part of the range has the whole page, unless few events match.
        parts = self._parts()
        rows = [] if self.skipped else self._newest(parts[:1], self.wanted if len(parts) > 1 else 0)
        if len(rows) < self.wanted and (self.skipped or len(parts) > 1):
            found = find_few(self.database, self.conditions, self.order)
            few = None if found is None else self._of_few(found)
            if found is not None and few is not None:
                return few, len(found) if self.counted else None
            rows = self._of_many(parts)
        return rows, self._total(rows)

    def _parts(self) -> list[Conditions]:
        return list(parts_in_time(self.database, self.conditions, self.order, self.after, self.skipped + self.wanted))

    def _count(self) -> None:
        """Starts counting in another thread, unless it has started."""
        if self.counted and self.counting is None:
            self.counting = self.database.meanwhile(partial(count_events, conditions=self.conditions))

    def _total(self, rows: Sequence[Row]) -> int | None:
        if not self.counted:
            return None
        if self.after is None and len(rows) < self.wanted and (rows or not self.skipped):
            return self.skipped + len(rows)
        return (self.counting.result() if self.counting else count_events(self.database, self.conditions)).total

    def _of_few(self, found: Sequence[Row]) -> Sequence[Row] | None:
        """The rows, given the positions of all matching events; None if some rows have disappeared."""
        order, after = self.order, self.after
        rest = [row for row in found if after is None or order.comes_before(after, order.position(row))]
        there = rest[self.skipped : self.skipped + self.wanted]
        return rows_of(self.database, self.conditions, self.order, self.selection, there)

    def _newest(self, parts: Sequence[Conditions], at_least: int = 0) -> Sequence[Row]:
        """The rows if none is skipped; none if the first part has fewer than `at_least`."""
        how = (self.selection, self.wanted, self._doubtful, at_least)
        found = newest_rows(self.database, parts, self.order, self.after, *how)
        return list(islice(found, self.wanted))

    def _doubtful(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows of events that may have other rows: all, unless the count says which."""
        if self.conditions.may_leave_few and len(rows) >= self.wanted:
            self._count()  # only now it is known to be needed
        return rows if self.counting is None or not rows else self.counting.result().doubtful(rows)

    def _of_many(self, parts: Sequence[Conditions]) -> Sequence[Row]:
        """The rows, read directly if every skipped event has one row; otherwise by reading the skipped events."""
        if not self.skipped:
            return self._newest(parts)
        self._count()
        database, order = self.database, self.order
        # The check comes before the rows are read, since a merge may drop second rows between the two.
        single = self.counting is not None and self.counting.result().repeated == frozenset()
        if not single:
            _, part = rows_at(database, parts, order, "1 AS _one", self.skipped, self.wanted)
            single = first_are_single(database, part, order, self.skipped + self.wanted)
        if single:
            rows, _ = rows_at(database, parts, order, self.selection, self.skipped, self.wanted)
            if len({order.identity(row) for row in rows}) == len(rows):
                return rows
        before = list(islice(newest_rows(database, parts, order, None, "", self.skipped), self.skipped))
        if len(before) < self.skipped:
            return []
        return replace(self, after=order.position(before[-1]), skipped=0)._newest(parts)


def read_slowest(database: Database, source: Source[Event], conditions: Conditions, limit: int) -> list[Event]:
    """The events with the longest durations. Raises QueryError."""
    limit = whole("limit", limit, 1, MAX_PER_PAGE)
    timed = conditions.only("duration_ms IS NOT NULL")
    found = newest_rows(database, [timed], Order(source, "duration_ms"), None, source.selection, limit)
    return [source.event(row) for row in islice(found, limit)]
