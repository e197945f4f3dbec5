"""Receipts: which blocks of a load the server has, in the table and in its rollup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transforms.blocks.rollups import TABLE_ONLY
from transforms.events import REJECTED_TABLE, TABLES

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

Receipts = dict[tuple[str, str], int]
"""Rows by (table, label)."""


def read_receipts(client: ClickHouse, load_ids: Sequence[str]) -> dict[str, Receipts]:
    """The loads' blocks that the server has whole, by load, with their rows, with one statement.

    A receipt is a row of the rollup that the materialized view writes in the same part as the block's own rollup rows (see
    `transforms.blocks.rollups`), so it is there if and only if they are. Rejected events have no rollup; their rows are counted
    themselves. Raises ClickHouseError.
    """
    found: dict[str, Receipts] = {load_id: {} for load_id in load_ids}
    if not found:
        return found
    parameters: dict[str, object] = {"load_ids": list(load_ids)}
    ranges = []
    for number, load_id in enumerate(load_ids):
        # Ranges of the sorting key, one for each load: `/` comes right before `0`.
        ranges.append(f"receipt > {{a{number}:String}} AND receipt < {{b{number}:String}}")
        parameters |= {f"a{number}": f"{load_id}/", f"b{number}": f"{load_id}0"}
    parts = [
        f"SELECT '{table.table}' AS name, receipt AS load_block, sum(count) AS n "
        f"FROM {table.rollup} WHERE {' OR '.join(ranges)} GROUP BY receipt"
        for table in TABLES.values()
    ]
    parts.append(
        f"SELECT '{REJECTED_TABLE}' AS name, concat(load_id, '/', trim(LEADING '{TABLE_ONLY}' FROM block)) AS load_block, "
        f"count() AS n FROM {REJECTED_TABLE} WHERE load_id IN {{load_ids:Array(String)}} GROUP BY load_block"
    )
    for row in client.query(" UNION ALL ".join(parts), parameters):
        load_id, _, label = row["load_block"].partition("/")
        found[load_id][row["name"], label] = row["n"]
    return found


def read_blocks(client: ClickHouse, load_id: str) -> set[tuple[str, str]]:
    """The blocks of a load, by (table, label), that are in a table, in its rollup, or in both. Raises ClickHouseError."""
    parts = [
        f"SELECT DISTINCT '{table}' AS name, trim(LEADING '{TABLE_ONLY}' FROM block) AS label FROM {table} "
        "WHERE load_id = {load_id:String}"
        for table in (REJECTED_TABLE, *(table.table for table in TABLES.values()))
    ]
    in_tables = {(row["name"], row["label"]) for row in client.query(" UNION ALL ".join(parts), {"load_id": load_id})}
    return in_tables | set(read_receipts(client, [load_id])[load_id])
