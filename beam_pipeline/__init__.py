"""Loads observability events from JSONL files into ClickHouse, exactly once.

The names below are the public API. They are imported when first used, so that a program that only looks at the schema
does not wait for Apache Beam.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_pipeline.beam_options import IngestOptions
    from beam_pipeline.option_parser import OptionsError
    from beam_pipeline.options import clickhouse_config, ingest_config
    from beam_pipeline.pipeline import build_pipeline
    from beam_pipeline.query import ClickHouseQueryProvider
    from beam_pipeline.results import ProcessingResult, WorkerStatus
    from beam_pipeline.schema import SchemaOptions, SchemaStatus, check_schema_status, run_migrations
    from beam_pipeline.worker import IngestionWorker, SchemaOutOfDate
    from transforms.clickhouse import ClickHouse, ClickHouseConfig, ClickHouseError
    from transforms.config import IngestConfig
    from transforms.report import Failure

__version__ = "0.2.0"

_HOMES = {
    "ClickHouse": "transforms.clickhouse",
    "ClickHouseConfig": "transforms.clickhouse",
    "ClickHouseError": "transforms.clickhouse",
    "ClickHouseQueryProvider": "beam_pipeline.query",
    "Failure": "transforms.report",
    "IngestConfig": "transforms.config",
    "IngestOptions": "beam_pipeline.beam_options",
    "IngestionWorker": "beam_pipeline.worker",
    "OptionsError": "beam_pipeline.options",
    "ProcessingResult": "beam_pipeline.results",
    "SchemaOptions": "beam_pipeline.schema",
    "SchemaOutOfDate": "beam_pipeline.worker",
    "SchemaStatus": "beam_pipeline.schema",
    "WorkerStatus": "beam_pipeline.results",
    "build_pipeline": "beam_pipeline.pipeline",
    "check_schema_status": "beam_pipeline.schema",
    "clickhouse_config": "beam_pipeline.options",
    "ingest_config": "beam_pipeline.options",
    "run_migrations": "beam_pipeline.schema",
}

__all__ = [
    "ClickHouse",
    "ClickHouseConfig",
    "ClickHouseError",
    "ClickHouseQueryProvider",
    "Failure",
    "IngestConfig",
    "IngestOptions",
    "IngestionWorker",
    "OptionsError",
    "ProcessingResult",
    "SchemaOptions",
    "SchemaOutOfDate",
    "SchemaStatus",
    "WorkerStatus",
    "__version__",
    "build_pipeline",
    "check_schema_status",
    "clickhouse_config",
    "ingest_config",
    "run_migrations",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
