"""What `--metrics_port` serves: Prometheus metrics of a worker, whether it lives, and whether it can load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from beam_pipeline.worker import IngestionWorker
from transforms import metrics
from transforms.loads.runs import Lease
from transforms.storage import requests

PREFIX = "beam_pipeline"
EVENTS = "events_inserted"
REJECTED = "lines_rejected"


@dataclass(frozen=True, slots=True)
class Gauge:
    """Something that goes up and down: its name, its unit, what it means, and its label, if any."""

    name: str
    unit: str
    meaning: str
    label: str = ""


PENDING_FILES = Gauge("pending_files", "files", "pending files that the last look has found")
PENDING_BYTES = Gauge("pending_bytes", "bytes", "their size")
OLDEST_PENDING = Gauge(
    "oldest_pending_timestamp_seconds",
    "seconds since 1970",
    "time in the name of the oldest of them; 0 when there is none",
)
LISTING_SECONDS = Gauge("listing_seconds", "seconds", "how long the last look took to list the input")
UNFINISHED_LOADS = Gauge(
    "unfinished_loads",
    "loads",
    "loads in the journal that were not finished when the last look began, by state",
    "state",
)
CURRENT_ERRORS = Gauge("current_errors", "errors", "what failed in the last run and is left for the next")
LAST_RUN = Gauge(
    "last_run_timestamp_seconds", "seconds since 1970", "when the last run ended that could be begun; 0 before"
)
STARTED = Gauge("started_timestamp_seconds", "seconds since 1970", "when the worker was started")
PROCESSING = Gauge("processing", "0 or 1", "whether a run is under way")
GAUGES = tuple(value for value in dict(globals()).values() if isinstance(value, Gauge))

RUNS = metrics.Metric("runs", "runs", "runs that ended, also those that found nothing")
RUNS_FAILED = metrics.Metric(
    "runs_failed", "runs", "runs that could not be begun, since the server or the input was away, say"
)
RETRIES = metrics.Metric("retries", "statements", "statements to ClickHouse that were tried again")
STATEMENTS = metrics.Metric(
    "statements", "statements", "statements sent to ClickHouse, with those that were tried again"
)
RENEWALS = metrics.Metric("lease_renewals", "renewals", "how often a lease was renewed")
REQUESTS = metrics.Metric(
    "storage_requests", "requests", "requests sent to the bucket, with those that were tried again, by kind"
)
OF_THE_WORKER = (RUNS, RUNS_FAILED, RETRIES, STATEMENTS, RENEWALS, REQUESTS)
"""Counters of the worker itself, which runners know nothing of."""


def histogram_name(histogram: metrics.Histogram) -> str:
    """What a histogram is called here, before `_bucket`, `_count` and `_sum`."""
    return f"{PREFIX}_{histogram.name}_seconds"


def prometheus_name(metric: metrics.Metric) -> str:
    """What a counter is called here: with the program's name before it and `_total` behind, times in seconds."""
    return f"{PREFIX}_{metric.name.removesuffix('_us') + '_seconds' if metric.unit == 'µs' else metric.name}_total"


class WorkerCollector(Collector):
    """Reads what a worker and its process have counted, at each scrape. Asks nobody else, so that a scrape is quick."""

    def __init__(self, worker: IngestionWorker) -> None:
        self._worker = worker

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._counters()
        yield from self._of_the_worker()
        yield from self._histograms()
        yield from self._gauges()

    def _counters(self) -> Iterator[Metric]:
        counts = metrics.counts_ever()
        by_type = set(metrics.EVENTS_BY_TYPE.values())
        for metric in metrics.ALL_METRICS:
            if metric not in by_type and metric.name != REJECTED:
                value = counts.get(metric.name, 0)
                yield _counter(metric, value / 1e6 if metric.unit == "µs" else value)
        events = CounterMetricFamily(
            f"{PREFIX}_{EVENTS}_total", "events acknowledged by ClickHouse", labels=["event_type"]
        )
        for event_type, metric in metrics.EVENTS_BY_TYPE.items():
            events.add_metric([event_type], counts.get(metric.name, 0))
        yield events
        rejected = CounterMetricFamily(
            prometheus_name(metrics.LINES_REJECTED), metrics.LINES_REJECTED.meaning, labels=["field"]
        )
        for field, lines in metrics.rejected_ever().items():
            rejected.add_metric([field], lines)
        yield rejected

    def _of_the_worker(self) -> Iterator[Metric]:
        worker = self._worker.activity
        for metric, value in {
            RUNS: worker.runs,
            RUNS_FAILED: worker.runs_failed,
            RETRIES: self._worker.retries,
            STATEMENTS: self._worker.statements,
            RENEWALS: Lease.renewals,
        }.items():
            yield _counter(metric, value)
        sent = CounterMetricFamily(prometheus_name(REQUESTS), REQUESTS.meaning, labels=["kind"])
        for kind in requests.KINDS:
            sent.add_metric([kind], requests.counts().get(kind, 0))
        yield sent

    def _histograms(self) -> Iterator[Metric]:
        for histogram in metrics.HISTOGRAMS:
            counts, seconds = histogram.observed_ever()
            bounds = [*map(str, histogram.bounds_s), "+Inf"]
            yield HistogramMetricFamily(
                histogram_name(histogram),
                histogram.meaning,
                buckets=list(zip(bounds, counts, strict=True)),
                sum_value=seconds,
            )

    def _gauges(self) -> Iterator[Metric]:
        worker, status = self._worker.activity, self._worker.get_status()
        for gauge, value in {
            PENDING_FILES: worker.pending_files,
            PENDING_BYTES: worker.pending_bytes,
            OLDEST_PENDING: worker.oldest_pending_ms / 1000,
            LISTING_SECONDS: worker.listing_s,
            CURRENT_ERRORS: len(status.current_errors),
            LAST_RUN: status.last_processed_at.timestamp() if status.last_processed_at else 0,
            STARTED: status.started_at.timestamp() if status.started_at else 0,
            PROCESSING: status.is_processing,
        }.items():
            yield GaugeMetricFamily(f"{PREFIX}_{gauge.name}", gauge.meaning, value=float(value))
        loads = GaugeMetricFamily(f"{PREFIX}_{UNFINISHED_LOADS.name}", UNFINISHED_LOADS.meaning, labels=["state"])
        for state, number in worker.unfinished_loads.items():
            loads.add_metric([state], number)
        yield loads


def _counter(metric: metrics.Metric, value: float) -> Metric:
    return CounterMetricFamily(prometheus_name(metric), metric.meaning, value=value)


def registry_of(worker: IngestionWorker) -> CollectorRegistry:
    """Everything that is served: the worker's metrics, and those that Prometheus' library has of any Python process."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(worker))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class MetricsServer:
    """Serves `/metrics`, `/livez` and `/readyz` of a worker on a port of all addresses, for as long as it is entered.

    `/livez` answers 200 while the worker looks again and again. `/readyz` answers 200 when its last run could be begun, and
    503 with the reason otherwise. Port 0 is any free one. Raises OSError when the port cannot be had.
    """

    def __init__(self, worker: IngestionWorker, port: int) -> None:
        self._worker = worker
        self._metrics = make_wsgi_app(registry_of(worker))
        self._server = make_server("", port, self._answer, _Server, _Handler)
        self.port = self._server.server_port

    def __enter__(self) -> MetricsServer:
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = request.get("PATH_INFO", "")
        if path == "/metrics":
            return list(self._metrics(request, start))
        if path == "/livez":
            return _say(start, self._worker.get_status().is_running, "the worker has ended")
        if path == "/readyz":
            problem = self._worker.activity.problem or (
                "" if self._worker.activity.runs else "the first run is not over"
            )
            return _say(start, not problem, problem)
        start("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"there are /metrics, /livez and /readyz\n"]


def _say(start: Callable[..., Any], good: bool, problem: str) -> Iterable[bytes]:
    start("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"ok\n" if good else f"{problem}\n".encode()]
