CREATE TABLE mastra_admin_logs_hourly
(
    `receipt` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(0, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `level` Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3),
    `receipt_at` SimpleAggregateFunction(max, DateTime('UTC')),
    `count` SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (receipt, project_id, deployment_id, hour, level)
TTL hour + toIntervalDay(30) WHERE receipt = '', receipt_at + toIntervalDay(400) WHERE receipt != ''
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 100000;

CREATE TABLE mastra_admin_metrics_hourly
(
    `receipt` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(0, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `name` LowCardinality(String),
    `receipt_at` SimpleAggregateFunction(max, DateTime('UTC')),
    `count` SimpleAggregateFunction(sum, UInt64),
    `values` SimpleAggregateFunction(sum, UInt64),
    `total` SimpleAggregateFunction(sum, Float64),
    `minimum` SimpleAggregateFunction(min, Nullable(Float64)),
    `maximum` SimpleAggregateFunction(max, Nullable(Float64)),
    `quantiles` AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Float64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (receipt, project_id, deployment_id, name, hour)
TTL hour + toIntervalDay(90) WHERE receipt = '', receipt_at + toIntervalDay(400) WHERE receipt != ''
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 100000;

CREATE TABLE mastra_admin_scores_hourly
(
    `receipt` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(0, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `name` LowCardinality(String),
    `receipt_at` SimpleAggregateFunction(max, DateTime('UTC')),
    `count` SimpleAggregateFunction(sum, UInt64),
    `values` SimpleAggregateFunction(sum, UInt64),
    `total` SimpleAggregateFunction(sum, Float64),
    `minimum` SimpleAggregateFunction(min, Nullable(Float64)),
    `maximum` SimpleAggregateFunction(max, Nullable(Float64)),
    `quantiles` AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Float64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (receipt, project_id, deployment_id, name, hour)
TTL hour + toIntervalDay(90) WHERE receipt = '', receipt_at + toIntervalDay(400) WHERE receipt != ''
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 100000;

CREATE TABLE mastra_admin_spans_hourly
(
    `receipt` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(0, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `kind` Enum8('internal' = 0, 'server' = 1, 'client' = 2, 'producer' = 3, 'consumer' = 4),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `receipt_at` SimpleAggregateFunction(max, DateTime('UTC')),
    `count` SimpleAggregateFunction(sum, UInt64),
    `values` SimpleAggregateFunction(sum, UInt64),
    `total` SimpleAggregateFunction(sum, Int64),
    `minimum` SimpleAggregateFunction(min, Nullable(Int64)),
    `maximum` SimpleAggregateFunction(max, Nullable(Int64)),
    `quantiles` AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (receipt, project_id, deployment_id, hour, kind, status)
TTL hour + toIntervalDay(90) WHERE receipt = '', receipt_at + toIntervalDay(400) WHERE receipt != ''
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 100000;

CREATE TABLE mastra_admin_traces_hourly
(
    `receipt` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(0, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `receipt_at` SimpleAggregateFunction(max, DateTime('UTC')),
    `count` SimpleAggregateFunction(sum, UInt64),
    `values` SimpleAggregateFunction(sum, UInt64),
    `total` SimpleAggregateFunction(sum, Int64),
    `minimum` SimpleAggregateFunction(min, Nullable(Int64)),
    `maximum` SimpleAggregateFunction(max, Nullable(Int64)),
    `quantiles` AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (receipt, project_id, deployment_id, hour, status)
TTL hour + toIntervalDay(90) WHERE receipt = '', receipt_at + toIntervalDay(400) WHERE receipt != ''
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 100000;

CREATE TABLE mastra_admin_rejected_events
(
    `file` String CODEC(ZSTD(1)),
    `line` UInt64,
    `byte_offset` UInt64,
    `event_type` LowCardinality(String),
    `project_id` LowCardinality(String),
    `reason` String CODEC(ZSTD(1)),
    `raw` String CODEC(ZSTD(3)),
    `rejected_at` DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1)),
    `load_id` LowCardinality(String),
    `block` LowCardinality(String),
    INDEX load_id_bloom load_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(rejected_at)
ORDER BY (project_id, file, byte_offset)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 100000;

CREATE TABLE mastra_admin_ingest_files
(
    `path` String CODEC(ZSTD(1)),
    `load_id` String CODEC(ZSTD(1)),
    `range_start` UInt64,
    `range_end` UInt64,
    `position` UInt32,
    `size` UInt64,
    `etag` String CODEC(ZSTD(1)),
    `modified_at` DateTime64(3, 'UTC'),
    `timestamp` DateTime64(3, 'UTC'),
    `project_id` LowCardinality(String),
    `state` Enum8('assigned' = 1, 'failed' = 2, 'released' = 3, 'committed' = 4, 'finalized' = 5),
    `version` UInt64,
    `digest` String CODEC(ZSTD(1)),
    `lines` UInt64,
    `rejected` UInt64,
    `moved_to` String CODEC(ZSTD(1)),
    `error` String,
    `updated_at` DateTime64(3, 'UTC'),
    INDEX load_id_bloom load_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (path, load_id, range_start)
SETTINGS index_granularity = 8192;

CREATE TABLE mastra_admin_ingest_loads
(
    `load_id` String,
    `input` LowCardinality(String),
    `run_id` String,
    `event_type` LowCardinality(String),
    `shard` LowCardinality(String),
    `state` Enum8('assigned' = 1, 'failed' = 2, 'released' = 3, 'committed' = 4, 'finalized' = 5),
    `attempt` UInt32,
    `version` UInt64,
    `created_at` DateTime64(3, 'UTC'),
    `updated_at` DateTime64(3, 'UTC'),
    `block_bytes` UInt64,
    `block_rows` UInt64,
    `files` UInt32,
    `bytes` UInt64,
    `lines` UInt64,
    `inserted` UInt64,
    `rejected` UInt64,
    `expired` UInt64,
    `events` Map(LowCardinality(String), UInt64),
    `blocks` UInt32,
    `duration_ms` UInt64,
    `error` String
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (load_id)
SETTINGS index_granularity = 8192;

CREATE TABLE mastra_admin_logs
(
    `id` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `trace_id` Nullable(String) CODEC(ZSTD(1)),
    `span_id` Nullable(String) CODEC(ZSTD(1)),
    `level` Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3),
    `message` String CODEC(ZSTD(1)),
    `timestamp` DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `attributes` String DEFAULT '{}' CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1)),
    `load_id` LowCardinality(String),
    `block` LowCardinality(String),
    `event_hash` UInt64 MATERIALIZED cityHash64(project_id, id) CODEC(NONE),
    `sequence` UInt32 DEFAULT bitOr(bitShiftLeft(least(toUInt32OrZero(splitByChar('.', block)[3]), 65535), 16), bitAnd(cityHash64(load_id, block, project_id, deployment_id, timestamp, id), 65535)) CODEC(Delta(4), ZSTD(1)),
    INDEX id_bloom id TYPE bloom_filter(0.0001) GRANULARITY 1,
    INDEX trace_id_bloom trace_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    INDEX load_id_set load_id TYPE set(64) GRANULARITY 4,
    INDEX ingested_at_minmax ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (project_id, deployment_id, timestamp, id)
TTL timestamp + toIntervalDay(30)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 100000;

CREATE TABLE mastra_admin_metrics
(
    `id` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `name` LowCardinality(String),
    `type` Enum8('counter' = 0, 'gauge' = 1, 'histogram' = 2),
    `value` Float64 CODEC(ZSTD(1)),
    `unit` LowCardinality(Nullable(String)),
    `timestamp` DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `labels` String DEFAULT '{}' CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1)),
    `load_id` LowCardinality(String),
    `block` LowCardinality(String),
    `event_hash` UInt64 MATERIALIZED cityHash64(project_id, id) CODEC(NONE),
    `sequence` UInt32 DEFAULT bitOr(bitShiftLeft(least(toUInt32OrZero(splitByChar('.', block)[3]), 65535), 16), bitAnd(cityHash64(load_id, block, project_id, deployment_id, timestamp, name, id), 65535)) CODEC(Delta(4), ZSTD(1)),
    INDEX id_bloom id TYPE bloom_filter(0.0001) GRANULARITY 1,
    INDEX load_id_set load_id TYPE set(64) GRANULARITY 4,
    INDEX ingested_at_minmax ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (project_id, deployment_id, timestamp, name, id)
TTL timestamp + toIntervalDay(90)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 100000;

CREATE TABLE mastra_admin_schema_migrations
(
    `version` UInt32,
    `name` String,
    `state` Enum8('started' = 1, 'done' = 2),
    `applied_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (version, state)
SETTINGS index_granularity = 8192;

CREATE TABLE mastra_admin_scores
(
    `id` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `trace_id` Nullable(String) CODEC(ZSTD(1)),
    `name` LowCardinality(String),
    `value` Float64 CODEC(ZSTD(1)),
    `normalized_value` Nullable(Float64) CODEC(ZSTD(1)),
    `comment` Nullable(String) CODEC(ZSTD(1)),
    `timestamp` DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `metadata` String DEFAULT '{}' CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1)),
    `load_id` LowCardinality(String),
    `block` LowCardinality(String),
    `event_hash` UInt64 MATERIALIZED cityHash64(project_id, id) CODEC(NONE),
    `sequence` UInt32 DEFAULT bitOr(bitShiftLeft(least(toUInt32OrZero(splitByChar('.', block)[3]), 65535), 16), bitAnd(cityHash64(load_id, block, project_id, deployment_id, timestamp, name, id), 65535)) CODEC(Delta(4), ZSTD(1)),
    INDEX id_bloom id TYPE bloom_filter(0.0001) GRANULARITY 1,
    INDEX trace_id_bloom trace_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    INDEX load_id_set load_id TYPE set(64) GRANULARITY 4,
    INDEX ingested_at_minmax ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (project_id, deployment_id, timestamp, name, id)
TTL timestamp + toIntervalDay(90)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 100000;

CREATE TABLE mastra_admin_spans
(
    `span_id` String CODEC(ZSTD(1)),
    `trace_id` String CODEC(ZSTD(1)),
    `parent_span_id` Nullable(String) CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `name` LowCardinality(String),
    `kind` Enum8('internal' = 0, 'server' = 1, 'client' = 2, 'producer' = 3, 'consumer' = 4),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `start_time` DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `end_time` Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    `duration_ms` Nullable(Int64) CODEC(T64, ZSTD(1)),
    `attributes` String DEFAULT '{}' CODEC(ZSTD(1)),
    `events` String DEFAULT '[]' CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1)),
    `load_id` LowCardinality(String),
    `block` LowCardinality(String),
    `event_hash` UInt64 MATERIALIZED cityHash64(project_id, trace_id, span_id) CODEC(NONE),
    `sequence` UInt32 DEFAULT bitOr(bitShiftLeft(least(toUInt32OrZero(splitByChar('.', block)[3]), 65535), 16), bitAnd(cityHash64(load_id, block, project_id, deployment_id, start_time, trace_id, span_id), 65535)) CODEC(Delta(4), ZSTD(1)),
    INDEX trace_id_bloom trace_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    INDEX span_id_bloom span_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    INDEX load_id_set load_id TYPE set(64) GRANULARITY 4,
    INDEX ingested_at_minmax ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(start_time)
ORDER BY (project_id, deployment_id, start_time, trace_id, span_id)
TTL start_time + toIntervalDay(90)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 100000;

CREATE TABLE mastra_admin_traces
(
    `trace_id` String CODEC(ZSTD(1)),
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `name` LowCardinality(String),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `start_time` DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `end_time` Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    `duration_ms` Nullable(Int64) CODEC(T64, ZSTD(1)),
    `input` String DEFAULT '' CODEC(ZSTD(1)),
    `output` String DEFAULT '' CODEC(ZSTD(1)),
    `metadata` String DEFAULT '{}' CODEC(ZSTD(1)),
    `recorded_at` DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1)),
    `load_id` LowCardinality(String),
    `block` LowCardinality(String),
    `event_hash` UInt64 MATERIALIZED cityHash64(project_id, trace_id) CODEC(NONE),
    `sequence` UInt32 DEFAULT bitOr(bitShiftLeft(least(toUInt32OrZero(splitByChar('.', block)[3]), 65535), 16), bitAnd(cityHash64(load_id, block, project_id, deployment_id, start_time, trace_id), 65535)) CODEC(Delta(4), ZSTD(1)),
    INDEX trace_id_bloom trace_id TYPE bloom_filter(0.0001) GRANULARITY 1,
    INDEX load_id_set load_id TYPE set(64) GRANULARITY 4,
    INDEX ingested_at_minmax ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(start_time)
ORDER BY (project_id, deployment_id, start_time, trace_id)
TTL start_time + toIntervalDay(90)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 100000;

CREATE MATERIALIZED VIEW mastra_admin_logs_hourly_mv TO mastra_admin_logs_hourly
(
    `receipt` String,
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(3, 'UTC'),
    `level` Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3),
    `receipt_at` DateTime('UTC'),
    `count` UInt64
)
COMMENT 'select f47751ca7a7bfbce'
AS SELECT
    load_block AS receipt,
    project_id,
    deployment_id,
    if(is_cell = 1, cell_hour, toStartOfInterval(min(at), toIntervalHour(1), toDateTime64('1900-01-01 00:00:00', 3, 'UTC'))) AS hour,
    level,
    if(is_cell = 1, toDateTime(0, 'UTC'), now('UTC')) AS receipt_at,
    count() AS count
FROM
(
    SELECT
        project_id,
        deployment_id,
        level,
        timestamp AS at,
        toStartOfInterval(at, toIntervalHour(1), toDateTime64('1900-01-01 00:00:00', 3, 'UTC')) AS cell_hour,
        1 AS is_cell,
        if(load_id = '', '', concat(load_id, '/', trimLeft(block, '~'))) AS load_block
    FROM mastra_admin_logs
    WHERE NOT startsWith(block, '~')
)
GROUP BY
    GROUPING SETS (
        (project_id, deployment_id, cell_hour, level, is_cell),
        (load_block))
HAVING (is_cell = 1) OR (load_block != '');

CREATE MATERIALIZED VIEW mastra_admin_metrics_hourly_mv TO mastra_admin_metrics_hourly
(
    `receipt` String,
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(3, 'UTC'),
    `name` LowCardinality(String),
    `receipt_at` DateTime('UTC'),
    `count` UInt64,
    `values` UInt64,
    `total` Float64,
    `minimum` Float64,
    `maximum` Float64,
    `quantiles` AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Float64)
)
COMMENT 'select f7182b3910556830'
AS SELECT
    load_block AS receipt,
    project_id,
    deployment_id,
    if(is_cell = 1, cell_hour, toStartOfInterval(min(at), toIntervalHour(1), toDateTime64('1900-01-01 00:00:00', 3, 'UTC'))) AS hour,
    name,
    if(is_cell = 1, toDateTime(0, 'UTC'), now('UTC')) AS receipt_at,
    count() AS count,
    count(measured) AS `values`,
    ifNull(sum(measured), toFloat64(0)) AS total,
    min(measured) AS minimum,
    max(measured) AS maximum,
    quantilesTDigestStateIf(0.5, 0.9, 0.95, 0.99)(ifNull(measured, toFloat64(0)), (is_cell = 1) AND (measured IS NOT NULL)) AS quantiles
FROM
(
    SELECT
        project_id,
        deployment_id,
        name,
        timestamp AS at,
        toStartOfInterval(at, toIntervalHour(1), toDateTime64('1900-01-01 00:00:00', 3, 'UTC')) AS cell_hour,
        1 AS is_cell,
        if(load_id = '', '', concat(load_id, '/', trimLeft(block, '~'))) AS load_block,
        value AS measured
    FROM mastra_admin_metrics
    WHERE NOT startsWith(block, '~')
)
GROUP BY
    GROUPING SETS (
        (project_id, deployment_id, cell_hour, name, is_cell),
        (load_block))
HAVING (is_cell = 1) OR (load_block != '');

CREATE MATERIALIZED VIEW mastra_admin_scores_hourly_mv TO mastra_admin_scores_hourly
(
    `receipt` String,
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(3, 'UTC'),
    `name` LowCardinality(String),
    `receipt_at` DateTime('UTC'),
    `count` UInt64,
    `values` UInt64,
    `total` Float64,
    `minimum` Float64,
    `maximum` Float64,
    `quantiles` AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Float64)
)
COMMENT 'select 6181037c46147a9f'
AS SELECT
    load_block AS receipt,
    project_id,
    deployment_id,
    if(is_cell = 1, cell_hour, toStartOfInterval(min(at), toIntervalHour(1), toDateTime64('1900-01-01 00:00:00', 3, 'UTC'))) AS hour,
    name,
    if(is_cell = 1, toDateTime(0, 'UTC'), now('UTC')) AS receipt_at,
    count() AS count,
    count(measured) AS `values`,
    ifNull(sum(measured), toFloat64(0)) AS total,
    min(measured) AS minimum,
    max(measured) AS maximum,
    quantilesTDigestStateIf(0.5, 0.9, 0.95, 0.99)(ifNull(measured, toFloat64(0)), (is_cell = 1) AND (measured IS NOT NULL)) AS quantiles
FROM
(
    SELECT
        project_id,
        deployment_id,
        name,
        timestamp AS at,
        toStartOfInterval(at, toIntervalHour(1), toDateTime64('1900-01-01 00:00:00', 3, 'UTC')) AS cell_hour,
        1 AS is_cell,
        if(load_id = '', '', concat(load_id, '/', trimLeft(block, '~'))) AS load_block,
        value AS measured
    FROM mastra_admin_scores
    WHERE NOT startsWith(block, '~')
)
GROUP BY
    GROUPING SETS (
        (project_id, deployment_id, cell_hour, name, is_cell),
        (load_block))
HAVING (is_cell = 1) OR (load_block != '');

CREATE MATERIALIZED VIEW mastra_admin_spans_hourly_mv TO mastra_admin_spans_hourly
(
    `receipt` String,
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(3, 'UTC'),
    `kind` Enum8('internal' = 0, 'server' = 1, 'client' = 2, 'producer' = 3, 'consumer' = 4),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `receipt_at` DateTime('UTC'),
    `count` UInt64,
    `values` UInt64,
    `total` Int64,
    `minimum` Nullable(Int64),
    `maximum` Nullable(Int64),
    `quantiles` AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64)
)
COMMENT 'select f9fabfc385cd65bf'
AS SELECT
    load_block AS receipt,
    project_id,
    deployment_id,
    if(is_cell = 1, cell_hour, toStartOfInterval(min(at), toIntervalHour(1), toDateTime64('1900-01-01 00:00:00', 3, 'UTC'))) AS hour,
    kind,
    status,
    if(is_cell = 1, toDateTime(0, 'UTC'), now('UTC')) AS receipt_at,
    count() AS count,
    count(measured) AS `values`,
    ifNull(sum(measured), toInt64(0)) AS total,
    min(measured) AS minimum,
    max(measured) AS maximum,
    quantilesTDigestStateIf(0.5, 0.9, 0.95, 0.99)(ifNull(measured, toInt64(0)), (is_cell = 1) AND (measured IS NOT NULL)) AS quantiles
FROM
(
    SELECT
        project_id,
        deployment_id,
        kind,
        status,
        start_time AS at,
        toStartOfInterval(at, toIntervalHour(1), toDateTime64('1900-01-01 00:00:00', 3, 'UTC')) AS cell_hour,
        1 AS is_cell,
        if(load_id = '', '', concat(load_id, '/', trimLeft(block, '~'))) AS load_block,
        duration_ms AS measured
    FROM mastra_admin_spans
    WHERE NOT startsWith(block, '~')
)
GROUP BY
    GROUPING SETS (
        (project_id, deployment_id, cell_hour, kind, status, is_cell),
        (load_block))
HAVING (is_cell = 1) OR (load_block != '');

CREATE MATERIALIZED VIEW mastra_admin_traces_hourly_mv TO mastra_admin_traces_hourly
(
    `receipt` String,
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(3, 'UTC'),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `receipt_at` DateTime('UTC'),
    `count` UInt64,
    `values` UInt64,
    `total` Int64,
    `minimum` Nullable(Int64),
    `maximum` Nullable(Int64),
    `quantiles` AggregateFunction(quantilesTDigest(0.5, 0.9, 0.95, 0.99), Int64)
)
COMMENT 'select be0f214fb23493ca'
AS SELECT
    load_block AS receipt,
    project_id,
    deployment_id,
    if(is_cell = 1, cell_hour, toStartOfInterval(min(at), toIntervalHour(1), toDateTime64('1900-01-01 00:00:00', 3, 'UTC'))) AS hour,
    status,
    if(is_cell = 1, toDateTime(0, 'UTC'), now('UTC')) AS receipt_at,
    count() AS count,
    count(measured) AS `values`,
    ifNull(sum(measured), toInt64(0)) AS total,
    min(measured) AS minimum,
    max(measured) AS maximum,
    quantilesTDigestStateIf(0.5, 0.9, 0.95, 0.99)(ifNull(measured, toInt64(0)), (is_cell = 1) AND (measured IS NOT NULL)) AS quantiles
FROM
(
    SELECT
        project_id,
        deployment_id,
        status,
        start_time AS at,
        toStartOfInterval(at, toIntervalHour(1), toDateTime64('1900-01-01 00:00:00', 3, 'UTC')) AS cell_hour,
        1 AS is_cell,
        if(load_id = '', '', concat(load_id, '/', trimLeft(block, '~'))) AS load_block,
        duration_ms AS measured
    FROM mastra_admin_traces
    WHERE NOT startsWith(block, '~')
)
GROUP BY
    GROUPING SETS (
        (project_id, deployment_id, cell_hour, status, is_cell),
        (load_block))
HAVING (is_cell = 1) OR (load_block != '');

CREATE VIEW mastra_admin_logs_hourly_stats
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(0, 'UTC'),
    `level` Enum8('debug' = 0, 'info' = 1, 'warn' = 2, 'error' = 3),
    `count` UInt64
)
COMMENT 'select d7868cfb11efec9e'
AS SELECT
    project_id,
    deployment_id,
    hour,
    level,
    sum(r.count) AS count
FROM mastra_admin_logs_hourly AS r
WHERE receipt = ''
GROUP BY
    project_id,
    deployment_id,
    hour,
    level;

CREATE VIEW mastra_admin_metrics_hourly_stats
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(0, 'UTC'),
    `name` LowCardinality(String),
    `count` UInt64,
    `sum_value` Nullable(Float64),
    `avg_value` Nullable(Float64),
    `min_value` Nullable(Float64),
    `max_value` Nullable(Float64),
    `p50` Nullable(Float32),
    `p90` Nullable(Float32),
    `p95` Nullable(Float32),
    `p99` Nullable(Float32)
)
COMMENT 'select 91cc0bba1a48c60e'
AS SELECT * EXCEPT merged
FROM
(
    SELECT
        project_id,
        deployment_id,
        hour,
        name,
        sum(r.count) AS count,
        if(sum(r.`values`) = 0, NULL, sum(r.total)) AS sum_value,
        if(sum(r.`values`) = 0, NULL, sum(r.total) / sum(r.`values`)) AS avg_value,
        min(r.minimum) AS min_value,
        max(r.maximum) AS max_value,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(r.quantiles) AS merged,
        if(sum(r.`values`) = 0, NULL, merged[1]) AS p50,
        if(sum(r.`values`) = 0, NULL, merged[2]) AS p90,
        if(sum(r.`values`) = 0, NULL, merged[3]) AS p95,
        if(sum(r.`values`) = 0, NULL, merged[4]) AS p99
    FROM mastra_admin_metrics_hourly AS r
    WHERE receipt = ''
    GROUP BY
        project_id,
        deployment_id,
        hour,
        name
);

CREATE VIEW mastra_admin_scores_hourly_stats
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(0, 'UTC'),
    `name` LowCardinality(String),
    `count` UInt64,
    `sum_value` Nullable(Float64),
    `avg_value` Nullable(Float64),
    `min_value` Nullable(Float64),
    `max_value` Nullable(Float64),
    `p50` Nullable(Float32),
    `p90` Nullable(Float32),
    `p95` Nullable(Float32),
    `p99` Nullable(Float32)
)
COMMENT 'select 60d89374339951a7'
AS SELECT * EXCEPT merged
FROM
(
    SELECT
        project_id,
        deployment_id,
        hour,
        name,
        sum(r.count) AS count,
        if(sum(r.`values`) = 0, NULL, sum(r.total)) AS sum_value,
        if(sum(r.`values`) = 0, NULL, sum(r.total) / sum(r.`values`)) AS avg_value,
        min(r.minimum) AS min_value,
        max(r.maximum) AS max_value,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(r.quantiles) AS merged,
        if(sum(r.`values`) = 0, NULL, merged[1]) AS p50,
        if(sum(r.`values`) = 0, NULL, merged[2]) AS p90,
        if(sum(r.`values`) = 0, NULL, merged[3]) AS p95,
        if(sum(r.`values`) = 0, NULL, merged[4]) AS p99
    FROM mastra_admin_scores_hourly AS r
    WHERE receipt = ''
    GROUP BY
        project_id,
        deployment_id,
        hour,
        name
);

CREATE VIEW mastra_admin_spans_hourly_stats
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(0, 'UTC'),
    `kind` Enum8('internal' = 0, 'server' = 1, 'client' = 2, 'producer' = 3, 'consumer' = 4),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `count` UInt64,
    `total_duration_ms` Nullable(Int64),
    `avg_duration_ms` Nullable(Float64),
    `min_duration_ms` Nullable(Int64),
    `max_duration_ms` Nullable(Int64),
    `p50` Nullable(Float32),
    `p90` Nullable(Float32),
    `p95` Nullable(Float32),
    `p99` Nullable(Float32)
)
COMMENT 'select 3d2660dcc18ac0ac'
AS SELECT * EXCEPT merged
FROM
(
    SELECT
        project_id,
        deployment_id,
        hour,
        kind,
        status,
        sum(r.count) AS count,
        if(sum(r.`values`) = 0, NULL, sum(r.total)) AS total_duration_ms,
        if(sum(r.`values`) = 0, NULL, sum(r.total) / sum(r.`values`)) AS avg_duration_ms,
        min(r.minimum) AS min_duration_ms,
        max(r.maximum) AS max_duration_ms,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(r.quantiles) AS merged,
        if(sum(r.`values`) = 0, NULL, merged[1]) AS p50,
        if(sum(r.`values`) = 0, NULL, merged[2]) AS p90,
        if(sum(r.`values`) = 0, NULL, merged[3]) AS p95,
        if(sum(r.`values`) = 0, NULL, merged[4]) AS p99
    FROM mastra_admin_spans_hourly AS r
    WHERE receipt = ''
    GROUP BY
        project_id,
        deployment_id,
        hour,
        kind,
        status
);

CREATE VIEW mastra_admin_traces_hourly_stats
(
    `project_id` LowCardinality(String),
    `deployment_id` LowCardinality(String),
    `hour` DateTime64(0, 'UTC'),
    `status` Enum8('unset' = 0, 'ok' = 1, 'error' = 2),
    `count` UInt64,
    `total_duration_ms` Nullable(Int64),
    `avg_duration_ms` Nullable(Float64),
    `min_duration_ms` Nullable(Int64),
    `max_duration_ms` Nullable(Int64),
    `p50` Nullable(Float32),
    `p90` Nullable(Float32),
    `p95` Nullable(Float32),
    `p99` Nullable(Float32)
)
COMMENT 'select bddbce4d20d5d22d'
AS SELECT * EXCEPT merged
FROM
(
    SELECT
        project_id,
        deployment_id,
        hour,
        status,
        sum(r.count) AS count,
        if(sum(r.`values`) = 0, NULL, sum(r.total)) AS total_duration_ms,
        if(sum(r.`values`) = 0, NULL, sum(r.total) / sum(r.`values`)) AS avg_duration_ms,
        min(r.minimum) AS min_duration_ms,
        max(r.maximum) AS max_duration_ms,
        quantilesTDigestMerge(0.5, 0.9, 0.95, 0.99)(r.quantiles) AS merged,
        if(sum(r.`values`) = 0, NULL, merged[1]) AS p50,
        if(sum(r.`values`) = 0, NULL, merged[2]) AS p90,
        if(sum(r.`values`) = 0, NULL, merged[3]) AS p95,
        if(sum(r.`values`) = 0, NULL, merged[4]) AS p99
    FROM mastra_admin_traces_hourly AS r
    WHERE receipt = ''
    GROUP BY
        project_id,
        deployment_id,
        hour,
        status
)
