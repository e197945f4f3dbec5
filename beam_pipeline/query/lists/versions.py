"""Finds the newest row of an event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.database import Database
from beam_pipeline.query.lists.order import Order
from beam_pipeline.query.sources import PART, Row

AGE = "toUnixTimestamp64Milli(ingested_at) AS _since, sequence AS _sequence"
"""The columns that `newness` needs."""
ROW = f"event_hash AS _event, {PART} AS _part_hash, _part_offset AS _row, {AGE}"
"""The event of a row, its place in the table, and its age: the columns that `newest_of` needs."""
_HASH_BYTES = 24
_MAX_HASHES = 5_000
_MAX_LOOKUP_BYTES = 32_000
"""The most bytes of ids in one statement, well below what servers and proxies allow."""


def newness(row: Row) -> tuple[int, int]:
    """Greater for the newer of two rows of an event, unless two runs assigned them in the same millisecond."""
    return row["_since"], row["_sequence"]


def not_single(database: Database, conditions: Conditions, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows of events that may have other rows, either all of an event or none; for many rows from all over a range.

    Reading the hash of each event in the range takes less time than finding some dozens of events by their ids.
    """
    versions = conditions.since(min((row["_since"] for row in rows), default=0))
    single = set[tuple[int, int, int]]()
    for first in range(0, len(rows), _MAX_HASHES):
        asked = versions.identified(
            "event_hash IN {among_events:Array(UInt64)}",
            among_events=[row["_event"] for row in rows[first : first + _MAX_HASHES]],
        )
        found = database.rows(
            f"SELECT event_hash AS _event, any({PART}) AS _part_hash, any(_part_offset) AS _row FROM {asked.source.table} "
            f"WHERE {asked.where_versions} GROUP BY _event HAVING count() = 1",
            asked.parameters,
        )
        single |= {_place(row) for row in found}
    # One that is in another place than the one that was read has come since.
    return [row for row in rows if _place(row) not in single]


def _place(row: Row) -> tuple[int, int, int]:
    return row["_event"], row["_part_hash"], row["_row"]


def newest_of(
    database: Database,
    conditions: Conditions,
    order: Order,
    selected: str,
    batch: Sequence[Row],
    doubtful: Sequence[Row],
) -> Iterator[Row]:
    """The rows of a batch that are the newest of their event. Of the rows with one position, the batch has all or the newest.

    Only `doubtful` rows are compared with other versions: either all rows of an event or none.
    """
    read: dict[tuple[str, ...], list[Row]] = {}
    for row in doubtful:
        read.setdefault(order.identity(row), []).append(row)
    # Rows ingested before all of these are no newer versions.
    versions = conditions.since(min((row["_since"] for row in doubtful), default=0))
    newest = _newest_versions(database, versions, order, [read[identity][0] for identity in sorted(read)])
    # A newest row that has the time of a row in the batch, but is not in the batch, does not match or has arrived since.
    unread = [
        read[identity][0]
        for identity, version in newest.items()
        if version.time_ms in map(order.time_ms, read[identity]) and not any(map(version.is_of, read[identity]))
    ]
    compared = _newest_rows(database, conditions, versions, order, selected, unread) if unread else {}
    for row in batch:
        identity = order.identity(row)
        if identity not in read:
            yield row
        elif identity not in newest:  # its rows have disappeared since, and no newer one is known
            if row is max(read[identity], key=newness):
                yield row
        elif newest[identity].is_of(row):
            yield row
        elif identity in compared and order.position(compared[identity]) == order.position(row):
            yield compared.pop(identity)  # at another position it is found there


class _Version(NamedTuple):
    """The newest row of an event. Compares by age."""

    version: int
    part_hash: int
    row: int
    time_ms: int

    def is_of(self, row: Row) -> bool:
        return (self.part_hash, self.row) == (row["_part_hash"], row["_row"])


def _newest_versions(
    database: Database, versions: Conditions, order: Order, rows: Sequence[Row]
) -> dict[tuple[str, ...], _Version]:
    """The newest row of each event, where there is one; `rows` has one row for each event."""
    source, columns = versions.source, versions.distinguishing
    places = [source.identifying.index(column) for column in columns]
    keys_selected = ", ".join(f"{column} AS _{place}" for place, column in enumerate(columns))
    found: dict[tuple[str, ...], _Version] = {}
    for asked in lookups(versions, order, rows):
        for row in database.rows(
            f"SELECT {keys_selected}, {source.version} AS _version, {ROW}, toUnixTimestamp64Milli({source.time}) AS _time "
            f"FROM {source.table} WHERE {asked.where_versions}",
            asked.parameters,
        ):
            key = tuple(row[f"_{place}"] for place in range(len(columns)))
            version = _Version(row["_version"], row["_part_hash"], row["_row"], row["_time"])
            found[key] = max(found.get(key, version), version)
    identities = map(order.identity, rows)
    keys = {identity: tuple(identity[place] for place in places) for identity in identities}
    return {identity: found[key] for identity, key in keys.items() if key in found}


def _newest_rows(
    database: Database,
    conditions: Conditions,
    versions: Conditions,
    order: Order,
    selected: str,
    rows: Sequence[Row],
) -> dict[tuple[str, ...], Row]:
    """The newest row of each event, if it matches; `rows` has one row for each event."""
    found: dict[tuple[str, ...], Row] = {}
    for asked in lookups(versions, order, rows):
        newest = database.rows(
            f"SELECT {selected}, {conditions.matches} AS _matches FROM {asked.source.table} WHERE {asked.where_versions} "
            f"ORDER BY {asked.source.version} DESC LIMIT 1 BY {', '.join(asked.source.identifying)}",
            asked.parameters,
        )
        found |= {order.identity(row): row for row in newest if row["_matches"]}
    return found


def lookups(conditions: Conditions, order: Order, rows: Sequence[Row]) -> Iterator[Conditions]:
    """The conditions restricted to the events of these rows, a few at a time, so that each fits into a request."""
    first = size = 0
    for place, row in enumerate(rows):
        length = _HASH_BYTES + sum(len(part.encode()) + 8 for part in order.identity(row))
        size += length
        if size > _MAX_LOOKUP_BYTES and place > first:
            yield _among(conditions, order, rows[first:place])
            first, size = place, length
    if rows:
        yield _among(conditions, order, rows[first:])


def _among(conditions: Conditions, order: Order, rows: Sequence[Row]) -> Conditions:
    identities = [order.identity(row) for row in rows]
    places = {column: conditions.source.identifying.index(column) for column in conditions.distinguishing}
    ids = {column: sorted({identity[place] for identity in identities}) for column, place in places.items()}
    return conditions.among(ids, [row["_event"] for row in rows])
