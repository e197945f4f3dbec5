from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest

from beam_pipeline.pipeline import build_pipeline
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig


def test_building_the_pipeline_touches_nothing(tmp_path: Path) -> None:
    config = IngestConfig(
        input=str(tmp_path / "none"), clickhouse=ClickHouseConfig(url=f"chdb://{tmp_path}/none.clickhouse")
    )
    pipeline = beam.Pipeline()
    build_pipeline(pipeline, config)
    assert list(tmp_path.iterdir()) == []


def test_stages_are_labelled_by_verbs_in_order(tmp_path: Path) -> None:
    pipeline = beam.Pipeline()
    build_pipeline(pipeline, IngestConfig(input=str(tmp_path), clickhouse=ClickHouseConfig(url="http://localhost:1")))
    labels = [part.full_label for part in pipeline.transforms_stack[0].parts]
    assert labels == [
        "Looks",
        "AdoptLoads",
        "MatchFiles",
        "GroupFiles",
        "RecordLoads",
        "AllLoads",
        "SpreadLoads",
        "ParseJsonl",
        "WriteToClickHouse",
        "FinalizeFiles",
    ]


@pytest.mark.parametrize(("runner", "grouping"), [("FnApiRunner", "GroupIntoBatches"), ("PrismRunner", "GroupByMonth")])
def test_no_stage_waits_for_a_timer_on_prism(tmp_path: Path, runner: str, grouping: str) -> None:
    """It loses elements of such a stage when it splits a bundle."""
    pipeline = beam.Pipeline(runner)
    build_pipeline(pipeline, IngestConfig(input=str(tmp_path), clickhouse=ClickHouseConfig(url="http://localhost:1")))
    (group_files,) = (part for part in pipeline.transforms_stack[0].parts if part.full_label == "GroupFiles")
    assert group_files.parts[-1].full_label == f"GroupFiles/{grouping}"
