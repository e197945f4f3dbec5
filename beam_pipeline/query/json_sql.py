r"""Conditions on JSON columns, and their values as text.

They read a text as `read_json` does in Python. ClickHouse's functions take the first of two values of a key, too, but hold a
text with 1e400 or half a surrogate pair for invalid, and a whole number beyond 64 bits for a string: such texts are mended
before, token by token. Hardly any text needs it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from beam_pipeline.query.arguments import number, text
from beam_pipeline.query.errors import BadArgument
from beam_pipeline.query.json_paths import ExactPath, JsonPath, is_position, readings

_TOKEN = r'(?s)"(?:[^"\\\\]|\\\\.)*"|-?[0-9]+(?:\\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|[^"0-9-]+|["-]'
"""A string, a number, or what is between them; backslashes are doubled, as in a literal of SQL."""
_PART = r"(?s)\\\\u[dD][89abAB]..\\\\u[dD][c-fC-F]..|\\\\u[dD][89a-fA-F]..|\\\\.|[^\\\\]+"
"""A surrogate pair, half of one, another escape, or what is between escapes."""
_IS_HALF = r"match(_piece, '^\\\\u[dD][89a-fA-F]..$')"
_STRING = rf"arrayStringConcat(arrayMap(_piece -> if({_IS_HALF}, '\\ufffd', _piece), extractAll(_token, '{_PART}')))"
_IN_64_BITS = "toInt128OrZero(_token) BETWEEN -9223372036854775808 AND 18446744073709551615"
_IS_OVER_64_BITS = f"match(_token, '^-?[0-9]{{19,}}$') AND (length(_token) > 20 OR NOT {_IN_64_BITS})"
_LONG = re.compile(r"-?[0-9]{19,}")
SIMPLER = "fewer, or paths with fewer dots"
"""What to give where there would be too much SQL."""
MAX_LABELS_SQL = 20_000
"""Bytes of all labels together, which a statement has twice: servers take 128 KiB of it beside long parameters."""


class Binder:
    """Names the parameters of one filter; the same value has one name."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names: dict[tuple[str, Any], str] = {}
        self.parameters: dict[str, Any] = {}

    def __call__(self, value: Any, kind: str) -> str:
        """The placeholder of a value."""
        name = self._names.setdefault((kind, value), f"{self._prefix}_{len(self._names)}")
        self.parameters[name] = value
        return f"{{{name}:{kind}}}"


def json_condition(argument: str, column: str, wanted: Any) -> tuple[str, dict[str, Any]]:
    """That a column has all of some values at some paths. Raises BadArgument."""
    if not isinstance(wanted, Mapping) or not wanted:
        raise BadArgument(argument, wanted, "a mapping of paths to values")
    bind = Binder(argument)
    tests, words, long = list[str](), dict[str, None](), False
    for path, expected in wanted.items():
        ways = readings(argument, path)
        test = _is(argument, expected, bind)
        tests.append(f"arrayExists(_found -> {test}, [{_found(ways, bind)}])")
        if expected is not None:
            words |= dict.fromkeys(_words(ways[0], expected))
        long = long or _may_be_long(expected)
    condition = f"arrayExists(_document -> {' AND '.join(tests)}, [{_readable(column, long)}])"
    if words:
        # Most events are told by their bare text: without a backslash all that is wanted is in it letter by letter.
        there = " AND ".join(f"position({column}, {bind(word, 'String')}) > 0" for word in words)
        condition = rf"({there} OR position({column}, '\\') > 0) AND {condition}"
    return f"({condition})", bind.parameters


def json_label(argument: str, column: str, path: JsonPath, prefix: str) -> tuple[str, dict[str, Any]]:
    """What a column has at a path, as text: a string as it is, all else as JSON; NULL where there is nothing."""
    bind = Binder(prefix)
    found = _found(readings(argument, path), bind)
    said = "multiIf(_found = 'null', NULL, startsWith(_found, '\"'), JSONExtractString(_found), _found = '-0', '0', _found)"
    label = f"arrayMap(_found -> {said}, [{found}])[1]"
    return f"arrayMap(_document -> {label}, [{_readable(column, False)}])[1]", bind.parameters


def _readable(column: str, long: bool) -> str:
    """A column's text as ClickHouse's functions read it right; `long`: also numbers of more than 64 bits."""
    mended = _mended(column)
    if long:
        return f"if(match({column}, '[0-9]{{19}}') OR NOT isValidJSON({column}), {mended}, {column})"
    return f"if(isValidJSON({column}), {column}, {mended})"


def _mended(column: str) -> str:
    number = f"multiIf(NOT isFinite(toFloat64OrZero(_token)), 'null', {_IS_OVER_64_BITS}, concat(_token, 'e0'), _token)"
    token = f"multiIf(startsWith(_token, '\"'), {_STRING}, match(_token, '^-?[0-9]'), {number}, _token)"
    return f"arrayStringConcat(arrayMap(_token -> {token}, extractAll({column}, '{_TOKEN}')))"


def _found(ways: Sequence[ExactPath], bind: Binder) -> str:
    """The JSON text at the first of some paths that is there in `_document`; null where there is none."""
    found = ", ".join(f"nullIf({_at(way, bind)}, '')" for way in ways)
    return f"coalesce({found}, 'null')"


def _at(path: ExactPath, bind: Binder) -> str:
    arguments, lists = ["_document"], list[str]()
    for step in path:
        if isinstance(step, str):
            arguments.append(bind(step, "String"))
        else:  # ClickHouse counts from 1, and takes a position also for that of a key in an object
            lists.append(f"JSONType({', '.join(arguments)}) = 'Array'")
            arguments.append(bind(step + 1 if step >= 0 else step, "Int64"))
    raw = f"JSONExtractRaw({', '.join(arguments)})"
    return f"if({' AND '.join(lists)}, {raw}, '')" if lists else raw


def _is(argument: str, expected: Any, bind: Binder) -> str:
    """Whether `_found` is a value: a number that is as great, or else the same of the same type."""
    if expected is None or isinstance(expected, bool):
        return f"_found = '{'null' if expected is None else str(expected).lower()}'"
    if isinstance(expected, str):
        same = f"JSONExtractString(_found) = {bind(text(argument, expected), 'String')}"
        return f"(JSONType(_found) = 'String' AND {same})"
    # The text of a double may be that of a whole number, even of one beyond 64 bits.
    found = "JSONExtractFloat(if(match(_found, '^-?[0-9]+$'), concat(_found, 'e0'), _found))"
    same = f"match(_found, '^[-0-9]') AND {found} = {bind(number(argument, expected), 'Float64')}"
    if isinstance(expected, float) or abs(expected) <= 2**53 or not -(2**63) <= expected < 2**64:
        return f"({same})"
    # Several whole numbers are the same double.
    return f"({same} AND toInt128OrZero(_found) = {bind(expected, 'Int128')})"


def _words(path: ExactPath, expected: Any) -> list[str]:
    """What must be in a text without escapes, so that it may have a value at a path."""
    keys = [part for step in path if isinstance(step, str) for part in step.split(".") if not is_position(part)]
    return [*sorted(keys, key=len)[-1:], *([expected] if isinstance(expected, str) else [])]


def _may_be_long(expected: Any) -> bool:
    """Whether it matters how whole numbers of more than 64 bits are read."""
    if isinstance(expected, str):
        return _LONG.fullmatch(expected) is not None
    return expected is None or not -(2**63) < expected < 2**63
