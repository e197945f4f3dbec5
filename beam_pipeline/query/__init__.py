"""The query API: `ClickHouseQueryProvider`, what it returns, and what it raises."""

from beam_pipeline.query.errors import (
    BadArgument,
    NotFound,
    QueryError,
    QueryTimeout,
    QueryTooLarge,
    SchemaNotMigrated,
    ServerUnavailable,
)
from beam_pipeline.query.filters import LogFilters, MetricFilters, ScoreFilters, SpanFilters, TraceFilters
from beam_pipeline.query.model import (
    GroupStatistics,
    HistogramBin,
    Log,
    Metric,
    Page,
    Score,
    ScoreDistribution,
    Series,
    Span,
    Statistics,
    TimeBucket,
    TimeSeries,
    Trace,
)
from beam_pipeline.query.provider import ClickHouseQueryProvider
from beam_pipeline.query.tree import SpanNode, SpanTree, build_span_tree

__all__ = [
    "BadArgument",
    "ClickHouseQueryProvider",
    "GroupStatistics",
    "HistogramBin",
    "Log",
    "LogFilters",
    "Metric",
    "MetricFilters",
    "NotFound",
    "Page",
    "QueryError",
    "QueryTimeout",
    "QueryTooLarge",
    "SchemaNotMigrated",
    "Score",
    "ScoreDistribution",
    "ScoreFilters",
    "Series",
    "ServerUnavailable",
    "Span",
    "SpanFilters",
    "SpanNode",
    "SpanTree",
    "Statistics",
    "TimeBucket",
    "TimeSeries",
    "Trace",
    "TraceFilters",
    "build_span_tree",
]
