"""Selects each event once, in its newest version, without FINAL.

FINAL is of no help here: it merges rows of the same sorting key, and a version with another time, deployment or name has
another one. It would also show an older version wherever a condition leaves the newest out.
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
"""Rows that are read beyond what is wanted, since those of the last time may have to be left."""


def newest_rows(
    database: Database,
    parts: Iterable[Conditions],
    order: Order,
    after: Position | None,
    selection: str,
    expected: int,
    doubtful: Callable[[Sequence[Row]], Sequence[Row]] = lambda rows: rows,
) -> Iterator[Row]:
    """Rows of the events that meet conditions in their newest version, in an order, from behind a position.

    `parts` are the conditions as of `parts_in_time`. Reads a batch of rows by the conditions, drops those of which there
    is a newer one, and goes on. `expected` is how many the caller will probably take. `doubtful` tells of rows which of
    them may have a newer one: all rows of an event or none.
    """
    size = expected
    selected = ", ".join(filter(None, (order.selection, ROW, selection)))
    read_ms: int | None = None
    for part in parts:
        # Each part holds those before it, which have been read to their end.
        unread = f"{order.source.time} {order.farther} {AT.format('read_ms')}"
        rest = part if read_ms is None else part.only(unread, read_ms=read_ms)
        read_ms = part.parameters.get("part_ms")
        while True:
            size = min(max(size, 1), _MAX_BATCH)
            asked = rest if after is None else order.behind(rest, after)
            batch, is_all = _first_rows(database, asked, order, selected, size)
            yield from newest_of(database, part, order, selected, batch, doubtful(batch))
            if batch:
                after = order.position(batch[-1])
            if is_all:
                break
            size *= 2


def _first_rows(
    database: Database, asked: Conditions, order: Order, selected: str, size: int
) -> tuple[Sequence[Row], bool]:
    """About so many rows in an order, and whether there are no more. Of rows in one place all are there, or the latest.

    The server sorts by time alone, which spares it from reading the other columns of the order, and from looking at what
    is too far. Of the rows that have the last one's time some may be left out then, so that all of them are.
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
    """Rows that meet conditions, in an order, whether or not they are their event's newest.

    Of `parts_in_time` of the conditions. Also tells the part that they and all rows before them are in.
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
