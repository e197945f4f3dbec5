"""`query` as users meet it, over both transports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.command_line import SECRET, CommandLine, Finished
from tests.support.dataset import event

DAY = "2100-11-20"
ODD = 'a, "b"\nc\x1b[31m\rd'
SPANS = [
    ("root", None, 0, 1000, "ok"),
    ("child", "root", 100, 600, "ok"),
    ("grandchild", "child", 200, 300, "error"),
    ("lost", "nobody", 900, 50, "unset"),
]


def lines() -> dict[str, list[str]]:
    """Events by type: a trace with four spans, traces of two hours, and what else there is."""
    traces = [
        event(
            "trace", f"t{n}", at=f"{DAY}T1{n % 2}:00:0{n}.000Z", status="error" if n == 3 else "ok", durationMs=n * 100
        )
        for n in range(5)
    ]
    spans = [
        event(
            "span", name, name=f"{name} [b]x[/b]", traceId="t1", parentSpanId=parent, durationMs=length, status=status
        )
        .replace("T12:00:00.000Z", f"T12:00:00.{start:03d}Z")
        .replace('"durationMs"', f'"endTime": "{DAY}T12:00:{(start + length) / 1000:06.3f}Z", "durationMs"')
        for name, parent, start, length, status in SPANS
    ]
    logs = [
        event("log", f"l{n}", level=level, message=message, attributes={"user": {"id": n}})
        for n, (level, message) in enumerate([("info", "100% done"), ("error", ODD), ("error", "1000 done")])
    ]
    metrics = [event("metric", f"m{n}", value=n, labels={"host": "ab"[n % 2]}) for n in range(4)]
    scores = [event("score", f"s{n}", value=n / 10) for n in range(11)]
    return {"trace": traces, "span": spans, "log": logs, "metric": metrics, "score": scores}


@dataclass
class Query:
    """The command line on a directory that was loaded."""

    line: CommandLine
    root: Path

    def __call__(self, *arguments: str) -> Finished:
        return self.line.run("query", *arguments, f"--input={self.root}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseEndpoint]:
    with ClickHouseEndpoint(tmp_path_factory.mktemp("server") / "clickhouse", password=SECRET) as endpoint:
        yield endpoint


@pytest.fixture(scope="module", params=["embedded", "http"])
def query(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Query:
    root = tmp_path_factory.mktemp("in") / "observability"
    for kind, texts in lines().items():
        path = root / kind / "p" / "20261120T120000Z_00.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(texts) + "\n")
    connection = () if request.param == "embedded" else (f"--clickhouse_url={request.getfixturevalue('server').url}",)
    line = CommandLine(connection)
    assert line.run(f"--input={root}").code == 0
    return Query(line, root)


def test_lists_in_tables_json_and_csv(query: Query) -> None:
    table = query("traces", "--status=ok", "--per_page=2").out
    assert table.index("t1 ") < table.index("t4 ")
    assert "2 of 4 traces; continue with --cursor=" in table
    page = query("traces", "--status=ok", "--per_page=3", "--json").json
    assert (page["total"], page["has_more"], len(page["traces"])) == (4, True, 3)
    rest = query("traces", "--status=ok", "--per_page=3", f"--cursor={page['next_cursor']}", "--json").json
    ids = [trace["id"] for trace in (*page["traces"], *rest["traces"])]
    assert ids == ["t1", "t4", "t2", "t0"] and not rest["has_more"]
    assert page["traces"][0]["start_time"] == f"{DAY}T11:00:01.000+00:00"
    rows = list(csv.DictReader(io.StringIO(query("logs", "--csv").out)))
    assert sorted(row["message"] for row in rows) == ["100% done", "1000 done", ODD]
    assert {json.loads(row["attributes"])["user"]["id"] for row in rows} == {0, 1, 2}


def test_a_cursor_goes_on_in_the_range_of_its_page(query: Query) -> None:
    since = ("traces", "--since=36500d", "--per_page=3", "--json")
    first = query(*since).json
    assert (first["total"], first["has_more"]) == (5, True)
    cursor = f"--cursor={first['next_cursor']}"
    for repeated in (since, ("traces", "--per_page=3", "--json")):
        rest = query(*repeated, cursor).json
        assert (len(rest["traces"]), rest["total"], rest["has_more"]) == (2, 5, False)
    for other, message in (
        ("--since=2h", "--since: 7200s must be 3153600000s or left out"),
        (f"--since={DAY}", f"--since: {DAY}T00:00:00+00:00 must be 3153600000s or left out"),
        ("--until=1h", "--until: 3600s must be left out"),
        ("--status=ok", "--cursor: "),
    ):
        refused = query("traces", "--per_page=3", other, cursor)
        assert refused.code == 2 and message in refused.err


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (("logs", "--message_contains=0% D", "--ignore_case"), ["l0"]),
        (("logs", "--attributes=user.id=2"), ["l2"]),
        (("logs", f"--since={DAY}T12:00:00Z", f"--until={DAY}T12:00:00Z", "--level=info"), ["l0"]),
        (("logs", "--until=2h"), []),
        (("logs", "--message_contains=done", "--message_contains=%", "--attributes=user.id=0"), ["l0"]),
        (("logs", "--attributes=user.id=1", "--attributes=user.name=null"), ["l1"]),
        (("logs", "--attributes=user.id=1", "--attributes=user.name=x"), []),
        (("metrics", "--labels=host=b", "--min_value=2"), ["m3"]),
        (("scores", "--max_value=0.1"), ["s0", "s1"]),
        (("spans", "--parent_span_id=root"), ["child"]),
        (("traces", "--project_id=another"), []),
        (("traces", "--name_contains='; DROP TABLE mastra_admin_traces; --"), []),
    ],
)  # fmt: skip
def test_filters(query: Query, arguments: tuple[str, ...], ids: list[str]) -> None:
    assert [found["id"] for found in query(*arguments, "--json").json[arguments[0]]] == ids


def test_a_trace_is_a_tree_with_bars(query: Query) -> None:
    rows = [line.rstrip() for line in query("trace", "t1").out.splitlines()]
    tree = rows[next(n for n, row in enumerate(rows) if row.startswith("root")) :]
    assert [row.split("[b]")[0].rstrip() for row in tree[:4]] == ["root", "  child", "    grandchild", "lost"]
    assert "(its parent is missing)" in tree[3]
    bars = [row[len(row.rstrip("█▏▎▍▌▋▊▉")) :].count("█") for row in tree[:4]]
    assert bars[0] == 40 and bars[1] == 24 and bars[2] == 12
    told = query("trace", "t1", "--json").json
    assert [(span["id"], span["depth"], span["self_time_ms"]) for span in told["spans"]] == [
        *(("root", 0, 400), ("child", 1, 300), ("grandchild", 2, 300), ("lost", 0, 50)),
    ]
    assert "0 spans" in query("trace", "t2").out
    missing = query("trace", "nobody")
    assert missing.code == 1 and "there is no trace 'nobody'" in missing.err


def test_a_file_gets_the_stored_bytes_and_a_terminal_text_that_it_does_not_obey(query: Query) -> None:
    asked = ("query", "logs", "--csv", "--columns=id,message", f"--input={query.root}")
    assert '"a, ""b""\nc\x1b[31m\rd"' in query.line.run(*asked).out
    told = query.line.on_terminal(*asked)
    assert '"a, ""b""\\nc\\x1b[31m\\rd"' in told and "\x1b" not in told


def test_series_and_statistics(query: Query) -> None:
    series = query("series", "--interval=1h", f"--since={DAY}T09:00:00Z", f"--until={DAY}T12:59:59.999Z", "--json").json
    assert [bucket["count"] for bucket in series["series"][0]["buckets"]] == [0, 3, 2, 0]
    assert (series["source"], series["interval"]) == ("rollup", 3600.0)
    rows = list(csv.DictReader(io.StringIO(query("series", "--measure=error_rate", "--interval=1h", "--csv").out)))
    assert [(row["count"], row["error_rate"]) for row in rows] == [("3", "0.0"), ("2", "0.5")]
    logs = query("series", "--measure=logs", "--interval=1d", "--json").json["series"]
    assert {one["group"]["level"]: one["buckets"][0]["count"] for one in logs} == {"error": 2, "info": 1}
    assert "from rollup" in query("percentiles", "--of=span", "--group_by=status").out
    errors = query("errors", "--of=span", "--group_by=name", "--json").json["groups"]
    assert {one["group"]["name"].split()[0]: one["values"]["error_count"] for one in errors}["grandchild"] == 1
    hosts = query("series", "--measure=metrics", "--interval=1d", "--group_by=name,labels.host", "--json").json[
        "series"
    ]
    assert {one["group"]["labels.host"]: one["buckets"][0]["values"]["p50"] for one in hosts} == {"a": 1, "b": 2}
    assert "11 scores, mean 0.5" in query("distribution", "--bins=2").out
    for source in ("rollup", "events"):
        trend = query("distribution", "--interval=1d", f"--source={source}", "--json").json["trend"]
        assert (trend["source"], trend["series"][0]["buckets"][0]["count"]) == (source, 11)
    assert [trace["id"] for trace in query("slowest", "--limit=2", "--json").json["traces"]] == ["t4", "t3"]


def test_a_version_that_was_moved_is_looked_for_as_far_as_is_said(tmp_path: Path) -> None:
    line = CommandLine(())
    for hour in (10, 12):
        path = tmp_path / "trace" / "p" / f"20261120T{hour}0000Z_00.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(event("trace", "t", at=f"{DAY}T{hour}:00:00.000Z") + "\n")
        assert line.run(f"--input={tmp_path}").code == 0
    asked = ("query", "traces", f"--since={DAY}T09:00Z", f"--until={DAY}T11:00Z", "--json", f"--input={tmp_path}")
    assert line.run(*asked).json["total"] == 0
    assert line.run(*asked, "--moved=10m").json["total"] == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("traces", "--level=info"), "--level: query traces has no such filter"),
        (("traces", "--interval=1h"), "--interval: is not for query traces"),
        (("traces", "--per_page=0"), "--per_page: 0 must be a whole number from 1 to 1000"),
        (("traces", "--since=yesterday"), "--since: 'yesterday' is not a time"),
        (("traces", "--cursor=x"), "--cursor: "),
        (
            ("traces", "--since=2026-11-02", "--until=2026-11-01"),
            "--since: 2026-11-02T00:00:00+00:00 must be no later than the end, 2026-11-01T00:00:00+00:00",
        ),
        (("series", "--interval=1h", "--group_by=labels.host"), "--group_by: 'labels.host' must be one of"),
        (("traces", "--csv", "--json"), "--csv and --json cannot be combined"),
        (("series",), "--interval: is missing"),
        (("trace",), "--trace_id: is missing"),
        (("everything",), "query: 'everything' is not one of traces, spans"),
        (("logs", "--attributes=x"), "--attributes: 'x' is not key=value"),
    ],
)
def test_what_cannot_be_asked(query: Query, arguments: tuple[str, ...], problem: str) -> None:
    told = query(*arguments)
    assert told.code == 2 and problem in told.err


def test_before_anything_was_loaded(tmp_path: Path) -> None:
    told = CommandLine().run("query", "traces", f"--input={tmp_path}")
    assert told.code == 1 and "nothing has been loaded into it" in told.err
