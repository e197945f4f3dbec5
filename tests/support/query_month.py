"""A month of events of twenty projects, made by the engine itself, for what queries read and how long they take."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from transforms.clickhouse import ClickHouse

PROJECTS = 20
START = datetime(2100, 11, 1, tzinfo=timezone.utc)
"""In the future, where no TTL is."""
DAYS = 30

_DAY_MS = 86_400_000
_SENTENCE = "the quick brown fox jumps over the lazy dog while the agent thinks about what to answer next; "
_COLUMNS = {
    "traces": "trace_id, name, status, start_time, duration_ms, input, output, metadata",
    "spans": "span_id, trace_id, name, kind, status, start_time, duration_ms, attributes, events",
    "logs": "id, level, message, timestamp, trace_id, attributes",
    "metrics": "id, name, value, timestamp, unit, labels",
    "scores": "id, name, value, timestamp, trace_id, comment, metadata",
}
_IDENTITY = "lower(hex(sipHash128(number)))"
_TRACE = "lower(hex(sipHash128(intDiv(number, 10))))"
_NAME = "concat('operation-', toString(number % 7))"
_STATUS = "if(number % 20 = 0, 'error', 'ok')"
_WORDS = f"substring('{_SENTENCE}', number % 30 + 1)"
_USER = """concat('{"userId":"user-', toString(number % 50000), '","tier":"pro"}')"""
_PROMPT = f"""concat('{{"prompt":"', {_WORDS}, toString(number), '"}}')"""
_TOKENS = f"""concat('{{"model":"gemini-pro","tokens":', toString(number % 4000), ',"note":"', {_WORDS}, '"}}')"""
_VALUES = {
    "traces": f"{_IDENTITY}, {_NAME}, {_STATUS}, at, number % 5000, {_PROMPT}, {_PROMPT}, {_USER}",
    "spans": f"{_IDENTITY}, {_TRACE}, {_NAME}, 'server', {_STATUS}, at, number % 900, {_TOKENS}, '[]'",
    "logs": (
        f"{_IDENTITY}, if(number % 9 = 0, 'error', 'info'), "
        f"concat({_WORDS}, 'item ', toString(number), ' 100% done'), at, {_TRACE}, {_USER}"
    ),
    "metrics": f"{_IDENTITY}, {_NAME}, number % 1000, at, 'ms', {_USER}",
    "scores": f"{_IDENTITY}, {_NAME}, (number % 100) / 100, at, {_TRACE}, {_WORDS}, {_USER}",
}
_PROJECT = f"concat('project-', toString(intDiv(number, 10) % {PROJECTS}))"


def fill(client: ClickHouse, rows: int, *, days_at_once: int = 1, settings: Mapping[str, Any] | None = None) -> None:
    """Inserts so many rows into each table in the order of time, in loads of a day, each thousandth event twice.

    One insert is of `days_at_once` loads: the more, the less it takes of the processor, and the more of memory. `settings`
    are those of the inserts.
    """
    per_day, first = rows // DAYS, int(START.timestamp() * 1000)
    day, in_day = f"intDiv(number, {per_day})", f"number % {per_day}"
    at = f"{first} + {day} * {_DAY_MS} + intDiv({in_day} * {_DAY_MS}, {per_day})"
    for first_day in range(0, DAYS, days_at_once):
        for table, columns in _COLUMNS.items():
            for again, condition in ((0, "1"), (1, f"{in_day} % 1000 = 0")):
                client.command(
                    f"INSERT INTO mastra_admin_{table} ({columns}, project_id, recorded_at, ingested_at, load_id, block) "
                    f"WITH fromUnixTimestamp64Milli(toInt64({at}), 'UTC') AS at "
                    f"SELECT {_VALUES[table]}, {_PROJECT}, at, "
                    f"fromUnixTimestamp64Milli(toInt64({first} + ({day} + {again + 1}) * {_DAY_MS}), 'UTC'), "
                    f"concat('load-', toString({day}), '-{again}'), '0.{START:%Y%m}.0' "
                    f"FROM numbers({first_day * per_day}, {days_at_once * per_day}) WHERE {condition}",
                    settings=settings,
                )


def an_id(client: ClickHouse, number: int) -> str:
    """The id of an event by its number; of a trace by that of its spans divided by ten."""
    return str(client.query(f"SELECT lower(hex(sipHash128(toUInt64({number})))) AS id")[0]["id"])
