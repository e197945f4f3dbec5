"""Receipts: which blocks of a load the server has, in the table and in its rollup."""

from __future__ import annotations

from transforms.blocks.rollups import TABLE_ONLY
from transforms.clickhouse import ClickHouse
from transforms.events import REJECTED_TABLE, TABLES


def read_receipts(client: ClickHouse, load_id: str) -> dict[tuple[str, str], int]:
    """The load's blocks that the server has whole, by (table, label), with their rows.

    A receipt is a row of the rollup that the materialized view writes in the same part as the block's own rollup rows (see
    `transforms.blocks.rollups`), so it is there if and only if they are. Rejected events have no rollup; their rows are counted
    themselves. Raises ClickHouseError.
    """
    parts = [
        f"SELECT '{table.table}' AS name, substring(receipt, {len(load_id) + 2}) AS label, sum(count) AS n "
        f"FROM {table.rollup} WHERE receipt > {{first:String}} AND receipt < {{last:String}} GROUP BY receipt"
        for table in TABLES.values()
    ]
    parts.append(
        f"SELECT '{REJECTED_TABLE}' AS name, trim(LEADING '{TABLE_ONLY}' FROM block) AS label, count() AS n "
        f"FROM {REJECTED_TABLE} WHERE load_id = {{load_id:String}} GROUP BY label"
    )
    rows = client.query(" UNION ALL ".join(parts), {"first": f"{load_id}/", "last": f"{load_id}0", "load_id": load_id})
    return {(row["name"], row["label"]): row["n"] for row in rows}
