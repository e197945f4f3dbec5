"""The query API: a method for each question about the loaded events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from beam_pipeline.query.arguments import text
from beam_pipeline.query.conditions import MOVED_MS, Conditions, conditions
from beam_pipeline.query.database import Database, Limits
from beam_pipeline.query.errors import BadArgument, translated
from beam_pipeline.query.filters import (
    LogFilters,
    MetricFilters,
    OperationFilters,
    ScoreFilters,
    SpanFilters,
    TraceFilters,
)
from beam_pipeline.query.json_paths import JsonPath
from beam_pipeline.query.lists.order import Direction
from beam_pipeline.query.lists.pages import DEFAULT_PER_PAGE, Count, read_page, read_slowest
from beam_pipeline.query.lists.trace import read_span_tree, read_spans, read_trace
from beam_pipeline.query.lists.tree import SpanTree
from beam_pipeline.query.model import (
    Event,
    Log,
    Metric,
    Page,
    Score,
    ScoreDistribution,
    Span,
    Statistics,
    TimeSeries,
    Trace,
)
from beam_pipeline.query.numbers.aggregates import SourceChoice, quantile_levels
from beam_pipeline.query.numbers.distribution import read_distribution
from beam_pipeline.query.numbers.series import (
    Interval,
    Values,
    count_only,
    errors,
    measures,
    per_second,
    quantiles,
    read_series,
    read_statistics,
)
from beam_pipeline.query.sources import LOGS, METRICS, SCORES, SPANS, TRACES, Operation, Source, operations
from beam_pipeline.schema import SchemaOptions, check_schema_status, run_migrations
from transforms.blocks.rollups import QUANTILES
from transforms.clickhouse import ClickHouseConfig

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from transforms.clickhouse import ClickHouse

_COUNTING = 8
"""How many lists are counted at once; further ones wait."""


class ClickHouseQueryProvider:
    """Queries over the loaded events. Threads may share it.

    Each event appears once, in its newest version, and filters apply to that version. Every method blocks and raises
    QueryError: BadArgument before ClickHouse is asked, QueryTimeout and QueryTooLarge when a query exceeds its limits.

    Lists take `page`, from 0, or `cursor`, the `next_cursor` of another page; `per_page`, up to 1000; and `count`: "exact"
    also returns the total, for which all matching rows are read; "none" does not. `order` is "newest" first or "oldest"
    first; events with the same time are ordered by id. With a cursor, repeat the filters and the order; `start` and `end`
    may be left out, since the cursor holds them.

    Series have buckets of length `interval` without gaps, aligned to 1970-01-01 in UTC, for each group in `group_by`. They
    go from `start` to `end`, by default from the first to the last event. `source`: "auto" reads the hourly rollup if that
    has all filters and groups: for a range of whole hours (`end` is their last millisecond, or open), and for a range of a
    day or more, whose partial hours it reads from events. Otherwise it reads events. "rollup" extends the range to whole
    hours. "events" counts each event once; a rollup counts each delivery.
    """

    def __init__(
        self,
        clickhouse: ClickHouse | ClickHouseConfig,
        *,
        project_id: str | None = None,
        max_execution_s: float = 30.0,
        max_memory_bytes: int = 4 << 30,
        moved: timedelta = timedelta(milliseconds=MOVED_MS),
    ) -> None:
        """A client stays open on `close`, and retries queries as configured; with a config queries are not retried.

        With a `project_id` no method returns another project's events. `max_execution_s` and `max_memory_bytes` limit one
        query; a method may run several.

        `moved` is how far outside a time range newer versions of an event are looked for: an event whose time moved
        farther is also found by its former time. Without `start` and `end` all versions are compared.
        """
        if project_id is not None and not text("project_id", project_id):
            raise BadArgument("project_id", project_id, "a project's id, or None for all projects")
        limits = Limits(max_execution_s, max_memory_bytes)
        if not isinstance(moved, timedelta) or moved < timedelta():
            raise BadArgument("moved", moved, "a timedelta of 0 or more")
        self._project_id = project_id
        self._moved_ms = moved // timedelta(milliseconds=1)
        self._owned: ClickHouse | None = None
        if isinstance(clickhouse, ClickHouseConfig):
            # Retrying a query that exceeded its limits would only keep the caller waiting.
            with translated():
                clickhouse = self._owned = replace(clickhouse, retry_attempts=1).connect()
        self._executor = ThreadPoolExecutor(_COUNTING, thread_name_prefix="query")
        self._database = Database(clickhouse, limits, self._executor)

    def __enter__(self) -> ClickHouseQueryProvider:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def init(self) -> None:
        """Makes the tables that are missing, as the first run of `ingest` does, so that questions have (empty) answers.

        The database must be there. Does nothing where all is up to date, so that a user who may only read may call it.
        Raises QueryError.
        """
        with translated():
            client = self._database.client
            if not check_schema_status(client).up_to_date:
                run_migrations(client, SchemaOptions(embedded=client.config.embedded))

    @property
    def project_id(self) -> str | None:
        """The only project whose events are returned; None for all. Make another provider for another project."""
        return self._project_id

    def close(self) -> None:
        """Closes the client if the provider opened it. Waits for counts that are running."""
        self._executor.shutdown(cancel_futures=True)
        if self._owned is not None:
            self._owned.close()

    def list_traces(
        self,
        *,
        page: int | None = None,
        per_page: int = DEFAULT_PER_PAGE,
        cursor: str | None = None,
        count: Count = "exact",
        order: Direction = "newest",
        **filters: Unpack[TraceFilters],
    ) -> Page[Trace]:
        """A page of traces."""
        return self._page(TRACES, filters, page, per_page, cursor, count, order)

    def list_spans(
        self,
        *,
        page: int | None = None,
        per_page: int = DEFAULT_PER_PAGE,
        cursor: str | None = None,
        count: Count = "exact",
        order: Direction = "newest",
        **filters: Unpack[SpanFilters],
    ) -> Page[Span]:
        """A page of spans."""
        return self._page(SPANS, filters, page, per_page, cursor, count, order)

    def list_logs(
        self,
        *,
        page: int | None = None,
        per_page: int = DEFAULT_PER_PAGE,
        cursor: str | None = None,
        count: Count = "exact",
        order: Direction = "newest",
        **filters: Unpack[LogFilters],
    ) -> Page[Log]:
        """A page of log records."""
        return self._page(LOGS, filters, page, per_page, cursor, count, order)

    def list_metrics(
        self,
        *,
        page: int | None = None,
        per_page: int = DEFAULT_PER_PAGE,
        cursor: str | None = None,
        count: Count = "exact",
        order: Direction = "newest",
        **filters: Unpack[MetricFilters],
    ) -> Page[Metric]:
        """A page of metrics."""
        return self._page(METRICS, filters, page, per_page, cursor, count, order)

    def list_scores(
        self,
        *,
        page: int | None = None,
        per_page: int = DEFAULT_PER_PAGE,
        cursor: str | None = None,
        count: Count = "exact",
        order: Direction = "newest",
        **filters: Unpack[ScoreFilters],
    ) -> Page[Score]:
        """A page of scores."""
        return self._page(SCORES, filters, page, per_page, cursor, count, order)

    def get_trace(self, trace_id: str, *, project_id: str | None = None) -> Trace:
        """The trace with this id. Raises NotFound, or BadArgument if several projects have one and none was given."""
        return read_trace(self._database, self._of_trace(TRACES, trace_id, project_id))

    def get_spans_for_trace(self, trace_id: str, *, project_id: str | None = None) -> list[Span]:
        """The trace's spans, earliest first; an empty list if there are none."""
        return read_spans(self._database, self._of_trace(SPANS, trace_id, project_id))

    def get_span_tree(self, trace_id: str, *, project_id: str | None = None) -> SpanTree:
        """The trace's spans as a tree. Raises NotFound, or BadArgument if several projects have such a trace."""
        return read_span_tree(self._database, self._of_trace(SPANS, trace_id, project_id))

    def slowest_traces(self, limit: int = 10, **filters: Unpack[TraceFilters]) -> list[Trace]:
        """The slowest traces, at most 1000; the latest first among equals. Traces without a duration are left out."""
        return read_slowest(self._database, TRACES, self._conditions(TRACES, filters), limit)

    def slowest_spans(self, limit: int = 10, **filters: Unpack[SpanFilters]) -> list[Span]:
        """The slowest spans; see `slowest_traces`."""
        return read_slowest(self._database, SPANS, self._conditions(SPANS, filters), limit)

    def get_trace_count_time_series(
        self,
        *,
        interval: Interval,
        group_by: Sequence[str] = (),
        source: SourceChoice = "auto",
        **filters: Unpack[TraceFilters],
    ) -> TimeSeries:
        """The number of traces that started in each interval."""
        return self._series(TRACES, filters, interval, source, count_only, group_by=group_by)

    def get_error_rate_time_series(
        self,
        *,
        interval: Interval,
        group_by: Sequence[str] = (),
        source: SourceChoice = "auto",
        **filters: Unpack[TraceFilters],
    ) -> TimeSeries:
        """Traces per interval with `error_count` and `error_rate`, from 0 to 1; 0 where there are no traces."""
        return self._series(TRACES, filters, interval, source, errors, group_by=group_by)

    def latency_time_series(
        self,
        *,
        interval: Interval,
        of: Operation = "trace",
        percentiles: Sequence[float] = QUANTILES,
        group_by: Sequence[str] = (),
        source: SourceChoice = "auto",
        **filters: Unpack[OperationFilters],
    ) -> TimeSeries:
        """Percentiles of durations per interval, in milliseconds: `p50` for 0.5. None where there are no durations."""
        levels = quantile_levels("percentiles", percentiles)
        kept = {"value": "duration_ms", "levels": levels, "group_by": group_by}
        return self._series(operations(of), filters, interval, source, quantiles(levels), **kept)

    def latency_percentiles(
        self,
        *,
        of: Operation = "trace",
        percentiles: Sequence[float] = QUANTILES,
        group_by: Sequence[str] = (),
        source: SourceChoice = "auto",
        **filters: Unpack[OperationFilters],
    ) -> Statistics:
        """Percentiles of durations over the whole range; see `latency_time_series`."""
        levels = quantile_levels("percentiles", percentiles)
        kept = {"value": "duration_ms", "levels": levels, "group_by": group_by}
        return self._statistics(operations(of), filters, source, quantiles(levels), **kept)

    def throughput(
        self,
        *,
        interval: Interval,
        of: Operation = "trace",
        group_by: Sequence[str] = (),
        source: SourceChoice = "auto",
        **filters: Unpack[OperationFilters],
    ) -> TimeSeries:
        """Traces or spans per interval with `per_second`, over the part of the interval that is in the range."""
        return self._series(operations(of), filters, interval, source, per_second, group_by=group_by)

    def error_rate(
        self,
        *,
        of: Operation = "trace",
        group_by: Sequence[str] = (),
        source: SourceChoice = "auto",
        **filters: Unpack[OperationFilters],
    ) -> Statistics:
        """`error_count` and `error_rate` over the whole range."""
        return self._statistics(operations(of), filters, source, errors, group_by=group_by)

    def log_volume(
        self,
        *,
        interval: Interval,
        group_by: Sequence[str] = ("level",),
        source: SourceChoice = "auto",
        **filters: Unpack[LogFilters],
    ) -> TimeSeries:
        """The number of log records per interval and level."""
        return self._series(LOGS, filters, interval, source, count_only, group_by=group_by)

    def metric_series(
        self,
        *,
        interval: Interval,
        percentiles: Sequence[float] = (),
        group_by: Sequence[str] = (),
        group_by_labels: Sequence[JsonPath] = (),
        source: SourceChoice = "auto",
        **filters: Unpack[MetricFilters],
    ) -> TimeSeries:
        """Values of metrics per interval: `sum`, `avg`, `min`, `max` and percentiles, `p50` for 0.5.

        `group_by_labels` are paths in the labels. In a group, the value is named `labels.` and the path, or `labels["a.b"]`
        for a tuple. Text stays as it is, other values are JSON; 1 and 1.0 are one group, and a missing label is None.
        """
        levels = quantile_levels("percentiles", percentiles)
        kept = {"value": "value", "levels": levels, "group_by": group_by, "labels": group_by_labels}
        return self._series(METRICS, filters, interval, source, measures(levels), **kept)

    def score_distribution(
        self,
        *,
        bins: int = 10,
        low: float | None = None,
        high: float | None = None,
        normalized: bool = False,
        percentiles: Sequence[float] = QUANTILES,
        interval: Interval | None = None,
        source: SourceChoice = "auto",
        **filters: Unpack[ScoreFilters],
    ) -> ScoreDistribution:
        """The distribution of scores: mean, percentiles, and a histogram of equal bins from `low` to `high`.

        By default the bins cover all values. `normalized` uses the normalized values and leaves out scores without one. All
        this comes from events. With an interval there is also a trend of the same scores, with the `source` of series.
        """
        levels = quantile_levels("percentiles", percentiles)
        return read_distribution(
            *(self._database, self._conditions(SCORES, filters)),
            normalized=normalized,
            bins=bins,
            low=low,
            high=high,
            levels=levels,
            interval=interval,
            source=source,
        )

    def _series(
        self,
        source: Source[Any],
        filters: Mapping[str, Any],
        interval: Interval,
        choice: SourceChoice,
        values: Values,
        **kept: Any,
    ) -> TimeSeries:
        return read_series(self._database, self._conditions(source, filters), interval, choice, values, **kept)

    def _statistics(
        self, source: Source[Any], filters: Mapping[str, Any], choice: SourceChoice, values: Values, **kept: Any
    ) -> Statistics:
        return read_statistics(self._database, self._conditions(source, filters), choice, values, **kept)

    def _page(
        self,
        source: Source[Event],
        filters: Mapping[str, Any],
        page: int | None,
        per_page: int,
        cursor: str | None,
        count: Count,
        order: Direction,
    ) -> Page[Event]:
        asked = self._conditions(source, filters)
        return read_page(
            *(self._database, source, asked),
            page=page,
            per_page=per_page,
            cursor=cursor,
            count=count,
            first=order,
        )

    def _conditions(self, source: Source[Any], filters: Mapping[str, Any]) -> Conditions:
        return conditions(source, filters, self._project_id, self._moved_ms)

    def _of_trace(self, source: Source[Any], trace_id: str, project_id: str | None) -> Conditions:
        return self._conditions(source, {"trace_id": text("trace_id", trace_id), "project_id": project_id})
