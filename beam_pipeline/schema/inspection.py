"""What there is in a database, and how it differs from what is declared. Reads only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beam_pipeline.schema.options import MIN_DEDUP_WINDOW
from beam_pipeline.schema.table import Column, Table
from beam_pipeline.schema.views import View

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

_SETTING = re.compile(r"(\w+) = (\d+)")
_TTL = re.compile(r" TTL (.*?)(?: SETTINGS |$)", re.DOTALL)
_RULES = re.compile(r", (?![^(]*\))")
_KEEPING = re.compile(r" TO (DISK|VOLUME) | RECOMPRESS | GROUP BY ")
"""In rules that do something else than to delete rows."""
_DAYS = re.compile(r"\w+ \+ toIntervalDay\((\d+)\)")


@dataclass(frozen=True)
class Existing:
    """A table or view as the server tells of it."""

    engine: str
    declaration: str
    """The engine with keys, TTL and settings."""
    sorting_key: str
    partition_key: str
    comment: str
    columns: dict[str, str] = field(default_factory=dict)
    """Types by name."""

    @property
    def replicated(self) -> bool:
        return self.declaration.startswith(("Replicated", "Shared"))

    @property
    def settings(self) -> dict[str, int]:
        return {name: int(value) for name, value in _SETTING.findall(self.declaration)}

    @property
    def ttl(self) -> str:
        """The TTL rules as the server writes them; '' for none."""
        match = _TTL.search(self.declaration)
        return match[1] if match else ""

    @property
    def ttl_days(self) -> int | None:
        """Days that rows are kept; None for ever, 0 when that goes by rules which are not ours."""
        rules = [rule for rule in _RULES.split(self.ttl) if rule and not _KEEPING.search(rule)]
        if not rules:
            return None
        match = _DAYS.fullmatch(rules[0]) if len(rules) == 1 else None
        return int(match[1]) if match else 0


def read_existing(client: ClickHouse) -> dict[str, Existing]:
    """Everything in the database under names like ours."""
    where = "database = currentDatabase() AND startsWith({}, 'mastra_admin_')"
    tables = client.query(
        "SELECT name, engine, engine_full AS declaration, sorting_key, partition_key, comment "
        f"FROM system.tables WHERE {where.format('name')}"
    )
    existing = {row.pop("name"): Existing(**row) for row in map(dict, tables)}
    for row in client.query(f"SELECT table, name, type FROM system.columns WHERE {where.format('table')}"):
        if row["table"] in existing:
            existing[row["table"]].columns[row["name"]] = row["type"]
    return existing


def table_differences(table: Table, existing: Mapping[str, Existing]) -> list[str]:
    """How a table that is there differs from what it was made as, in columns, engine, keys; nothing for one that is not."""
    actual = existing.get(table.name)
    if actual is None:
        return []
    problems = []
    engine = actual.engine.removeprefix("Replicated").removeprefix("Shared")
    for name, value, wanted in (
        ("engine", engine, table.engine.partition("(")[0]),
        ("sorting key", actual.sorting_key.strip("()"), ", ".join(table.order_by)),
        ("partition key", actual.partition_key, table.partition_by),
    ):
        if value != wanted:
            problems.append(f"{table.name}: its {name} is {value or 'none'}, not {wanted or 'none'}")
    for column in table.columns:
        there = actual.columns.get(column.name)
        if there is None:
            if column.since == 1:
                problems.append(f"{table.name}: column {column.name} is missing")
        elif there != column.type:
            problems.append(f"{table.name}: column {column.name} is {there}, not {column.type}")
    return problems


def missing_columns(table: Table, existing: Mapping[str, Existing]) -> list[Column]:
    """Which of the columns that later migrations have brought a table that is there lacks."""
    actual = existing.get(table.name)
    if actual is None:
        return []
    return [column for column in table.columns if column.since > 1 and column.name not in actual.columns]


def view_differences(view: View, existing: Mapping[str, Existing]) -> list[str]:
    """Whether something else stands where a view should be."""
    actual = existing.get(view.name)
    if actual is None or actual.engine == view.engine:
        return []
    return [f"{view.name}: its engine is {actual.engine}, not {view.engine}"]


def window_problems(table: Table, existing: Mapping[str, Existing]) -> list[str]:
    """Whether a repeated insert into a table that is there would not be recognised."""
    actual = existing.get(table.name)
    if actual is None or not table.deduplicated:
        return []
    name = "replicated_deduplication_window" if actual.replicated else "non_replicated_deduplication_window"
    window = actual.settings.get(name, 0)
    if window >= MIN_DEDUP_WINDOW:
        return []
    return [
        f"{table.name}: {name} is {window}, so that repeated inserts would be counted twice; "
        f"it must be at least {MIN_DEDUP_WINDOW}"
    ]
