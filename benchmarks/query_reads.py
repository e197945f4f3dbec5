"""What queries read, and how long they take, against the SQL of the product that this replaces, on the same tables.

    python -m benchmarks.query_reads [--rows=5000000] [--rounds=15] [--json]

The tables hold a month of 20 projects, each event once, some delivered again, with texts and JSON as `generate` writes
them. The other product asks with LIKE, with OFFSET and, for each list, for a count. Of traces and spans it says FINAL; of
logs, metrics and scores it does not, and so lists and counts twice what was delivered again. Those are asked both with FINAL,
which comes closest to the same answers, and as they are. A trace is also looked for without the index on ids, which the
other product's table does not have. All are asked in turn; times are the median round's. Nothing is remembered of a
condition from one round to the next (the query condition cache is off).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from beam_pipeline.query import ClickHouseQueryProvider
from tests.support.databases import FOR_EVER, make_tables
from tests.support.query_month import DAYS, START, an_id, fill
from tests.support.query_reads import CountingClient
from transforms.clickhouse import ClickHouse, ClickHouseConfig

Statements = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Question:
    """A call of ours, and the other product's statements for the same, with FINAL."""

    table: str
    ask: Callable[[ClickHouseQueryProvider], Any]
    with_final: Statements
    by_index: bool = False

    @property
    def others(self) -> Mapping[str, Callable[[Any], Callable[[], Any]]]:
        """How the other product asks, by what is said of it."""
        found = {"FINAL": theirs(self.with_final)}
        if self.table not in ("traces", "spans"):
            found["no FINAL"] = theirs([(sql.replace(" FINAL", ""), bound) for sql, bound in self.with_final])
        if self.by_index:
            found["no index"] = theirs(self.with_final, {"use_skip_indexes": 0})
        return found


def questions(client: ClickHouse, rows: int) -> Mapping[str, Question]:
    """By name."""
    hour = START + timedelta(days=DAYS // 2, hours=12)
    ms = timedelta(milliseconds=1)
    an_hour = {"project_id": "project-3", "start": hour, "end": hour + timedelta(hours=1) - ms}
    of_all = {"start": hour, "end": hour + timedelta(hours=1) - ms}
    a_day = {"start": hour, "end": hour + timedelta(days=1) - ms}
    a_month = {"project_id": "project-3", "start": START, "end": START + timedelta(days=DAYS) - ms}
    trace = an_id(client, rows // 2)
    spans_of = an_id(client, rows // 20)

    def page(table: str, asked: Mapping[str, Any], offset: int = 0, text: str = "") -> Statements:
        column = "start_time" if table in ("traces", "spans") else "timestamp"
        bound = {
            name: f"{asked[at]:%Y-%m-%d %H:%M:%S}.{asked[at].microsecond // 1000:03}"
            for name, at in (("a", "start"), ("b", "end"))
            if at in asked
        }
        where = [
            f"{column} {compared} {{{name}:String}}" for name, compared in (("a", ">="), ("b", "<=")) if name in bound
        ]
        if "project_id" in asked:
            where, bound = ["project_id = {p:String}", *where], {**bound, "p": asked["project_id"]}
        if text:
            escaped = text.replace("%", "\\%")
            where, bound = [*where, "message LIKE {m:String}"], {**bound, "m": f"%{escaped}%"}
        select = f"FROM mastra_admin_{table} FINAL" + (f" WHERE {' AND '.join(where)}" if where else "")
        return [
            (f"SELECT count() AS total {select}", bound),
            (f"SELECT * {select} ORDER BY {column} DESC LIMIT 50 OFFSET {offset}", bound),
        ]

    def listed(table: str, asked: Mapping[str, Any], number: int = 0, text: str = "", **how: Any) -> Question:
        if number:
            how["page"] = number
        if text:
            how["message_contains"] = text
        statements = page(table, asked, number * 50, text)
        return Question(table, lambda api: getattr(api, f"list_{table}")(**how, **asked), statements)

    def series(ask: Callable[[Any], Any], measure: str, where: str = "WHERE project_id = {p:String} ") -> Question:
        sql = (
            f"SELECT toStartOfInterval(start_time, INTERVAL 1 HOUR) AS at, {measure} FROM mastra_admin_traces FINAL "
            f"{where}GROUP BY at ORDER BY at"
        )
        return Question("traces", ask, [(sql, {"p": "project-3"} if where else {})])

    by_id = "SELECT * FROM mastra_admin_{} FINAL WHERE trace_id = {{t:String}} {}"
    everybody = {**a_month, "project_id": None}
    return {
        "a trace": Question(
            "traces",
            lambda api: api.get_trace(trace),
            [(by_id.format("traces", "LIMIT 1"), {"t": trace})],
            by_index=True,
        ),
        "the spans of a trace": Question(
            "spans",
            lambda api: api.get_spans_for_trace(spans_of),
            [(by_id.format("spans", "ORDER BY start_time"), {"t": spans_of})],
        ),
        **{f"{table}, an hour": listed(table, an_hour) for table in ("traces", "spans", "logs", "metrics", "scores")},
        "logs, an hour, text": listed("logs", an_hour, text="100% done"),
        "logs, an hour of all projects": listed("logs", of_all),
        "logs, a day of all projects": listed("logs", a_day),
        "logs, a month": listed("logs", a_month),
        "logs, a month, no count": listed("logs", a_month, count="none"),
        "logs, a month, 100th page": listed("logs", a_month, 99),
        "logs, a month, text": listed("logs", a_month, text="100% done"),
        "logs, a month, rare text": listed("logs", a_month, text=f"item {rows // 2 + 33} "),
        "traces, all there are": listed("traces", {}),
        "trace counts, a month": series(
            lambda api: api.get_trace_count_time_series(interval=3600, **a_month), "count() AS n"
        ),
        "error rate, a month": series(
            lambda api: api.get_error_rate_time_series(interval=3600, **a_month),
            "countIf(status = 'error') / count() AS rate",
        ),
        "percentiles, a month": series(
            lambda api: api.latency_percentiles(**a_month), "quantiles(0.5, 0.95, 0.99)(duration_ms) AS q"
        ),
        "trace counts, all projects": series(
            lambda api: api.get_trace_count_time_series(interval=3600, **everybody), "count() AS n", ""
        ),
        "error rate, all projects": series(
            lambda api: api.get_error_rate_time_series(interval=3600, **everybody),
            "countIf(status = 'error') / count() AS rate",
            "",
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


def theirs(statements: Statements, settings: Mapping[str, Any] | None = None) -> Callable[[Any], Callable[[], Any]]:
    def prepare(client: Any) -> Callable[[], Any]:
        return lambda: [client.query(sql, bound, settings) for sql, bound in statements]

    return prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {}
    with (
        tempfile.TemporaryDirectory() as directory,
        ClickHouseConfig(f"chdb://{directory}/ch").connect(create=True) as client,
    ):
        make_tables(client, FOR_EVER)
        fill(client, arguments.rows)
        for name, question in questions(client, arguments.rows).items():
            total = client.query(f"SELECT count() AS n FROM mastra_admin_{question.table}")[0]["n"]
            asked = {"ours": ours(question.ask), **question.others}
            found = dict(zip(asked, measured(client, list(asked.values()), arguments.rounds), strict=True))
            results[name] = {"table_rows": total, **found}
            mine = found["ours"]
            print(
                f"{name:30} {mine['rows']:>9,} rows ({mine['rows'] / total:7.3%}) {mine['bytes'] / 1e6:>6.2f} MB "
                f"{mine['ms']:>6} ms",
                *(
                    f"{who}: {one['rows']:>10,} rows {one['bytes'] / 1e6:>6.2f} MB {one['ms']:>6} ms, "
                    f"{one['ms'] / mine['ms']:.2f} times"
                    for who, one in found.items()
                    if one is not mine
                ),
                sep="   ",
                file=sys.stderr if arguments.json else sys.stdout,
                flush=True,
            )
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
