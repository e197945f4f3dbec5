"""Paths in JSON: keys, which may contain dots, and positions in lists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Union

from beam_pipeline.query.arguments import text
from beam_pipeline.query.errors import BadArgument

Step = Union[str, int]
"""A key of an object, or a position in a list, from 0; -1 is the last."""
ExactPath = tuple[Step, ...]
JsonPath = Union[str, ExactPath]
"""A tuple lists keys and positions from the outside in; each key is taken literally.

In a string, a dot may be part of a key or separate two keys: `a.b.c` is the first of these that exists: the key `a.b.c`,
`c` in `a.b`, `b.c` in `a`, and `c` in `b` in `a`. A number between dots is a position where there is a list.
"""

MAX_READINGS = 64
"""The most ways to read a path with dots; each costs time for every event in which the ways before it lead nowhere."""
_POSITION = re.compile(r"0|-?[1-9][0-9]{0,8}")
_EXPECTED = "a path such as 'user.id', or a tuple of keys and positions"
_TOO_MANY = (
    f"a path that can be read in at most {MAX_READINGS} ways, such as one of up to 6 dots; or a tuple of its keys"
)


def readings(argument: str, path: Any) -> Sequence[ExactPath]:
    """The ways to read a path, in order of precedence: the longest keys first. Raises BadArgument."""
    if isinstance(path, str):
        found = list(islice(_splits(text(argument, path).split(".")), MAX_READINGS + 1))
        if len(found) > MAX_READINGS:
            raise BadArgument(argument, path, _TOO_MANY)
        return found
    if not isinstance(path, tuple) or not path:
        raise BadArgument(argument, path, _EXPECTED)
    for step in path:
        if isinstance(step, str):
            text(argument, step)
        elif isinstance(step, bool) or not isinstance(step, int) or not -(2**31) <= step < 2**31:
            raise BadArgument(argument, path, _EXPECTED)
    return [path]


def is_position(part: str) -> bool:
    """Whether a part of a path between dots can be a position in a list."""
    return _POSITION.fullmatch(part) is not None


def _splits(parts: Sequence[str]) -> Iterator[ExactPath]:
    if not parts:
        yield ()
    for length in range(len(parts), 0, -1):
        key = ".".join(parts[:length])
        steps: tuple[Step, ...] = (key, int(key)) if is_position(key) else (key,)
        for step in steps:
            for rest in _splits(parts[length:]):
                yield (step, *rest)


def read_path(written: str) -> tuple[JsonPath, str]:
    """The path at the beginning of a typed text, and the rest of the text. Raises ValueError.

    `["a","b",0]` is a tuple written as JSON; otherwise the path ends before `=` or with the text.
    """
    if not written.startswith("["):
        path, equals, rest = written.partition("=")
        return path, equals + rest
    steps, end = json.JSONDecoder().raw_decode(written)
    if not steps or not all(isinstance(step, str) or type(step) is int for step in steps):
        raise ValueError(f"{written[:end]} is not a list of keys and positions")
    return tuple(steps), written[end:]


def path_name(path: JsonPath, root: str) -> str:
    """A path as it can be typed, after the name of the field: `labels.host`, or `labels["a.b",0]`."""
    if isinstance(path, str):
        return f"{root}.{path}"
    return root + json.dumps(path, ensure_ascii=False, separators=(",", ":"))
