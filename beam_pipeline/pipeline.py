"""The pipeline as a diagram: how pending files become rows, in the order in which it happens."""

from __future__ import annotations

import apache_beam as beam

from transforms.adopt_loads import AdoptLoads
from transforms.config import IngestConfig
from transforms.finalize_files import FinalizeFiles, LoadResult
from transforms.looks import Looks
from transforms.match_files import MatchFiles
from transforms.parse_jsonl import ParseJsonl
from transforms.record_loads import GroupFiles, RecordLoads
from transforms.write_to_clickhouse import WriteToClickHouse


def build_pipeline(pipeline: beam.Pipeline, config: IngestConfig) -> beam.PCollection[LoadResult]:
    """Adds the ingestion to a pipeline; one `LoadResult` comes out for each load.

        Looks: one, or in a streaming job one after another
          │
        MatchFiles ─► GroupFiles ─► RecordLoads ─┐
        pending files  by month     journal entry ├─► SpreadLoads ─► ParseJsonl ─► WriteToClickHouse ─► FinalizeFiles
                                    gives loads   │                  rows by table  one insert a block   commit, move
                       AdoptLoads ────────────────┘
                       left by runs that died

    Bounded and streaming differ in how many looks there are, and in how files become groups: of a month, or of a look.

    From ParseJsonl on, a load stays in one fused stage: no shuffle carries rows, and loads are committed as they end.
    Nothing is read or written before the pipeline runs.

    Where a failure goes: a bad line becomes a row of `mastra_admin_rejected_events` in ParseJsonl. A file that cannot be read
    stays pending, and its load goes on without the rest of it. A load that fails comes out of FinalizeFiles with its error, is
    recorded so, and is taken up by the next run's AdoptLoads. What failed is in `transforms.report` on the worker and in the
    load log for everybody; nothing raises out of a stage.
    """
    looks = pipeline | "Looks" >> Looks(config)
    unfinished = looks | "AdoptLoads" >> AdoptLoads(config)
    new = (
        looks
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
