"""The parser in Rust (`line_parser/`): what it is told of fields, and whether it is there at all.

It takes what is plainly good, and leaves every other line to Python, which takes it or rejects it with the reason. It is
built with the package where there is a Rust compiler; without it everything is parsed in Python, to the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, get_args, get_type_hints

import msgspec

from transforms.events import STRUCTS, TABLES
from transforms.events.columns import FIELDS
from transforms.events.times import MISTAKEN
from transforms.events.types import MAX_MS, MIN_MS

try:
    from transforms.events import _line_parser
except ImportError:
    _line_parser = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from transforms.events._line_parser import LineParser

Left = tuple[int, int, int, int]
"""A line that is left to Python: where in the data it starts and ends, newlines before it, and lines that are not blank."""
FieldSpec = tuple[str, str, Sequence[str], Sequence[str], "bytes | None", Sequence[str]]
"""Of a column: its name and kind, its names in lines and in envelopes, its default, and all values it may have."""


def is_built() -> bool:
    """Whether lines can be parsed in Rust."""
    return _line_parser is not None


def line_parser(max_line_bytes: int) -> LineParser | None:
    """A new parser; None when it is not built."""
    if not is_built():
        return None
    mistaken = [(start, min(end, MAX_MS + 1)) for start, end in MISTAKEN.values() if start <= MAX_MS]
    return _line_parser.LineParser(types(), MIN_MS, MAX_MS, mistaken, max_line_bytes)


@cache
def types() -> Sequence[tuple[str, Sequence[FieldSpec], int]]:
    """Of each event type: its name, its fields in the order of its columns, and the number of the one that is its time."""
    return [(name, _fields(name), list(table.columns).index(table.time_column)) for name, table in TABLES.items()]


def _fields(event_type: str) -> Sequence[FieldSpec]:
    flat = STRUCTS[event_type]
    (enveloped,) = (arm for arm in get_args(get_type_hints(flat)["data"]) if arm is not type(None))
    fields = {field.column: field for field in FIELDS[event_type]}
    found: list[FieldSpec] = []
    for column in TABLES[event_type].columns:
        field = fields[column]
        names = field.attribute.split()
        default = field.default.encode() if isinstance(field.default, str) else field.default
        choices = _choices(enveloped, names[0])
        found.append((column, field.kind, _in_json(flat, names), _in_json(enveloped, names), default, choices))
    return found


def _in_json(struct: type[msgspec.Struct], attributes: Sequence[str]) -> list[str]:
    """What attributes are called in JSON; those that the struct has."""
    names = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    return [names[attribute] for attribute in attributes if attribute in names]


def _choices(struct: type[msgspec.Struct], attribute: str) -> list[str]:
    """The values that a field may have; none when it may have any."""
    return [choice for arm in get_args(get_type_hints(struct)[attribute]) for choice in get_args(arm)]
