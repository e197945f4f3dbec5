"""Reads each event once, in its newest version, without FINAL.

FINAL does not help here: it merges rows with the same sorting key, and a version with another time, deployment or name has
another key. It would also show an older version wherever a condition excludes the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.lists.order import AT, Order, Position
from beam_pipeline.query.lists.versions import ROW, newest_of, newness
from beam_pipeline.query.sources import Row

_MAX_BATCH = 1000
_MORE_FOR_TIES = 8
"""How many more rows are read than wanted, since those with the last time may have to be dropped."""


def newest_rows(
    database: Database,
    parts: Iterable[Conditions],
    order: Order,
    after: Position | None,
    selection: str,
    expected: int,
    doubtful: Callable[[Sequence[Row]], Sequence[Row]] = lambda rows: rows,
    at_least: int = 0,
) -> Iterator[Row]:
    """The rows of events whose newest version matches, in an order, after a position.

    `parts` are the conditions as returned by `parts_in_time`. Reads matching rows in batches and drops those that are not
    the newest of their event. `expected` is how many rows the caller will probably take. `doubtful` selects the rows that
    may not be the newest: either all rows of an event or none. If the first part has fewer rows than `at_least`, there are
    none, and no version is looked up.
    """
    size = expected
    selected = ", ".join(filter(None, (order.selection, ROW, selection)))
    read_ms: int | None = None
    for part in parts:
        # Each part includes the parts before it, which have been read completely.
        unread = f"{order.source.time} {order.farther} {AT.format('read_ms')}"
        rest = part if read_ms is None else part.only(unread, read_ms=read_ms)
        read_ms = part.parameters.get("part_ms")
        while True:
            size = min(max(size, 1), _MAX_BATCH)
            asked = rest if after is None else order.behind(rest, after)
            batch, is_all = _first_rows(database, asked, order, selected, size)
            if is_all and len(batch) < at_least:
                return
            at_least = 0
            yield from newest_of(database, part, order, selected, batch, doubtful(batch))
            if batch:
                after = order.position(batch[-1])
            if is_all:
                break
            size *= 2


def _first_rows(
    database: Database, asked: Conditions, order: Order, selected: str, size: int
) -> tuple[Sequence[Row], bool]:
    """About `size` rows in an order, and whether these are all. Of rows with the same position, all or the newest are there.

    The server sorts by time alone, so that it need not read the other columns of the order, nor rows with later positions.
    The limit may then cut through rows with the same time, so all rows with the last time are dropped.
    """
    select = f"SELECT {selected} FROM {asked.source.table} WHERE {asked.where}"
    if not order.measure:
        limit = size + _MORE_FOR_TIES
        found = database.rows(
            f"{select} ORDER BY {order.source.time} {order.direction} LIMIT {limit}", asked.parameters
        )
        is_all = len(found) < limit
        last = order.time_ms(found[-1]) if found else 0
        whole = found if is_all else [row for row in found if order.time_ms(row) != last]
        if whole or is_all:
            whole = sorted(whole, key=newness, reverse=True)
            return sorted(whole, key=lambda row: order.ascending(order.position(row))), is_all
    found = database.rows(f"{select} ORDER BY {order.sql} LIMIT {size}", asked.parameters)
    return found, len(found) < size


def rows_at(
    database: Database, parts: Sequence[Conditions], order: Order, selection: str, offset: int, limit: int
) -> tuple[Sequence[Row], Conditions]:
    """Matching rows in an order, whether or not they are the newest of their event.

    `parts` are the conditions as returned by `parts_in_time`. Also returns the part that holds these rows and all before.
    """
    rows: Sequence[Row] = ()
    for part in parts:
        rows = database.rows(
            f"SELECT {order.selection}, {selection} FROM {part.source.table} WHERE {part.where} "
            f"ORDER BY {order.sql} LIMIT {limit} OFFSET {offset}",
            part.parameters,
        )
        if len(rows) == limit:
            break
    return rows, part
