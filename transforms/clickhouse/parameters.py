"""Parameters of any length: a server takes no form field of more than 128 KiB, so that longer values are sent in parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MAX_FIELD_BYTES = 128 << 10
"""ClickHouse's http_max_field_value_size."""
_PART = MAX_FIELD_BYTES // 4
"""Characters of a part: each takes up to four bytes in UTF-8, and two when it is escaped."""
_BESIDE = 4
"""What an element of an array takes beside itself: quotes, a comma and a space."""


def in_parts(sql: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The statement with those parameters that it has, each of which fits into a form field.

    A text that may not becomes `concat({name_part0:String}, {name_part1:String})`, and an array an `arrayConcat` likewise.
    """
    sent: dict[str, Any] = {}
    for name, value in parameters.items():
        placeholder = re.search(rf"\{{{name}:([^}}]+)\}}", sql)
        if placeholder is None:
            continue
        if not _is_long(value):
            sent[name] = value
            continue
        whole = _text(name, value, sent) if isinstance(value, str) else _array(name, value, placeholder[1], sent)
        sql = sql.replace(placeholder[0], whole)
    return sql, sent


def _is_long(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return sum(map(_length, value)) > _PART
    return isinstance(value, str) and len(value) > _PART


def _length(element: Any) -> int:
    return len(str(element)) + _BESIDE


def _text(name: str, value: str, sent: dict[str, Any]) -> str:
    parts = {f"{name}_part{at // _PART}": value[at : at + _PART] for at in range(0, len(value), _PART)}
    sent |= parts
    placeholders = ", ".join(f"{{{part}:String}}" for part in parts)
    return f"concat({placeholders})" if len(parts) > 1 else placeholders


def _array(name: str, values: Sequence[Any], kind: str, sent: dict[str, Any]) -> str:
    parts = list[str]()
    for place, some in enumerate(_cut(values)):
        part = f"{name}_part{place}"
        if _length(some[0]) > _PART:
            parts.append(f"[{_text(part, some[0], sent)}]")
        else:
            sent[part] = some
            parts.append(f"{{{part}:{kind}}}")
    return f"arrayConcat({', '.join(parts)})"


def _cut(values: Sequence[Any]) -> Iterator[list[Any]]:
    """The elements in order, as many at a time as fit into a field; one that does not fit is alone."""
    some, size = list[Any](), 0
    for value in values:
        length = _length(value)
        if some and size + length > _PART:
            yield some
            some, size = [], 0
        some.append(value)
        size += length
    yield some
