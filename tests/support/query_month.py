"""A month of events of twenty projects, made by the engine itself, for what queries read and how long they take."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from tests.support.databases import FOR_EVER, make_tables
from transforms.clickhouse import ClickHouse

PROJECTS = 20
START = datetime(2100, 11, 1, tzinfo=timezone.utc)
"""In the future, where no TTL is."""
DAYS = 30

_COLUMNS = {
    "traces": "trace_id, name, status, start_time, duration_ms, input, output, metadata",
    "spans": "span_id, trace_id, name, kind, status, start_time, duration_ms, attributes, events",
    "logs": "id, level, message, timestamp, trace_id, attributes",
    "metrics": "id, name, value, timestamp, unit, labels",
    "scores": "id, name, value, timestamp, trace_id, comment, metadata",
}
_SENTENCE = "the quick brown fox jumps over the lazy dog while the agent thinks about what to answer next; "


def fill(client: ClickHouse, rows: int) -> None:
    """Makes all tables, with so many rows in the order of time, in loads of a day, each thousandth event twice."""
    make_tables(client, FOR_EVER)
    per_day = rows // DAYS
    for day in range(DAYS):
        first = int((START + timedelta(days=day)).timestamp() * 1000)
        for table, columns in _COLUMNS.items():
            at = f"fromUnixTimestamp64Milli(toInt64({first} + intDiv(toInt64(number) * 86400000, {per_day})), 'UTC')"
            key = f"toUInt64({day * per_day}) + number"
            identity = f"lower(hex(sipHash128({key})))"
            trace = f"lower(hex(sipHash128(intDiv({key}, 10))))"
            name = f"concat('operation-', toString(({key}) % 7))"
            status = f"if({key} % 20 = 0, 'error', 'ok')"
            words = f"substring('{_SENTENCE}', {key} % 30 + 1)"
            user = f'concat(\'{{"userId":"user-\', toString({key} % 50000), \'","tier":"pro"}}\')'
            prompt = f"concat('{{\"prompt\":\"', {words}, toString({key}), '\"}}')"
            tokens = (
                f'concat(\'{{"model":"gemini-pro","tokens":\', toString({key} % 4000), \',"note":"\', {words}, \'"}}\')'
            )
            values = {
                "traces": f"{identity}, {name}, {status}, {at}, {key} % 5000, {prompt}, {prompt}, {user}",
                "spans": f"{identity}, {trace}, {name}, 'server', {status}, {at}, {key} % 900, {tokens}, '[]'",
                "logs": (
                    f"{identity}, if({key} % 9 = 0, 'error', 'info'), "
                    f"concat({words}, 'item ', toString({key}), ' 100% done'), {at}, {trace}, {user}"
                ),
                "metrics": f"{identity}, {name}, {key} % 1000, {at}, 'ms', {user}",
                "scores": f"{identity}, {name}, ({key} % 100) / 100, {at}, {trace}, {words}, {user}",
            }[table]
            project = f"concat('project-', toString(intDiv({key}, 10) % {PROJECTS}))"
            for again, condition in ((0, "1"), (1, "number % 1000 = 0")):
                ingested = f"fromUnixTimestamp64Milli(toInt64({first + (again + 1) * 86_400_000}), 'UTC')"
                client.command(
                    f"INSERT INTO mastra_admin_{table} ({columns}, project_id, recorded_at, ingested_at, load_id, block) "
                    f"SELECT {values}, {project}, {at}, {ingested}, 'load-{day}-{again}', '0.{START:%Y%m}.0' "
                    f"FROM numbers({per_day}) WHERE {condition}"
                )


def an_id(client: ClickHouse, number: int) -> str:
    """The id of an event by its number; of a trace by that of its spans divided by ten."""
    return str(client.query(f"SELECT lower(hex(sipHash128(toUInt64({number})))) AS id")[0]["id"])
