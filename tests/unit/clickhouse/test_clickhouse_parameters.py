"""Parameters that are too long for a form field are sent in parts."""

from __future__ import annotations

import re
from typing import Any

from clickhouse_connect.driver.binding import format_bind_value
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.clickhouse.parameters import MAX_FIELD_BYTES, in_parts

lengths = st.sampled_from([0, 1, 5, 32_764, 32_765, 32_768, 32_769, 100_000])
texts = st.builds(lambda letter, length: letter * length, st.sampled_from(["a", "'", "\\", "\t", "é", "😀"]), lengths)


def value_of(expression: str, sent: dict[str, Any]) -> Any:
    """What ClickHouse makes of an expression of placeholders."""
    python = re.sub(r"\{(\w+):[^}]+\}", r"sent['\1']", expression)
    functions = {
        "concat": lambda *parts: "".join(parts),
        "arrayConcat": lambda *parts: [one for part in parts for one in part],
    }
    return eval(python, {"sent": sent, **functions})


@settings(max_examples=50, deadline=None)
@given(texts | st.lists(texts, max_size=6) | st.lists(st.just("x" * 20), min_size=5000, max_size=5001))
def test_every_field_fits_and_the_whole_is_the_same(value: Any) -> None:
    sql, sent = in_parts("{value:T}|{other:UInt8}|{value:T}", {"value": value, "other": 1})
    first, other, again = sql.split("|")
    assert first == again and other == "{other:UInt8}"
    assert value_of(first, sent) == value
    assert all(len(str(format_bind_value(one)).encode()) <= MAX_FIELD_BYTES for one in sent.values())


def test_what_is_short_is_left_as_it_is_and_what_is_not_asked_for_is_not_sent() -> None:
    sql = "{a:String} {b:UInt8}"
    assert in_parts(sql, {"a": "x", "b": 1, "c": "x" * 200_000}) == (sql, {"a": "x", "b": 1})


def test_numbers_are_sent_in_parts_too() -> None:
    numbers = list(range(10**9, 10**9 + 20_000))
    sql, sent = in_parts("{n:Array(UInt64)}", {"n": numbers})
    assert value_of(sql, sent) == numbers and len(sent) > 1
