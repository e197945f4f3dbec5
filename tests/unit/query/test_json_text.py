"""How JSON texts of events are read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipeline.query.json_text import read_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_what_is_json_is_read_as_it_was_written(value: Any) -> None:
    for ensure_ascii in (True, False):
        assert read_json(json.dumps(value, ensure_ascii=ensure_ascii), None) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", "nothing"),
        ('{"a":1,"b":2,"a":3}', {"a": 1, "b": 2}),
        ('{"a":{"x":1,"x":2}}', {"a": {"x": 1}}),
        ('{"a":1e400,"b":-1e400,"c":1e-400}', {"a": None, "b": None, "c": 0.0}),
        (f"[{'9' * 5000},{10**25}]", [None, 10**25]),
        (r'"cut \ud83d"', "cut \ufffd"),
        (r'"\ude00\ud83d\ude00\\ud83d"', "\ufffd😀\\ud83d"),
        ('{"a":NaN}', '{"a":NaN}'),
        ("[-Infinity]", "[-Infinity]"),
        ("not JSON", "not JSON"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_what_json_leaves_open_is_decided(text: str, value: Any) -> None:
    assert read_json(text, "nothing") == value
