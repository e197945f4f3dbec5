"""Lists in which few events of a long range match: one query finds all of them, and so the total."""

from __future__ import annotations

from collections.abc import Sequence

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.lists.order import Order, Position
from beam_pipeline.query.lists.versions import ROW, lookups, newest_of
from beam_pipeline.query.sources import Row

MAX_FOUND = 2000
"""With more rows, looking up their versions takes longer than comparing the versions of all events."""


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
    newest = newest_of(database, conditions, order, selected, rows, rows)
    return sorted(newest, key=lambda row: order.ascending(order.position(row)))


def rows_of(
    database: Database, conditions: Conditions, order: Order, selection: str, few: Sequence[Row]
) -> Sequence[Row] | None:
    """The columns of some rows of `find_few`; None if a merge or the time to live has removed one of them since."""
    if not few:
        return []
    positions = [order.position(row) for row in few]
    (column, bound), *_ = order.keys
    between = conditions.only(
        f"{column} <= {bound.format('first_ms')} AND {column} >= {bound.format('last_ms')}",
        first_ms=max(position[0] for position in positions),
        last_ms=min(position[0] for position in positions),
    )
    found: dict[Position, Row] = {}
    for asked in lookups(between, order, few):
        select = f"SELECT {order.selection}, {selection} FROM {asked.source.table} WHERE {asked.where}"
        rows = database.rows(select, asked.parameters)
        there = {order.position(row): row for row in rows}
        if len(there) < len(rows):  # rare, and selecting the newest rows takes a third longer
            newest = f"ORDER BY {asked.source.version} DESC LIMIT 1 BY {column}, {', '.join(asked.source.identifying)}"
            there = {order.position(row): row for row in database.rows(f"{select} {newest}", asked.parameters)}
        found |= there
    return [found[position] for position in positions] if found.keys() >= set(positions) else None
