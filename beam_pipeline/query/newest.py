"""Selects each event once, in its newest version, without FINAL.

FINAL is of no help here: it merges rows of the same sorting key, and a version with another time, deployment or name has
another one. It would also show an older version wherever a condition leaves the newest out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.rollups import parts_by_time
from beam_pipeline.query.sources import Row, Source

_MAX_BATCH = 1000
_MORE_FOR_TIES = 8
"""Rows that are read beyond what is wanted, since those of the last time may have to be left."""
_MAX_LOOKUP_BYTES = 32_000
"""Ids are sent in the request's line, which servers and proxies bound."""

PART = "cityHash64(_part)"
"""Which of the table's parts a row is in, as a number."""
ROW = f"{PART} AS _part_hash, _part_offset AS _row, toUnixTimestamp64Milli(ingested_at) AS _since"
"""Which row it is, and when it was ingested: what `newest_of` must know of rows."""
_AT = "fromUnixTimestamp64Milli({{{}:Int64}}, 'UTC')"

Position = tuple[Any, ...]
"""Where a row is in an order: the values that it is ordered by."""


@dataclass(frozen=True)
class Order:
    """Greatest first by some columns, the last of which is the time; then by id and project.

    Only versions of one event are equal in all these; the latest of them comes first, so that a limit leaves it in.
    """

    source: Source[Any]
    measure: str = ""
    """A whole number that comes before the time."""

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Expressions that are sent, as they compare, and how a value of them is bound."""
        measure = ((self.measure, "{{{}:Int64}}"),) if self.measure else ()
        return (*measure, (self.source.time, _AT))

    @property
    def ties(self) -> tuple[str, ...]:
        return (*reversed(self.source.identity), "project_id")

    @property
    def sql(self) -> str:
        return ", ".join([*(f"{column} DESC" for column, _ in self.keys), *self.ties, "ingested_at DESC"])

    @property
    def selection(self) -> str:
        measure = [self.measure] if self.measure else []
        values = [*measure, f"toUnixTimestamp64Milli({self.source.time})", *self.ties]
        return ", ".join(f"{value} AS _key_{place}" for place, value in enumerate(values))

    def position(self, row: Row) -> Position:
        return tuple(row[f"_key_{place}"] for place in range(len(self.keys) + len(self.ties)))

    def time_ms(self, row: Row) -> int:
        return int(row[f"_key_{len(self.keys) - 1}"])

    def identity(self, row: Row) -> tuple[str, ...]:
        """What identifies the row's event, as `Source.identifying`."""
        return self.identity_at(self.position(row))

    def identity_at(self, position: Position) -> tuple[str, ...]:
        return position[: len(self.keys) - 1 : -1]

    def comes_before(self, position: Position, other: Position) -> bool:
        return self.ascending(position) < self.ascending(other)

    def ascending(self, position: Position) -> Position:
        """What is less for a position that comes before."""
        return (*(-value for value in position[: len(self.keys)]), *position[len(self.keys) :])

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
    database: Database,
    parts: Iterable[Conditions],
    order: Order,
    after: Position | None,
    selection: str,
    expected: int,
    doubtful: Callable[[Sequence[Row]], Sequence[Row]] = lambda rows: rows,
) -> Iterator[Row]:
    """Rows of the events that meet conditions in their newest version, in an order, from behind a position.

    `parts` are the conditions as of `parts_in_time`. Reads a batch of rows by the conditions, drops those of which there
    is a newer one, and goes on. `expected` is how many the caller will probably take. `doubtful` tells of rows which of
    them may have a newer one: all rows of an event or none.
    """
    size = expected
    selected = ", ".join(filter(None, (order.selection, "event_hash AS _event", ROW, selection)))
    read_ms: int | None = None
    for part in parts:
        # Each part holds those before it, which have been read to their end.
        rest = part if read_ms is None else part.only(f"{order.source.time} < {_AT.format('read_ms')}", read_ms=read_ms)
        read_ms = part.parameters.get("part_ms")
        while True:
            size = min(max(size, 1), _MAX_BATCH)
            asked = rest if after is None else order.behind(rest, after)
            batch, is_all = _first_rows(database, asked, order, selected, size)
            yield from newest_of(database, part, order, selected, batch, doubtful(batch))
            if batch:
                after = order.position(batch[-1])
            if is_all:
                break
            size *= 2


def _first_rows(
    database: Database, asked: Conditions, order: Order, selected: str, size: int
) -> tuple[Sequence[Row], bool]:
    """About so many rows in an order, and whether there are no more. Of rows in one place all are there, or the latest.

    The server sorts by time alone, which spares it from reading the other columns of the order, and from looking at what
    is too early. Of the rows that have the last one's time some may be left out then, so that all of them are.
    """
    select = f"SELECT {selected} FROM {asked.source.table} WHERE {asked.where}"
    if not order.measure:
        limit = size + _MORE_FOR_TIES
        found = database.rows(f"{select} ORDER BY {order.source.time} DESC LIMIT {limit}", asked.parameters)
        is_all = len(found) < limit
        last = order.position(found[-1])[0] if found else 0
        whole = found if is_all else [row for row in found if order.position(row)[0] > last]
        if whole or is_all:
            return sorted(whole, key=lambda row: (order.ascending(order.position(row)), -row["_since"])), is_all
    found = database.rows(f"{select} ORDER BY {order.sql} LIMIT {size}", asked.parameters)
    return found, len(found) < size


def rows_at(
    database: Database, parts: Sequence[Conditions], order: Order, selection: str, offset: int, limit: int
) -> tuple[Sequence[Row], Conditions]:
    """Rows that meet conditions, in an order, whether or not they are their event's newest.

    Of `parts_in_time` of the conditions. Also tells the part that they and all rows before them are in.
    """
    rows: Sequence[Row] = ()
    for part in parts:
        rows = database.rows(
            f"SELECT {order.selection}, {selection} FROM {part.source.table} WHERE {part.where} "
            f"ORDER BY {order.sql} LIMIT {limit} OFFSET {offset}",
            part.parameters,
        )
        if len(rows) == limit:
            break
    return rows, part


def parts_in_time(
    database: Database, conditions: Conditions, order: Order, after: Position | None, expected: int
) -> Iterable[Conditions]:
    """The conditions, in parts where these are worth while: in order of time, over a long range, without an id's index."""
    if order.measure or conditions.is_short or conditions.given.keys() & {*conditions.source.identity, "trace_id"}:
        return [conditions]
    return parts_by_time(database, conditions, None if after is None else after[0], expected)


def newest_of(
    database: Database,
    conditions: Conditions,
    order: Order,
    selected: str,
    batch: Sequence[Row],
    doubtful: Sequence[Row],
) -> Iterator[Row]:
    """The rows of a batch that are the newest of their events. The batch has all rows of an event that are in one place.

    Only those that are `doubtful` may not be: all rows of an event or none.
    """
    read: dict[tuple[str, ...], list[Row]] = {}
    for row in doubtful:
        read.setdefault(order.identity(row), []).append(row)
    # What was ingested before all of them is no newer version of any.
    versions = conditions.since(min((row["_since"] for row in doubtful), default=0))
    newest = _newest_versions(database, versions, sorted(read))
    # One in the place of an older row that was not read itself does not meet the conditions, or has come since.
    unread = [
        identity
        for identity, version in newest.items()
        if version.time_ms in map(order.time_ms, read[identity]) and not any(map(version.is_of, read[identity]))
    ]
    compared = _newest_rows(database, conditions, versions, order, selected, unread) if unread else {}
    for row in batch:
        identity = order.identity(row)
        if identity not in read:
            yield row
        elif identity not in newest:  # its rows have gone since, and nothing newer is known
            if row is max(read[identity], key=lambda one: one["_since"]):
                yield row
        elif newest[identity].is_of(row):
            yield row
        elif identity in compared and order.position(compared[identity]) == order.position(row):
            yield compared.pop(identity)  # in another place it is found there


class _Version(NamedTuple):
    """A row that is the newest of its event, in the order of newness."""

    version: int
    part_hash: int
    row: int
    time_ms: int

    def is_of(self, row: Row) -> bool:
        return (self.part_hash, self.row) == (row["_part_hash"], row["_row"])


def _newest_versions(
    database: Database, versions: Conditions, identities: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], _Version]:
    """The newest of each of some events, if it has any."""
    source, columns = versions.source, versions.telling
    places = [source.identifying.index(column) for column in columns]
    told = ", ".join(f"{column} AS _{place}" for place, column in enumerate(columns))
    found: dict[tuple[str, ...], _Version] = {}
    for _, asked in lookups(versions, identities):
        for row in database.rows(
            f"SELECT {told}, {source.version} AS _version, {ROW}, toUnixTimestamp64Milli({source.time}) AS _time "
            f"FROM {source.table} WHERE {asked.where_versions}",
            asked.parameters,
        ):
            key = tuple(row[f"_{place}"] for place in range(len(columns)))
            version = _Version(row["_version"], row["_part_hash"], row["_row"], row["_time"])
            found[key] = max(found.get(key, version), version)
    keys = {identity: tuple(identity[place] for place in places) for identity in identities}
    return {identity: found[key] for identity, key in keys.items() if key in found}


def _newest_rows(
    database: Database,
    conditions: Conditions,
    versions: Conditions,
    order: Order,
    selected: str,
    identities: Sequence[tuple[str, ...]],
) -> dict[tuple[str, ...], Row]:
    """The newest rows of some events, if they meet the conditions."""
    asked = among(versions, identities)
    rows = database.rows(
        f"SELECT {selected}, {conditions.matches} AS _matches FROM {asked.source.table} WHERE {asked.where_versions} "
        f"ORDER BY {asked.source.version} DESC LIMIT 1 BY {', '.join(asked.source.identifying)}",
        asked.parameters,
    )
    return {order.identity(row): row for row in rows if row["_matches"]}


def among(conditions: Conditions, identities: Sequence[tuple[str, ...]]) -> Conditions:
    """The conditions on these events, and perhaps on some others."""
    places = {column: conditions.source.identifying.index(column) for column in conditions.telling}
    return conditions.among(
        {column: sorted({identity[place] for identity in identities}) for column, place in places.items()}
    )


def lookups(
    conditions: Conditions, identities: Sequence[tuple[str, ...]]
) -> Iterator[tuple[Sequence[tuple[str, ...]], Conditions]]:
    """The conditions on some of these events at a time, no more than fit into a request."""
    first = size = 0
    for place, identity in enumerate(identities):
        length = sum(len(part.encode()) + 8 for part in identity)
        size += length
        if size > _MAX_LOOKUP_BYTES and place > first:
            yield identities[first:place], among(conditions, identities[first:place])
            first, size = place, length
    if identities:
        yield identities[first:], among(conditions, identities[first:])


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

    Reads the rows that meet the conditions for their ids, and then all versions of these, unless all there are in a range
    of time are wanted. What was ingested before all of them is no newer version of any.
    """
    source = conditions.source
    identity = ", ".join(source.identity)
    where = conditions.where_versions
    having = ""
    if conditions.other and not conditions.are_on_time_only:
        found = f"FROM {source.table} WHERE {conditions.where}"
        where += f" AND ({identity}) IN (SELECT {identity} {found})"
        where += f" AND ingested_at >= (SELECT min(ingested_at) {found})"
    if conditions.other:
        having = f"HAVING argMax({conditions.matches}, _version) = 1"
    selection = ", ".join([*(column.newest() for column in columns), "1 AS _event"])
    return (
        f"WITH {source.version} AS _version SELECT {selection} FROM {source.table} "
        f"WHERE {where} GROUP BY {', '.join(conditions.telling)} {having}"
    )
