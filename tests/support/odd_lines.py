"""Hypothesis strategies for lines that are good, nearly good, or not at all, with no regard to what they mean."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from tests.support import event_times
from tests.support.event_lines import FIELDS, IDENTITY, event_lines

_white = st.sampled_from([""] * 8 + [" ", "\t", " \r", "  "])
_PIECES = (
    *("a", "text", "é", "😀", "\u2028", "\ufeff", "\x7f", "/", "null", "{", "]", " "),
    *(r"\n", r"\"", r"\\", r"\/", r"\u0041", r"\u00e9", r"\u0000", r"\ufeff", r"\ud83d\ude00", r"\uD83D\uDE00"),
)
_good_texts = st.lists(st.sampled_from(_PIECES), max_size=4).map("".join)
_texts = st.lists(
    st.sampled_from(
        [
            *_PIECES,
            *(r"\ud83d", r"\ude00", r"\uDe00", r"\ude00\ud83d", r"\ud83d\n"),
            *("\x00", "\x1f", r"\u12", r"\x", r"\u00g0", "\\", '"'),
        ]
    ),
    max_size=4,
).map("".join)
_plain = st.text("abc-09é", max_size=6)
texts = st.one_of(*[_plain] * 6, *[_good_texts] * 5, _texts).map('"{}"'.format)
_good_numbers = (
    st.sampled_from(
        [
            *("0", "-0", "-0.0", "0.0", "0e5", "-0e-5", "1e5", "1E+5", "1e-7", "1.5", "-1.5", "1e22", "0.1", "1e400", "-1e400"),
            *("5e-324", "2.5e-324", "1.7976931348623157e308", "1.7976931348623159e308", "123456789012345", "1234567890123456"),
            *("999999999999999", "-999999999999999", "1000000000000000", "9007199254740992", "9007199254740993"),
            *("9007199254740991.0", "9007199254740992.0", "9007199254740993.5", "-9007199254740993.0", "1e-400"),
            *("12345678901234567", "123456789012345678", "1234567890123456789", "12345678901234567890", "9223372036854775807"),
            *("9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551616", "1" + "0" * 400),
        ]
    )
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.integers(-(10**20), 10**20).map(str)
    | st.decimals(allow_nan=False, allow_infinity=False).map(str)
    | st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
)  # fmt: skip
_bad_numbers = st.sampled_from(
    ["01", "-", "1.", ".5", "+1", "1e", "1e+", "--1", "0x1", "1_0", "NaN", "Infinity", "-Infinity", "-01", "00"]
)
numbers = st.one_of(*[_good_numbers] * 8, _bad_numbers)
_usual_times = st.datetimes().map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0"))
_endings = st.sampled_from(
    ["Z", ".5Z", ".123Z", ".123456789Z", ".1234567890123Z", "+00:00", "-23:59", "+23:59", ".7+02:30"]
)
_odd_endings = _endings | st.sampled_from(["", "z", "+24:00", "+02:60", "+0200", ".Z", ",5Z"])
_good_times = st.one_of(
    st.sampled_from([f'"202{year}-1{month}-20T12:34:56.789Z"' for year in (5, 6) for month in (0, 1)]),
    st.builds('"{}{}"'.format, _usual_times, _odd_endings),
    st.builds('"{}{}"'.format, st.sampled_from(["1899-12-31T23:59:59", "1900-01-01T00:00:00", "2299-12-31T23:59:59"]), _endings),
    st.integers(-(10**12), 10**13).map(str),
)  # fmt: skip
times = st.one_of(
    *(_good_times, _good_times, _good_times),
    event_times.iso_like.map(json.dumps),
    event_times.numbers.map(repr),
    numbers,
)
_leaves = texts | texts | numbers | st.sampled_from(["true", "false", "null"] * 4 + ["{}", "[]", "", "tru", "nul"])
_deep = st.sampled_from([50, 98, 99, 100, 101, 102, 130, 600, 3000])


def _nested(depth: int, brackets: tuple[str, str], inner: str, text: str) -> str:
    return f"{brackets[0] * depth}{inner}{text}{brackets[1] * depth}"


values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(st.tuples(_white, inner, _white).map("".join), max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.builds("{}{}:{}{}".format, texts, _white, inner, _white), max_size=3).map(
            lambda items: f"{{{','.join(items)}}}"
        )
    ),
    max_leaves=4,
) | st.builds(
    _nested,
    _deep,
    st.sampled_from([("[", "]"), ('{"a":', "}"), ("[", ""), ('"[[', '"')]),
    st.sampled_from(["1", '"["', r'"\"["']),
    st.just(""),
)
"""Any JSON, and what is nearly JSON."""

_CHOICES = (
    "ok",
    "error",
    "unset",
    "internal",
    "server",
    "client",
    "producer",
    "consumer",
    "debug",
    "info",
    "warn",
    "gauge",
)
_choices = st.sampled_from([*map(json.dumps, _CHOICES), r'"o\u006b"', '"OK"', '""'])
_usual = {
    **dict.fromkeys(("startTime", "endTime", "timestamp", "recordedAt"), times),
    **dict.fromkeys(("status", "kind", "level", "metricType", "type"), _choices),
    **dict.fromkeys(("durationMs", "value", "normalizedValue"), numbers),
    **dict.fromkeys(("input", "output", "metadata", "attributes", "events", "labels"), values),
}
_NAMES = sorted({"id", "traceId", "spanId", *(name for names in FIELDS.values() for name in names)})
_others = st.sampled_from(
    [*_NAMES, "type", "data", "unheardOf", "trace_id", r"n\u0061me", r"\ud83d", "é", "", "Id", r"d\u0061ta"]
)
_few_others = st.one_of(st.just([]), st.just([]), st.just([]), st.lists(_others, max_size=2))
_states = st.sampled_from(["usual"] * 24 + ["absent", "absent", "null", "null", '""', "any"])
_types = st.sampled_from(sorted(FIELDS) * 20 + ["trance", r"tr\u0061ce", ""])
_beside = texts | texts | times | values
_how_many_beside = st.sampled_from([0, 0, 0, 1, 2])
_permille = st.integers(0, 999)
_GOOD = {
    "timestamp": '"2026-11-20T12:00:00Z"',
    "startTime": '"2026-11-20T12:00:00.5Z"',
    "level": '"info"',
    "status": '"ok"',
    "kind": '"client"',
    "value": "1.5",
    "metadata": "{}",
}


@st.composite
def _put_together(draw: st.DrawFn) -> str:
    """An event of some type, with a few fields that are odd."""
    event_type = draw(_types)
    names = list(FIELDS.get(event_type, FIELDS["log"]))
    names.insert(0, draw(st.sampled_from(["id", IDENTITY.get(event_type, "id")])))
    names += draw(_few_others)
    odd = set(draw(st.lists(st.sampled_from(names), max_size=3)))
    fields: list[tuple[str, str]] = []
    for name in names:
        if name not in odd:
            fields.append((name, _GOOD.get(name, '"x"' if name not in _usual else "null")))
            continue
        state = draw(_states)
        if state == "absent":
            continue
        text = draw(_usual.get(name, texts)) if state == "usual" else draw(values) if state == "any" else state
        fields.append((name, text))
    if odd and draw(st.booleans()):
        fields = draw(st.permutations(fields))

    def written(some: list[tuple[str, str]]) -> str:
        before, after = draw(_white), draw(_white)
        return ",".join(f'{before}"{name}"{after}:{before}{text}{after}' for name, text in some)

    tag = f'"type":{draw(_white)}"{event_type}"'
    if draw(st.booleans()):
        beside = [(draw(_others), draw(_beside)) for _ in range(draw(_how_many_beside))]
        parts = [tag, f'"data":{draw(_white)}{{{written(fields)}}}', *([written(beside)] if beside else [])]
    else:
        parts = [tag, written(fields)]
    if draw(st.booleans()):
        parts.reverse()
    return f"{{{','.join(parts)}}}"


def _mutated(line: bytes, place: int, cut: int, put: bytes) -> bytes:
    at = place * len(line) // 1000
    return line[:at] + put + line[at + cut :]


_lines = st.one_of(
    _put_together(),
    _put_together(),
    event_lines().map(lambda line: line.text),
    event_lines(all_good=True).map(lambda line: line.text),
).map(str.encode)
_put = st.sampled_from(
    [b"", b"", b" ", b'"', b"\\", b"{", b"}", b",", b"\xff", b"\xed\xa0\x80", b"\xc3", b"\x00", b"\n"]
)
lines = st.one_of(
    *[_lines] * 10,
    st.builds(_mutated, _lines, _permille, st.integers(0, 3), _put | st.binary(max_size=3)),
    st.sampled_from([b"", b" \t", b"\r", b"\xef\xbb\xbf", b"\xef\xbb", b"{}", b"[]", b"null", b"{", b"\xff"]),
)
"""The bytes of a line; some have a newline inside."""

_starts = st.sampled_from(
    [b""] * 12 + [b"\xef\xbb\xbf", b" ", b"\t ", b"\xef\xbb\xbf \t", b"\xef\xbb\xbf\xef\xbb\xbf", b"\x0c"]
)
_ends = st.sampled_from([b"\n"] * 9 + [b"\r\n", b" \n", b"\n\n", b" \t\r\r\n", b"\n \r\n"])
files = st.builds(
    lambda parts, whole: b"".join(parts) if whole else b"".join(parts).rstrip(b"\r\n"),
    st.lists(st.tuples(_starts, lines, _ends).map(b"".join), max_size=6),
    st.booleans(),
)
"""The lines of a file."""
