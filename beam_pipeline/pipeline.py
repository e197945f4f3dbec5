"""The pipeline as a diagram: how pending files become rows, in the order in which it happens."""

from __future__ import annotations

import apache_beam as beam

from transforms.adopt_loads import AdoptLoads
from transforms.config import IngestConfig
from transforms.finalize_files import FinalizeFiles, LoadResult
from transforms.match_files import MatchFiles
from transforms.parse_jsonl import ParseJsonl
from transforms.record_loads import GroupFiles, RecordLoads
from transforms.write_to_clickhouse import WriteToClickHouse


def build_pipeline(pipeline: beam.Pipeline, config: IngestConfig) -> beam.PCollection[LoadResult]:
    """Adds the ingestion of one look at the input directory to a pipeline; one `LoadResult` comes out for each load.

        MatchFiles ─► GroupFiles ─► RecordLoads ─┐
        pending files  by shard      membership   ├─► SpreadLoads ─► ParseJsonl ─► WriteToClickHouse ─► FinalizeFiles
                       and month     is durable   │                  rows by table  one insert a block   commit, move
                       AdoptLoads ───────────────┘
                       left by runs that died

    From ParseJsonl on, a load stays in one fused stage: no shuffle carries rows, and each load is committed by itself.
    Nothing is read or written before the pipeline runs.
    """
    start = pipeline | "Start" >> beam.Create([config.input])
    unfinished = start | "AdoptLoads" >> AdoptLoads(config)
    new = (
        start
        | "MatchFiles" >> MatchFiles(config)
        | "GroupFiles" >> GroupFiles(config)
        | "RecordLoads" >> RecordLoads(config)
    )
    return (
        (unfinished, new)
        | "AllLoads" >> beam.Flatten()
        | "SpreadLoads" >> beam.Reshuffle()
        | "ParseJsonl" >> ParseJsonl(config)
        | "WriteToClickHouse" >> WriteToClickHouse(config)
        | "FinalizeFiles" >> FinalizeFiles(config)
    )
