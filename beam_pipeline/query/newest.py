"""Selects each event once, in its newest version, without FINAL.

FINAL is of no help here: it merges rows of the same sorting key, and a version with another time, deployment or name has
another one. It would also show an older version wherever a condition leaves the newest out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.rollups import parts_by_time
from beam_pipeline.query.sources import Row, Source, ingested_ms

_MAX_BATCH = 1000
_MAX_LOOKUP_BYTES = 32_000
"""Ids are sent in the request's line, which servers and proxies bound."""

Position = tuple[Any, ...]
"""Where a row is in an order: the values that it is ordered by."""


@dataclass(frozen=True)
class Order:
    """Greatest first by some columns, the last of which is the time; then by id and project.

    Of versions of an event that are equal in all these the newest comes first: who goes on behind it misses nothing.
    """

    source: Source[Any]
    measure: str = ""
    """A whole number that comes before the time."""

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Expressions that are sent, as they compare, and how a value of them is bound."""
        measure = ((self.measure, "{{{}:Int64}}"),) if self.measure else ()
        return (*measure, (self.source.time, "fromUnixTimestamp64Milli({{{}:Int64}}, 'UTC')"))

    @property
    def ties(self) -> tuple[str, ...]:
        return (*reversed(self.source.identity), "project_id")

    @property
    def sql(self) -> str:
        return ", ".join([*(f"{column} DESC" for column, _ in self.keys), *self.ties, f"{self.source.version} DESC"])

    @property
    def selection(self) -> str:
        measure = [self.measure] if self.measure else []
        values = [*measure, f"toUnixTimestamp64Milli({self.source.time})", *self.ties]
        return ", ".join(f"{value} AS _key_{place}" for place, value in enumerate(values))

    def position(self, row: Row) -> Position:
        return tuple(row[f"_key_{place}"] for place in range(len(self.keys) + len(self.ties)))

    def behind(self, conditions: Conditions, position: Position) -> Conditions:
        """Conditions on rows behind a position."""
        names = [f"after_{place}" for place in range(len(position))]
        descending = [(column, bound.format(name)) for (column, bound), name in zip(self.keys, names, strict=False)]
        ties = ", ".join(f"{{{name}:String}}" for name in names[len(descending) :])
        behind = f"({', '.join(self.ties)}) > ({ties})"
        for column, value in reversed(descending):
            behind = f"({column} < {value} OR ({column} = {value} AND {behind}))"
        # Said twice, since the primary key is of use for the plain comparison.
        column, value = descending[0]
        return conditions.only(f"{column} <= {value} AND {behind}", **dict(zip(names, position, strict=True)))


def newest_rows(
    database: Database, conditions: Conditions, order: Order, after: Position | None, selection: str, expected: int
) -> Iterator[Row]:
    """Rows of the events that meet the conditions in their newest version, in an order, from behind a position.

    Reads a batch of rows by the conditions, drops those of which there is a newer one anywhere, and goes on. `expected`
    is how many the caller will probably take.
    """
    size = expected
    selected = ", ".join(filter(None, (order.selection, f"{conditions.source.version} AS _version", selection)))
    for part in _parts(database, conditions, order, after, expected):
        while True:
            size = min(max(size, 1), _MAX_BATCH)
            asked = part if after is None else order.behind(part, after)
            batch = database.rows(
                f"SELECT {selected} FROM {conditions.source.table} WHERE {asked.where} ORDER BY {order.sql} LIMIT {size}",
                asked.parameters,
            )
            yield from _without_superseded(database, conditions.source, order, batch)
            if batch:
                after = order.position(batch[-1])
            if len(batch) < size:
                break
            size *= 2


def _parts(
    database: Database, conditions: Conditions, order: Order, after: Position | None, expected: int
) -> Iterable[Conditions]:
    """The conditions, in parts where these are worth while: in order of time, over a long range, without an id's index."""
    if order.measure or conditions.is_short or conditions.given.keys() & {*conditions.source.identity, "trace_id"}:
        return [conditions]
    return parts_by_time(database, conditions, None if after is None else after[0], expected)


def _without_superseded(database: Database, source: Source[Any], order: Order, batch: Sequence[Row]) -> Iterator[Row]:
    identities = [tuple(reversed(order.position(row)[-len(order.ties) :])) for row in batch]
    newest: dict[tuple[str, ...], int] = {}
    for part in _lookups(sorted(set(identities))):
        newest |= _newest_versions(database, source, part, ingested_ms([row["_version"] for row in batch]))
    for identity, row in zip(identities, batch, strict=True):
        # Popped, so that of rows that are equal in everything that tells versions apart there is one.
        if newest.get(identity) == row["_version"]:
            del newest[identity]
            yield row


def _lookups(identities: Sequence[tuple[str, ...]]) -> Iterator[Sequence[tuple[str, ...]]]:
    """Some at a time, no more than fit into a request."""
    first = size = 0
    for place, identity in enumerate(identities):
        size += sum(len(part.encode()) + 8 for part in identity)
        if size > _MAX_LOOKUP_BYTES and place > first:
            yield identities[first:place]
            first, size = place, sum(len(part.encode()) + 8 for part in identity)
    if identities:
        yield identities[first:]


def _newest_versions(
    database: Database, source: Source[Any], identities: Sequence[tuple[str, ...]], since_ms: int
) -> dict[tuple[str, ...], int]:
    """The newest version of some events, none of which is older than `since_ms`."""
    columns = source.identifying
    parameters: dict[str, Any] = {
        f"identity_{place}": sorted({identity[place] for identity in identities}) for place in range(len(columns))
    }
    where = [f"{column} IN {{identity_{place}:Array(String)}}" for place, column in enumerate(columns)]
    where.append("ingested_at >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')")
    selection = ", ".join(f"{column} AS _identity_{place}" for place, column in enumerate(columns))
    rows = database.rows(
        f"SELECT {selection}, max({source.version}) AS _newest FROM {source.table} "
        f"WHERE {' AND '.join(where)} GROUP BY {', '.join(columns)}",
        {**parameters, "since_ms": since_ms},
    )
    return {tuple(row[f"_identity_{place}"] for place in range(len(columns))): row["_newest"] for row in rows}


@dataclass(frozen=True)
class Column:
    """Something to know of each event, under an alias that is no column's name."""

    alias: str
    sql: str
    nullable_default: str = ""
    """For an expression that may be NULL: a value of its type."""

    def newest(self) -> str:
        """Its value in the newest version. argMax alone would take it from the newest version in which it is not NULL."""
        if not self.nullable_default:
            return f"argMax({self.sql}, _version) AS {self.alias}"
        value = f"argMax(ifNull({self.sql}, {self.nullable_default}), _version)"
        return f"if(argMax(isNull({self.sql}), _version), NULL, {value}) AS {self.alias}"


def newest_events(conditions: Conditions, columns: Sequence[Column]) -> str:
    """A SELECT with a row for each event that meets the conditions in its newest version.

    Reads the rows that meet the conditions for their ids, and then all versions of these. What was ingested before all
    of them is no newer version of any.
    """
    source = conditions.source
    identity = ", ".join(source.identity)
    where = conditions.where_identity
    having = ""
    if conditions.other:
        found = f"FROM {source.table} WHERE {conditions.where}"
        where += f" AND ({identity}) IN (SELECT {identity} {found})"
        where += f" AND ingested_at >= (SELECT min(ingested_at) {found})"
        having = f"HAVING argMax({conditions.matches}, _version) = 1"
    keys = [column for column in source.identifying if column not in conditions.fixed] or list(source.identity)
    selection = ", ".join([*(column.newest() for column in columns), "1 AS _event"])
    return (
        f"WITH {source.version} AS _version SELECT {selection} FROM {source.table} "
        f"WHERE {where} GROUP BY {', '.join(keys)} {having}"
    )


def count_events(database: Database, conditions: Conditions) -> int:
    """How many events meet the conditions in their newest version."""
    (row,) = database.rows(f"SELECT count() AS n FROM ({newest_events(conditions, [])})", conditions.parameters)
    return int(row["n"])
