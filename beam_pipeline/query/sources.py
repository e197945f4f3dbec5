"""The five event tables: what identifies an event, how its versions are ordered, and how a row becomes an event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Generic, Literal

from beam_pipeline.query.errors import BadArgument
from beam_pipeline.query.model import Event, Log, Metric, Score, Span, Trace
from beam_pipeline.query.times import from_ms
from transforms.events import TABLES
from transforms.events.types import TIME

Row = Mapping[str, Any]
Operation = Literal["trace", "span"]
PART = "cityHash64(_part)"
"""The table's part that holds a row, as a number."""


@dataclass(frozen=True)
class Source(Generic[Event]):
    """An event table.

    Within a project, `identity` identifies an event; spans are identified within their trace, as in the table's key. If an
    event was delivered several times, ReplacingMergeTree keeps one row for each sorting key. An older version therefore stays
    if the newer one has another time, deployment or name, and queries must find the newest.
    """

    event_type: str
    model: type[Event]

    @property
    def identity(self) -> tuple[str, ...]:
        return TABLES[self.event_type].identity

    @property
    def table(self) -> str:
        return TABLES[self.event_type].table

    @property
    def time(self) -> str:
        return TABLES[self.event_type].time_column

    @property
    def identifying(self) -> tuple[str, ...]:
        """The columns that identify an event across projects."""
        return ("project_id", *self.identity)

    @property
    def version(self) -> str:
        """An expression that is greater for the newer of two rows of an event; equal only for rows that a merge reduces to one.

        `ingested_at` orders loads, and the chunks and inserts of a load; `sequence` orders the lines of a chunk. Loads that
        two runs assigned in the same millisecond are ordered by a hash of their ids, the same in every query. It is one
        number because tuples take several times as long to compare.
        """
        return (
            "bitShiftLeft(toInt128(toUnixTimestamp64Milli(ingested_at)), 64)"
            " + bitShiftLeft(toInt128(sequence), 32) + bitShiftRight(cityHash64(load_id), 32)"
        )

    @property
    def selection(self) -> str:
        """The columns of an event. Aliases differ from names of columns, or else conditions would apply to the aliases."""
        return ", ".join(self._selected(name) for name in self._fields)

    @property
    def _fields(self) -> tuple[str, ...]:
        model: Any = self.model
        return tuple(field.name for field in fields(model))

    def _selected(self, field: str) -> str:
        column = self._column(field)
        return f"toUnixTimestamp64Milli({column}) AS _{field}" if self._is_time(column) else f"{column} AS _{field}"

    def _column(self, field: str) -> str:
        return TABLES[self.event_type].id_column if field == "id" else field.removesuffix("_json")

    def _is_time(self, column: str) -> bool:
        return column == "ingested_at" or TABLES[self.event_type].columns[column] == TIME

    def identity_of(self, row: Row) -> tuple[Any, ...]:
        """What identifies the event of a row of its `selection`."""
        id_column = TABLES[self.event_type].id_column
        return tuple(row["_id" if column == id_column else f"_{column}"] for column in self.identifying)

    def event(self, row: Row) -> Event:
        """An event from a row of its `selection`."""
        values = {name: row[selected] for name, selected in self._selected_as}
        for name in self._times:
            if values[name] is not None:
                values[name] = from_ms(values[name])
        return self.model(**values)

    @cached_property
    def _selected_as(self) -> tuple[tuple[str, str], ...]:
        return tuple((name, f"_{name}") for name in self._fields)

    @cached_property
    def _times(self) -> tuple[str, ...]:
        return tuple(name for name in self._fields if self._is_time(self._column(name)))


TRACES = Source("trace", Trace)
SPANS = Source("span", Span)
LOGS = Source("log", Log)
METRICS = Source("metric", Metric)
SCORES = Source("score", Score)


def operations(of: Operation) -> Source[Any]:
    """Traces or spans, which both have a status and a duration. Raises BadArgument."""
    if of not in ("trace", "span"):
        raise BadArgument("of", of, "trace or span")
    return TRACES if of == "trace" else SPANS
