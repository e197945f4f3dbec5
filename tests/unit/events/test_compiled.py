"""With the parser in Rust and without it: the same rows, rejected lines and names of blocks, whatever the lines are.

Two workers of which one has it may work on one load, and ClickHouse tells a repeated insert by the digest of a block's bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipeline.generate import GenerateOptions, generate
from tests.support import odd_lines
from tests.support.compiled_parser import require_compiled
from tests.support.dataset import event
from transforms.blocks.row_block import cut_blocks
from transforms.events import STRUCTS, TABLES, LineSource
from transforms.events.compiled import line_parser, types
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
    for block_rows in (1_000_000, 1_000, 13, 8):
        assert tokens(ours, block_rows) == tokens(expected, block_rows), f"blocks of {block_rows}"
    return ours


def _plain(batch: pa.RecordBatch | None) -> str:
    """Every column, with -0.0 told from 0.0."""
    return "" if batch is None else repr(batch.to_pydict())


recorded = st.sampled_from([RECORDED_MS] * 5 + [0, 5, -2_208_988_800_001, 10_413_792_000_000])
some_files = st.lists(st.tuples(odd_lines.files, st.sampled_from(["p", "q\u00e9"]), recorded), min_size=1, max_size=3)


@settings(max_examples=150)
@given(
    some_files,
    st.sampled_from([1] * 5 + [30]),
    st.sampled_from([512 * 1024] * 3 + [200]),
    st.sampled_from([MAX_LINE_BYTES] * 5 + [150]),
)
def test_no_lines_make_a_difference(files: list[File], repeated: int, group: int, max_line_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transforms.events.parsing._GROUP_BYTES", group)
        assert_no_difference(files * repeated, max_line_bytes)


def left(data: bytes, max_line_bytes: int = MAX_LINE_BYTES) -> list[bytes]:
    """The lines that Rust leaves to Python, out of lines that are all accounted for."""
    parser = line_parser(max_line_bytes)
    assert parser is not None
    taken, _, places = parser.add(data, 0, len(data), "p", RECORDED_MS, 0)
    assert taken + len(places) == sum(bool(line.strip()) for line in data.split(b"\n"))
    assert taken == sum(pa.record_batch(rows).num_rows for _, _, rows in parser.finish())
    return [data[start:end] for start, end, _, _ in places]


@pytest.mark.parametrize("dialect", ["flat", "envelope"])
def test_lines_as_applications_write_them_are_all_taken(tmp_path: Path, dialect: str) -> None:
    """Otherwise parsing would be slow again, and nothing else would tell."""
    generate(GenerateOptions(output=str(tmp_path), events=3_000, dialect=dialect))
    files = [path.read_bytes() for path in sorted(tmp_path.glob("*/*/*.jsonl"))]
    assert len({path.parts[-3] for path in tmp_path.glob("*/*/*.jsonl")}) == len(TABLES)
    assert [line for data in files for line in left(data)] == []
    parsed = assert_no_difference([(data, "p", RECORDED_MS) for data in files])
    assert sum(batch.num_rows for batch in parsed.rows.values()) == 3_000


def test_lines_of_more_than_a_group_and_of_both_kinds_are_in_the_order_of_the_file() -> None:
    """Every seventh line is left to Python, every fiftieth rejected, and a third of the rows are of another month."""
    lines = [
        event(
            ("trace", "span", "log")[number % 3],
            f"{number}{'é' * (number % 4)}",
            at=f"2026-{10 + number % 2}-20T12:00:00{'' if number % 7 == 0 else 'Z'}",
            attributes={"filler": "x" * (number % 500)},
            endTime=None if number % 5 else 1_793_000_000_000 + number,
            **({"level": "fatal", "status": "fatal"} if number % 50 == 0 else {}),
        ).replace('"durationMs"', '"durationMs"' if number % 2 else '"took"')
        for number in range(6_000)
    ]
    data = "\n".join(lines).encode()
    assert len(data) > 3 * 512 * 1024 and 800 < len(left(data)) < 1_100
    parsed = assert_no_difference([(data, "p", RECORDED_MS), (b"\n\n" + data, "q", 7)])
    assert parsed.lines == 12_000 and parsed.rejected is not None and parsed.rejected.num_rows == 240


LOG = event("log", "l", attributes={"a": 1})
METRIC = event("metric", "m").replace('"type": "metric"', '"type": "counter"')
GOOD = {
    "it": LOG,
    "white space": f" \ufeff \t{LOG}\r".replace(" \ufeff", "\ufeff").replace(": ", "\t : "),
    "escapes in text": LOG.replace('"m"', r'"\n \" \u00e9 \ud83d\ude00"'),
    "half a character in what is stored as it came": LOG.replace('"a"', r'"\ud83d"'),
    "names that are not known": LOG.replace('"id"', '"unheardOf": [{"id": 1e999}], "id"'),
    "names that begin like others": LOG.replace('"id"', '"idx": 1, "i": 2, "typed": 3, "": 4, "id"'),
    "a name that is longer than any": LOG.replace('"id"', f'"{"id" * 40}": 1, "id"'),
    "a name at the end": LOG[:-1] + ', "a": 1}',
    "nulls": event("log", "l", traceId=None, recordedAt=None),
    "epoch milliseconds": event("log", "l", timestamp=1_790_000_000_000),
    "an offset and nanoseconds": event("log", "l", at="2026-11-20T12:00:00.123456789+02:30"),
    "brackets": LOG.replace("1}", "[" * 90 + "]" * 90 + "}"),
    "brackets in text": LOG.replace('"m"', f'"{"[" * 1000}"'),
    "numbers": event("score", "s", value=-1.5e-7, normalizedValue=123_456_789_012_345),
    "a duration that is not known": event("span", "s", durationMs=None),
    "a duration with a fraction": event("span", "s", durationMs=-1.5),
    "text beside data": f'{{"type": "log", "id": "x", "attributes": 5, "data": {LOG}}}',
}
LEFT = {
    "half a character in text": LOG.replace('"m"', r'"\ud83d"'),
    "half a character in what is not known": LOG.replace('"id"', r'"\ud83d": 1, "id"'),
    "an escape in a name": LOG.replace('"id"', r'"\u0069d"'),
    "an escape in a choice": LOG.replace('"info"', r'"inf\u006f"'),
    "a name twice": LOG.replace('"id"', '"id": "k", "id"'),
    "both names of an id": event("span", "s", spanId="t"),
    "no data": LOG.replace('"id"', '"data": null, "id"'),
    "a number beside data": f'{{"type": "metric", "value": 1, "data": {METRIC}}}',
    "a time without an offset": event("log", "l", at="2026-11-20T12:00:00"),
    "a date": event("log", "l", at="2026-11-20"),
    "a number with a fraction as time": event("log", "l", timestamp=1_790_000_000_000.5),
    "a number that is not exact": event("metric", "m", value=1_234_567_890_123_456),
    "a duration of 19 digits": event("span", "s", durationMs=1_234_567_890_123_456_789),
    "many brackets": LOG.replace("1}", "[" * 110 + "]" * 110 + "}"),
}


@pytest.mark.parametrize("what", GOOD)
def test_good_lines_are_taken(what: str) -> None:
    data = f"{LOG}\n{GOOD[what]}\n".encode()
    assert left(data) == []
    assert assert_no_difference([(data, "p", RECORDED_MS)]).rejected is None


@pytest.mark.parametrize("what", LEFT)
def test_odd_lines_are_left_to_Python_which_takes_them(what: str) -> None:
    data = f"{LOG}\n{LEFT[what]}\n".encode()
    assert left(data) == [LEFT[what].encode()]
    assert assert_no_difference([(data, "p", RECORDED_MS)]).rejected is None


def test_texts_may_end_anywhere() -> None:
    """Ends are found for 64 bytes at a time: texts of all lengths begin and end at every place in those."""
    endings = ("", r"\\", r"\"", r"\\\"", r"\u00e9", "é", "x" * 64)
    lines = [LOG.replace('"m"', f'"{"x" * length}{ending}"') for ending in endings for length in range(140)]
    data = "\n".join(lines).encode()
    assert left(data) == []
    (rows,) = assert_no_difference([(data, "p", RECORDED_MS)]).rows.values()
    assert rows.column("message").to_pylist() == [json.loads(line)["message"] for line in lines]


def test_control_characters_in_text_are_left_wherever_they_are() -> None:
    lines = [LOG.replace('"m"', f'"{"x" * length}{chr(length % 32)}"') for length in range(130) if length % 32 != 10]
    data = "\n".join(lines).encode()
    assert left(data) == [line.encode() for line in lines]
    rejected = assert_no_difference([(data, "p", RECORDED_MS)]).rejected
    assert rejected is not None and rejected.num_rows == len(lines)


@given(st.lists(st.permutations(list(json.loads(LOG).items())), min_size=2, max_size=6), st.booleans())
def test_names_may_be_in_any_order(orders: list[list[tuple[str, Any]]], enveloped: bool) -> None:
    """A name is looked for first where it was in the lines before."""

    def line(fields: dict[str, Any]) -> str:
        if not enveloped:
            return json.dumps(fields)
        return json.dumps({"data": {name: fields[name] for name in fields if name != "type"}, "type": fields["type"]})

    data = "\n".join(line(dict(order)) for order in orders).encode()
    assert left(data) == []
    assert_no_difference([(data, "p", RECORDED_MS)])


def test_every_name_that_a_line_may_have_is_known() -> None:
    """The value of a name that the parser is not told of may be anything."""
    for event_type, fields, _ in types():
        flat, enveloped = ({name for field in fields for name in field[place]} for place in (2, 3))
        struct = STRUCTS[event_type]
        assert flat | {"data"} == set(struct.__struct_encode_fields__)
        (body,) = (arm for arm in get_args(get_type_hints(struct)["data"]) if arm is not type(None))
        assert enveloped == set(body.__struct_encode_fields__)


def test_sequence_does_not_begin_anew() -> None:
    parser = line_parser(MAX_LINE_BYTES)
    assert parser is not None
    data = LOG.encode()
    highest = 2**32 - 1 - len(data)
    assert parser.add(data, 0, len(data), "p", RECORDED_MS, highest) == (1, 0, [])
    with pytest.raises(OverflowError, match="4 GiB"):
        parser.add(data, 0, len(data), "p", RECORDED_MS, highest + 1)
    ((_, _, rows),) = parser.finish()
    assert pa.record_batch(rows).column("sequence").to_pylist() == [highest]


def test_what_is_wrong_with_a_call_is_an_error() -> None:
    parser = line_parser(MAX_LINE_BYTES)
    assert parser is not None
    for start, end in ((0, 3), (3, 4), (2, 1)):
        with pytest.raises(ValueError, match="start and end"):
            parser.add(b"{}", start, end, "p", RECORDED_MS, 0)
