"""The hourly statistics and the receipts beside them, in both engines: right from the first insert to the last merge."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.unit.schema.rows import batch, event
from transforms.clickhouse import ClickHouse
from transforms.events import EVENT_TYPES, TABLES

UTC = timezone.utc
KEYS = {"trace": ["status"], "span": ["kind", "status"], "log": ["level"], "metric": ["name"], "score": ["name"]}
WORDS = {
    "status": ["ok", "error", "unset"],
    "kind": ["server", "client"],
    "level": ["info", "error"],
    "name": ["latency", "tokens"],
}
MEASURED = {"trace": "duration_ms", "span": "duration_ms", "log": "", "metric": "value", "score": "value"}
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
NOON = datetime(2100, 11, 20, 12, tzinfo=UTC)

embedded_is_enough = pytest.mark.parametrize("kept_for_ever", ["embedded_admin"], indirect=True)

Group = tuple[Any, ...]


def measured(event_type: str, chance: random.Random) -> float | None:
    if MEASURED[event_type] == "value":
        return chance.choice([0.0, -2.5, 1e12, chance.gauss(100, 30), chance.random()])
    return chance.choice([None, 0, 1, chance.randrange(1000), chance.randrange(10**7)])


def some_events(event_type: str, chance: random.Random, *, month: int, count: int) -> list[dict[str, Any]]:
    """Events of a month in few groups, one of them large."""
    events = []
    for number in range(count):
        words = {key: chance.choice(WORDS[key]) for key in KEYS[event_type]}
        project, hour = chance.choice([("p1", 3), ("p2", 4), ("p2", 5)])
        if number % 2:
            words, project, hour = {key: WORDS[key][0] for key in KEYS[event_type]}, "p1", 3
        at = datetime(2100, month, 7, hour, tzinfo=UTC) + timedelta(milliseconds=chance.randrange(3_600_000))
        deployment = {"deployment_id": chance.choice("xy")}
        value = measured(event_type, chance)
        events.append(event(event_type, at, project=project, value=value, **words, **deployment))
    return events


def without_merges(client: ClickHouse, event_type: str, inserts: list[list[dict[str, Any]]]) -> None:
    """Inserts into a table whose rollup is emptied before and stays as the inserts leave it."""
    table = TABLES[event_type]
    for name in (table.table, table.rollup):
        client.command(f"TRUNCATE TABLE {name}")
    client.command(f"SYSTEM STOP MERGES {table.rollup}")
    for number, events in enumerate(inserts):
        client.insert(table.table, batch(event_type, events, load_id="load", block=str(number)))


def merge(client: ClickHouse, event_type: str) -> None:
    client.command(f"SYSTEM START MERGES {TABLES[event_type].rollup}")
    client.command(f"OPTIMIZE TABLE {TABLES[event_type].rollup} FINAL")


def parts(client: ClickHouse, event_type: str) -> int:
    (row,) = client.query(f"SELECT uniqExact(_part) AS parts FROM {TABLES[event_type].rollup}")
    return int(row["parts"])


def groups_of_the_table(client: ClickHouse, event_type: str) -> dict[Group, list[float | None]]:
    """What was measured, by what the view groups by, recomputed here from the rows of the table."""
    table, keys = TABLES[event_type], ", ".join(KEYS[event_type])
    value = MEASURED[event_type] or "NULL"
    groups = defaultdict(list)
    for row in client.query(
        f"SELECT project_id, deployment_id, {keys}, {table.time_column} AS at, {value} AS measured FROM {table.table}"
    ):
        hour = row["at"].replace(minute=0, second=0, microsecond=0)
        key = (row["project_id"], row["deployment_id"], hour, *(row[name] for name in KEYS[event_type]))
        groups[key].append(row["measured"])
    return groups


def rows_of_the_view(client: ClickHouse, event_type: str) -> dict[Group, dict[str, Any]]:
    rows = client.query(f"SELECT * FROM {TABLES[event_type].stats_view}")
    by_group = {
        tuple(row.pop(key) for key in ["project_id", "deployment_id", "hour", *KEYS[event_type]]): row for row in rows
    }
    assert len(by_group) == len(rows)
    return by_group


def assert_right(row: dict[str, Any], group: list[float | None]) -> None:
    numbers = sorted(number for number in group if number is not None)
    row = dict(row)
    assert row.pop("count") == len(group)
    if not numbers:
        assert set(row.values()) <= {None}
        return
    quantiles = {name: row.pop(name) for name in QUANTILES}
    wanted = [math.fsum(numbers), math.fsum(numbers) / len(numbers), numbers[0], numbers[-1]]
    assert list(row.values()) == pytest.approx(wanted, rel=1e-9)
    for name, level in QUANTILES.items():
        rank, slack = level * (len(numbers) - 1), 1 + 0.015 * len(numbers)
        low, high = numbers[max(0, math.floor(rank - slack))], numbers[min(len(numbers) - 1, math.ceil(rank + slack))]
        near = 1e-6 * max(abs(low), abs(high))
        assert low - near <= quantiles[name] <= high + near, (name, low, high)


def assert_the_view_is_right(client: ClickHouse, event_type: str) -> None:
    groups, rows = groups_of_the_table(client, event_type), rows_of_the_view(client, event_type)
    assert set(rows) == set(groups)
    for key, row in rows.items():
        if MEASURED[event_type]:
            assert_right(row, groups[key])
        else:
            assert row == {"count": len(groups[key])}


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_views_equal_a_recomputation_before_and_after_merges(kept_for_ever: ClickHouse, event_type: str) -> None:
    chance = random.Random(7)
    sizes = [(1, 20), (1, 700), (2, 20), (1, 1), (2, 300), (1, 20)]
    inserts = [some_events(event_type, chance, month=month, count=count) for month, count in sizes]
    without_merges(kept_for_ever, event_type, inserts)
    assert parts(kept_for_ever, event_type) == len(inserts)
    assert_the_view_is_right(kept_for_ever, event_type)
    merge(kept_for_ever, event_type)
    assert parts(kept_for_ever, event_type) == 2, "one a month"
    assert_the_view_is_right(kept_for_ever, event_type)


@embedded_is_enough
def test_zero_is_a_value_and_an_unknown_duration_is_none(kept_for_ever: ClickHouse) -> None:
    inserts = [[20, None], [0], [10, None]]
    without_merges(kept_for_ever, "trace", [[event("trace", NOON, value=ms) for ms in insert] for insert in inserts])
    for _ in range(2):
        (row,) = rows_of_the_view(kept_for_ever, "trace").values()
        del row["p90"], row["p95"], row["p99"]
        assert list(row.items()) == [
            ("count", 5),
            ("total_duration_ms", 30),
            ("avg_duration_ms", 10),
            ("min_duration_ms", 0),
            ("max_duration_ms", 20),
            ("p50", 10),
        ]
        merge(kept_for_ever, "trace")


@embedded_is_enough
def test_durations_that_are_all_unknown_make_no_numbers(kept_for_ever: ClickHouse) -> None:
    without_merges(kept_for_ever, "span", [[event("span", NOON, value=None)] for _ in range(2)])
    for _ in range(2):
        (row,) = rows_of_the_view(kept_for_ever, "span").values()
        assert row.pop("count") == 2 and set(row.values()) == {None} and len(row) == 8
        merge(kept_for_ever, "span")


@embedded_is_enough
def test_errors_are_counted_apart(kept_for_ever: ClickHouse) -> None:
    inserts = [
        [event("log", NOON, level=level) for level in levels] for levels in (["error", "info"], ["error", "warn"])
    ]
    without_merges(kept_for_ever, "log", inserts)
    for _ in range(2):
        rows = rows_of_the_view(kept_for_ever, "log")
        assert {key[-1]: row["count"] for key, row in rows.items()} == {"error": 2, "info": 1, "warn": 1}
        merge(kept_for_ever, "log")


# Receipts


def receipts(client: ClickHouse, event_type: str) -> dict[str, int]:
    rows = client.query(f"SELECT receipt, count FROM {TABLES[event_type].rollup} WHERE receipt != ''")
    assert len({row["receipt"] for row in rows}) == len(rows)
    return {row["receipt"]: row["count"] for row in rows}


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_each_block_leaves_one_receipt_that_no_view_shows(kept_for_ever: ClickHouse, event_type: str) -> None:
    def over_hours_and_projects(count: int) -> list[dict[str, Any]]:
        # A project without a name is where a receipt could hide, or be hidden.
        times = [NOON + timedelta(hours=number % 5) for number in range(count)]
        return [event(event_type, at, project=["", "p"][at.hour % 2], deployment_id="") for at in times]

    table = TABLES[event_type]
    without_merges(kept_for_ever, event_type, [])
    for load_id, block, count in (("l1", "0", 10), ("l1", "10", 3), ("l2", "0", 7)):
        rows = batch(event_type, over_hours_and_projects(count), load_id=load_id, block=block)
        kept_for_ever.insert(table.table, rows)
    assert parts(kept_for_ever, event_type) == 3, "a receipt is there if its block's cells are: they come in one part"
    for _ in range(2):
        assert receipts(kept_for_ever, event_type) == {"l1/0": 10, "l1/10": 3, "l2/0": 7}
        assert_the_view_is_right(kept_for_ever, event_type)
        merge(kept_for_ever, event_type)


@embedded_is_enough
def test_rows_of_no_load_leave_no_receipt(kept_for_ever: ClickHouse) -> None:
    without_merges(kept_for_ever, "metric", [])
    events = [event("metric", NOON) for _ in range(3)]
    kept_for_ever.insert("mastra_admin_metrics", batch("metric", events, load_id="", block=""))
    assert receipts(kept_for_ever, "metric") == {}
    assert [row["count"] for row in rows_of_the_view(kept_for_ever, "metric").values()] == [3]


# Times far away


FAR = [
    "1900-01-01T00:00:00.000",
    "1950-06-15T10:00:00.000",
    "1950-06-15T10:30:00.500",
    "1950-06-15T10:59:59.000",
    "1969-12-31T23:59:58.999",
    "1970-01-01T00:00:00.000",
    "2106-02-07T06:28:16.001",
    "2200-02-28T23:59:59.999",
    "2262-04-12T00:00:00.000",
    "2299-12-31T23:59:59.999",
]
LAST_MOMENTS = ["1950-11-30T22:59:59.999", "1950-11-30T23:59:59.001"]


def hours_counted(client: ClickHouse, event_type: str, times: list[str]) -> dict[str, str]:
    """The hour in which each of the events is counted that are inserted as one block."""
    events = [event(event_type, datetime.fromisoformat(f"{at}+00:00"), deployment_id=at) for at in times]
    without_merges(client, event_type, [events])
    rows = client.query(f"SELECT deployment_id, toString(hour) AS hour FROM {TABLES[event_type].stats_view}")
    return {row["deployment_id"]: row["hour"] for row in rows}


@embedded_is_enough
@pytest.mark.parametrize("event_type", ["trace", "span", "metric"])
def test_times_from_1900_to_2299_are_counted_in_their_hours(kept_for_ever: ClickHouse, event_type: str) -> None:
    hours = {at: f"{at[:10]} {at[11:13]}:00:00" for at in FAR}
    assert hours_counted(kept_for_ever, event_type, FAR) == hours
    assert receipts(kept_for_ever, event_type) == {"load/0": len(FAR)}


@embedded_is_enough
@pytest.mark.parametrize("event_type", ["trace", "span", "metric"])
def test_the_last_moment_of_an_hour_before_1970_is_of_that_hour(kept_for_ever: ClickHouse, event_type: str) -> None:
    hours = {at: f"{at[:10]} {at[11:13]}:00:00" for at in LAST_MOMENTS}
    assert hours_counted(kept_for_ever, event_type, LAST_MOMENTS) == hours
    assert parts(kept_for_ever, event_type) == 1, "a block of one month is rolled up in one part"
