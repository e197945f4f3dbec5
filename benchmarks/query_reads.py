"""What queries read, and how long they take, against the SQL of the product that this replaces, on the same tables.

    python -m benchmarks.query_reads [--rows=5000000] [--rounds=15] [--json]

The tables hold a month of 20 projects, each event once, some delivered again, with texts and JSON as `generate` writes
them. The other product's queries say FINAL on the whole table, LIKE, OFFSET and, for each list, a count, for the same
questions. Both are asked in turn; times are the median round's. Nothing is remembered of a condition from one round to the
next (the query condition cache is off).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from beam_pipeline.query import ClickHouseQueryProvider
from beam_pipeline.schema import SchemaOptions, run_migrations
from tests.support.query_reads import CountingClient
from transforms.clickhouse import ClickHouse, ClickHouseConfig

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
    """Rows in the order of time, in loads of a day, each thousandth event delivered again a day later."""
    run_migrations(client, SchemaOptions(ttl_days=0, logs_ttl_days=0))
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
    return str(client.query(f"SELECT lower(hex(sipHash128(toUInt64({number})))) AS id")[0]["id"])


def questions(
    client: ClickHouse, rows: int
) -> Mapping[str, tuple[str, Callable[[Any], Any], list[tuple[str, dict[str, Any]]]]]:
    """By name: the table that is asked, our call, and the other product's statements."""
    hour = START + timedelta(days=DAYS // 2, hours=12)
    last = hour + timedelta(hours=1, milliseconds=-1)
    scope = {"project_id": "project-3", "start": hour, "end": last}
    where = "project_id = {p:String} AND {column} >= {a:String} AND {column} <= {b:String}"
    trace = an_id(client, rows // 2)
    spans_of = an_id(client, rows // 20)

    def page(
        table: str, column: str, asked: Mapping[str, Any] = scope, offset: int = 0
    ) -> list[tuple[str, dict[str, Any]]]:
        said = where.replace("{column}", column)
        select = f"FROM mastra_admin_{table} FINAL WHERE {said}"
        values = {"p": asked["project_id"]} | {
            name: f"{asked[at]:%Y-%m-%d %H:%M:%S}.{asked[at].microsecond // 1000:03}"
            for name, at in (("a", "start"), ("b", "end"))
        }
        return [
            (f"SELECT count() AS total {select}", values),
            (f"SELECT * {select} ORDER BY {column} DESC LIMIT 50 OFFSET {offset}", values),
        ]

    def series(measure: str, project: str = "WHERE project_id = {p:String} ") -> list[tuple[str, dict[str, Any]]]:
        return [
            (
                f"SELECT toStartOfInterval(start_time, INTERVAL 1 HOUR) AS at, {measure} FROM mastra_admin_traces FINAL "
                f"{project}GROUP BY at ORDER BY at",
                {"p": "project-3"} if project else {},
            )
        ]

    everything = {"project_id": "project-3", "start": START, "end": START + timedelta(days=DAYS, milliseconds=-1)}

    def with_text(text: str, like: str, asked: Mapping[str, Any]) -> tuple[str, Callable[[Any], Any], list[Any]]:
        found = page("logs", "timestamp", asked)
        return (
            "logs",
            lambda api: api.list_logs(message_contains=text, **asked),
            [
                (sql.replace(" AND timestamp <", " AND message LIKE {m:String} AND timestamp <"), {**values, "m": like})
                for sql, values in found
            ],
        )

    return {
        "get_trace": (
            "traces",
            lambda api: api.get_trace(trace),
            [("SELECT * FROM mastra_admin_traces FINAL WHERE trace_id = {t:String} LIMIT 1", {"t": trace})],
        ),
        "get_spans_for_trace": (
            "spans",
            lambda api: api.get_spans_for_trace(spans_of),
            [
                (
                    "SELECT * FROM mastra_admin_spans FINAL WHERE trace_id = {t:String} ORDER BY start_time",
                    {"t": spans_of},
                )
            ],
        ),
        "list_traces, an hour": ("traces", lambda api: api.list_traces(**scope), page("traces", "start_time")),
        "list_spans, an hour": ("spans", lambda api: api.list_spans(**scope), page("spans", "start_time")),
        "list_logs, an hour": ("logs", lambda api: api.list_logs(**scope), page("logs", "timestamp")),
        "list_metrics, an hour": ("metrics", lambda api: api.list_metrics(**scope), page("metrics", "timestamp")),
        "list_scores, an hour": ("scores", lambda api: api.list_scores(**scope), page("scores", "timestamp")),
        "list_logs, a month": ("logs", lambda api: api.list_logs(**everything), page("logs", "timestamp", everything)),
        "list_logs, a month, no count": (
            "logs",
            lambda api: api.list_logs(count="none", **everything),
            page("logs", "timestamp", everything),
        ),
        "list_logs, 100th page": (
            "logs",
            lambda api: api.list_logs(page=99, **everything),
            page("logs", "timestamp", everything, 4950),
        ),
        "list_logs, text, an hour": with_text("100% done", "%100\\% done%", scope),
        "list_logs, text, a month": with_text("100% done", "%100\\% done%", everything),
        "list_logs, rare text, a month": with_text(f"item {rows // 2 + 33} ", f"%item {rows // 2 + 33} %", everything),
        "trace counts, 30 days": (
            "traces",
            lambda api: api.get_trace_count_time_series(interval=3600, **everything),
            series("count() AS n"),
        ),
        "error rate, 30 days": (
            "traces",
            lambda api: api.get_error_rate_time_series(interval=3600, **everything),
            series("countIf(status = 'error') / count() AS rate"),
        ),
        "percentiles, 30 days": (
            "traces",
            lambda api: api.latency_percentiles(**everything),
            series("quantiles(0.5, 0.95, 0.99)(duration_ms) AS q"),
        ),
        "trace counts, all projects": (
            "traces",
            lambda api: api.get_trace_count_time_series(interval=3600, **{**everything, "project_id": None}),
            series("count() AS n", ""),
        ),
        "list_traces, all there are": (
            "traces",
            lambda api: api.list_traces(),
            [
                ("SELECT count() AS total FROM mastra_admin_traces FINAL", {}),
                ("SELECT * FROM mastra_admin_traces FINAL ORDER BY start_time DESC LIMIT 50", {}),
            ],
        ),
    }


class Forgetful:
    """The client, without what the server remembers of conditions."""

    def __init__(self, client: ClickHouse) -> None:
        self._client = client

    def query(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        return self._client.query(sql, parameters, {**(settings or {}), "use_query_condition_cache": 0})


def measured(
    client: ClickHouse, prepared: Sequence[Callable[[Any], Callable[[], Any]]], rounds: int
) -> list[dict[str, Any]]:
    """Rows and bytes that were read, and milliseconds, of what each of `prepared` makes of a client."""
    found, asked = [], []
    for prepare in prepared:
        counting = CountingClient(client)
        prepare(counting)()
        found.append({"rows": counting.rows, "bytes": counting.bytes})
        asked.append(prepare(Forgetful(client)))
        asked[-1]()  # threads and marks are warm from here on
    times: list[list[float]] = [[] for _ in asked]
    for _ in range(rounds):
        for place, ask in enumerate(asked):
            started = time.perf_counter()
            ask()
            times[place].append(time.perf_counter() - started)
    return [{**one, "ms": round(statistics.median(taken) * 1000, 1)} for one, taken in zip(found, times, strict=True)]


def ours(ask: Callable[[ClickHouseQueryProvider], Any]) -> Callable[[Any], Callable[[], Any]]:
    def prepare(client: Any) -> Callable[[], Any]:
        provider = ClickHouseQueryProvider(client)
        return lambda: ask(provider)

    return prepare


def plan(statements: Sequence[tuple[str, dict[str, Any]]]) -> Callable[[Any], Callable[[], Any]]:
    def prepare(client: Any) -> Callable[[], Any]:
        return lambda: [client.query(sql, bound) for sql, bound in statements]

    return prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as directory, ClickHouseConfig(f"chdb://{directory}/ch").connect() as client:
        fill(client, arguments.rows)
        for name, (table, ask, statements) in questions(client, arguments.rows).items():
            total = client.query(f"SELECT count() AS n FROM mastra_admin_{table}")[0]["n"]
            by_us, by_plan = measured(client, [ours(ask), plan(statements)], arguments.rounds)
            results[name] = {"table_rows": total, "ours": by_us, "plan": by_plan}
            share = by_us["rows"] / total
            print(
                f"{name:28} {by_us['rows']:>10,} rows ({share:8.3%}) {by_us['bytes'] / 1e6:>8.2f} MB {by_us['ms']:>8} ms"
                f"   plan: {by_plan['rows']:>10,} rows {by_plan['bytes'] / 1e6:>8.2f} MB {by_plan['ms']:>8} ms"
                f"   {by_plan['ms'] / by_us['ms']:6.1f} times",
                file=sys.stderr if arguments.json else sys.stdout,
                flush=True,
            )
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
