"""The tables as they are declared."""

from __future__ import annotations

from beam_pipeline.schema.table import Column, Table
from transforms.events import REJECTED_TABLE, TABLES
from transforms.loads.inputs import INPUTS_TABLE
from transforms.loads.journal import JOURNAL_TABLE
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE
from transforms.loads.runs import RUNS_TABLE

MIGRATIONS_TABLE = "mastra_admin_schema_migrations"

_MS = "DateTime64(3, 'UTC')"
_TEXT = "String"
_REPEATED = "LowCardinality(String)"
_STATUS = "Enum8('unset' = 0, 'ok' = 1, 'error' = 2)"
_KIND = "Enum8('internal' = 0, 'server' = 1, 'client' = 2, 'producer' = 3, 'consumer' = 4)"
_LEVEL = "Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3)"
_METRIC_TYPE = "Enum8('counter' = 0, 'gauge' = 1, 'histogram' = 2)"


def _time(name: str) -> Column:
    return Column(name, _MS, "CODEC(DoubleDelta, ZSTD(1))")


def _nullable_time(name: str) -> Column:
    return Column(name, f"Nullable({_MS})", "CODEC(ZSTD(1))")


def _json(name: str, default: str) -> Column:
    return Column(name, _TEXT, f"DEFAULT '{default}' CODEC(ZSTD(1))")


def _identifier(name: str) -> Column:
    return Column(name, _TEXT, "CODEC(ZSTD(1))")


_PROJECT = (Column("project_id", _REPEATED), Column("deployment_id", _REPEATED))
_LINEAGE = (
    _time("recorded_at"),
    Column("ingested_at", _MS, "DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1))"),
    Column("load_id", _REPEATED),
    Column("block", _REPEATED),
)
_DURATION = Column("duration_ms", "Nullable(Int64)", "CODEC(T64, ZSTD(1))")


def _bloom(column: str) -> str:
    # A page asks for the ids of fifty events at once: at one false hit in a hundred it would read half of the table.
    return f"INDEX {column}_bloom {column} TYPE bloom_filter(0.0001) GRANULARITY 1"


def _hash(*identity: str) -> Column:
    # Counting events that may have several rows takes half of the time by it than by ids. It does not compress.
    value = f"cityHash64(project_id, {', '.join(identity)})"
    return Column("event_hash", "UInt64", f"MATERIALIZED {value} CODEC(NONE)", since=2)


def _sequence(sorting_key: tuple[str, ...]) -> Column:
    # What rows of before this column were told apart by: the part of their chunk, then anything.
    part = "least(toUInt32OrZero(splitByChar('.', block)[3]), 65535)"
    value = f"bitOr(bitShiftLeft({part}, 16), bitAnd(cityHash64(load_id, block, {', '.join(sorting_key)}), 65535))"
    return Column("sequence", "UInt32", f"DEFAULT {value} CODEC(Delta(4), ZSTD(1))", since=3)


_LOAD_INDEX = "INDEX load_id_set load_id TYPE set(64) GRANULARITY 4"
_INGESTED_INDEX = "INDEX ingested_at_minmax ingested_at TYPE minmax GRANULARITY 1"
"""For queries that ask whether there is a newer version."""


def _event_table(event_type: str, columns: tuple[Column, ...], indexes: tuple[str, ...]) -> Table:
    table = TABLES[event_type]
    return Table(
        name=table.table,
        columns=(*columns, *_LINEAGE, _hash(*table.identity), _sequence(table.sorting_key)),
        engine="ReplacingMergeTree(ingested_at)",
        order_by=table.sorting_key,
        partition_by=f"toYYYYMM({table.time_column})",
        indexes=(*indexes, _LOAD_INDEX, _INGESTED_INDEX),
        time_column=table.time_column,
        index_granularity=1024,
        event_type=event_type,
        deduplicated=True,
    )


EVENT_TABLES = (
    _event_table(
        "trace",
        (
            _identifier("trace_id"),
            *_PROJECT,
            Column("name", _REPEATED),
            Column("status", _STATUS),
            _time("start_time"),
            _nullable_time("end_time"),
            _DURATION,
            _json("input", ""),
            _json("output", ""),
            _json("metadata", "{}"),
        ),
        (_bloom("trace_id"),),
    ),
    _event_table(
        "span",
        (
            _identifier("span_id"),
            _identifier("trace_id"),
            Column("parent_span_id", "Nullable(String)", "CODEC(ZSTD(1))"),
            *_PROJECT,
            Column("name", _REPEATED),
            Column("kind", _KIND),
            Column("status", _STATUS),
            _time("start_time"),
            _nullable_time("end_time"),
            _DURATION,
            _json("attributes", "{}"),
            _json("events", "[]"),
        ),
        (_bloom("trace_id"), _bloom("span_id")),
    ),
    _event_table(
        "log",
        (
            _identifier("id"),
            *_PROJECT,
            Column("trace_id", "Nullable(String)", "CODEC(ZSTD(1))"),
            Column("span_id", "Nullable(String)", "CODEC(ZSTD(1))"),
            Column("level", _LEVEL),
            Column("message", _TEXT, "CODEC(ZSTD(1))"),
            _time("timestamp"),
            _json("attributes", "{}"),
        ),
        (_bloom("id"), _bloom("trace_id")),
    ),
    _event_table(
        "metric",
        (
            _identifier("id"),
            *_PROJECT,
            Column("name", _REPEATED),
            Column("type", _METRIC_TYPE),
            Column("value", "Float64", "CODEC(ZSTD(1))"),
            Column("unit", "LowCardinality(Nullable(String))"),
            _time("timestamp"),
            _json("labels", "{}"),
        ),
        (_bloom("id"),),
    ),
    _event_table(
        "score",
        (
            _identifier("id"),
            *_PROJECT,
            Column("trace_id", "Nullable(String)", "CODEC(ZSTD(1))"),
            Column("name", _REPEATED),
            Column("value", "Float64", "CODEC(ZSTD(1))"),
            Column("normalized_value", "Nullable(Float64)", "CODEC(ZSTD(1))"),
            Column("comment", "Nullable(String)", "CODEC(ZSTD(1))"),
            _time("timestamp"),
            _json("metadata", "{}"),
        ),
        (_bloom("id"), _bloom("trace_id")),
    ),
)

REJECTED = Table(
    name=REJECTED_TABLE,
    columns=(
        Column("file", _TEXT, "CODEC(ZSTD(1))"),
        Column("line", "UInt64"),
        Column("byte_offset", "UInt64"),
        Column("event_type", _REPEATED),
        Column("project_id", _REPEATED),
        Column("reason", _TEXT, "CODEC(ZSTD(1))"),
        Column("raw", _TEXT, "CODEC(ZSTD(3))"),
        Column("rejected_at", _MS, "DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1))"),
        Column("load_id", _REPEATED),
        Column("block", _REPEATED),
    ),
    engine="MergeTree",
    order_by=("project_id", "file", "byte_offset"),
    partition_by="toYYYYMM(rejected_at)",
    indexes=("INDEX load_id_bloom load_id TYPE bloom_filter(0.01) GRANULARITY 1",),
    deduplicated=True,
)

_LOAD_STATE = "Enum8('assigned' = 1, 'failed' = 2, 'released' = 3, 'committed' = 4, 'finalized' = 5)"

LOADS = Table(
    name=LOADS_TABLE,
    columns=(
        Column("load_id", _TEXT),
        Column("input", _REPEATED),
        Column("run_id", _TEXT),
        Column("event_type", _REPEATED),
        Column("shard", _REPEATED),
        Column("state", _LOAD_STATE),
        Column("attempt", "UInt32"),
        Column("version", "UInt64"),
        Column("created_at", _MS),
        Column("updated_at", _MS),
        Column("block_bytes", "UInt64"),
        Column("block_rows", "UInt64"),
        Column("files", "UInt32"),
        Column("bytes", "UInt64"),
        Column("lines", "UInt64"),
        Column("inserted", "UInt64"),
        Column("rejected", "UInt64"),
        Column("expired", "UInt64"),
        Column("events", "Map(LowCardinality(String), UInt64)"),
        Column("blocks", "UInt32"),
        Column("duration_ms", "UInt64"),
        Column("error", _TEXT),
    ),
    engine="ReplacingMergeTree(version)",
    order_by=("load_id",),
)

FILES = Table(
    name=FILES_TABLE,
    columns=(
        Column("path", _TEXT, "CODEC(ZSTD(1))"),
        Column("load_id", _TEXT, "CODEC(ZSTD(1))"),
        Column("range_start", "UInt64"),
        Column("range_end", "UInt64"),
        Column("position", "UInt32"),
        Column("size", "UInt64"),
        Column("etag", _TEXT, "CODEC(ZSTD(1))"),
        Column("modified_at", _MS),
        Column("timestamp", _MS),
        Column("project_id", _REPEATED),
        Column("state", _LOAD_STATE),
        Column("version", "UInt64"),
        Column("digest", _TEXT, "CODEC(ZSTD(1))"),
        Column("lines", "UInt64"),
        Column("rejected", "UInt64"),
        Column("moved_to", _TEXT, "CODEC(ZSTD(1))"),
        Column("error", _TEXT),
        Column("updated_at", _MS),
        Column("input", _REPEATED, since=4),
        Column("at_end", "Bool", "DEFAULT range_end >= size", since=4),
        Column("partly_in", "Array(String)", since=5),
        Column("own_fault", "Bool", since=6),
    ),
    engine="ReplacingMergeTree(version)",
    order_by=("path", "load_id", "range_start"),
    indexes=("INDEX load_id_bloom load_id TYPE bloom_filter(0.01) GRANULARITY 1",),
)

JOURNAL = Table(
    name=JOURNAL_TABLE,
    columns=(
        Column("input", _REPEATED),
        Column("number", "UInt64"),
        Column("writer", _TEXT),
        Column("at", _MS, "DEFAULT now64(3)"),
        Column("low", "UInt64"),
        Column("versions_end", "UInt64"),
        Column("run_id", _TEXT),
        Column("load_id", _TEXT),
        Column("attempt", "UInt32"),
        Column("created_at", _MS),
        Column("block_bytes", "UInt64"),
        Column("block_rows", "UInt64"),
    ),
    engine="MergeTree",
    order_by=("input", "number"),
    # Not partitioned, since a deduplication token is one partition's.
    deduplicated=True,
    index_granularity=256,
    since=4,
)

RUNS = Table(
    name=RUNS_TABLE,
    columns=(
        Column("run_id", _TEXT),
        Column("process", _TEXT),
        Column("input", _REPEATED),
        Column("host", _REPEATED),
        Column("lease_ms", "UInt32"),
        Column("ended", "Bool"),
        Column("renewed_at", _MS, "DEFAULT now64(3)"),
    ),
    engine="ReplacingMergeTree(renewed_at)",
    order_by=("run_id", "process"),
    own_ttl="renewed_at + toIntervalDay(7)",
    time_column="renewed_at",
    since=4,
)

INPUTS = Table(
    name=INPUTS_TABLE,
    columns=(
        Column("name", _TEXT),
        Column("root", _TEXT),
        Column("identity", _TEXT),
        Column("host", _TEXT),
        Column("seen_at", _MS, "DEFAULT now64(3)"),
    ),
    engine="ReplacingMergeTree(seen_at)",
    order_by=("name", "root", "host"),
    since=4,
)

MIGRATIONS = Table(
    name=MIGRATIONS_TABLE,
    columns=(
        Column("version", "UInt32"),
        Column("name", _TEXT),
        Column("state", "Enum8('started' = 1, 'done' = 2)"),
        Column("applied_at", _MS, "DEFAULT now64(3)"),
    ),
    engine="ReplacingMergeTree",
    order_by=("version", "state"),
)
