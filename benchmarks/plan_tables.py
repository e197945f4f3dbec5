"""The tables of the plan that this project began with, as it lays them out: what ours are compared with.

The same events in plain columns and large granules, with neither codecs, indexes, lineage nor receipts, and with hourly
sums that are kept by a view of its own table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from beam_pipeline.schema.table import Column, Table
from beam_pipeline.schema.tables import EVENT_TABLES
from transforms.blocks.rollups import ROLLUP_SOURCES
from transforms.events import TABLES

_DAYS = {"log": 30}
_MEASURED = {"trace": ("sum", "avg"), "span": ("sum", "avg"), "metric": ("sum", "avg", "min", "max")}
_MEASURED["score"] = _MEASURED["metric"]
_SORTED_BY = {
    "trace": ("start_time", "trace_id"),
    "span": ("trace_id", "span_id"),
    "log": ("timestamp", "id"),
    "metric": ("name", "timestamp", "id"),
    "score": ("name", "timestamp", "id"),
}


def plan_columns(event_type: str) -> list[str]:
    """The names of the columns that the plan's table of a type has and a loader fills."""
    return list(TABLES[event_type].columns)


def plan_table(ours: Table) -> Table:
    """The plan's table in place of one of ours."""
    versioned = ours.event_type in ("trace", "span")
    return replace(
        ours,
        columns=tuple(_plain(column) for column in ours.columns if _is_planned(ours.event_type, column)),
        engine="ReplacingMergeTree(ingested_at)" if versioned else "MergeTree",
        order_by=("project_id", "deployment_id", *_SORTED_BY[ours.event_type]),
        indexes=(),
        index_granularity=8192,
        deduplicated=False,
    )


def plan_view(event_type: str) -> str:
    """The statement that makes a type's hourly sums, in a table that the view itself has."""
    table, source = TABLES[event_type], ROLLUP_SOURCES[event_type]
    measures = "".join(f", {how}({source.value}) AS {how}_{source.value}" for how in _MEASURED.get(event_type, ()))
    keys = ", ".join(source.keys)
    place = f"{keys}, hour" if event_type in ("metric", "score") else f"hour, {keys}"
    return (
        f"CREATE MATERIALIZED VIEW {table.stats_view} ENGINE = SummingMergeTree PARTITION BY toYYYYMM(hour) "
        f"ORDER BY (project_id, deployment_id, {place}) AS "
        f"SELECT project_id, deployment_id, toStartOfHour({table.time_column}) AS hour, {keys}, count() AS count{measures} "
        f"FROM {table.table} GROUP BY project_id, deployment_id, hour, {keys}"
    )


def plan_statements() -> Iterator[str]:
    """What makes the plan's tables and views in an empty database."""
    for ours in EVENT_TABLES:
        table = plan_table(ours)
        columns = ", ".join(column.sql for column in table.columns)
        yield (
            f"CREATE TABLE {table.name} ({columns}) ENGINE = {table.engine} PARTITION BY {table.partition_by} "
            f"ORDER BY ({', '.join(table.order_by)}) TTL {table.ttl(_DAYS.get(table.event_type, 90))} "
            f"SETTINGS index_granularity = {table.index_granularity}"
        )
        yield plan_view(table.event_type)


def _is_planned(event_type: str, column: Column) -> bool:
    return column.name in (*plan_columns(event_type), "ingested_at")


def _plain(column: Column) -> Column:
    kind = re.sub(r"LowCardinality\((.*)\)", r"\1", column.type).replace("DateTime64(3, 'UTC')", "DateTime64(3)")
    return replace(column, type=kind, extra=re.sub(r" ?CODEC\(.*\)$", "", column.extra))
