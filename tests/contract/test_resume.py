"""What a load still needs of a chunk whose blocks cannot be cut again, on both transports."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.dataset import event
from tests.support.event_lines import EventLine, event_lines
from transforms.blocks.receipts import read_blocks
from transforms.blocks.resume import Remainder, Resumption, read_rows
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


def insert(client: ClickHouse, load_id: str, *chunks: ParsedChunk) -> None:
    for number, chunk in enumerate(chunks):
        for block in cut_blocks(load_id, number, chunk, ingested_at_ms=number + 1, block_rows=100):
            client.insert(block.table, block.rows, token=block.token)


def left_of(client: ClickHouse, load_id: str, *chunks: ParsedChunk) -> list[Remainder]:
    """What of chunks is missing in all blocks of a load."""
    rows = read_rows(client, load_id, read_blocks(client, load_id))
    resumption = Resumption()
    return [resumption.without_present(chunk, [rows]) for chunk in chunks]


@pytest.fixture(scope="module")
def inserted(shared: ClickHouse) -> ClickHouse:
    """Where the load's first chunk has inserted a span of trace a, and a line that was rejected. To be read only."""
    insert(shared, "load", parsed(span("1", "a"), "broken"))
    return shared


@pytest.mark.parametrize(
    "missing",
    [
        span("2", "a"),
        span("1", "b"),
        span("1", "a", OTHER),
        span("1", "a", projectId="another"),
        span("1", "a", deploymentId="another"),
        span("1", "a", name="another"),
    ],
)
def test_a_row_is_there_if_one_of_the_same_values_is(inserted: ClickHouse, missing: str) -> None:
    chunk = parsed(span("1", "a"), "broken", missing, "also broken")
    (left,) = left_of(inserted, "load", chunk)
    assert left.present == {"span": 1, "": 1}
    (rows,) = left.parsed.rows.values()
    (whole,) = chunk.rows.values()
    assert rows == whole.slice(1)
    assert left.parsed.rejected is not None
    assert left.parsed.rejected.column("raw").to_pylist() == [b"also broken"]


def test_what_other_loads_have_inserted_does_not_count(inserted: ClickHouse) -> None:
    (left,) = left_of(inserted, "another", parsed(span("1", "a"), "broken"))
    assert sum(left.present.values()) == 0
    assert sum(rows.num_rows for rows in left.parsed.rows.values()) == 1
    assert left.parsed.rejected is not None and left.parsed.rejected.num_rows == 1


def test_a_chunk_that_is_there_needs_nothing(inserted: ClickHouse) -> None:
    (left,) = left_of(inserted, "load", parsed(span("1", "a"), "broken"))
    assert (left.present, left.parsed.rows, left.parsed.rejected) == ({"span": 1, "": 1}, {}, None)


def test_a_table_has_the_last_of_several_deliveries(shared: ClickHouse) -> None:
    """Those before it were inserted with it, and what comes after it is new."""
    first, second, third = (span("s", "t", name=name) for name in ("first", "second", "third"))
    insert(shared, "several", parsed(first, second))
    (left,) = left_of(shared, "several", parsed(first, second, third))
    assert left.present == {"span": 2}
    (rows,) = left.parsed.rows.values()
    assert rows.column("name").to_pylist() == ["third"]


def test_what_follows_a_delivery_that_was_missing_is_not_left_out(shared: ClickHouse) -> None:
    """Otherwise the older one would be the newest version."""
    first, second = span("s", "u", name="first"), span("s", "u", name="second")
    insert(shared, "follows", parsed(second))
    chunks = parsed(first), parsed(second)
    left = left_of(shared, "follows", *chunks)
    assert [remainder.parsed.rows == chunk.rows for remainder, chunk in zip(left, chunks, strict=True)] == [True, True]


_numbers = itertools.count()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(event_lines(), min_size=1, max_size=12))
def test_whatever_was_inserted_is_found_again(shared: ClickHouse, lines: Sequence[EventLine]) -> None:
    chunk = parsed(*(line.text for line in lines))
    load_id = f"any{next(_numbers)}"
    insert(shared, load_id, chunk)
    (left,) = left_of(shared, load_id, chunk)
    assert (left.parsed.rows, left.parsed.rejected) == ({}, None)
