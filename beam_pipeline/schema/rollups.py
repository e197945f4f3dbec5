"""Hourly rollups: a mergeable target for each event table, the materialized view that fills it, and a view to read it.

The materialized view adds one more row to each insert, the *receipt*: it names the load and block that the rows are of
and how many they were. It is in the same part as the block's other rollup rows, and so there if and only if they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from beam_pipeline.schema.table import Column, Table
from beam_pipeline.schema.views import View
from transforms.blocks.rollups import QUANTILE_LEVELS, QUANTILES, ROLLUP_SOURCES, TO_ROLL_UP
from transforms.events import TABLES

HOUR = "DateTime64(0, 'UTC')"
RECEIPT_DAYS = 400
"""Days that a receipt is kept, from its insert on: as long as an unfinished load may wait to be taken up again. It does
not go by the rows' own TTL, since those of an old file may be expired when they are inserted."""
_TYPES = {
    "status": "Enum8('unset' = 0, 'ok' = 1, 'error' = 2)",
    "kind": "Enum8('internal' = 0, 'server' = 1, 'client' = 2, 'producer' = 3, 'consumer' = 4)",
    "level": "Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3)",
    "name": "LowCardinality(String)",
}


@dataclass(frozen=True)
class Rollup:
    """The rollup of one event table, and what its view calls sum, average, minimum and maximum."""

    event_type: str
    names: tuple[str, str, str, str] = ("", "", "", "")
    keys_first: bool = False
    """Whether the keys come before the hour in the sorting key, as the plan has it for names."""

    @property
    def keys(self) -> tuple[str, ...]:
        return ROLLUP_SOURCES[self.event_type].keys

    @property
    def value(self) -> str:
        return ROLLUP_SOURCES[self.event_type].value

    @property
    def value_type(self) -> str:
        return ROLLUP_SOURCES[self.event_type].value_type

    @property
    def target(self) -> Table:
        """The table that holds the states."""
        columns = [
            Column("receipt", "String", "CODEC(ZSTD(1))"),
            Column("project_id", "LowCardinality(String)"),
            Column("deployment_id", "LowCardinality(String)"),
            Column("hour", HOUR, "CODEC(DoubleDelta, ZSTD(1))"),
            *(Column(key, _TYPES[key]) for key in self.keys),
            Column("receipt_at", "SimpleAggregateFunction(max, DateTime('UTC'))"),
            Column("count", "SimpleAggregateFunction(sum, UInt64)"),
        ]
        if self.value:
            columns += [
                Column("values", "SimpleAggregateFunction(sum, UInt64)"),
                Column("total", f"SimpleAggregateFunction(sum, {self.value_type})"),
                Column("minimum", f"SimpleAggregateFunction(min, Nullable({self.value_type}))"),
                Column("maximum", f"SimpleAggregateFunction(max, Nullable({self.value_type}))"),
                Column("quantiles", f"AggregateFunction(quantilesTDigest({QUANTILE_LEVELS}), {self.value_type})"),
            ]
        place = (*self.keys, "hour") if self.keys_first else ("hour", *self.keys)
        return Table(
            name=TABLES[self.event_type].rollup,
            columns=tuple(columns),
            engine="AggregatingMergeTree",
            order_by=("receipt", "project_id", "deployment_id", *place),
            partition_by="toYYYYMM(hour)",
            time_column="hour",
            ttl_only="receipt = ''",
            own_ttl=f"receipt_at + toIntervalDay({RECEIPT_DAYS}) DELETE WHERE receipt != ''",
            event_type=self.event_type,
            deduplicated=True,
            index_granularity=256,
        )

    @property
    def materialized_view(self) -> View:
        """What fills the target, insert by insert."""
        source = ROLLUP_SOURCES[self.event_type]
        return View(f"{self.target.name}_mv", source.select(TO_ROLL_UP), target=self.target.name)

    @property
    def stats_view(self) -> View:
        """The view under the plan's name: finished numbers, right whatever has been merged yet."""
        keys = "".join(f", {key}" for key in self.keys)
        columns = f"project_id, deployment_id, hour{keys}, sum(r.count) AS count"
        if self.value:
            total, average, minimum, maximum = self.names
            columns += (
                f", if(sum(r.values) = 0, NULL, sum(r.total)) AS {total}"
                f", if(sum(r.values) = 0, NULL, sum(r.total) / sum(r.values)) AS {average}"
                f", min(r.minimum) AS {minimum}, max(r.maximum) AS {maximum}"
                f", quantilesTDigestMerge({QUANTILE_LEVELS})(r.quantiles) AS merged"
            )
            columns += "".join(
                f", if(sum(r.values) = 0, NULL, merged[{place}]) AS p{int(level * 100)}"
                for place, level in enumerate(QUANTILES, 1)
            )
        inner = (
            f"SELECT {columns} FROM {self.target.name} AS r WHERE receipt = '' "
            f"GROUP BY project_id, deployment_id, hour{keys}"
        )
        outer = f"SELECT * EXCEPT (merged) FROM ({inner})" if self.value else inner
        return View(TABLES[self.event_type].stats_view, outer)


_DURATIONS = ("total_duration_ms", "avg_duration_ms", "min_duration_ms", "max_duration_ms")
_VALUES = ("sum_value", "avg_value", "min_value", "max_value")

ROLLUPS: Mapping[str, Rollup] = {
    "trace": Rollup("trace", _DURATIONS),
    "span": Rollup("span", _DURATIONS),
    "log": Rollup("log"),
    "metric": Rollup("metric", _VALUES, keys_first=True),
    "score": Rollup("score", _VALUES, keys_first=True),
}
