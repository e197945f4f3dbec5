"""Counts, sums and quantiles by group and interval, from the hourly rollups where possible, otherwise from events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.errors import BadArgument
from beam_pipeline.query.filters import Parameters
from beam_pipeline.query.json_paths import JsonPath, path_name
from beam_pipeline.query.json_sql import MAX_LABELS_SQL, SIMPLER, json_label
from beam_pipeline.query.model import SourceName
from beam_pipeline.query.numbers.newest_events import Column, Events, newest_events, read_newest
from beam_pipeline.query.rollups import inner_hours, rollup_keys, rollup_rows, whole_hours
from beam_pipeline.query.times import HOUR_MS
from transforms.blocks.rollups import QUANTILE_LEVELS, QUANTILES, ROLLUP_SOURCES

MAX_ROWS = 100_000
"""Groups times buckets."""

_MANY_MS = 24 * HOUR_MS - 1
"""From this length on, the rollup answers the whole hours of a range that has partial hours, too."""

SourceChoice = Literal["auto", "rollup", "events"]
Group = tuple[Any, ...]

_GROUPS: Mapping[str, tuple[str, ...]] = {
    "trace": ("project_id", "deployment_id", "name", "status"),
    "span": ("project_id", "deployment_id", "name", "status", "kind"),
    "log": ("project_id", "deployment_id", "level"),
    "metric": ("project_id", "deployment_id", "name", "type", "unit"),
    "score": ("project_id", "deployment_id", "name"),
}
_NULLABLE = {"unit": "''", "duration_ms": "0", "normalized_value": "0."}


@dataclass(frozen=True)
class Question:
    """The numbers to compute about the events that match some conditions."""

    conditions: Conditions
    value: str = ""
    """The column to measure; '' to only count."""
    only_with_value: bool = False
    """Whether to leave events without a value out of the counts."""
    group_by: tuple[str, ...] = ()
    labels: tuple[JsonPath, ...] = ()
    """Further paths in `labels` to group by."""
    levels: tuple[float, ...] = ()
    """The quantiles to compute, from 0 to 1."""
    interval_ms: int | None = None
    """The length of a bucket; None for a single bucket."""

    @property
    def event_type(self) -> str:
        return self.conditions.source.event_type

    @property
    def group_names(self) -> tuple[str, ...]:
        return (*self.group_by, *(path_name(path, "labels") for path in self.labels))


@dataclass(slots=True)
class Numbers:
    """The numbers of one group in one bucket. Without values all but `count` and `errors` are None.

    Numbers beyond the range of doubles, such as the sum of 1e308 and 1e308, are None as well, never infinite.
    """

    count: int = 0
    errors: int = 0
    values: int = 0
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    quantiles: tuple[float | None, ...] = ()

    @property
    def average(self) -> float | None:
        return None if self.sum is None or not self.values else self.sum / self.values


@dataclass(frozen=True)
class Answer:
    """Numbers by group and by the millisecond at which a bucket starts (0 without an interval)."""

    source: SourceName
    start_ms: int | None
    """The first millisecond counted; None for no limit."""
    end_ms: int | None
    numbers: Mapping[Group, Mapping[int, Numbers]]

    @property
    def has_all_quantiles(self) -> bool:
        """Whether all quantiles of existing values are known: a t-digest uses 32-bit floats, which end at 3.4e38."""
        every = (numbers for buckets in self.numbers.values() for numbers in buckets.values() if numbers.values)
        return all(None not in numbers.quantiles for numbers in every)


def answer(database: Database, question: Question, source: SourceChoice) -> Answer:
    """Answers from the rollup where it gives the same answer except for repeated deliveries, or where `source` says so.

    A range of a day or more with partial hours is answered from both. Raises QueryError.
    """
    if source not in ("auto", "rollup", "events"):
        raise BadArgument("source", source, "auto, rollup or events")
    known = _GROUPS[question.event_type]
    for name in question.group_by:
        if name not in known:
            raise BadArgument("group_by", name, f"one of {', '.join(known)}")
    if len(set(question.group_by)) < len(question.group_by):
        raise BadArgument("group_by", question.group_by, "different columns")
    if len(set(question.labels)) < len(question.labels):
        raise BadArgument("group_by_labels", question.labels, "different paths")
    obstacle = _not_in_rollup(question)
    if source == "rollup" and obstacle:
        raise BadArgument("source", source, f"auto or events: {obstacle}")
    if source == "rollup":
        return _from_rollup(database, question, whole_hours(question.conditions))
    hours = inner_hours(question.conditions)
    if source == "auto" and not obstacle and (hours == _range(question.conditions) or _are_many(hours)):
        found = _from_rollup(database, question, hours)
        if found.has_all_quantiles:
            return found
    return _from_events(database, question)


def _not_in_rollup(question: Question) -> str:
    """Why the rollup cannot answer; '' if it can."""
    rollup, keys = ROLLUP_SOURCES[question.event_type], rollup_keys(question.event_type)
    for name in (*question.conditions.given, *question.group_by, *(["labels"] if question.labels else [])):
        if name not in keys:
            return f"the rollup is not grouped by {name}"
    if question.value and question.value != rollup.value:
        return f"the rollup does not have {question.value}"
    if not set(question.levels) <= set(QUANTILES):
        return f"the rollup only has the quantiles {QUANTILE_LEVELS}"
    if question.interval_ms is not None and question.interval_ms % HOUR_MS:
        return "the rollup is hourly"
    return ""


def _range(asked: Conditions) -> tuple[int | None, int | None]:
    return asked.start_ms, asked.end_ms


def _are_many(hours: tuple[int | None, int | None]) -> bool:
    """Whether counting the events of these hours would take so long that the rollup is preferred."""
    start, end = hours
    return start is None or end is None or end - start >= _MANY_MS


def _from_rollup(database: Database, question: Question, hours: tuple[int | None, int | None]) -> Answer:
    """Whole hours from the rollup; the rest of the range, before and after these, from events."""
    asked = question.conditions
    (start, end), (first, last) = _range(asked), hours
    edges = [("head_", start, first - 1)] if start is not None and first is not None and start < first else []
    edges += [("tail_", last + 1, end)] if end is not None and last is not None and last < end else []
    cells, parameters = _cells_of_rollup(asked.between(*hours), question)
    for name, edge_start, edge_end in edges:
        edge = asked.between(edge_start, edge_end, name)
        cells += f" UNION ALL {_cells_of_events(edge, question)}"
        parameters = {**edge.parameters, **parameters}
    select = ["sum(_count) AS _n"]
    if _has_status(question):
        select.append("sum(_errors) AS _wrong")
    if question.value:
        select += ["sum(_values) AS _valued", "toFloat64(sum(_total)) AS _sum"]
        select += ["min(_min) AS _least", "max(_max) AS _most"]
    if question.levels:
        places = ", ".join(f"_all[{QUANTILES.index(level) + 1}]" for level in question.levels)
        select += [f"quantilesTDigestMerge({QUANTILE_LEVELS})(_states) AS _all", f"[{places}] AS _quantiles"]
    groups = [f"_by_{place}" for place in range(len(question.group_by))]
    rows = _rows(database, question, select, groups, "_ms", f"FROM ({cells})", parameters)
    counted = _range(asked) if edges else hours
    return Answer("rollup+events" if edges else "rollup", *counted, _numbers(rows, question))


def _cells_of_rollup(asked: Conditions, question: Question) -> tuple[str, Parameters]:
    """A SELECT of rows of the rollup, and its parameters."""
    rollup = ROLLUP_SOURCES[question.event_type]
    cells, parameters = rollup_rows(asked)
    select = [f"r.{column} AS _by_{place}" for place, column in enumerate(question.group_by)]
    select += ["toInt64(r.hour) * 1000 AS _ms", "toUInt64(r.count) AS _count"]
    if _has_status(question):
        select.append("if(r.status = 'error', r.count, 0) AS _errors")
    if question.value:
        select += ["toUInt64(r.values) AS _values", f"CAST(r.total AS {rollup.value_type}) AS _total"]
        select += [f"CAST(r.{name}imum AS Nullable({rollup.value_type})) AS _{name}" for name in ("min", "max")]
    if question.levels:
        select.append("r.quantiles AS _states")
    return f"SELECT {', '.join(select)} {cells}", parameters


def _cells_of_events(edge: Conditions, question: Question) -> str:
    """A SELECT of the rows that a rollup by millisecond would have for these events, each counted once."""
    rollup = ROLLUP_SOURCES[question.event_type]
    columns = [Column("_time", edge.source.time)]
    columns += [Column(f"_by_{place}", name) for place, name in enumerate(question.group_by)]
    groups = [f"_by_{place}" for place in range(len(question.group_by))]
    select = [*groups, "toUnixTimestamp64Milli(_time) AS _ms", "count() AS _count"]
    if _has_status(question):
        columns.append(Column("_status", "status"))
        select.append("countIf(_status = 'error') AS _errors")
    if question.value:
        zero = f"to{rollup.value_type}(0)"
        columns.append(Column("_value", question.value, _NULLABLE.get(question.value, "")))
        select += ["count(_value) AS _values", f"ifNull(sum(_value), {zero}) AS _total"]
        select += [f"{name}(toNullable(_value)) AS _{name}" for name in ("min", "max")]
        states = f"quantilesTDigestStateIf({QUANTILE_LEVELS})(ifNull(_value, {zero}), _value IS NOT NULL)"
        type_of = f"AggregateFunction(quantilesTDigest({QUANTILE_LEVELS}), {rollup.value_type})"
        select += [f"CAST({states} AS {type_of}) AS _states"] if question.levels else []
    return f"SELECT {', '.join(select)} FROM ({newest_events(edge, columns)}) GROUP BY {', '.join([*groups, '_ms'])}"


def _from_events(database: Database, question: Question) -> Answer:
    asked = question.conditions
    columns, select = [Column("_time", asked.source.time)], ["count() AS _n"]
    parameters = Parameters()
    if _has_status(question):
        columns.append(Column("_status", "status"))
        select.append("countIf(_status = 'error') AS _wrong")
    if question.value:
        columns.append(Column("_value", question.value, _NULLABLE.get(question.value, "")))
        select += ["count(_value) AS _valued", "sum(toFloat64(_value)) AS _sum"]
        select += ["min(toNullable(_value)) AS _least", "max(toNullable(_value)) AS _most"]
    if question.levels:
        names = [f"level_{place}" for place in range(len(question.levels))]
        parameters |= dict(zip(names, question.levels, strict=True))
        levels = ", ".join(f"{{{name}:Float64}}" for name in names)
        select.append(f"quantilesExactInclusive({levels})(_value) AS _quantiles")
    by = [(name, _NULLABLE.get(name, "")) for name in question.group_by]
    for place, path in enumerate(question.labels):
        label, bound = json_label("group_by_labels", "labels", path, f"label_{place}")
        parameters |= bound
        by.append((label, "''"))
    if sum(len(sql) for sql, _ in by) > MAX_LABELS_SQL:
        expected = f"{SIMPLER}: they take more than {MAX_LABELS_SQL} bytes of SQL"
        raise BadArgument("group_by_labels", question.labels, expected)
    columns += [Column(f"_by_{place}", sql, default) for place, (sql, default) in enumerate(by)]
    groups = [f"_by_{place}" for place in range(len(by))]
    only = " WHERE _value IS NOT NULL" if question.only_with_value else ""

    def read(events: Events, more: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        sql, of_events = events
        time_ms, bound = "toUnixTimestamp64Milli(_time)", {**parameters, **of_events}
        return _rows(database, question, [*select, *more], groups, time_ms, f"FROM ({sql}){only}", bound)

    rows = read_newest(database, asked, columns, read)
    return Answer("events", asked.start_ms, asked.end_ms, _numbers(rows, question))


def _has_status(question: Question) -> bool:
    return "status" in ROLLUP_SOURCES[question.event_type].keys


def _rows(
    database: Database,
    question: Question,
    select: Sequence[str],
    groups: Sequence[str],
    time_ms: str,
    table: str,
    parameters: Parameters,
) -> list[dict[str, Any]]:
    keys = [f"{sql} AS _group_{place}" for place, sql in enumerate(groups)]
    if question.interval_ms is not None:
        keys.append(f"{time_ms} - positiveModulo({time_ms}, {{interval_ms:Int64}}) AS _bucket")
        parameters = {**parameters, "interval_ms": question.interval_ms}
    aliases = [key.rpartition(" ")[2] for key in keys]
    grouped = f" GROUP BY {', '.join(aliases)}" if aliases else ""
    sql = f"SELECT {', '.join([*keys, *select])} {table}{grouped} LIMIT {MAX_ROWS + 1}"
    rows = database.rows(sql, parameters)
    if len(rows) > MAX_ROWS:
        name, value = ("group_by", question.group_names) if groups else ("interval", question.interval_ms)
        raise BadArgument(name, value, f"chosen so that there are at most {MAX_ROWS} groups and intervals")
    return rows


def _numbers(rows: Sequence[Mapping[str, Any]], question: Question) -> dict[Group, dict[int, Numbers]]:
    found: dict[Group, dict[int, Numbers]] = {}
    groups = [f"_group_{place}" for place in range(len(question.group_names))]
    no_quantiles = (None,) * len(question.levels)
    for row in rows:
        count, errors, values = row["_n"], row.get("_wrong", 0), row.get("_valued", 0)
        if values:
            quantiles = tuple(map(_finite, row.get("_quantiles", ())))
            total, low, high = _finite(row["_sum"]), _finite(row["_least"]), _finite(row["_most"])
            numbers = Numbers(count, errors, values, total, low, high, quantiles)
        else:
            numbers = Numbers(count, errors, quantiles=no_quantiles)
        found.setdefault(tuple([row[name] for name in groups]), {})[row.get("_bucket", 0)] = numbers
    return found


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def quantile_levels(argument: str, levels: Sequence[float]) -> tuple[float, ...]:
    """Checks levels of quantiles. Raises BadArgument."""
    if isinstance(levels, (str, bytes)) or not isinstance(levels, Sequence) or len(levels) > 20:
        raise BadArgument(argument, levels, "up to 20 numbers from 0 to 1")
    for level in levels:
        valid = isinstance(level, (int, float)) and not isinstance(level, bool) and math.isfinite(level)
        if not valid or not 0 <= level <= 1:
            raise BadArgument(argument, level, "a number from 0 to 1, such as 0.95")
    return tuple(levels)
