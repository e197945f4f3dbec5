"""Runs the pipeline once, on the runner that Beam's options name. All that imports Beam before there is something to do."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult, PipelineState

from beam_pipeline.beam_options import options_of
from beam_pipeline.pipeline import build_pipeline
from beam_pipeline.runners import DATAFLOW, FLINK_RUNNERS, runner_of
from transforms import metrics
from transforms.config import IngestConfig

_ENDED_WELL = (PipelineState.DONE, PipelineState.DRAINED, PipelineState.UPDATED)
"""Beam raises for any state but the first."""


def run_pipeline(config: IngestConfig, flags: Sequence[str], *, local: bool) -> Counter[str]:
    """Blocks until the pipeline has ended. Returns what was counted, by the names of `transforms.metrics`."""
    result = _start(config, flags, local=local)
    try:
        result.wait_until_finish()
    except RuntimeError:
        if result.state not in _ENDED_WELL:
            raise
    counts: Counter[str] = Counter()
    for counter in result.metrics().query(MetricsFilter().with_namespace(metrics.NAMESPACE))["counters"]:
        # Runners that do not tell what was committed tell at least what was attempted.
        counted = counter.committed if counter.committed is not None else counter.attempted
        counts[counter.key.metric.name] += counted or 0
    return counts


def submit_pipeline(config: IngestConfig, flags: Sequence[str]) -> str:
    """Submits the pipeline to Dataflow. Returns the id of the job; '' when it was written to `--template_location`."""
    result = _start(config, flags, local=False)
    return str(result.job_id()) if result.has_job else ""


def _start(config: IngestConfig, flags: Sequence[str], *, local: bool) -> PipelineResult:
    shown = options_of(config) if runner_of(flags) == DATAFLOW else {}
    given = [*flags, *(_streaming_flags(flags) if config.streaming else ())]
    # Beam's DirectRunner would fall back to a slow one that miscounts, for a pipeline with batches like this one.
    pipeline = beam.Pipeline(FnApiRunner() if local else None, options=PipelineOptions(given, **shown))
    # Beam makes a directory that ours has no use for, and that a killed process would leave behind.
    shutil.rmtree(pipeline.local_tempdir, ignore_errors=True)
    build_pipeline(pipeline, config)
    return pipeline.run()


def _streaming_flags(flags: Sequence[str]) -> list[str]:
    """What a runner has to be told besides, so that it runs the pipeline as one unbounded job."""
    if runner_of(flags) not in FLINK_RUNNERS:
        return ["--streaming"]
    # Otherwise Flink keeps what a bundle has put out when a checkpoint begins until the stage's next bundle, and the stage in
    # which the job begins has only one. What is in a checkpoint is then also done.
    return ["--streaming", "--finish_bundle_before_checkpointing"]
