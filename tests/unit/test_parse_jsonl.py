"""What ParseJsonl yields can be sent to another worker, and its size is known without doing so."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.coders import registry

from tests.unit.blocks.test_row_block import cut, parse
from transforms.blocks.row_block import RowBlock
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig
from transforms.loads import Load
from transforms.parse_jsonl import ParsedLoad, ParseJsonl


def coder() -> beam.coders.Coder:
    """The one that the pipeline's elements have."""
    config = IngestConfig("/none", ClickHouseConfig("http://nowhere"))
    parsed = beam.Pipeline() | beam.Create([]).with_output_types(Load) | ParseJsonl(config)
    return registry.get_coder(parsed.element_type)


def test_elements_reach_another_worker_as_they_are() -> None:
    (block,) = cut(parse([5, 6, 5]), block_rows=1000)[:1]
    ended = ParsedLoad(Load("load", (), block_bytes=1, block_rows=1, created_ms=1), error="why")
    for element in (block, ended):
        assert coder().decode(coder().encode(element)) == element


def test_a_block_is_not_pickled_to_tell_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beam asks for the size of many elements, and would make three copies of a block for each."""
    (block,) = cut(parse([5] * 200))
    about = len(coder().encode(block))
    monkeypatch.setattr(RowBlock, "__reduce__", lambda _: pytest.fail("was pickled"))
    assert about / 2 < coder().estimate_size(block) < about * 2
