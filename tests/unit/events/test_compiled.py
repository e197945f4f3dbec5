"""With the parser in Rust and without it: the same rows, rejected lines and names of blocks, whatever the lines are.

Two workers of which one has it may work on one load, and ClickHouse tells a repeated insert by the digest of a block's bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipeline.generate import GenerateOptions, generate
from tests.support import odd_lines
from tests.support.compiled_parser import require_compiled
from tests.support.dataset import event
from transforms.blocks.row_block import cut_blocks
from transforms.events import TABLES, LineSource
from transforms.events.compiled import line_parser
from transforms.events.parsing import ChunkParser, ParsedChunk

RECORDED_MS = 1_790_000_000_123
MAX_LINE_BYTES = 8 << 20


@pytest.fixture(scope="module", autouse=True)
def is_there() -> None:
    require_compiled()


File = tuple[bytes, str, int]
"""What is in it, its project, and when it was recorded."""


def parse(files: Sequence[File], *, compiled: bool, max_line_bytes: int) -> tuple[list[int], ParsedChunk]:
    parser = ChunkParser(max_line_bytes, compiled=compiled)
    counted, sequence = [], 0
    for number, (data, project, recorded_ms) in enumerate(files):
        source = LineSource(f"f{number}", "trace", project, recorded_ms, 1000 * number, 10, sequence)
        counted.append(parser.add(data, source).lines)
        sequence += len(data)
    return counted, parser.finish()


def tokens(parsed: ParsedChunk, block_rows: int) -> list[str]:
    return [block.token for block in cut_blocks("load", 0, parsed, ingested_at_ms=0, block_rows=block_rows)]


def assert_no_difference(files: Sequence[File], max_line_bytes: int = MAX_LINE_BYTES) -> ParsedChunk:
    """Returns what was parsed."""
    counted, ours = parse(files, compiled=True, max_line_bytes=max_line_bytes)
    expected_counted, expected = parse(files, compiled=False, max_line_bytes=max_line_bytes)
    assert (counted, ours.lines) == (expected_counted, expected.lines)
    assert _plain(ours.rejected) == _plain(expected.rejected)
    assert list(ours.rows) == list(expected.rows)
    for key, batch in ours.rows.items():
        assert batch.schema.equals(expected.rows[key].schema, check_metadata=True)
        assert _plain(batch) == _plain(expected.rows[key])
        batch.validate(full=True)
    for block_rows in (1_000_000, 13, 8, 1):
        assert tokens(ours, block_rows) == tokens(expected, block_rows), f"blocks of {block_rows}"
    return ours


def _plain(batch: pa.RecordBatch | None) -> str:
    """Every column, with -0.0 told from 0.0."""
    return "" if batch is None else repr(batch.to_pydict())


recorded = st.sampled_from([RECORDED_MS] * 5 + [0, 5, -2_208_988_800_001, 10_413_792_000_000])
some_files = st.lists(st.tuples(odd_lines.files, st.sampled_from(["p", "q\u00e9"]), recorded), min_size=1, max_size=3)


@settings(max_examples=400)
@given(some_files, st.sampled_from([1] * 5 + [30]), st.sampled_from([512 * 1024] * 3 + [200]), st.sampled_from([MAX_LINE_BYTES] * 5 + [150]))
def test_no_lines_make_a_difference(files: list[File], repeated: int, group: int, max_line_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transforms.events.parsing._GROUP_BYTES", group)
        assert_no_difference(files * repeated, max_line_bytes)
