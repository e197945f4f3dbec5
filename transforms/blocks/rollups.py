"""What goes from an event table into its hourly rollup: cells, and a receipt for each block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transforms.events import TABLES

QUANTILES = (0.5, 0.9, 0.95, 0.99)
QUANTILE_LEVELS = ", ".join(map(str, QUANTILES))

_HOUR_OF = "toStartOfInterval({}, toIntervalHour(1), toDateTime64('1900-01-01 00:00:00', 3, 'UTC'))"
"""Counted from the first time there is: without an origin, and in dateTrunc, the last second of an hour before 1970 is
of the next hour."""

TABLE_ONLY = "~"
"""Rows whose block begins with this are not rolled up as they are inserted: their rollup is there already."""
TO_ROLL_UP = f"NOT startsWith(block, '{TABLE_ONLY}')"
"""The condition on the rows that a materialized view takes."""


@dataclass(frozen=True)
class RollupSource:
    """What a rollup groups its events by, besides project, deployment and hour, and which column it measures."""

    event_type: str
    keys: tuple[str, ...]
    value: str = ""
    """The column whose sum, extremes and quantiles are kept; '' for counts alone."""
    value_type: str = ""

    def select(self, condition: str) -> str:
        """What the rows that the condition selects add to the rollup.

        Besides the cells there is the *receipt*, one row that names the load and block and how many rows they were. It is
        in the same part as the cells, and so there if and only if they are. Rows without a load id make no receipt.
        """
        table = TABLES[self.event_type]
        keys = "".join(f", {key}" for key in self.keys)
        # In GROUPING SETS a key outside of the set is its type's default: is_cell is 0 for the receipt.
        inner = f"SELECT project_id, deployment_id{keys}, {table.time_column} AS at"
        inner += f", {_HOUR_OF.format('at')} AS cell_hour, 1 AS is_cell"
        inner += f", if(load_id = '', '', concat(load_id, '/', trim(LEADING '{TABLE_ONLY}' FROM block))) AS load_block"
        outer = "SELECT load_block AS receipt, project_id, deployment_id"
        outer += f", if(is_cell = 1, cell_hour, {_HOUR_OF.format('min(at)')}) AS hour{keys}"
        outer += ", if(is_cell = 1, toDateTime(0, 'UTC'), now('UTC')) AS receipt_at, count() AS count"
        if self.value:
            zero = f"to{self.value_type}(0)"
            inner += f", {self.value} AS measured"
            outer += ", count(measured) AS values"
            outer += f", ifNull(sum(measured), {zero}) AS total, min(measured) AS minimum, max(measured) AS maximum"
            outer += f", quantilesTDigestStateIf({QUANTILE_LEVELS})"
            outer += f"(ifNull(measured, {zero}), is_cell = 1 AND measured IS NOT NULL) AS quantiles"
        return (
            f"{outer} FROM ({inner} FROM {table.table} WHERE {condition}) "
            f"GROUP BY GROUPING SETS ((project_id, deployment_id, cell_hour{keys}, is_cell), (load_block)) "
            "HAVING is_cell = 1 OR load_block != ''"
        )


ROLLUP_SOURCES: Mapping[str, RollupSource] = {
    "trace": RollupSource("trace", ("status",), "duration_ms", "Int64"),
    "span": RollupSource("span", ("kind", "status"), "duration_ms", "Int64"),
    "log": RollupSource("log", ("level",)),
    "metric": RollupSource("metric", ("name",), "value", "Float64"),
    "score": RollupSource("score", ("name",), "value", "Float64"),
}
