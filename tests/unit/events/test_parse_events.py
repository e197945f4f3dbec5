"""Lines become rows exactly as they mean, and what cannot be stored is rejected: that line alone, with the field named."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.support.compiled_parser import require_compiled
from tests.support.dataset import event
from tests.support.event_lines import IDENTITY, PROJECT, RECORDED_MS, EventLine, event_lines
from transforms.events import TABLES, LineSource
from transforms.events.parsing import ChunkParser, ParsedChunk
from transforms.events.schemas import SEQUENCE

PATH = "/in/trace/p/20261120T120000Z_ab.jsonl"


@pytest.fixture(scope="module", autouse=True, params=["Rust", "Python"])
def parser(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test is of both parsers."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "Rust":
            require_compiled()
        else:
            patch.setattr("transforms.events.parsing.line_parser", lambda max_line_bytes: None)
        yield


def source(offset: int = 0, line: int = 1, path: str = PATH, recorded_ms: int = RECORDED_MS) -> LineSource:
    return LineSource(path, "trace", PROJECT, recorded_ms, offset, line, sequence=offset)


def parse(data: bytes, *, recorded_ms: int = RECORDED_MS, **options: Any) -> ParsedChunk:
    parser = ChunkParser(**options)
    counted = parser.add(data, source(recorded_ms=recorded_ms)).lines
    parsed = parser.finish()
    assert parsed.lines == counted
    return parsed


def rows_of(parsed: ParsedChunk, event_type: str) -> list[dict[str, Any]]:
    return [row for (kind, _), batch in parsed.rows.items() if kind == event_type for row in plain(batch)]


def plain(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as their events say, with times as epoch milliseconds."""
    table = pa.Table.from_batches([batch.drop_columns([SEQUENCE.name])])
    for number, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            table = table.set_column(number, column.name, table.column(number).cast(pa.int64()))
    return table.to_pylist()


def ids_by_sequence(parsed: ParsedChunk) -> list[str]:
    """The ids of all events, in the order of their numbers, no two of which are the same."""
    found: dict[int, str] = {}
    for (event_type, _), batch in parsed.rows.items():
        ids, numbers = batch.column(TABLES[event_type].id_column), batch.column(SEQUENCE.name)
        found |= dict(zip(numbers.to_pylist(), ids.to_pylist(), strict=True))
    assert len(found) == sum(batch.num_rows for batch in parsed.rows.values())
    return [found[number] for number in sorted(found)]


def rejected_of(parsed: ParsedChunk) -> list[dict[str, Any]]:
    return parsed.rejected.to_pylist() if parsed.rejected is not None else []


def as_row(line: EventLine) -> dict[str, Any]:
    def column(name: str) -> str:
        if name == "id":
            name = IDENTITY[line.event_type]
        if name == "metricType":
            name = "type"
        return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)

    return {column(name): value for name, value in line.row.items()}


def month(milliseconds: int) -> int:
    moment = datetime.fromtimestamp(0, timezone.utc).timestamp() + milliseconds / 1000
    when = datetime(1970, 1, 1, tzinfo=timezone.utc).fromtimestamp(moment, timezone.utc)
    return when.year * 100 + when.month


@dataclass(frozen=True)
class Between:
    """What may stand between lines: how a line ends, and blank lines after it."""

    ending: str
    blank: str


betweens = st.builds(Between, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "", "", "\n", " \t\n", "\r\n"]))


@settings(max_examples=400)
@given(st.lists(st.tuples(event_lines(), betweens), max_size=12), st.booleans(), st.booleans())
def test_any_lines(lines: Sequence[tuple[EventLine, Between]], bom: bool, newline_at_end: bool) -> None:
    text = "\ufeff" if bom and lines else ""
    offsets: list[int] = []
    numbers: list[int] = []
    for line, between in lines:
        offsets.append(len(text.encode()) if text != "\ufeff" else 0)
        numbers.append(text.count("\n") + 1)
        text += line.text + between.ending + between.blank
    data = text.encode()
    if not newline_at_end:
        data = data.rstrip(b"\r\n")
    parsed = parse(data)

    assert parsed.lines == len(lines)
    good = [line for line, _ in lines if not line.wrong]
    for event_type, table in TABLES.items():
        expected = [as_row(line) for line in good if line.event_type == event_type]
        by_month = sorted({month(row[table.time_column]) for row in expected})
        assert [key[1] for key in parsed.rows if key[0] == event_type] == by_month
        assert rows_of(parsed, event_type) == [
            {name: row[name] for name in table.columns}
            for wanted in by_month
            for row in expected
            if month(row[table.time_column]) == wanted
        ]
    assert ids_by_sequence(parsed) == [line.row["id"] for line in good]
    bad = [
        (line, place, number) for (line, _), place, number in zip(lines, offsets, numbers, strict=True) if line.wrong
    ]
    found = rejected_of(parsed)
    assert [(row["byte_offset"], row["line"]) for row in found] == [(place, number) for _, place, number in bad]
    for row, (line, _, _) in zip(found, bad, strict=True):
        assert row["reason"].partition(":")[0] in line.wrong, row["reason"]
        assert row["raw"].decode().removeprefix("\ufeff") == line.text
        assert (row["event_type"], row["project_id"], row["file"]) == (line.event_type, PROJECT, PATH)


@settings(max_examples=100)
@given(st.lists(event_lines(), max_size=30), st.lists(st.integers(0, 29), max_size=4), st.integers(1, 2000))
def test_how_lines_are_given_changes_nothing(lines: list[EventLine], cuts: list[int], group: int) -> None:
    """In one piece or many, in small groups or one: the rows, their order and the rejected lines are the same."""
    texts = [f"{line.text}\n".encode() for line in lines]
    whole = parse(b"".join(texts))
    parser = ChunkParser()
    edges = sorted({0, len(texts), *(min(cut, len(texts)) for cut in cuts)})
    offset = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transforms.events.parsing._GROUP_BYTES", group)
        for start, end in pairwise(edges):
            piece = b"".join(texts[start:end])
            parser.add(piece, source(offset, start + 1))
            offset += len(piece)
        pieces = parser.finish()
    assert pieces.lines == whole.lines
    assert list(pieces.rows) == list(whole.rows)
    assert all(plain(pieces.rows[key]) == plain(whole.rows[key]) for key in whole.rows)
    assert ids_by_sequence(pieces) == ids_by_sequence(whole)
    assert rejected_of(pieces) == rejected_of(whole)


@settings(max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=40), event_lines().map(lambda line: line.text.encode())), max_size=8))
def test_no_bytes_are_lost_or_stop_it(pieces: list[bytes]) -> None:
    """Whatever the bytes are, each non-blank line is a row or a rejected line, and nothing is raised."""
    data = b"\n".join(pieces)
    parsed = parse(data)
    lines = [line.removeprefix(b"\xef\xbb\xbf") for line in data.split(b"\n")]
    assert parsed.lines == sum(bool(line.strip(b" \t\r")) for line in lines)
    assert parsed.lines == sum(batch.num_rows for batch in parsed.rows.values()) + len(rejected_of(parsed))


GOOD = event("trace", "good").encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "line: malformed JSON (input data was truncated)"),
        (GOOD[:-1], "line: malformed JSON (input data was truncated)"),
        (b"[]", "line: expected `object`, got `array`"),
        (b"null", "line: expected `object`, got `null`"),
        (b'"text"', "line: expected `object`, got `str`"),
        (b"{}", "type: is missing"),
        (b'{"type": "trance"}', "type: 'trance' is not one of trace, span, log, metric, score"),
        (b'{"type": 3}', "type: expected `str`"),
        (b'{"type": "trace", "data": []}', "data: expected `object | null`, got `array`"),
        (event("trace", "x", status="good").encode(), "status: 'good' is not one of ok, error, unset"),
        (event("span", "x", kind="Server").encode(), "kind: 'Server' is not one of internal, server, client, producer, consumer"),
        (event("log", "x", level="fatal").encode(), "level: 'fatal' is not one of debug, info, warn, error"),
        (
            event("metric", "x", metricType="summary").encode(),
            "metricType: 'summary' is not one of counter, gauge, histogram",
        ),
        (event("trace", "x", name=None).encode(), "name: is missing"),
        (event("trace", "").encode(), "id: is empty"),
        (event("trace", "x", name=5).encode(), "name: expected `str | null`, got `int`"),
        (
            event("trace", "x", durationMs=1e30).encode(),
            "durationMs: 1e+30 is not a number of milliseconds from -2^63 to 2^63 - 1",
        ),
        (event("trace", "x", durationMs=10**400).encode(), "durationMs: 1000"),
        (event("trace", "x").replace(": 1}", f": {'9' * 5000}}}").encode(), "durationMs: integer value out of range"),
        (event("metric", "x", value="3").encode(), "value: expected `float | null`, got `str`"),
        (event("metric", "x").replace("1.5", "1e999").encode(), "value: number out of range"),
        (
            event("trace", "x", at="1899-12-31T23:59:59.999Z").encode(),
            "startTime: '1899-12-31T23:59:59.999Z' is not a time from 1900 to 2299, in ISO 8601 or epoch milliseconds",
        ),
        (event("trace", "x", at="2300-01-01").encode(), "startTime: '2300-01-01' is not a time from 1900 to 2299"),
        (event("log", "x", at="tomorrow").encode(), "timestamp: 'tomorrow' is not a time"),
        (
            event("trace", "x", startTime=1763640000).encode(),
            "startTime: 1763640000 looks like seconds; give text in ISO 8601, or epoch milliseconds",
        ),
        (event("trace", "x", endTime=1763640000.123).encode(), "endTime: 1763640000.123 looks like seconds"),
        (event("span", "x", recordedAt=1763640000000000).encode(), "recordedAt: 1763640000000000 looks like microseconds"),
        (event("log", "x", timestamp=1763640000000000000).encode(), "timestamp: 1763640000000000000 looks like nanoseconds"),
        (event("score", "x", timestamp=20261120).encode(), "timestamp: 20261120 looks like a date"),
        (b'{"type": "trace", "type": "log", "id": "x"}', "type: is there twice, the second time as 'log'"),
        (event("trace", "x", status="a - at `$.data.id`").encode(), "status: 'a - at `$.data.id`' is not one of ok"),
        (b'{"type": "tra\\ud83dce"}', "type: 'tra\ufffdce' is not one of"),
        (GOOD.replace(b"good", b"\\ud83"), "line: malformed JSON (invalid character in unicode escape"),
        (GOOD.replace(b"good", b"\xed\xa0\xbd"), "line: invalid UTF-8"),
        (GOOD.replace(b'"n"', b'"n", "metadata": {"loss": NaN}'), "line: malformed JSON (invalid character"),
        (GOOD.replace(b"good", b"\xff\xfe"), "line: invalid UTF-8 (invalid start byte)"),
        (GOOD.replace(b'"n"', b'"n", "metadata": {"a": "\xe2\x82"}'), "line: invalid UTF-8"),
        (GOOD + GOOD, "line: malformed JSON (trailing characters"),
        (GOOD[:-1] + b', "metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line: nested too deeply"),
        (GOOD.replace(b"good", b"x" * 2000), "line: 2098 bytes are more than 1500"),
        (b"\x00" + GOOD, "line: malformed JSON (invalid character"),
    ],
)  # fmt: skip
def test_the_reason_names_the_field_and_what_would_be_right(line: bytes, reason: str) -> None:
    limit = 1500 if b"x" * 2000 in line else 8 << 20
    parsed = parse(GOOD + b"\n" + line + b"\n" + GOOD + b"\n", max_line_bytes=limit)
    (bad,) = rejected_of(parsed)
    assert bad["reason"].startswith(reason)
    assert (bad["line"], bad["byte_offset"], bad["raw"]) == (2, len(GOOD) + 1, line)
    assert len(bad["reason"]) < 300
    assert [row["trace_id"] for row in rows_of(parsed, "trace")] == ["good", "good"]


def test_zero_is_a_value() -> None:
    lines = [event("trace", "t", durationMs=0), event("score", "s", value=0, normalizedValue=0)]
    parsed = parse("\n".join(lines).encode())
    assert rows_of(parsed, "trace")[0]["duration_ms"] == 0
    assert rows_of(parsed, "score")[0]["normalized_value"] == 0
    assert rows_of(parsed, "score")[0]["value"] == 0


def test_json_is_stored_as_it_came() -> None:
    text = '{ "b" : 1.0e0 ,"a":"\\u00e9", "a": [ ] }'
    line = f'{{"type":"log","id":"l","level":"info","message":"m","timestamp":0,"attributes":{text}}}'
    assert rows_of(parse(line.encode()), "log")[0]["attributes"] == text.encode()


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        *((r"cut \ud83d", "cut \ufffd"), (r"\udc00", "\ufffd"), (r"\uD83D x", "\ufffd x"), (r"\ud83d\n", "\ufffd\n")),
        *((r"\udc00\ud83d", "\ufffd\ufffd"), (r"\ud83d\ud83d\ude00", "\ufffd😀"), (r"\ud83d\ude00\ude00", "😀\ufffd")),
        *((r"\\\ud83d", "\\\ufffd"), (r"\\ud83d \udc00", "\\ud83d \ufffd"), (r"é\ud83d\u00e9", "é\ufffdé")),
        (r"\ud83d\u0041", "\ufffdA"),
    ],
)
def test_half_a_character_is_replaced_in_text_and_kept_in_json(escaped: str, text: str) -> None:
    """JavaScript writes it for text that was cut inside an emoji."""
    kept = f'{{ "{escaped}": ["{escaped}", "\\ufffd"],"a":"\\ud83d\\ude00" }}'
    flat = (
        f'{{"x{escaped}":"{escaped}","type":"log","id":"{escaped}","traceId":"{escaped}","attributes": {kept} ,'
        f'"level":"info","timestamp":0,"message":"{escaped}"}}'
    )
    inner = flat.replace('"type":"log",', "")
    enveloped = f'{{"type":"log","attributes":["{escaped}"],"data":{inner},"data2":"{escaped}"}}'
    good = event("log", "good", message="good", attributes={"a": 1}, timestamp=0)
    for lines in ([flat], [enveloped], [good, flat, good, enveloped, good]):
        parsed = parse("\n".join(lines).encode())
        assert parsed.rejected is None
        for line, row in zip(lines, rows_of(parsed, "log"), strict=True):
            if line == good:
                assert (row["message"], row["attributes"]) == ("good", b'{"a": 1}')
            else:
                assert (row["id"], row["trace_id"], row["message"]) == (text, text, text)
                assert row["attributes"] == kept.encode()


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"a\u0000b", "a\0b"),
        ("a\u2028b", "a\u2028b"),
        ("a\x7fb", "a\x7fb"),
        (r"\ufeff", "\ufeff"),
        (r"\uffff", "\uffff"),
    ],
)
def test_odd_characters_are_text(written: str, text: str) -> None:
    line = event("log", "l", message="X", attributes="X").replace("X", written)
    (row,) = rows_of(parse(line.encode()), "log")
    assert (row["message"], row["attributes"].decode()) == (text, f'"{written}"')


def test_a_byte_order_mark_in_the_middle_is_where_files_were_joined() -> None:
    mark = b"\xef\xbb\xbf"
    parsed = parse(mark + GOOD + b"\n" + mark + GOOD + b"\r\n" + mark + b"\n" + mark + b"{}\n" + GOOD)
    assert [row["trace_id"] for row in rows_of(parsed, "trace")] == ["good"] * 3
    (bad,) = rejected_of(parsed)
    assert (parsed.lines, bad["line"], bad["raw"], bad["reason"]) == (4, 4, mark + b"{}", "type: is missing")


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    line = GOOD.replace(b'"name": "n"', b'"name": "a", "n\\u0061me": "b"')
    assert [row["name"] for row in rows_of(parse(line), "trace")] == ["b"]


@pytest.mark.parametrize("frames", [0, 300])
def test_how_deep_a_value_may_be_nested_does_not_depend_on_the_caller(frames: int) -> None:
    def parse_below(frames: int, data: bytes) -> ParsedChunk:
        return parse_below(frames - 1, data) if frames else parse(data)

    def nested(depth: int) -> bytes:
        return GOOD[:-1] + b', "metadata": ' + b"[" * depth + rb'"\ud83d"' + b"]" * depth + b"}"

    assert parse_below(frames, nested(900) + b"\n" + GOOD).rejected is None
    assert len(rejected_of(parse_below(frames, nested(5000) + b"\n" + GOOD))) == 1


@pytest.mark.parametrize(
    "recorded_ms", [253_402_300_799_000, -62_135_596_800_000, -2_208_988_800_001, 10_413_792_000_000]
)
def test_lines_without_recordedAt_in_a_file_of_an_impossible_time_are_rejected_and_the_others_not(
    recorded_ms: int,
) -> None:
    lines = [
        event("trace", "has", recordedAt=5),
        event("trace", "lacks"),
        event("log", "too"),
        event("log", "a", recordedAt=6),
    ]
    parsed = parse("\n".join(lines).encode(), recorded_ms=recorded_ms)
    assert [row["recorded_at"] for kind in ("trace", "log") for row in rows_of(parsed, kind)] == [5, 6]
    for bad in rejected_of(parsed):
        assert bad["reason"].startswith("recordedAt: is missing, and the time of the file, ")
        assert bad["reason"].endswith(" is not from 1900 to 2299")
    assert [bad["line"] for bad in rejected_of(parsed)] == [2, 3]


@given(st.integers(-(10**320), 10**320).map(str) | st.decimals(allow_nan=False, allow_infinity=False).map(str))
@example("9007199254740993")
@example("1e400")
@example(str(2**64 + 1))
@example("1" + "0" * 5000)
def test_a_value_is_the_nearest_float_or_rejected(text: str) -> None:
    """Whole numbers are exact up to 2^53 either side of zero; beyond the largest float there is none that is nearest."""
    assume(re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", text))
    parsed = parse(event("metric", "m").replace("1.5", text).encode())
    if math.isinf(float(text)):
        assert [bad["reason"] for bad in rejected_of(parsed)] == ["value: number out of range"]
    else:
        (row,) = rows_of(parsed, "metric")
        assert row["value"] == float(text)


def test_both_dialects_and_all_types_in_one_file() -> None:
    lines = [event(kind, f"flat-{kind}") for kind in TABLES]
    for kind in TABLES:
        body = json.loads(event(kind, f"enveloped-{kind}"))
        del body["type"]
        lines.append(json.dumps({"type": kind, "data": body}))
    parsed = parse("\n".join(lines).encode())
    assert parsed.rejected is None
    for kind, table in TABLES.items():
        assert [row[table.id_column] for row in rows_of(parsed, kind)] == [f"flat-{kind}", f"enveloped-{kind}"]


def test_150_months_in_one_file_are_150_batches() -> None:
    lines = [
        event("log", f"{number}", at=f"{2000 + number // 12}-{number % 12 + 1:02d}-15T00:00:00Z")
        for number in range(150)
    ]
    parsed = parse("\n".join(lines).encode())
    assert len(parsed.rows) == 150
    assert all(batch.num_rows == 1 for batch in parsed.rows.values())
