from __future__ import annotations

import re
from pathlib import Path

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from transforms import metrics
from transforms.metrics import ALL_METRICS

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_documented_metrics_are_those_of_the_code() -> None:
    pipeline, _, _ = DOCS.read_text(encoding="utf-8").partition("\n## ")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", pipeline, re.MULTILINE)
    assert rows == [(metric.name, metric.unit, metric.meaning) for metric in ALL_METRICS]


def test_names_are_unique() -> None:
    names = [metric.name for metric in ALL_METRICS]
    assert len(set(names)) == len(names)


def test_counts_of_this_process_add_up_and_start_anew() -> None:
    metrics.reset_local_counts()
    metrics.FILES_LOADED.add(2)
    metrics.FILES_LOADED.add()
    metrics.FILES_FAILED.add(0)
    assert metrics.local_counts() == {metrics.FILES_LOADED.name: 3}
    metrics.reset_local_counts()
    assert metrics.local_counts() == {}


def test_runners_have_a_histogram_as_a_distribution() -> None:
    pipeline = beam.Pipeline(FnApiRunner())
    pipeline | beam.Create([30_000, 7_000_000]) | beam.Map(lambda took_us: metrics.INSERT_DURATION.observe(took_us))
    result = pipeline.run()
    result.wait_until_finish()
    (found,) = result.metrics().query(MetricsFilter().with_namespace(metrics.NAMESPACE))["distributions"]
    assert found.key.metric.name == "insert_duration_us"
    assert (found.committed.count, found.committed.min, found.committed.max) == (2, 30_000, 7_000_000)
