"""What a worker serves over HTTP, and that dashboards, alerts and docs ask for what there is."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from beam_pipeline import ClickHouseConfig, IngestConfig, IngestionWorker
from beam_pipeline.monitoring import GAUGES, OF_THE_WORKER, PREFIX, MetricsServer, histogram_name, prometheus_name
from transforms import metrics
from transforms.storage import requests

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "metrics.md"
DASHBOARD = ROOT / "templates" / "grafana-dashboard.json"
ALERTS = ROOT / "templates" / "prometheus-alerts.yaml"
HISTOGRAM_PARTS = ("bucket", "count", "sum")
"""What Prometheus makes of a histogram, each of which only grows."""


@pytest.fixture
def worker(tmp_path: Path) -> IngestionWorker:
    (tmp_path / "in").mkdir()
    return IngestionWorker(IngestConfig(str(tmp_path / "in"), ClickHouseConfig(f"chdb://{tmp_path}/db")))


@pytest.fixture
def server(worker: IngestionWorker) -> Iterator[MetricsServer]:
    with MetricsServer(worker, 0) as server:
        yield server


def get(server: MetricsServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://localhost:{server.port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def served(server: MetricsServer) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The samples by name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(get(server, "/metrics")[1]):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_counters_only_grow_also_when_a_run_begins(server: MetricsServer) -> None:
    before = served(server)[f"{PREFIX}_bytes_read_total"][()]
    metrics.BYTES_READ.add(7)
    metrics.reset_local_counts()
    metrics.BYTES_READ.add(5)
    assert served(server)[f"{PREFIX}_bytes_read_total"][()] == before + 12


def test_times_are_in_seconds_and_events_and_rejected_lines_have_labels(server: MetricsServer) -> None:
    before = served(server)
    metrics.INSERT_US.add(2_500_000)
    metrics.EVENTS_BY_TYPE["span"].add(3)
    metrics.count_rejected({"startTime": 2})
    after = served(server)

    def grown(name: str, *labels: tuple[str, str]) -> float:
        return after[f"{PREFIX}_{name}"][labels] - before.get(f"{PREFIX}_{name}", {}).get(labels, 0)

    assert grown("insert_seconds_total") == pytest.approx(2.5)
    assert grown("events_inserted_total", ("event_type", "span")) == 3
    assert grown("lines_rejected_total", ("field", "startTime")) == 2


def test_inserts_are_counted_by_how_long_they_took(server: MetricsServer) -> None:
    before = served(server)
    for seconds in (0.03, 0.05, 7.0, 3600.0):
        metrics.INSERT_DURATION.observe(int(seconds * 1e6))
    after = served(server)
    name = f"{PREFIX}_insert_duration_seconds"

    def grown(series: str, **labels: str) -> float:
        key = tuple(labels.items())
        return after[series][key] - before[series][key]

    bounds = {bound: grown(f"{name}_bucket", le=bound) for bound in ("0.025", "0.05", "5.0", "10.0", "60.0", "+Inf")}
    assert bounds == {"0.025": 0, "0.05": 2, "5.0": 2, "10.0": 3, "60.0": 3, "+Inf": 4}
    assert grown(f"{name}_count") == 4
    assert grown(f"{name}_sum") == pytest.approx(3607.08)


def test_requests_to_the_bucket_are_counted_by_kind(server: MetricsServer) -> None:
    def sent() -> dict[tuple[tuple[str, str], ...], float]:
        return served(server)[f"{PREFIX}_storage_requests_total"]

    before = sent()
    requests.count(requests.LIST)
    after = sent()
    assert {labels[0][1] for labels in after} == set(requests.KINDS)
    assert {labels[0][1]: after[labels] - before[labels] for labels in after if after[labels] != before[labels]} == {
        "LIST": 1
    }


def test_gauges_are_what_the_last_look_found(worker: IngestionWorker, server: MetricsServer) -> None:
    worker.activity.pending_files, worker.activity.pending_bytes = 3, 4_000
    worker.activity.oldest_pending_ms = 1_795_176_000_000
    worker.activity.unfinished_loads = {"assigned": 2, "failed": 1}
    found = served(server)
    assert found[f"{PREFIX}_pending_files"] == {(): 3}
    assert found[f"{PREFIX}_pending_bytes"] == {(): 4_000}
    assert found[f"{PREFIX}_oldest_pending_timestamp_seconds"] == {(): 1_795_176_000}
    assert found[f"{PREFIX}_unfinished_loads"] == {(("state", "assigned"),): 2, (("state", "failed"),): 1}


def test_lives_while_it_looks_and_is_ready_after_a_run(
    worker: IngestionWorker, server: MetricsServer, tmp_path: Path
) -> None:
    assert get(server, "/livez") == (503, "the worker has ended\n")
    assert get(server, "/readyz") == (503, "the first run is not over\n")
    worker.activity.runs, worker.activity.problem = 1, "http://db:8123 cannot be reached"
    assert get(server, "/readyz") == (503, "http://db:8123 cannot be reached\n")
    worker.activity.problem = ""
    assert get(server, "/readyz") == (200, "ok\n")
    assert get(server, "/")[0] == 404


def test_a_port_that_is_taken_is_an_error(worker: IngestionWorker, server: MetricsServer) -> None:
    with pytest.raises(OSError, match="in use"):
        MetricsServer(worker, server.port)


def test_every_metric_is_served_and_documented(worker: IngestionWorker, server: MetricsServer) -> None:
    worker.activity.unfinished_loads = {"assigned": 1}
    metrics.count_rejected({"line": 1})
    found = served(server)
    counters = {prometheus_name(metric) for metric in (*metrics.ALL_METRICS, *OF_THE_WORKER)}
    by_type = {prometheus_name(metric) for metric in metrics.EVENTS_BY_TYPE.values()}
    expected = counters - by_type | {f"{PREFIX}_events_inserted_total"} | {f"{PREFIX}_{gauge.name}" for gauge in GAUGES}
    expected |= {f"{histogram_name(one)}_{part}" for one in metrics.HISTOGRAMS for part in HISTOGRAM_PARTS}
    assert {name for name in found if name.startswith(PREFIX)} == expected
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (.+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    for one in (*GAUGES, *OF_THE_WORKER):
        assert (one.name, one.unit, one.meaning) in rows
    for histogram in metrics.HISTOGRAMS:
        assert (histogram.name, "seconds", histogram.meaning) in rows


# What is asked


def dashboard_queries() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def alert_queries() -> list[str]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def selectors(node: object) -> Iterator[promql_parser.VectorSelector]:
    """The series that a query reads."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if (inner := getattr(node, name, None)) is not None:
            yield from selectors(inner)
    for argument in getattr(node, "args", ()) or ():
        yield from selectors(argument)


@pytest.mark.parametrize("query", [*dashboard_queries(), *alert_queries()])
def test_queries_ask_for_what_is_served(worker: IngestionWorker, server: MetricsServer, query: str) -> None:
    worker.activity.unfinished_loads = {"assigned": 1}
    metrics.count_rejected({"line": 1})
    found = served(server)
    plain = query.replace("$__rate_interval", "5m").replace("$job", "worker")
    asked = list(selectors(promql_parser.parse(plain)))
    assert asked
    for selector in asked:
        assert selector.name in found, selector.name
        counter = selector.name.endswith(("_total", *(f"_seconds_{part}" for part in HISTOGRAM_PARTS)))
        assert counter == bool(re.search(rf"(rate|increase)\({selector.name}\b", query))
    for label in re.findall(r"\w+", " ".join(re.findall(r"by \(([\w, ]+)\)", plain))):
        given = {name for selector in asked for labels in found.get(selector.name, {}) for name, _ in labels}
        assert label in given | {"job"}


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels}) == len(panels) and all(panel["title"] for panel in panels)
