"""Pages of a list: by number, or by a cursor, which is a position in the list's order."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import Any, Literal

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.counts import Counted, count_events, first_are_single
from beam_pipeline.query.database import Database
from beam_pipeline.query.errors import BadArgument
from beam_pipeline.query.model import Event, Page
from beam_pipeline.query.newest import Order, Position, newest_rows, parts_in_time, rows_at
from beam_pipeline.query.sources import Row, Source

DEFAULT_PER_PAGE = 50
MAX_PER_PAGE = 1000
MAX_SKIPPED = 10_000
"""How many events a page's number may skip: they are read to be counted. A cursor skips nothing."""
_BY_ID = {"use_skip_indexes_on_data_read": 0}
"""Once the granules of an id are known, to look into the index a second time takes a tenth of the query's time."""

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
) -> Page[Event]:
    """A page of the events that meet the conditions, latest first. Raises QueryError."""
    per_page = whole("per_page", per_page, 1, MAX_PER_PAGE)
    if count not in ("exact", "none"):
        raise BadArgument("count", count, "exact or none")
    order = Order(source)
    after: Position | None = None
    if cursor is not None:
        if page is not None:
            raise BadArgument("page", page, "left out when there is a cursor")
        after = decode_cursor(cursor, conditions, order)
    else:
        page = whole("page", page or 0, 0, MAX_SKIPPED)
        if page * per_page > MAX_SKIPPED:
            raise BadArgument("page", page, f"at most {MAX_SKIPPED // per_page} for {per_page} a page; use the cursor")
    skipped, wanted = (page or 0) * per_page, per_page + 1
    counting: Future[Counted] | None = None
    if count == "exact":
        counting = database.meanwhile(partial(count_events, conditions=conditions))

    def are_single(rows: Sequence[Row]) -> bool:
        # The count of a short range is there as soon as the page; others take longer than a look at the page's events.
        return counting is not None and conditions.is_short and counting.result().covers(rows)

    rows: Sequence[Row]
    if skipped:
        rows = _page_after(database, conditions, order, source.selection, skipped, wanted, counting)
    else:
        rows = list(
            islice(newest_rows(database, conditions, order, after, source.selection, wanted, are_single), wanted)
        )
    has_more = len(rows) > per_page
    total = None
    if counting is not None:
        at_the_end = cursor is None and not has_more and (rows or not skipped)
        total = skipped + len(rows) if at_the_end else counting.result().total
    return Page(
        items=[source.event(row) for row in rows[:per_page]],
        per_page=per_page,
        page=page,
        total=total,
        has_more=has_more,
        next_cursor=encode_cursor(conditions, order.position(rows[per_page - 1])) if has_more else None,
    )


def read_versions(database: Database, source: Source[Event], conditions: Conditions) -> list[Event]:
    """The events that meet conditions which hold for all their versions: one look is enough."""
    select = f"SELECT {source.selection} FROM {source.table} WHERE {conditions.where_versions}"
    rows = database.rows(select, conditions.parameters, _BY_ID)
    # Hardly ever is there more than one version, and to compare them takes the server a third of its time.
    if len({source.identity_of(row) for row in rows}) < len(rows):
        newest = f"ORDER BY {source.version} DESC LIMIT 1 BY {', '.join(source.identifying)}"
        rows = database.rows(f"{select} {newest}", conditions.parameters)
    return [source.event(row) for row in rows]


def read_slowest(database: Database, source: Source[Event], conditions: Conditions, limit: int) -> list[Event]:
    """The events with the longest durations."""
    limit = whole("limit", limit, 1, MAX_PER_PAGE)
    timed = conditions.only("duration_ms IS NOT NULL")
    found = newest_rows(database, timed, Order(source, "duration_ms"), None, source.selection, limit)
    return [source.event(row) for row in islice(found, limit)]


def _page_after(
    database: Database,
    conditions: Conditions,
    order: Order,
    selection: str,
    skipped: int,
    wanted: int,
    counting: Future[Counted] | None,
) -> Sequence[Row]:
    """Rows behind so many events: at once when each of these has one row, else by reading them."""
    parts = list(parts_in_time(database, conditions, order, None, skipped + wanted))
    # The rows are read after the look, since a merge may drop second rows between the two.
    single = counting is not None and counting.result().single
    if not single:
        _, part = rows_at(database, parts, order, "1 AS _one", skipped, wanted)
        single = first_are_single(database, part, order, skipped + wanted)
    if single:
        rows, _ = rows_at(database, parts, order, selection, skipped, wanted)
        if len({order.identity(row) for row in rows}) == len(rows):
            return rows
    last = None
    passed = 0
    for row in islice(newest_rows(database, conditions, order, None, "", skipped), skipped):
        last = order.position(row)
        passed += 1
    if passed < skipped:
        return []
    return list(islice(newest_rows(database, conditions, order, last, selection, wanted), wanted))


def encode_cursor(conditions: Conditions, position: Position) -> str:
    """A position in the list of these conditions, in letters that fit into a URL."""
    text = json.dumps([conditions.digest, *position], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: Any, conditions: Conditions, order: Order) -> Position:
    """Raises BadArgument for anything but a cursor of a list with the same conditions."""
    problem = BadArgument("cursor", cursor, "the next_cursor of a page of the same list, with the same filters")
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        digest, *position = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise problem from None
    types = [*(int for _ in order.keys), *(str for _ in order.ties)]
    if digest != conditions.digest or [type(value) for value in position] != types:
        raise problem
    if any(not -(2**63) <= value < 2**63 for value in position if isinstance(value, int)):
        raise problem
    try:
        "".join(value for value in position if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        raise problem from None
    return tuple(position)


def whole(argument: str, value: Any, least: int, most: int) -> int:
    """A whole number within limits."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadArgument(argument, value, f"a whole number from {least} to {most}")
    return value
