"""Every metric the pipeline counts, declared once: as Beam counters for runners, and in this process for live progress."""

from __future__ import annotations

import contextlib
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from transforms.events import EVENT_TYPES

NAMESPACE = "beam_pipeline"


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter: what it is called on every runner, what it counts, and what it means when it moves."""

    name: str
    unit: str
    meaning: str

    def add(self, amount: int = 1) -> None:
        """Counts, on the runner and in this process. Call it from a DoFn's own thread only."""
        if amount:
            from apache_beam.metrics import Metrics  # whoever counts has a pipeline

            Metrics.counter(NAMESPACE, self.name).inc(amount)
            with _lock:
                _local[self.name] += amount
                _ever[self.name] += amount

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Counts the microseconds that pass within it. For a DoFn's own thread, too."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(microseconds_since(started))


@dataclass(frozen=True, slots=True)
class Histogram:
    """How long something took, each time: a Beam distribution in microseconds on every runner, in this process a histogram."""

    name: str
    """Without its unit."""
    meaning: str
    bounds_s: tuple[float, ...]
    """Up to how many seconds each bucket goes; another one has what took longer."""

    def observe(self, microseconds: int) -> None:
        """Notes one. Call it from a DoFn's own thread only."""
        from apache_beam.metrics import Metrics

        Metrics.distribution(NAMESPACE, f"{self.name}_us").update(microseconds)
        with _lock:
            counts = _observed.setdefault(self.name, [0] * (len(self.bounds_s) + 1))
            counts[bisect_left(self.bounds_s, microseconds / 1e6)] += 1
            _observed_us[self.name] += microseconds

    def observed_ever(self) -> tuple[list[int], float]:
        """How many took at most as long as each bound, and how many there were, since this process began; their seconds."""
        with _lock:
            counts = _observed.get(self.name, [0] * (len(self.bounds_s) + 1))
            return list(accumulate(counts)), _observed_us[self.name] / 1e6


def microseconds_since(started: float) -> int:
    """From a value of `time.perf_counter` until now."""
    return int((time.perf_counter() - started) * 1e6)


FILES_MATCHED = Metric("files_matched", "files", "pending files found")
FILES_SKIPPED = Metric("files_skipped", "files", "pending files left alone because another live run has them")
FILES_UNFINISHED = Metric("files_unfinished", "files", "pending files of unfinished loads whose runs have ended")
FILES_KNOWN = Metric(
    "files_known", "files", "files that came again with content that is loaded, and were moved without loading it again"
)
FILES_CHANGED = Metric(
    "files_changed", "files", "files that changed while they were loaded; the next run loads what is new in them"
)
FILES_LOADED = Metric("files_loaded", "files", "files whose rows are all acknowledged and that left pending")
FILES_FAILED = Metric("files_failed", "files", "files that stay pending because of an error")
FILES_GIVEN_UP = Metric(
    "files_given_up", "files", "files moved to failed/, since --max_attempts attempts have failed at them"
)
LOADS_RECORDED = Metric("loads_recorded", "loads", "new loads written to the load log")
LOADS_ADOPTED = Metric("loads_adopted", "loads", "unfinished loads of earlier runs that were taken up")
LOADS_COMMITTED = Metric("loads_committed", "loads", "loads whose rows are all acknowledged")
LOADS_FAILED = Metric("loads_failed", "loads", "loads that could not be finished and are left for a later run")
BLOCKS_INSERTED = Metric("blocks_inserted", "inserts", "blocks acknowledged by ClickHouse")
BLOCKS_PRESENT = Metric("blocks_present", "blocks", "blocks of adopted loads that ClickHouse already had")
BYTES_READ = Metric("bytes_read", "bytes", "bytes of event files read; of compressed ones, decompressed")
BYTES_EXPANDED = Metric(
    "bytes_expanded", "bytes", "how much more the compressed files hold that were taken up than is stored"
)
LINES_READ = Metric("lines_read", "lines", "non-blank lines read")
EVENTS_BY_TYPE = {
    event_type: Metric(f"{event_type}_events_inserted", "rows", f"{event_type} events acknowledged by ClickHouse")
    for event_type in EVENT_TYPES
}
READ_US = Metric("read_us", "µs", "time spent on reading files")
PARSE_US = Metric("parse_us", "µs", "time spent on parsing lines into columns")
INSERT_US = Metric("insert_us", "µs", "time that inserts took, added up, although some are under way at once")
INSERT_WAIT_US = Metric(
    "insert_wait_us", "µs", "time in which nothing was parsed, since inserts under way had to end first"
)
LOG_US = Metric("log_us", "µs", "time spent on the journal and the load log, and on moving files")
LINES_REJECTED = Metric("lines_rejected", "lines", "lines stored as rejected events")
EVENTS_EXPIRED = Metric("events_expired", "rows", "events older than their table's TTL, which ClickHouse will delete")

TIMES = {
    "reading": READ_US,
    "parsing": PARSE_US,
    "waiting for inserts": INSERT_WAIT_US,
    "load log": LOG_US,
    "inserting": INSERT_US,
}
"""Metrics of time, by what it was spent on."""

ALL_METRICS = (
    *(value for value in dict(globals()).values() if isinstance(value, Metric)),
    *EVENTS_BY_TYPE.values(),
)

INSERT_DURATION = Histogram(
    "insert_duration",
    "time from sending a block until ClickHouse has acknowledged it and its rows are seen, with what was tried again",
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
HISTOGRAMS = (INSERT_DURATION,)

_lock = threading.Lock()
_observed: dict[str, list[int]] = {}
"""By histogram: how many there were in each bucket, and above the last bound."""
_observed_us: Counter[str] = Counter()
_local: Counter[str] = Counter()
_ever: Counter[str] = Counter()
_rejected: Counter[str] = Counter()


def local_counts() -> dict[str, int]:
    """What this process has counted so far, by metric name; live while a local run goes on."""
    with _lock:
        return dict(_local)


def counts_ever() -> dict[str, int]:
    """What this process has counted since it began, by metric name: of all of its runs."""
    with _lock:
        return dict(_ever)


def count_rejected(fields: Mapping[str, int]) -> None:
    """Counts rejected lines in this process by the field that is wrong with them."""
    with _lock:
        _rejected.update(fields)


def rejected_ever() -> dict[str, int]:
    """How many lines this process has rejected since it began, by the field that is wrong with them."""
    with _lock:
        return dict(_rejected)


def reset_local_counts() -> None:
    """Starts the counts of this process anew."""
    with _lock:
        _local.clear()
