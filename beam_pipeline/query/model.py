"""What queries return: events, pages, series and statistics. All times are aware datetimes in UTC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from beam_pipeline.query.errors import BadArgument, QueryError
from beam_pipeline.query.json_text import read_json

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa

Event = TypeVar("Event")
SourceName = Literal["rollup", "events", "rollup+events"]
"""Where numbers come from. "rollup": hourly sums, which count an event each time it was delivered, with quantiles
estimated by a t-digest. "events": each event once, in its newest version, with exact quantiles. "rollup+events": the rollup
for the whole hours of the range, events before and after these."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace. `*_json` is the JSON text as delivered, '' if there was none."""

    id: str
    project_id: str
    deployment_id: str
    name: str
    status: str
    """ok, error or unset."""
    start_time: datetime
    end_time: datetime | None
    duration_ms: int | None
    input_json: str
    output_json: str
    metadata_json: str
    recorded_at: datetime
    ingested_at: datetime
    """When this version was ingested; the newest version has the latest time."""

    @property
    def input(self) -> Any:
        return read_json(self.input_json, None)

    @property
    def output(self) -> Any:
        return read_json(self.output_json, None)

    @property
    def metadata(self) -> Any:
        return read_json(self.metadata_json, {})


@dataclass(frozen=True, slots=True)
class Span:
    """A span of a trace; `parent_span_id` is None for a root."""

    id: str
    trace_id: str
    parent_span_id: str | None
    project_id: str
    deployment_id: str
    name: str
    kind: str
    """internal, server, client, producer or consumer."""
    status: str
    """ok, error or unset."""
    start_time: datetime
    end_time: datetime | None
    duration_ms: int | None
    attributes_json: str
    events_json: str
    recorded_at: datetime
    ingested_at: datetime

    @property
    def attributes(self) -> Any:
        return read_json(self.attributes_json, {})

    @property
    def events(self) -> Any:
        return read_json(self.events_json, [])


@dataclass(frozen=True, slots=True)
class Log:
    """A log record."""

    id: str
    project_id: str
    deployment_id: str
    trace_id: str | None
    span_id: str | None
    level: str
    """debug, info, warn or error."""
    message: str
    timestamp: datetime
    attributes_json: str
    recorded_at: datetime
    ingested_at: datetime

    @property
    def attributes(self) -> Any:
        return read_json(self.attributes_json, {})


@dataclass(frozen=True, slots=True)
class Metric:
    """A measurement."""

    id: str
    project_id: str
    deployment_id: str
    name: str
    type: str
    """counter, gauge or histogram."""
    value: float
    unit: str | None
    timestamp: datetime
    labels_json: str
    recorded_at: datetime
    ingested_at: datetime

    @property
    def labels(self) -> Any:
        return read_json(self.labels_json, {})


@dataclass(frozen=True, slots=True)
class Score:
    """An evaluation's score."""

    id: str
    project_id: str
    deployment_id: str
    trace_id: str | None
    name: str
    value: float
    normalized_value: float | None
    comment: str | None
    timestamp: datetime
    metadata_json: str
    recorded_at: datetime
    ingested_at: datetime

    @property
    def metadata(self) -> Any:
        return read_json(self.metadata_json, {})


class _Listed(Sequence[Event]):
    """Holds the function that reads the next page. It is no field, so that it is not compared, shown or pickled."""

    __slots__ = ("_read_next",)
    _read_next: Callable[[str], Page[Event]] | None


@dataclass(frozen=True, slots=True)
class Page(_Listed[Event]):
    """A part of a list; events with the same time are ordered by id. A sequence of its events: `page[0]`, `len(page)`."""

    items: list[Event]
    event_type: str
    """trace, span, log, metric or score."""
    per_page: int
    page: int | None
    """From 0; None for a page read with a cursor."""
    total: int | None
    """The number of events on all pages; None if `count` is "none"."""
    has_more: bool
    next_cursor: str | None
    """Continues after this page, whatever arrives in the meantime; None on the last page."""
    read_next: InitVar[Callable[[str], Page[Event]] | None] = None

    def __post_init__(self, read_next: Callable[[str], Page[Event]] | None) -> None:
        object.__setattr__(self, "_read_next", read_next)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, place: int) -> Event: ...

    @overload
    def __getitem__(self, place: slice) -> list[Event]: ...

    def __getitem__(self, place: int | slice) -> Event | list[Event]:
        return self.items[place]

    def next_page(self) -> Page[Event] | None:
        """The page after this one, without a total; None after the last. Blocks; raises QueryError."""
        if self.next_cursor is None:
            return None
        read_next = getattr(self, "_read_next", None)
        if read_next is None:
            raise QueryError("this page is a copy without a provider; pass its next_cursor as the cursor of a list")
        following: Page[Event] = read_next(self.next_cursor)
        return following

    def iter_pages(self) -> Iterator[Page[Event]]:
        """This page and the pages after it, each read when the iteration reaches it."""
        page: Page[Event] | None = self
        while page is not None:
            yield page
            page = page.next_page()

    def iter_events(self) -> Iterator[Event]:
        """The events of this page and the pages after it; see `iter_pages`."""
        for page in self.iter_pages():
            yield from page.items

    def to_arrow(self) -> pa.Table:
        """The events as a table with a column for each field: times in milliseconds and UTC, JSON as text."""
        from beam_pipeline.query.frames import arrow_table

        return arrow_table(self.event_type, self.items)

    def to_pandas(self) -> pandas.DataFrame:
        """The same as a pandas DataFrame, with integers as Int64. Raises ImportError without pandas."""
        from beam_pipeline.query.frames import pandas_frame

        return pandas_frame(self.to_arrow())

    def to_polars(self) -> polars.DataFrame:
        """The same as a Polars DataFrame. Raises ImportError without Polars."""
        from beam_pipeline.query.frames import polars_frame

        return polars_frame(self.to_arrow())


@dataclass(frozen=True, slots=True)
class TimeBucket:
    """The numbers of one interval."""

    timestamp: datetime
    """The start of the interval; intervals are aligned to 1970-01-01 in UTC."""
    count: int
    values: Mapping[str, float | None]
    """Other numbers by name; None where there is no value, such as the average of nothing or a sum beyond 1.8e308."""


@dataclass(frozen=True, slots=True)
class Series:
    """The buckets of one group, without gaps."""

    group: Mapping[str, str | None]
    """The values that the events of the group share, by the names in `group_by`; None for a missing label."""
    buckets: list[TimeBucket]


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """A series for each group, the largest first; without grouping, one series with an empty group."""

    source: SourceName
    interval: timedelta
    start: datetime | None
    """The first millisecond counted; None for no limit. A rollup counts whole hours."""
    end: datetime | None
    """The last millisecond counted; None for no limit."""
    series: list[Series]

    @property
    def buckets(self) -> list[TimeBucket]:
        """The buckets of the only series. Raises BadArgument if the series are grouped."""
        if len(self.series) != 1 or self.series[0].group:
            raise BadArgument(
                "group_by", [dict(one.group) for one in self.series], "empty, so that there is one list of buckets"
            )
        return self.series[0].buckets


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """The numbers of one group over the whole range."""

    group: Mapping[str, str | None]
    count: int
    values: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Numbers over a time range by group, the largest first; without grouping, one empty group."""

    source: SourceName
    start: datetime | None
    end: datetime | None
    groups: list[GroupStatistics]


@dataclass(frozen=True, slots=True)
class HistogramBin:
    """From `low` up to but not including `high`; the last bin includes `high`."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class ScoreDistribution:
    """How scores are distributed; numbers are None if there are no scores."""

    count: int
    mean: float | None
    minimum: float | None
    maximum: float | None
    percentiles: Mapping[float, float | None]
    histogram: list[HistogramBin]
    below: int
    """Scores below the first bin, if `low` was given."""
    above: int
    trend: TimeSeries | None
    """Count, `sum`, `avg`, `min` and `max` per interval; None if no interval was given."""
