"""The jobs that Dataflow is given, without what differs from run to run. Run as a program they are written to files.

Beam's own stages below ours, and options that Beam fills in by itself, are left out: they are its business.
"""

from __future__ import annotations

import base64
import bz2
import json
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.portability.api import beam_runner_api_pb2

from beam_pipeline.options import INGEST
from beam_pipeline.run_pipeline import submit_pipeline
from tests.support.dataflow_service import DataflowService
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig

BEAMS_OWN = ("SpreadLoads/", "GroupFiles/GroupIntoBatches/", "ref_")
"""Beginnings of stage names that Beam chooses."""
CONFIG = IngestConfig(
    "/data/observability",
    ClickHouseConfig(
        "https://clickhouse.example.com:8443", password="gcp-secret:projects/my-project/secrets/clickhouse"
    ),
    run_id="run",
)
GOLDEN = Path(__file__).with_name("dataflow_job.json")
STREAMING_GOLDEN = Path(__file__).with_name("dataflow_streaming_job.json")
JOBS = {GOLDEN: CONFIG, STREAMING_GOLDEN: replace(CONFIG, look_every_s=10)}
"""What is written down, and what it is a job of."""


def pipeline_of(service: DataflowService) -> beam_runner_api_pb2.Pipeline:
    """The graph of the last job, as it was staged."""
    pipeline = beam_runner_api_pb2.Pipeline()
    pipeline.ParseFromString((service.staging / "pipeline.pb").read_bytes())
    return pipeline


def payloads(pipeline: beam_runner_api_pb2.Pipeline) -> Iterator[bytes]:
    """What the stages carry to the workers, unpacked: pickled functions with their configuration."""
    for transform in pipeline.components.transforms.values():
        if transform.spec.urn == "beam:transform:pardo:v1":
            payload = beam_runner_api_pb2.ParDoPayload()
            payload.ParseFromString(transform.spec.payload)
            packed = base64.b64decode(payload.do_fn.payload)
            yield bz2.decompress(packed) if packed.startswith(b"BZh") else zlib.decompress(packed)


def described(service: DataflowService) -> dict[str, Any]:
    """What stays the same of the last job, while neither options nor stages change."""
    job = service.jobs[-1]
    environment = job["environment"]
    (pool,) = environment["workerPools"]
    options = environment["sdkPipelineOptions"]
    ours = {option.name for option in INGEST}
    given = {shown["key"]: shown["value"] for shown in options["display_data"]}
    return {
        "name": job["name"],
        "kind": environment["version"]["job_type"],
        "packages": [package["name"] for package in pool["packages"]],
        "image": pool["workerHarnessContainerImage"].replace(beam.__version__, "BEAM").partition("beam_python")[0],
        "experiments": environment["experiments"],
        "beams": {
            name: str(value)
            .replace(str(service.staging.parent), "PLACE")
            .replace(service.options()[-1].rpartition("=")[2], "ENDPOINT")
            for name, value in given.items()
            if name not in {"beam_plugins", "experiments", "dataflow_service_options"} | ours
        },
        "ours": {name: value for name, value in sorted(options["options"].items()) if name in ours},
        "stages": stages(pipeline_of(service)),
    }


def stages(pipeline: beam_runner_api_pb2.Pipeline) -> dict[str, str]:
    """Each stage's kind and the stages that it reads from, by name."""
    transforms = {
        transform.unique_name: transform
        for transform in pipeline.components.transforms.values()
        if not transform.unique_name.startswith(BEAMS_OWN)
    }
    producers = {
        collection: name
        for name, transform in sorted(transforms.items(), key=lambda item: -len(item[0]))
        for collection in transform.outputs.values()
    }
    return {
        name: f"{transform.spec.urn} of [{', '.join(producers[one] for _, one in sorted(transform.inputs.items()))}]"
        for name, transform in sorted(transforms.items())
    }


def submitted(service: DataflowService, config: IngestConfig) -> dict[str, Any]:
    """Submits the pipeline with options that do not change, and describes the job."""
    submit_pipeline(config, [*service.options(), "--no_wait_until_finish"])
    return described(service)


def main() -> None:
    """Writes the golden files."""
    for golden, config in JOBS.items():
        with tempfile.TemporaryDirectory() as directory, DataflowService(Path(directory) / "dataflow") as service:
            golden.write_text(json.dumps(submitted(service, config), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
