"""What a load still needs of a chunk whose blocks cannot be cut again, on both transports."""

from __future__ import annotations

import pytest

from tests.support.dataset import event
from transforms.blocks.resume import without_present
from transforms.blocks.row_block import cut_blocks
from transforms.clickhouse import ClickHouse
from transforms.events import LineSource
from transforms.events.parsing import ChunkParser, ParsedChunk

ROOT, OTHER = "2100-11-20T12:00:00.000Z", "2100-11-20T13:00:00.000Z"


def parsed(*lines: str, name: str = "f") -> ParsedChunk:
    parser = ChunkParser()
    parser.add("".join(f"{line}\n" for line in lines).encode(), LineSource(name, "span", "p", 0, 0, 1))
    return parser.finish()


def span(identity: str, trace_id: str, at: str = ROOT, **fields: object) -> str:
    return event("span", identity, at=at, traceId=trace_id, **fields)


@pytest.fixture(scope="module")
def inserted(shared: ClickHouse) -> ClickHouse:
    """Where the load's first chunk has inserted a span of trace a, and a line that was rejected. To be read only."""
    for block in cut_blocks("load", 0, parsed(span("1", "a"), "broken"), ingested_at_ms=1, block_rows=100):
        shared.insert(block.table, block.rows, token=block.token)
    return shared


@pytest.mark.parametrize(
    "missing",
    [
        span("2", "a"),
        span("1", "b"),
        span("1", "a", OTHER),
        span("1", "a", projectId="another"),
        span("1", "a", deploymentId="another"),
    ],
)
def test_a_row_is_there_if_one_of_the_same_key_is(inserted: ClickHouse, missing: str) -> None:
    chunk = parsed(span("1", "a"), "broken", missing, "also broken")
    left = without_present(inserted, "load", 0, chunk)
    assert left.present == {"span": 1, "": 1}
    (rows,) = left.parsed.rows.values()
    (whole,) = chunk.rows.values()
    assert rows == whole.slice(1)
    assert left.parsed.rejected is not None
    assert left.parsed.rejected.column("raw").to_pylist() == [b"also broken"]


@pytest.mark.parametrize(("load_id", "chunk"), [("another", 0), ("load", 1), ("load", 10)])
def test_what_other_loads_and_chunks_have_inserted_does_not_count(
    inserted: ClickHouse, load_id: str, chunk: int
) -> None:
    left = without_present(inserted, load_id, chunk, parsed(span("1", "a"), "broken"))
    assert sum(left.present.values()) == 0
    assert sum(rows.num_rows for rows in left.parsed.rows.values()) == 1
    assert left.parsed.rejected is not None and left.parsed.rejected.num_rows == 1


def test_a_chunk_that_is_there_needs_nothing(inserted: ClickHouse) -> None:
    left = without_present(inserted, "load", 0, parsed(span("1", "a"), "broken"))
    assert (left.present, left.parsed.rows, left.parsed.rejected) == ({"span": 1, "": 1}, {}, None)
