"""Inserts a block so that it is in its table and in its rollup, once, whatever became of an earlier attempt.

A deduplication token alone does not give that. ClickHouse writes the token down before it commits the part: a server that
dies between the two takes a repeated insert for a duplicate and drops it, with success. One that dies between the table and
the rollup has the rows without their receipt, and past the deduplication window a repeated insert would count again. So
after an insert that may have been repeated it is looked whether the rows are there, and what an earlier attempt left is
completed piece by piece.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from transforms.blocks.receipts import read_receipts
from transforms.blocks.rollups import ROLLUP_SOURCES, TABLE_ONLY
from transforms.blocks.row_block import RowBlock
from transforms.clickhouse import AccessDenied, ClickHouseError
from transforms.events import REJECTED_TABLE, TABLES

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

SETTLE_S = 5.0
"""Seconds that an insert of a process that is gone may still take to be rolled up, where the server does not say."""

_ATTEMPTS = 3
_CLOCKS_DIFFER = timedelta(days=1)
_BY_TABLE = {table.table: event_type for event_type, table in TABLES.items()}
_TOKEN = "Settings['insert_deduplication_token']"
_OF_BLOCK = f"load_id = {{load_id:String}} AND block IN ({{label:String}}, concat('{TABLE_ONLY}', {{label:String}}))"


def insert_block(
    client: ClickHouse,
    block: RowBlock,
    *,
    acknowledged: bool = False,
    may_repeat: bool = True,
    ttl_days: Mapping[str, int] | None = None,
) -> bool:
    """Waits until the block is in its table and in its rollup; False when it was there. May be repeated at any time.

    Args:
        acknowledged: there is a receipt for it, that is, its rollup is complete.
        may_repeat: the runner may have had a block inserted before that is not `resumed`.
        ttl_days: the days that rows are kept, by event type: expired ones are not stored, and so not missed.

    Raises ClickHouseError.
    """
    stored = not _may_be_expired(block, ttl_days or {})
    present = block.resumed and stored and _is_in_table(client, block)
    if acknowledged and (present or not stored):
        return False
    if not present and not acknowledged:
        repeated = client.insert(block.table, block.rows, token=block.token)
        # Nobody else can have used the token of a first attempt: its success means that the rows are there.
        is_first = not (may_repeat or block.resumed or repeated)
        present = stored and (is_first or _is_in_table(client, block))
        if not block.resumed and (present or not stored):
            return True  # whether the receipt is there, too, is looked at before the load is committed
    if stored and not present:
        _put_into_table(client, block)
    if not acknowledged and block.table != REJECTED_TABLE:
        _complete_rollup(client, block)
    return True


def complete_left_rollup(client: ClickHouse, load_id: str, table: str, label: str) -> None:
    """Rolls up a block that another attempt has left in its table, and that no attempt can cut again.

    What is rolled up is what the table has of it by now. May be repeated; raises ClickHouseError.
    """
    deadline = time.monotonic() + SETTLE_S
    begins = f"{load_id}:{table}:{label}:"
    while (table, label) not in read_receipts(client, [load_id])[load_id]:
        if _is_under_way(client, f"startsWith({_TOKEN}, {{token:String}})", {"token": begins}, deadline):
            time.sleep(SETTLE_S / 50)
            continue
        _select_into_rollup(client, table, {"load_id": load_id, "label": label}, f"{begins}left")
        return


def _may_be_expired(block: RowBlock, ttl_days: Mapping[str, int]) -> bool:
    """Whether all rows are so old that the server may have deleted them, or never stored them."""
    days = ttl_days.get(_BY_TABLE.get(block.table, ""))
    if not days:
        return days == 0
    newest = pc.max(block.rows.column(TABLES[_BY_TABLE[block.table]].time_column)).as_py()
    return bool(newest < datetime.now(timezone.utc) - timedelta(days=days) + _CLOCKS_DIFFER)


def _put_into_table(client: ClickHouse, block: RowBlock) -> None:
    """Inserts rows whose token is taken, or whose rollup is complete, under a block that the materialized view leaves out."""
    place = block.rows.schema.get_field_index("block")
    rows = block.rows.set_column(place, "block", pa.repeat(TABLE_ONLY + block.label, block.num_rows))
    for _ in range(_ATTEMPTS):
        client.insert(block.table, rows, token=uuid.uuid4().hex)
        if _is_in_table(client, block):
            return
    raise ClickHouseError(f"block {block.label} of {block.table} was acknowledged {_ATTEMPTS} times, but is not in it")


def _is_in_table(client: ClickHouse, block: RowBlock) -> bool:
    # All or nothing, since a block is one part; fewer rows than were inserted when later deliveries have replaced some.
    where = f"PREWHERE {_OF_BLOCK}"
    if block.table in _BY_TABLE:
        where += f" WHERE toYYYYMM({TABLES[_BY_TABLE[block.table]].time_column}) = {block.month}"
    return bool(client.query(f"SELECT 1 FROM {block.table} {where} LIMIT 1", _named(block)))


def _complete_rollup(client: ClickHouse, block: RowBlock) -> None:
    """Rolls up a block whose rows are in the table, once no insert can still be about to."""
    tokens = [f"{block.token}:rollup", uuid.uuid4().hex]
    deadline = time.monotonic() + SETTLE_S
    while not _has_receipt(client, block):
        under_way = {"tokens": [block.token, *tokens[:1]]}
        if _is_under_way(client, f"{_TOKEN} IN {{tokens:Array(String)}}", under_way, deadline):
            time.sleep(SETTLE_S / 50)
        elif _has_receipt(client, block):  # it came between the two looks
            return
        elif tokens:
            # The same one for everybody, so that of two workers one rolls up. A server that has died may know it, and not
            # have the rows.
            _roll_up(client, block, tokens.pop(0))
        else:
            raise ClickHouseError(f"block {block.label} of {block.table} was rolled up twice, but has no receipt")


def _roll_up(client: ClickHouse, block: RowBlock, token: str) -> None:
    (there,) = client.query(f"SELECT count() AS rows FROM {block.table} WHERE {_OF_BLOCK}", _named(block))
    if there["rows"] == block.num_rows:
        _select_into_rollup(client, block.table, _named(block), token)
    else:
        # Some were replaced by later deliveries of the same events. The rows come again, with the version that they had,
        # so that the table keeps one of each, and the rollup gets the block.
        client.insert(block.table, block.rows, token=token)


def _select_into_rollup(client: ClickHouse, table: str, block: Mapping[str, str], token: str) -> None:
    event_type = _BY_TABLE[table]
    select = ROLLUP_SOURCES[event_type].select(_OF_BLOCK)
    settings = {"insert_deduplication_token": token, "async_insert": 0}
    client.command(f"INSERT INTO {TABLES[event_type].rollup} {select}", block, settings=settings)


def _is_under_way(client: ClickHouse, condition: str, parameters: Mapping[str, object], deadline: float) -> bool:
    """Whether the server is still inserting under a token that meets a condition: for a process that is gone, say.

    A server that does not let its processes be seen is given until the deadline.
    """
    try:
        return bool(client.query(f"SELECT 1 FROM system.processes WHERE {condition} LIMIT 1", parameters))
    except AccessDenied:
        return time.monotonic() < deadline


def _has_receipt(client: ClickHouse, block: RowBlock) -> bool:
    return (block.table, block.label) in read_receipts(client, [block.load_id])[block.load_id]


def _named(block: RowBlock) -> dict[str, str]:
    return {"load_id": block.load_id, "label": block.label}
