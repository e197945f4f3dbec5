"""Filters on JSON and labels to group by, over both transports: what is found is what the answer shows."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from beam_pipeline.query import BadArgument, ClickHouseQueryProvider
from beam_pipeline.query.json_text import read_json
from tests.support import query_events as events
from transforms.clickhouse import ClickHouse

DAY = timedelta(days=1)


def logs(database: ClickHouse, *texts: str) -> None:
    """Logs whose attributes are these texts; each has its place as its id."""
    rows = [events.row("log", id=str(place), attributes_json=text) for place, text in enumerate(texts)]
    events.insert(database, "log", rows)


def found(provider: ClickHouseQueryProvider, path: Any, value: Any) -> str:
    """The ids of the logs that have a value at a path."""
    return "".join(sorted(log.id for log in provider.list_logs(attributes={path: value}, count="none")))


def test_a_key_with_dots_is_found_as_it_is_and_else_key_by_key(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    logs(
        database,
        '{"http.method":"GET"}',
        '{"http":{"method":"GET"}}',
        '{"http.method":"PUT","http":{"method":"GET"}}',
        '{"http.method":null,"http":{"method":"GET"}}',
        '{"http":"GET","method":"GET"}',
        '["GET"]',
        "GET",
        "",
    )
    assert found(provider, "http.method", "GET") == "01"
    assert found(provider, "http.method", "PUT") == "2"
    assert found(provider, "http.method", None) == "34567"
    assert found(provider, ("http.method",), "GET") == "0"
    assert found(provider, ("http", "method"), "GET") == "123"


def test_the_longest_key_that_leads_to_a_value_counts(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    logs(
        database,
        *('{"a.b.c":1}', '{"a.b":{"c":1}}', '{"a":{"b.c":1}}', '{"a":{"b":{"c":1}}}'),
        *('{"a.b":{"c":2},"a.b.c":1}', '{"a":{"b.c":2},"a.b":{"c":1}}', '{"a":{"b":{"c":2},"b.c":1}}'),
        '{"a.b":5,"a":{"b":{"c":1}}}',
    )
    assert found(provider, "a.b.c", 1) == "01234567"
    assert found(provider, "a.b.c", 2) == ""


def test_a_position_is_one_of_a_list_and_a_key_one_of_an_object(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    logs(database, '{"n":[{"x":1},{"x":2}]}', '{"n":{"0":{"x":1}}}', '{"n":{"z":{"x":1}}}', '{"n":"x"}', '[{"x":1}]')
    assert found(provider, "n.0.x", 1) == "01"
    assert found(provider, ("n", 0, "x"), 1) == "0"
    assert found(provider, ("n", "0", "x"), 1) == "1"
    assert found(provider, "n.-1.x", 2) == "0"
    assert found(provider, ("n", -2, "x"), 1) == "0"
    assert found(provider, ("n", 2, "x"), None) == "01234"
    assert found(provider, "0.x", 1) == found(provider, (0, "x"), 1) == "4"


@pytest.mark.parametrize(
    "key", ["a=b", 'say "x"', "it's", "tab\t", "\\", "é😀", "", "{a:String}", "[0]", " ", "a\x00b"]
)
def test_any_key_and_any_text_is_found(database: ClickHouse, provider: ClickHouseQueryProvider, key: str) -> None:
    for place, ensure_ascii in enumerate((True, False)):
        text = json.dumps({key: key, "n": {key: [key]}}, ensure_ascii=ensure_ascii)
        events.insert(database, "log", [events.row("log", id=str(place), attributes_json=text)])
    events.insert(database, "log", [events.row("log", id="2", attributes_json='{"other":"x"}')])
    for path in (key, (key,), ("n", key, 0), f"n.{key}.0"):
        assert found(provider, path, key) == "01"
        assert found(provider, path, f"{key}!") == ""


def test_whole_numbers_are_told_apart_up_to_64_bits_and_then_as_doubles(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    logs(
        database,
        *(f'{{"a":{text}}}' for text in (10**25, "1e25", f'"{10**25}"', 2**64 - 1, 2**64, -(2**63) - 1, "1e20")),
    )
    assert found(provider, "a", 10**25) == found(provider, "a", 1e25) == "01"
    assert found(provider, "a", str(10**25)) == "2"
    assert found(provider, "a", 2**64 - 1) == "3"
    assert found(provider, "a", 2**64) == "34"
    assert found(provider, "a", -(2**63) - 1) == "5"
    assert found(provider, "a", 10**20) == found(provider, "a", 1e20) == "6"
    assert [log.attributes["a"] for log in provider.list_logs(attributes={"a": 10**25})] == [10**25, 1e25]


def test_zero_and_minus_zero_and_one_and_1_0_are_the_same(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    logs(database, *(f'{{"a":{text}}}' for text in ("0", "-0", "0.0", "-0.0", "1", "1.0", "1e0", '"0"', "false")))
    assert found(provider, "a", 0) == found(provider, "a", -0.0) == "0123"
    assert found(provider, "a", 1) == found(provider, "a", 1.0) == "456"
    assert found(provider, "a", False) == "8"
    rows = [events.row("metric", id=text, labels_json=f'{{"a":{text}}}') for text in ("0", "-0.0", "0.0", "1", "1.0")]
    events.insert(database, "metric", rows)
    series = provider.metric_series(interval=DAY, group_by_labels=["a"]).series
    assert {one.group["labels.a"]: one.buckets[0].count for one in series} == {"0": 3, "1": 2}


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"b":1,"a":2}',
        '{"a":{"x":1,"x":2},"b":1}',
        '{"a":1e400,"b":1}',
        f'{{"a":{"9" * 400},"b":1}}',
        r'{"a":"cut \ud83d","b":1}',
        r'{"a":"\ud83d\ude00 \\ud83d \ude00 \"1e999\"","b":1}',
        '{"a":NaN,"b":1}',
        '{"a":1,"b":1} and more',
    ],
)
def test_a_filter_finds_what_the_answer_shows(
    database: ClickHouse, provider: ClickHouseQueryProvider, text: str
) -> None:
    logs(database, text)
    shown = provider.list_logs().items[0].attributes
    assert shown == read_json(text, {})
    if isinstance(shown, str):  # it is not JSON
        assert found(provider, "b", 1) == "" and found(provider, "b", None) == "0"
        return
    assert found(provider, "b", 1) == "0"
    path, value = ("a", shown["a"]) if not isinstance(shown["a"], dict) else ("a.x", shown["a"]["x"])
    assert found(provider, path, value) == "0"
    for other in {1, 2, None, "cut", float("9" * 200)} - {value}:
        assert found(provider, path, other) == ""


def test_labels_with_dots_are_groups(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    labels: list[dict[str, Any]] = [{"service.name": "a"}, {"service": {"name": "b"}}, {"service": "c"}]
    labels[0]["service"] = {"name": "z"}
    rows = [events.row("metric", id=str(place), labels_json=json.dumps(one)) for place, one in enumerate(labels)]
    events.insert(database, "metric", rows)
    paths = ["service.name", ("service", "name"), ("service.name",)]
    found = provider.metric_series(interval=DAY, group_by_labels=paths).series
    names = ("labels.service.name", 'labels["service","name"]', 'labels["service.name"]')
    assert [tuple(one.group) for one in found] == [names] * 3
    assert {tuple(one.group.values()) for one in found} == {("a", "z", "a"), ("b", "b", None), (None, None, None)}
    for wrong, message in ((["a", "a"], "different paths"), ([f"k{n}.x" for n in range(50)], "fewer, or")):
        with pytest.raises(BadArgument, match=f"group_by_labels: .* must be {message}"):
            provider.metric_series(interval=DAY, group_by_labels=wrong)


def test_spans_are_found_by_their_events(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    raised = '[{"name":"retry"},{"name":"exception","attributes":{"exception.type":"KeyError"}}]'
    rows = [
        events.row("span", id=str(place), trace_id="t", events_json=text) for place, text in enumerate([raised, "[]"])
    ]
    events.insert(database, "span", rows)
    for wanted in ({"1.name": "exception"}, {"-1.attributes.exception.type": "KeyError"}, {(0, "name"): "retry"}):
        assert [span.id for span in provider.list_spans(events=wanted)] == ["0"]
    assert provider.list_spans(events={"0.name": "exception"}).items == []
