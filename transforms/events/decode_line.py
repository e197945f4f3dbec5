"""One line of JSON, decoded with what it takes for a line that msgspec does not take at once."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pyarrow as pa

from transforms.events import Line, Raw

decoder = msgspec.json.Decoder(Line)

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""Any escape: a pair of surrogates, a lone one (the group), another one."""


def decode_line(line: bytes) -> Any:
    """The event of a line. Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError.

    A lone surrogate, the escape of half a character that JavaScript writes for a text that was cut inside an emoji,
    becomes U+FFFD in texts; JSON that is stored as it came keeps it.
    """
    line.decode()
    try:
        return _decode(line)
    except msgspec.DecodeError:
        replaced = _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], line)
        if replaced == line:
            raise
    event = _decode(replaced)
    _restore(event if event.data is None else event.data, replaced, line)
    return event


def _decode(line: bytes) -> Any:
    try:
        return decoder.decode(line)
    except RecursionError:
        # How deep a value may be nested depends on how deep the stack is already. In a new thread that is always the same,
        # so that another attempt at a load takes and rejects the same lines.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(decoder.decode, line).result()


def _restore(body: Any, replaced: bytes, line: bytes) -> None:
    """Gives JSON fields the text that they have in `line`, where everything is at the same place as in `replaced`."""
    begin = pa.py_buffer(replaced).address
    for name in body.__struct_fields__:
        value = getattr(body, name)
        if isinstance(value, Raw) and value:
            start = pa.py_buffer(value).address - begin  # a Raw is a view of what it was decoded from
            setattr(body, name, Raw(line[start : start + len(bytes(value))]))
