"""What queries return: events, pages of them, and series. All times are aware datetimes in UTC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import pyarrow as pa

from beam_pipeline.query.errors import BadArgument, QueryError
from beam_pipeline.query.frames import arrow_table, pandas_frame, polars_frame
from beam_pipeline.query.json_text import read_json

if TYPE_CHECKING:
    import pandas
    import polars

Event = TypeVar("Event")
SourceName = Literal["rollup", "events", "rollup+events"]
"""Where numbers come from. "rollup": hourly sums, in which an event counts as often as it was delivered, and quantiles are
those of a t-digest. "events": each event once, in its newest version, and exact quantiles. "rollup+events": rollups for the
whole hours of the range, events for what is before and after them."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace. `*_json` is the JSON text as it was delivered; '' when there was none."""

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
    """Its version: the newest delivery has the greatest."""

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
    """Holds what reads the next page. That is no field, so that it is not compared, shown or pickled with the page."""

    __slots__ = ("_read_next",)
    _read_next: Callable[[str], Page[Event]] | None


@dataclass(frozen=True, slots=True)
class Page(_Listed[Event]):
    """Some of a list, in its order; events of the same time by id. A sequence of its own events: `page[0]`, `len(page)`."""

    items: list[Event]
    event_type: str
    """What they are: trace, span, log, metric or score."""
    per_page: int
    page: int | None
    """Counted from 0; None for one that was reached by a cursor."""
    total: int | None
    """How many there are on all pages; None when that was not asked for."""
    has_more: bool
    next_cursor: str | None
    """For the page behind this one: what arrives in the meantime does not shift it. None when there is none."""
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
        """The page after this one, without the total, or None. Blocks; raises QueryError."""
        if self.next_cursor is None:
            return None
        read_next = getattr(self, "_read_next", None)
        if read_next is None:
            raise QueryError("this page is a copy without a provider: list with its next_cursor as the cursor")
        following: Page[Event] = read_next(self.next_cursor)
        return following

    def iter_pages(self) -> Iterator[Page[Event]]:
        """This page and those after it, each read when the iteration reaches it."""
        page: Page[Event] | None = self
        while page is not None:
            yield page
            page = page.next_page()

    def iter_events(self) -> Iterator[Event]:
        """The events of this page and of those after it, as `iter_pages`."""
        for page in self.iter_pages():
            yield from page.items

    def to_arrow(self) -> pa.Table:
        """The events as a table, a column for each field: times in milliseconds and UTC, JSON as its text."""
        return arrow_table(self.event_type, self.items)

    def to_pandas(self) -> pandas.DataFrame:
        """The same as a DataFrame of pandas, whole numbers as Int64. Raises ImportError without pandas."""
        return pandas_frame(self.to_arrow())

    def to_polars(self) -> polars.DataFrame:
        """The same as a DataFrame of Polars. Raises ImportError without it."""
        return polars_frame(self.to_arrow())


@dataclass(frozen=True, slots=True)
class TimeBucket:
    """The numbers of one interval of time."""

    timestamp: datetime
    """When it begins; intervals are counted from 1970-01-01 in UTC."""
    count: int
    values: Mapping[str, float | None]
    """Other numbers by name; None where there is nothing to tell, such as the average of nothing or a sum beyond 1.8e308."""


@dataclass(frozen=True, slots=True)
class Series:
    """The buckets of one group, without holes."""

    group: Mapping[str, str | None]
    """What the group's events have in common, by the names in `group_by`; None for a label that they lack."""
    buckets: list[TimeBucket]


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """One series for each group, the largest first; one with an empty group when nothing was grouped by."""

    source: SourceName
    interval: timedelta
    start: datetime | None
    """The first millisecond that was counted; None for no limit. A rollup counts whole hours."""
    end: datetime | None
    """The last millisecond that was counted."""
    series: list[Series]

    @property
    def buckets(self) -> list[TimeBucket]:
        """The buckets when nothing was grouped by. Raises BadArgument otherwise."""
        if len(self.series) != 1 or self.series[0].group:
            raise BadArgument("group_by", [dict(one.group) for one in self.series], "empty to have one list of buckets")
        return self.series[0].buckets


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """The numbers of one group over the whole range."""

    group: Mapping[str, str | None]
    count: int
    values: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Numbers over a range of time by group, the largest first; one group when nothing was grouped by."""

    source: SourceName
    start: datetime | None
    end: datetime | None
    groups: list[GroupStatistics]


@dataclass(frozen=True, slots=True)
class HistogramBin:
    """`low` belongs to it; `high` to the next, but for the last bin."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class ScoreDistribution:
    """How scores are distributed; numbers are None when there are none."""

    count: int
    mean: float | None
    minimum: float | None
    maximum: float | None
    percentiles: Mapping[float, float | None]
    histogram: list[HistogramBin]
    below: int
    """Scores below the first bin, when its limits were given."""
    above: int
    trend: TimeSeries | None
    """Count, `avg`, `min` and `max` by interval, when one was given."""
