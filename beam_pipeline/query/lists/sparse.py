"""Lists in which few events of a long range match: one query finds all of them, and so the total."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.lists.order import Order, Position
from beam_pipeline.query.lists.versions import AGE, ROW, lookups, newest_of, newness, not_single
from beam_pipeline.query.sources import Row

MAX_FOUND = 2000
"""With more rows, looking up their versions takes longer than comparing the versions of all events."""


_SCATTERED = 20
"""With more rows, their events are found by reading all hashes of the range, not by the indexes on ids."""


def find_few(database: Database, conditions: Conditions, order: Order) -> Sequence[Row] | None:
    """The matching events in order, without their columns; None if there may be many.

    Finding that there are many is cheap: nothing is sorted, and the server stops reading.
    """
    selected = f"{order.selection}, {ROW}"
    rows = database.rows(
        f"SELECT {selected} FROM {conditions.source.table} WHERE {conditions.where} LIMIT {MAX_FOUND + 1}",
        conditions.parameters,
    )
    if len(rows) > MAX_FOUND:
        return None
    doubtful = not_single(database, conditions, rows) if len(rows) > _SCATTERED else rows
    newest = newest_of(database, conditions, order, selected, rows, doubtful)
    return sorted(newest, key=lambda row: order.ascending(order.position(row)))


def rows_of(
    database: Database, conditions: Conditions, order: Order, selection: str, few: Sequence[Row]
) -> Sequence[Row] | None:
    """The columns of some rows of `find_few`; None if one of them has been removed or replaced since."""
    if not few:
        return []
    positions = [order.position(row) for row in few]
    (column, bound), *_ = order.keys
    # That they match is known, so that the filters, such as those on JSON, need not be tried again.
    between = replace(conditions, other=()).only(
        f"{column} <= {bound.format('first_ms')} AND {column} >= {bound.format('last_ms')}",
        first_ms=max(position[0] for position in positions),
        last_ms=min(position[0] for position in positions),
    )
    found: dict[Position, Row] = {}
    for asked in lookups(between, order, few):
        select = f"SELECT {order.selection}, {AGE}, {selection} FROM {asked.source.table} WHERE {asked.where}"
        rows = database.rows(select, asked.parameters)
        there = {order.position(row): row for row in rows}
        if len(there) < len(rows):  # rare, and selecting the newest rows takes a third longer
            newest = f"ORDER BY {asked.source.version} DESC LIMIT 1 BY {column}, {', '.join(asked.source.identifying)}"
            there = {order.position(row): row for row in database.rows(f"{select} {newest}", asked.parameters)}
        found |= there
    is_there = all(
        position in found and newness(found[position]) == newness(row)
        for position, row in zip(positions, few, strict=True)
    )
    return [found[position] for position in positions] if is_there else None
