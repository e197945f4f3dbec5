"""The examples in docs/queries.md, run over the events that it shows."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path

from beam_pipeline import ClickHouseQueryProvider
from tests.support.databases import FOR_EVER, make_tables
from transforms.blocks.row_block import cut_blocks
from transforms.clickhouse import ClickHouse
from transforms.events import LineSource
from transforms.events.parsing import ChunkParser

TEXT = (Path(__file__).parents[2] / "docs" / "queries.md").read_text(encoding="utf-8")


def test_the_examples_give_what_they_say(clickhouse: ClickHouse) -> None:
    make_tables(clickhouse, FOR_EVER)
    (events,) = re.findall(r"```jsonl\n(.*?)```", TEXT, re.DOTALL)
    parser = ChunkParser()
    parser.add(events.encode(), LineSource("f", "trace", "shop", 0, 0, 1))
    parsed = parser.finish()
    assert parsed.rejected is None
    for block in cut_blocks("load", 0, parsed, ingested_at_ms=1, block_rows=100):
        clickhouse.insert(block.table, block.rows, token=block.token)
    examples = doctest.DocTestParser().get_doctest(
        TEXT.replace("```python\n", "").replace("```\n", "\n"), {"clickhouse": clickhouse}, "queries.md", None, 0
    )
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    result = runner.run(examples, out=told.append)
    assert result.failed == 0, "".join(told)
    assert result.attempted > 30


def test_every_method_has_an_example() -> None:
    methods = [name for name, _ in inspect.getmembers(ClickHouseQueryProvider, inspect.isfunction) if name[0] != "_"]
    assert [name for name in methods if name != "close" and f"provider.{name}(" not in TEXT] == []
