"""How `query` prints events: tables for people, JSON and CSV for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, tzinfo
from typing import Any

from beam_pipeline.commands.base import print_text
from beam_pipeline.commands.csv_output import CsvWriter
from beam_pipeline.commands.query_output import STATUS, cell
from beam_pipeline.commands.tables import FIXED, NUMBER, Column, print_table
from beam_pipeline.commands.times import TimeColumn
from beam_pipeline.query.errors import BadArgument
from beam_pipeline.query.model import Log, Metric, Page, Score, Span, Trace
from beam_pipeline.wording import counted

_MODELS: Mapping[str, type[Any]] = {"trace": Trace, "span": Span, "log": Log, "metric": Metric, "score": Score}
_LISTED: Mapping[str, Mapping[str, int]] = {
    # The columns of a table, in their order: those with the greatest number are left out first where there is no room.
    "trace": {"start_time": 0, "id": 0, "name": 0, "status": 2, "duration_ms": 1, "project_id": 3},
    "span": {
        **{"start_time": 0, "trace_id": 0, "id": 3, "name": 0, "kind": 4, "status": 2, "duration_ms": 1},
        **{"project_id": 5},
    },
    "log": {"timestamp": 0, "level": 0, "message": 0, "trace_id": 1, "project_id": 2},
    "metric": {"timestamp": 0, "name": 0, "type": 2, "value": 0, "unit": 1, "project_id": 3},
    "score": {
        **{"timestamp": 0, "name": 0, "value": 0, "normalized_value": 2, "trace_id": 1, "comment": 4},
        **{"project_id": 3},
    },
}
_LEVEL = Column(styles={"error": "red", "warn": "yellow", "debug": "dim"})
_LONG = Column(least=40)
_COLUMNS: Mapping[str, Column] = {
    **{"status": STATUS, "level": _LEVEL, "name": Column(least=16), "unit": Column(least=10)},
    **dict.fromkeys(("duration_ms", "value", "normalized_value"), NUMBER),
    **dict.fromkeys(("message", "comment", "input", "output", "metadata", "attributes", "events", "labels"), _LONG),
}
"""Other columns are ids, times and the like, which take one line."""
_FIRST_PAGE, _PAGE, _PAGE_CHARACTERS = 100, 1000, 16 << 20
"""How many events of a long list are read at a time: first, at most, and about as many as fill so many characters."""


def columns_of(event_type: str, chosen: Sequence[str] = ()) -> Sequence[str]:
    """The names of the chosen columns of an event, or of all. Raises BadArgument."""
    known = [field.name.removesuffix("_json") for field in fields(_MODELS[event_type])]
    for name in chosen:
        if name not in known:
            raise BadArgument("columns", name, f"one of {', '.join(known)}")
    return list(dict.fromkeys(chosen)) or known


def event_json(event: Any, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """An event's fields, or some of them; JSON fields parsed."""
    names = [field.name.removesuffix("_json") for field in fields(event)] if columns is None else columns
    return {name: getattr(event, name) for name in names}


def print_events(
    event_type: str, events: Sequence[Any], zone: tzinfo, chosen: Sequence[str] = (), *, by: str = ""
) -> None:
    """A table with the chosen columns, or with the most important ones that fit.

    `by` is the column that the events are ordered by if that is not their time, which may then be left out.
    """
    if chosen:
        ranks: Mapping[str, int] = dict.fromkeys(columns_of(event_type, chosen), 0)
    else:
        ranks = {**_LISTED[event_type], **({by: 0, "start_time": 1} if by else {})}
    headers: dict[str, Column] = {}
    cells: list[list[str]] = []
    for name, rank in ranks.items():
        values = [_stored(event, name) for event in events]
        headers[name] = replace(_COLUMNS.get(name, FIXED), rank=rank)
        if any(isinstance(value, datetime) for value in values):
            times = TimeColumn(values, zone)
            headers[name] = replace(headers[name], note=times.note)
            cells.append(list(map(times.cell, values)))
        else:
            cells.append(list(map(cell, values)))
    print_table(headers, list(zip(*cells, strict=True)), more="choose with --columns")


def print_page(event_type: str, page: Page[Any], zone: tzinfo, chosen: Sequence[str] = ()) -> None:
    """A table, and how to continue."""
    if page.items:
        print_events(event_type, page.items, zone, chosen)
    print_text(page_note(event_type, page))


def page_note(event_type: str, page: Page[Any]) -> str:
    """The number of events on a page and in total, and how to continue."""
    of = "" if page.total is None else f"{len(page):,} of "
    more = f"; continue with --cursor={page.next_cursor}" if page.next_cursor else ""
    return f"{of}{counted(len(page) if page.total is None else page.total, event_type)}{more}"


def print_events_csv(event_type: str, events: Sequence[Any], zone: tzinfo, chosen: Sequence[str] = ()) -> None:
    """The chosen fields, or all; JSON fields as their text."""
    columns = columns_of(event_type, chosen)
    CsvWriter(columns, zone).write(_values(event, columns) for event in events)


def export_csv(
    event_type: str,
    list_page: Callable[..., Page[Any]],
    zone: tzinfo,
    chosen: Sequence[str] = (),
    limit: int | None = None,
) -> None:
    """All events of a list, or the first `limit`, one page at a time."""
    columns = columns_of(event_type, chosen)
    writer = CsvWriter(columns, zone)
    per_page, cursor, written = _FIRST_PAGE, None, 0
    while limit is None or written < limit:
        page = list_page(per_page=per_page, cursor=cursor, count="none")
        events = page.items if limit is None else page.items[: limit - written]
        characters = writer.write(_values(event, columns) for event in events)
        written += len(events)
        cursor = page.next_cursor
        if cursor is None:
            break
        per_page = max(1, min(_PAGE, _PAGE_CHARACTERS * len(events) // max(characters, 1)))


def _values(event: Any, columns: Sequence[str]) -> list[Any]:
    return [_stored(event, name) for name in columns]


def _stored(event: Any, name: str) -> Any:
    """A field; for a JSON field, its text."""
    json_name = f"{name}_json"
    return getattr(event, json_name if hasattr(event, json_name) else name)
