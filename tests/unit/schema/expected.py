"""What must be in a migrated database, written out by hand: what readers of the tables may rely on."""

from __future__ import annotations

from dataclasses import dataclass

MS = "DateTime64(3, 'UTC')"
HOUR = "DateTime64(0, 'UTC')"
WORD = "LowCardinality(String)"
STATUS = "Enum8('unset' = 0, 'ok' = 1, 'error' = 2)"
KIND = "Enum8('internal' = 0, 'server' = 1, 'client' = 2, 'producer' = 3, 'consumer' = 4)"
LEVEL = "Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3)"
METRIC_TYPE = "Enum8('counter' = 0, 'gauge' = 1, 'histogram' = 2)"
STATE = "Enum8('assigned' = 1, 'failed' = 2, 'released' = 3, 'committed' = 4, 'finalized' = 5)"
RECEIPT_TTL = "receipt_at + toIntervalDay(400) WHERE receipt != ''"


@dataclass(frozen=True)
class ExpectedTable:
    """A table as `system.tables` and `system.columns` tell of it; columns in any order, with what they default to."""

    columns: set[str]
    engine: str
    sorting_key: str
    partition_key: str = ""
    ttl: str = ""
    window: bool = False
    indexes: frozenset[str] = frozenset()


PROJECT = {f"project_id {WORD}", f"deployment_id {WORD}"}
LINEAGE = {f"recorded_at {MS}", f"ingested_at {MS} DEFAULT now64(3)", f"load_id {WORD}", f"block {WORD}"}
BLOCK_INDEX = "load_id set(64)"
VERSION_INDEX = "ingested_at minmax"
TRACE_INDEX = "trace_id bloom_filter(0.0001)"
ID_INDEX = "id bloom_filter(0.0001)"


def events(
    columns: set[str], sorting_key: str, time: str, *indexes: str, identity: str = "id", days: int = 90
) -> ExpectedTable:
    order = (
        "sequence UInt32 DEFAULT bitOr(bitShiftLeft(least(toUInt32OrZero(splitByChar('.', block)[3]), 65535), 16), "
        f"bitAnd(cityHash64(load_id, block, project_id, deployment_id, {sorting_key}), 65535))"
    )
    return ExpectedTable(
        columns | PROJECT | LINEAGE | {f"event_hash UInt64 MATERIALIZED cityHash64(project_id, {identity})", order},
        engine="ReplacingMergeTree(ingested_at)",
        sorting_key=f"project_id, deployment_id, {sorting_key}",
        partition_key=f"toYYYYMM({time})",
        ttl=f"{time} + toIntervalDay({days})",
        window=True,
        indexes=frozenset({BLOCK_INDEX, VERSION_INDEX, *indexes}),
    )


def rollup(keys: set[str], sorting_key: str, value: str = "", *, days: int = 90) -> ExpectedTable:
    columns = keys | PROJECT | {"receipt String", f"hour {HOUR}"}
    columns |= {
        "receipt_at SimpleAggregateFunction(max, DateTime('UTC'))",
        "count SimpleAggregateFunction(sum, UInt64)",
    }
    if value:
        columns |= {
            "values SimpleAggregateFunction(sum, UInt64)",
            f"total SimpleAggregateFunction(sum, {value})",
            f"minimum SimpleAggregateFunction(min, Nullable({value}))",
            f"maximum SimpleAggregateFunction(max, Nullable({value}))",
            f"quantiles AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), {value})",
        }
    return ExpectedTable(
        columns,
        engine="AggregatingMergeTree",
        sorting_key=f"receipt, project_id, deployment_id, {sorting_key}",
        partition_key="toYYYYMM(hour)",
        ttl=f"hour + toIntervalDay({days}) WHERE receipt = '', {RECEIPT_TTL}",
        window=True,
    )


TABLES = {
    "mastra_admin_traces": events(
        {
            "trace_id String",
            f"name {WORD}",
            f"status {STATUS}",
            f"start_time {MS}",
            f"end_time Nullable({MS})",
            "duration_ms Nullable(Int64)",
            "input String DEFAULT ''",
            "output String DEFAULT ''",
            "metadata String DEFAULT '{}'",
        },
        "start_time, trace_id",
        "start_time",
        TRACE_INDEX,
        identity="trace_id",
    ),
    "mastra_admin_spans": events(
        {
            "span_id String",
            "trace_id String",
            "parent_span_id Nullable(String)",
            f"name {WORD}",
            f"kind {KIND}",
            f"status {STATUS}",
            f"start_time {MS}",
            f"end_time Nullable({MS})",
            "duration_ms Nullable(Int64)",
            "attributes String DEFAULT '{}'",
            "events String DEFAULT '[]'",
        },
        "start_time, trace_id, span_id",
        "start_time",
        TRACE_INDEX,
        "span_id bloom_filter(0.0001)",
        identity="trace_id, span_id",
    ),
    "mastra_admin_logs": events(
        {
            "id String",
            "trace_id Nullable(String)",
            "span_id Nullable(String)",
            f"level {LEVEL}",
            "message String",
            f"timestamp {MS}",
            "attributes String DEFAULT '{}'",
        },
        "timestamp, id",
        "timestamp",
        ID_INDEX,
        TRACE_INDEX,
        days=30,
    ),
    "mastra_admin_metrics": events(
        {
            "id String",
            f"name {WORD}",
            f"type {METRIC_TYPE}",
            "value Float64",
            "unit LowCardinality(Nullable(String))",
            f"timestamp {MS}",
            "labels String DEFAULT '{}'",
        },
        "timestamp, name, id",
        "timestamp",
        ID_INDEX,
    ),
    "mastra_admin_scores": events(
        {
            "id String",
            "trace_id Nullable(String)",
            f"name {WORD}",
            "value Float64",
            "normalized_value Nullable(Float64)",
            "comment Nullable(String)",
            f"timestamp {MS}",
            "metadata String DEFAULT '{}'",
        },
        "timestamp, name, id",
        "timestamp",
        ID_INDEX,
        TRACE_INDEX,
    ),
    "mastra_admin_traces_hourly": rollup({f"status {STATUS}"}, "hour, status", "Int64"),
    "mastra_admin_spans_hourly": rollup({f"kind {KIND}", f"status {STATUS}"}, "hour, kind, status", "Int64"),
    "mastra_admin_logs_hourly": rollup({f"level {LEVEL}"}, "hour, level", days=30),
    "mastra_admin_metrics_hourly": rollup({f"name {WORD}"}, "name, hour", "Float64"),
    "mastra_admin_scores_hourly": rollup({f"name {WORD}"}, "name, hour", "Float64"),
    "mastra_admin_rejected_events": ExpectedTable(
        {
            "file String",
            "line UInt64",
            "byte_offset UInt64",
            f"event_type {WORD}",
            f"project_id {WORD}",
            "reason String",
            "raw String",
            f"rejected_at {MS} DEFAULT now64(3)",
            f"load_id {WORD}",
            f"block {WORD}",
        },
        engine="MergeTree",
        sorting_key="project_id, file, byte_offset",
        partition_key="toYYYYMM(rejected_at)",
        window=True,
        indexes=frozenset({"load_id bloom_filter(0.01)"}),
    ),
    "mastra_admin_ingest_loads": ExpectedTable(
        {"load_id String", f"input {WORD}", "run_id String", f"event_type {WORD}", f"shard {WORD}", f"state {STATE}"}
        | {"attempt UInt32", "version UInt64", f"created_at {MS}", f"updated_at {MS}"}
        | {f"{name} UInt64" for name in ("block_bytes", "block_rows", "bytes", "lines", "inserted", "rejected")}
        | {"expired UInt64", f"events Map({WORD}, UInt64)", "files UInt32", "blocks UInt32", "duration_ms UInt64"}
        | {"error String"},
        engine="ReplacingMergeTree(version)",
        sorting_key="load_id",
    ),
    "mastra_admin_ingest_files": ExpectedTable(
        {"path String", "load_id String", "range_start UInt64", "range_end UInt64", "position UInt32", "size UInt64"}
        | {"etag String", f"modified_at {MS}", f"timestamp {MS}", f"project_id {WORD}", f"state {STATE}"}
        | {"version UInt64", "digest String", "lines UInt64", "rejected UInt64", "moved_to String", "error String"}
        | {
            f"updated_at {MS}",
            f"input {WORD}",
            "at_end Bool DEFAULT range_end >= size",
            "partly_in Array(String)",
            "own_fault Bool",
        },
        engine="ReplacingMergeTree(version)",
        sorting_key="path, load_id, range_start",
        indexes=frozenset({"load_id bloom_filter(0.01)"}),
    ),
    "mastra_admin_ingest_journal": ExpectedTable(
        {f"input {WORD}", "number UInt64", "writer String", f"at {MS} DEFAULT now64(3)", "low UInt64"}
        | {"versions_end UInt64", "run_id String", "load_id String", "attempt UInt32", f"created_at {MS}"}
        | {"block_bytes UInt64", "block_rows UInt64"},
        engine="MergeTree",
        sorting_key="input, number",
        window=True,
    ),
    "mastra_admin_ingest_runs": ExpectedTable(
        {"run_id String", "process String", f"input {WORD}", f"host {WORD}", "lease_ms UInt32", "ended Bool"}
        | {f"renewed_at {MS} DEFAULT now64(3)"},
        engine="ReplacingMergeTree(renewed_at)",
        sorting_key="run_id, process",
        ttl="renewed_at + toIntervalDay(7)",
    ),
    "mastra_admin_ingest_inputs": ExpectedTable(
        {"name String", "root String", "identity String", "host String", f"seen_at {MS} DEFAULT now64(3)"},
        engine="ReplacingMergeTree(seen_at)",
        sorting_key="name, root, host",
    ),
    "mastra_admin_schema_migrations": ExpectedTable(
        {"version UInt32", "name String", "state Enum8('started' = 1, 'done' = 2)"}
        | {f"applied_at {MS} DEFAULT now64(3)"},
        engine="ReplacingMergeTree",
        sorting_key="version, state",
    ),
}


def stats(keys: list[str], value: str = "", what: tuple[str, ...] = ()) -> list[str]:
    columns = [f"project_id {WORD}", f"deployment_id {WORD}", f"hour {HOUR}", *keys, "count UInt64"]
    if value:
        total, average, minimum, maximum = what
        columns += [f"{total} Nullable({value})", f"{average} Nullable(Float64)"]
        columns += [f"{minimum} Nullable({value})", f"{maximum} Nullable({value})"]
        columns += [f"{name} Nullable(Float32)" for name in ("p50", "p90", "p95", "p99")]
    return columns


DURATIONS = ("total_duration_ms", "avg_duration_ms", "min_duration_ms", "max_duration_ms")
VALUES = ("sum_value", "avg_value", "min_value", "max_value")
STATS_VIEWS = {
    "mastra_admin_traces_hourly_stats": stats([f"status {STATUS}"], "Int64", DURATIONS),
    "mastra_admin_spans_hourly_stats": stats([f"kind {KIND}", f"status {STATUS}"], "Int64", DURATIONS),
    "mastra_admin_logs_hourly_stats": stats([f"level {LEVEL}"]),
    "mastra_admin_metrics_hourly_stats": stats([f"name {WORD}"], "Float64", VALUES),
    "mastra_admin_scores_hourly_stats": stats([f"name {WORD}"], "Float64", VALUES),
}
MATERIALIZED_VIEWS = {f"{name}_mv": name for name in TABLES if name.endswith("_hourly")}
"""And the tables that they write into."""
