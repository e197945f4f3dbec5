"""One trace by its id, and its spans."""

from __future__ import annotations

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.errors import BadArgument, NotFound
from beam_pipeline.query.lists.tree import SpanTree, build_span_tree
from beam_pipeline.query.model import Event, Span, Trace
from beam_pipeline.query.sources import SPANS, TRACES, Source

_BY_ID = {"use_skip_indexes_on_data_read": 0}
"""Once the granules with an id are known, using the index again would take a tenth of the query's time."""


def read_trace(database: Database, conditions: Conditions) -> Trace:
    """The trace with an id. Raises NotFound, or BadArgument if several projects have one."""
    found = _read_versions(database, TRACES, conditions)
    if not found:
        raise NotFound(f"there is no trace {conditions.given['trace_id']!r}")
    if len(found) > 1:
        projects = ", ".join(sorted(repr(trace.project_id) for trace in found))
        raise BadArgument("project_id", None, f"one of {projects}, which all have this trace")
    return found[0]


def read_spans(database: Database, conditions: Conditions) -> list[Span]:
    """The spans of a trace, earliest first."""
    return sorted(_read_versions(database, SPANS, conditions), key=lambda span: (span.start_time, span.id))


def read_span_tree(database: Database, conditions: Conditions) -> SpanTree:
    """The spans of a trace as a tree. Raises NotFound, or BadArgument if several projects have such a trace."""
    spans = read_spans(database, conditions)
    projects = sorted({span.project_id for span in spans})
    if len(projects) > 1:
        raise BadArgument("project_id", None, f"one of {projects}, which all have spans of this trace")
    if not spans:
        raise NotFound(f"there are no spans of trace {conditions.given['trace_id']!r}")
    return build_span_tree(spans)


def _read_versions(database: Database, source: Source[Event], conditions: Conditions) -> list[Event]:
    """The matching events, under conditions that all versions of an event meet or none: one query is enough."""
    select = f"SELECT {source.selection} FROM {source.table} WHERE {conditions.where_versions}"
    rows = database.rows(select, conditions.parameters, _BY_ID)
    # More than one version is rare, and comparing versions takes a third of the query's time.
    if len({source.identity_of(row) for row in rows}) < len(rows):
        newest = f"ORDER BY {source.version} DESC LIMIT 1 BY {', '.join(source.identifying)}"
        rows = database.rows(f"{select} {newest}", conditions.parameters)
    return [source.event(row) for row in rows]
