r"""SQL conditions on JSON columns, and SQL for values in them as text.

The SQL reads a text as `read_json` does in Python. ClickHouse's functions also take the first of two values of a key, but
they treat a text with 1e400 or half a surrogate pair as invalid, and an integer beyond 64 bits as a string. Such texts,
which are rare, are repaired first, token by token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from beam_pipeline.query.arguments import number, text
from beam_pipeline.query.errors import BadArgument
from beam_pipeline.query.json_paths import ExactPath, JsonPath, is_position, readings

_TOKEN = r'(?s)"(?:[^"\\\\]|\\\\.)*"|-?[0-9]+(?:\\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|[^"0-9-]+|["-]'
"""A string, a number, or the text between them; backslashes are doubled, as in an SQL literal."""
_PART = r"(?s)\\\\u[dD][89abAB]..\\\\u[dD][c-fC-F]..|\\\\u[dD][89a-fA-F]..|\\\\.|[^\\\\]+"
"""A surrogate pair, half of one, another escape, or the text between escapes."""
_IS_HALF = r"match(_piece, '^\\\\u[dD][89a-fA-F]..$')"
_STRING = rf"arrayStringConcat(arrayMap(_piece -> if({_IS_HALF}, '\\ufffd', _piece), extractAll(_token, '{_PART}')))"
_IN_64_BITS = "toInt128OrZero(_token) BETWEEN -9223372036854775808 AND 18446744073709551615"
_IS_OVER_64_BITS = f"match(_token, '^-?[0-9]{{19,}}$') AND (length(_token) > 20 OR NOT {_IN_64_BITS})"
_LONG = re.compile(r"-?[0-9]{19,}")
_FEW = 8
"""With more values in a filter, its SQL is the shortest, whether or not there is a faster one."""
SIMPLER = "fewer, or paths with fewer dots"
"""Advice for filters that would take too much SQL."""
MAX_LABELS_SQL = 20_000
"""Bytes of all labels together, which a statement contains twice: servers accept 128 KiB of SQL beside long parameters."""


class Binder:
    """Names the parameters of one filter; equal values share a name."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names: dict[tuple[str, Any], str] = {}
        self.parameters: dict[str, Any] = {}

    def __call__(self, value: Any, kind: str) -> str:
        """The placeholder for a value."""
        name = self._names.setdefault((kind, value), f"{self._prefix}_{len(self._names)}")
        self.parameters[name] = value
        return f"{{{name}:{kind}}}"


def json_condition(argument: str, column: str, wanted: Any) -> tuple[str, dict[str, Any]]:
    """The condition that a column has all given values at their paths, and its parameters. Raises BadArgument."""
    if not isinstance(wanted, Mapping) or not wanted:
        raise BadArgument(argument, wanted, "a mapping of paths to values")
    bind = Binder(argument)
    tests, words, long = list[str](), dict[str, None](), False
    for path, expected in wanted.items():
        ways = readings(argument, path)
        test = _is(argument, expected, bind, len(wanted) <= _FEW)
        tests.append(f"arrayExists(_found -> {test}, [{_found(ways, bind)}])")
        if expected is not None:
            words |= dict.fromkeys(_words(ways[0], expected))
        long = long or _may_be_long(expected)
    condition = f"arrayExists(_document -> {' AND '.join(tests)}, [{_readable(column, long)}])"
    if words:
        # Most events need no parsing: in a text without backslashes, keys and strings appear letter by letter.
        words_found = " AND ".join(f"position({column}, {bind(word, 'String')}) > 0" for word in words)
        condition = rf"({words_found} OR position({column}, '\\') > 0) AND {condition}"
    return f"({condition})", bind.parameters


def json_label(argument: str, column: str, path: JsonPath, prefix: str) -> tuple[str, dict[str, Any]]:
    """SQL for the value at a path, and its parameters: a string as it is, other values as JSON, NULL if there is none."""
    bind = Binder(prefix)
    found = _found(readings(argument, path), bind)
    value = "multiIf(_found = 'null', NULL, startsWith(_found, '\"'), JSONExtractString(_found), _found = '-0', '0', _found)"
    label = f"arrayMap(_found -> {value}, [{found}])[1]"
    return f"arrayMap(_document -> {label}, [{_readable(column, False)}])[1]", bind.parameters


def _readable(column: str, long: bool) -> str:
    """A column's text in a form that ClickHouse's functions read correctly; `long`: including integers beyond 64 bits."""
    repaired = _repaired(column)
    if long:
        return f"if(match({column}, '[0-9]{{19}}') OR NOT isValidJSON({column}), {repaired}, {column})"
    return f"if(isValidJSON({column}), {column}, {repaired})"


def _repaired(column: str) -> str:
    number = f"multiIf(NOT isFinite(toFloat64OrZero(_token)), 'null', {_IS_OVER_64_BITS}, concat(_token, 'e0'), _token)"
    token = f"multiIf(startsWith(_token, '\"'), {_STRING}, match(_token, '^-?[0-9]'), {number}, _token)"
    return f"arrayStringConcat(arrayMap(_token -> {token}, extractAll({column}, '{_TOKEN}')))"


def _found(ways: Sequence[ExactPath], bind: Binder) -> str:
    """The JSON text at the first of these paths that exists in `_document`; null if none does."""
    found = ", ".join(f"nullIf({_at(way, bind)}, '')" for way in ways)
    return f"coalesce({found}, 'null')"


def _at(path: ExactPath, bind: Binder) -> str:
    arguments, lists = ["_document"], list[str]()
    for step in path:
        if isinstance(step, str):
            arguments.append(bind(step, "String"))
        else:  # ClickHouse counts from 1, and also applies positions to the keys of an object
            lists.append(f"JSONType({', '.join(arguments)}) = 'Array'")
            arguments.append(bind(step + 1 if step >= 0 else step, "Int64"))
    raw = f"JSONExtractRaw({', '.join(arguments)})"
    return f"if({' AND '.join(lists)}, {raw}, '')" if lists else raw


def _is(argument: str, expected: Any, bind: Binder, quick: bool) -> str:
    """The condition that `_found` equals a value: as a number, or else with the same type. `quick` is faster, and more SQL."""
    if expected is None or isinstance(expected, bool):
        return f"_found = '{'null' if expected is None else str(expected).lower()}'"
    if isinstance(expected, str):
        same = f"startsWith(_found, '\"') AND JSONExtractString(_found) = {bind(text(argument, expected), 'String')}"
        if "\\" in expected or not quick:
            return f"({same})"
        # Without a backslash a text stands there letter by letter, and need not be parsed.
        quoted = bind(f'"{expected}"', "String")
        return rf"(_found = {quoted} OR position(_found, '\\') > 0 AND {same})"
    # A double may be written as an integer, even as one beyond 64 bits.
    found = "JSONExtractFloat(if(match(_found, '^-?[0-9]+$'), concat(_found, 'e0'), _found))"
    value = bind(number(argument, expected), "Float64")
    same = f"match(_found, '^[-0-9]') AND {found} = {value}"
    if quick:  # most numbers are short integers, which need not be parsed as JSON
        short = "length(_found) < 19 AND toInt64OrZero(_found) != 0"
        same = f"if({short}, toFloat64(toInt64OrZero(_found)) = {value}, {same})"
    if isinstance(expected, float) or abs(expected) <= 2**53 or not -(2**63) <= expected < 2**64:
        return f"({same})"
    # Several integers round to the same double.
    return f"({same} AND toInt128OrZero(_found) = {bind(expected, 'Int128')})"


def _words(path: ExactPath, expected: Any) -> list[str]:
    """Texts that a document without escapes must contain to have this value at this path."""
    keys = [part for step in path if isinstance(step, str) for part in step.split(".") if not is_position(part)]
    if isinstance(expected, bool):
        expected = str(expected).lower()
    return [*sorted(keys, key=len)[-1:], *([expected] if isinstance(expected, str) else [])]


def _may_be_long(expected: Any) -> bool:
    """Whether it matters how integers beyond 64 bits are read."""
    if isinstance(expected, str):
        return _LONG.fullmatch(expected) is not None
    return expected is None or not -(2**63) < expected < 2**63
