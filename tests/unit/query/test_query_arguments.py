"""Arguments that are wrong, refused before anything is asked; and what cursors and JSON fields hold."""

from __future__ import annotations

import base64
import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipeline.query import BadArgument, ClickHouseQueryProvider, QueryError, Trace
from beam_pipeline.query.conditions import conditions
from beam_pipeline.query.lists.cursors import decode_cursor, encode_cursor
from beam_pipeline.query.lists.order import Order
from beam_pipeline.query.sources import SPANS, TRACES
from beam_pipeline.query.times import from_ms
from tests.support import query_events as events

UTC = timezone.utc


class NoServer:
    """A client that must not be asked."""

    def query(self, *_: Any) -> Any:
        raise AssertionError("asked")


def provider(**limits: Any) -> Any:
    client: Any = NoServer()
    return ClickHouseQueryProvider(client, **limits)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("list_traces", {"status": "fine"}, "status: 'fine' must be one of unset, ok, error"),
        ("list_traces", {"status": ["ok"]}, "status: ['ok'] must be one of unset, ok, error"),
        (
            "list_spans",
            {"kind": "worker"},
            "kind: 'worker' must be one of internal, server, client, producer, consumer",
        ),
        ("list_logs", {"level": "fatal"}, "level: 'fatal' must be one of debug, info, warn, error"),
        ("list_metrics", {"type": "sum"}, "type: 'sum' must be one of counter, gauge, histogram"),
        ("list_traces", {"kind": "server"}, "filter: 'kind' must be one of deployment_id, end,"),
        ("list_traces", {"name": 5}, "name: 5 must be a string"),
        ("list_traces", {"name": "\ud800"}, "name: '\\ud800' must be valid Unicode, without lone surrogates"),
        ("list_traces", {"name_contains": []}, "name_contains: [] must be a string, or several"),
        ("list_traces", {"name_contains": ["a", 1]}, "name_contains: 1 must be a string"),
        ("list_traces", {"start": datetime(2100, 1, 1)}, "must be a datetime with a time zone"),
        ("list_traces", {"end": "2100-01-01"}, "end: '2100-01-01' must be a datetime with a time zone"),
        (
            "list_traces",
            {"start": datetime(2100, 1, 2, tzinfo=UTC), "end": datetime(2100, 1, 1, tzinfo=UTC)},
            "start: 2100-01-02T00:00:00+00:00 must be no later than the end, 2100-01-01T00:00:00+00:00",
        ),
        ("list_traces", {"metadata": {}}, "metadata: {} must be a mapping of paths to values"),
        ("list_traces", {"metadata": {(): 1}}, "metadata: () must be a path such as 'user.id', or a tuple of keys"),
        ("list_traces", {"metadata": {("a", 1.5): 1}}, "metadata: ('a', 1.5) must be a path"),
        ("list_traces", {"metadata": {"a": [1]}}, "metadata: [1] must be a number"),
        ("list_traces", {"min_duration_ms": float("nan")}, "min_duration_ms: nan must be a finite number"),
        ("list_scores", {"min_value": True}, "min_value: True must be a number"),
        ("list_scores", {"max_value": 10**400}, "must be a finite number"),
        ("list_traces", {"per_page": 0}, "per_page: 0 must be a whole number from 1 to 1000"),
        ("list_traces", {"per_page": 1001}, "per_page: 1001 must be"),
        ("list_traces", {"page": -1}, "page: -1 must be a whole number from 0 to 10000"),
        ("list_traces", {"page": True}, "page: True must be a whole number"),
        ("list_traces", {"page": 201}, "page: 201 must be at most 200 for 50 a page; use the cursor"),
        ("list_traces", {"page": 1, "cursor": "x"}, "page: 1 must be left out when there is a cursor"),
        ("list_traces", {"count": "about"}, "count: 'about' must be exact or none"),
        ("get_trace", {"trace_id": None}, "trace_id: None must be a string"),
        ("slowest_spans", {"limit": 0}, "limit: 0 must be a whole number from 1 to 1000"),
        ("throughput", {"interval": 0}, "interval: 0 must be a timedelta of whole seconds"),
        ("throughput", {"interval": timedelta(milliseconds=1500)}, "must be a timedelta of whole seconds"),
        ("throughput", {"interval": 60, "of": "log"}, "of: 'log' must be trace or span"),
        ("throughput", {"interval": 60, "group_by": "name"}, "group_by: 'name' must be a sequence"),
        (
            "throughput",
            {"interval": 60, "group_by": ["kind"]},
            "must be one of project_id, deployment_id, name, status",
        ),
        ("throughput", {"interval": 60, "group_by": ["name", "name"]}, "must be different columns"),
        ("throughput", {"interval": 60, "source": "table"}, "source: 'table' must be auto, rollup or events"),
        ("throughput", {"interval": 60, "source": "rollup"}, "auto or events: the rollup is hourly"),
        ("error_rate", {"source": "rollup", "name": "x"}, "auto or events: the rollup is not grouped by name"),
        (
            "latency_percentiles",
            {"source": "rollup", "percentiles": [0.7]},
            "the rollup only has the quantiles 0.5, 0.9",
        ),
        ("latency_percentiles", {"percentiles": [50]}, "percentiles: 50 must be a number from 0 to 1, such as 0.95"),
        ("latency_percentiles", {"percentiles": 0.5}, "percentiles: 0.5 must be up to 20 numbers"),
        (
            "throughput",
            {"interval": 1, "start": datetime(2100, 1, 1, tzinfo=UTC), "end": datetime(2100, 1, 2, tzinfo=UTC)},
            "longer: there would be 86401 buckets, more than 10000",
        ),
        ("score_distribution", {"bins": 0}, "bins: 0 must be a whole number from 1 to 1000"),
        ("score_distribution", {"low": 1, "high": 1}, "low: 1.0 must be less than high, 1.0"),
        ("score_distribution", {"interval": 60, "bins": 0}, "bins: 0 must be a whole number from 1 to 1000"),
        ("score_distribution", {"interval": 60, "low": "a"}, "low: 'a' must be a number"),
    ],
)
def test_wrong_arguments_are_named(method: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument) as raised:
        getattr(provider(), method)(**arguments)
    assert message in str(raised.value)
    assert isinstance(raised.value, (QueryError, ValueError))


@pytest.mark.parametrize(
    "limits", [{"project_id": ""}, {"max_execution_s": 0}, {"max_memory_bytes": 0}, {"moved": -timedelta(1)}]
)
def test_a_provider_with_wrong_limits_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(BadArgument, match=next(iter(limits))):
        provider(**limits)


def test_a_bad_argument_is_short_and_can_be_pickled() -> None:
    error = BadArgument("name", "x" * 10_000, "a name")
    assert len(str(error)) < 200
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.value, again.expected) == (str(error), error.value, "a name")


@given(st.integers(-(2**60), 2**60), st.text(st.characters(exclude_categories=["Cs"])), st.text("ab'\\"))
def test_a_cursor_holds_a_position(moment: int, identity: str, project: str) -> None:
    asked = conditions(TRACES, {"name": "n"}, None)
    cursor = encode_cursor(asked, Order(TRACES), (moment, identity, project))
    assert decode_cursor(cursor, asked, Order(TRACES)) == (asked, (moment, identity, project))
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_a_cursor_is_of_one_list() -> None:
    when = datetime(2100, 1, 1, tzinfo=UTC)
    asked = conditions(TRACES, {"name": "n", "start": when}, "p")
    cursor = encode_cursor(asked, Order(TRACES), (1, "a", "p"))
    assert decode_cursor(
        cursor, conditions(TRACES, {"start": when, "name": "n", "project_id": "p"}, None), Order(TRACES)
    )
    for other in (
        conditions(TRACES, {"name": "m", "start": when}, "p"),
        conditions(TRACES, {"name": "n", "start": when}, "q"),
        conditions(TRACES, {"name": "n", "start": when}, None),
        conditions(TRACES, {"name": "n", "start": when}, "p", moved_ms=1),
        conditions(SPANS, {"name": "n", "start": when}, "p"),
    ):
        with pytest.raises(BadArgument, match="the next_cursor of a page of the same list, with the same filters"):
            decode_cursor(cursor, other, Order(other.source))
    with pytest.raises(BadArgument, match="with the same filters and order"):
        decode_cursor(cursor, asked, Order(TRACES, first="oldest"))


DAY = datetime(2100, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def cursor_of(**filters: Any) -> str:
    return encode_cursor(conditions(TRACES, filters, None), Order(TRACES), (1, "a", "p"))


@pytest.mark.parametrize(
    ("made_for", "given"),
    [
        ({}, {}),
        ({"start": DAY}, {}),
        ({"start": DAY, "end": DAY + HOUR}, {"end": DAY + HOUR}),
        ({"start": HOUR}, {"start": HOUR}),
        ({"start": HOUR}, {}),
        ({"start": 2 * HOUR, "end": HOUR}, {"start": 2 * HOUR}),
        ({"start": timedelta.max, "end": timedelta()}, {"start": timedelta.max}),
    ],
)
def test_a_cursor_goes_on_in_the_range_of_its_own_page(made_for: dict[str, Any], given: dict[str, Any]) -> None:
    first = conditions(TRACES, made_for, None)
    cursor = encode_cursor(first, Order(TRACES), (1, "a", "p"))
    later = conditions(TRACES, given, None)
    asked, position = decode_cursor(cursor, later, Order(TRACES))
    assert asked == first
    assert encode_cursor(asked, Order(TRACES), position) == cursor


@pytest.mark.parametrize(
    ("made_for", "given", "message"),
    [
        ({"start": DAY}, {"start": DAY + HOUR}, "start: 2100-01-01T01:00:00+00:00 must be 2100-01-01T00:00:00+00:00"),
        ({"start": DAY, "end": DAY + HOUR}, {"start": DAY, "end": DAY}, "end: 2100-01-01T00:00:00+00:00 must be 2100-"),
        ({"start": HOUR}, {"start": 2 * HOUR}, "start: 7200s must be 3600s or left out"),
        ({"start": HOUR}, {"start": DAY}, "start: 2100-01-01T00:00:00+00:00 must be 3600s or left out"),
        ({"start": DAY}, {"start": HOUR}, "start: 3600s must be 2100-01-01T00:00:00+00:00 or left out"),
        ({}, {"start": HOUR}, "start: 3600s must be left out, as for the page that the cursor comes from"),
        ({"start": DAY}, {"end": DAY}, "end: 2100-01-01T00:00:00+00:00 must be left out"),
    ],
)
def test_a_cursor_with_another_range_is_refused_and_both_are_named(
    made_for: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadArgument) as raised:
        decode_cursor(cursor_of(**made_for), conditions(TRACES, given, None), Order(TRACES))
    assert message in str(raised.value)


def test_a_time_may_be_given_as_how_long_ago_it_was() -> None:
    before = datetime.now(UTC)
    asked = conditions(TRACES, {"start": HOUR, "end": timedelta(milliseconds=1500)}, None)
    after = datetime.now(UTC)
    assert asked.start_ms is not None and asked.end_ms is not None
    assert before - HOUR <= from_ms(asked.start_ms) <= after - HOUR + timedelta(milliseconds=1)
    assert asked.end_ms - asked.start_ms in (3_598_500, 3_598_499)
    with pytest.raises(BadArgument, match="start: 3600s must be no later than the end, 7200s"):
        conditions(TRACES, {"start": HOUR, "end": 2 * HOUR}, None)
    with pytest.raises(BadArgument, match="end: -86400s must be a datetime with a time zone, or a timedelta"):
        conditions(TRACES, {"end": -timedelta(days=1)}, None)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            "[]",
            "{}",
            "null",
            "5",
            '["DIGEST"]',
            '["DIGEST", 1, "a", "p"]',
            '["DIGEST", NO, NO, 1, "a"]',
            '["DIGEST", NO, NO, "1", "a", "p"]',
            "[" * 100_000,
        ),
        *('["DIGEST", NO, NO, 1, "a", 2]', '["DIGEST", NO, NO, true, "a", "p"]'),
        *('["DIGEST", NO, NO, 99999999999999999999, "a", "p"]', '["DIGEST", NO, NO, 1, "a", "\\ud800"]'),
        *('["DIGEST", NO, [1], 1, "a", "p"]', '["DIGEST", NO, 1, 1, "a", "p"]', '["DIGEST", NO, "no", 1, "a", "p"]'),
        *('["DIGEST", NO, [null, 1], 1, "a", "p"]', '["DIGEST", [true, null], NO, 1, "a", "p"]'),
        *('["DIGEST", [1e300, null], NO, 1, "a", "p"]', '["DIGEST", [1, 99999999999999999999], NO, 1, "a", "p"]'),
        '["DIGEST", NO, [99999999999999999999, null], 1, "a", "p"]',
    ],
)
def test_anything_else_is_no_cursor(text: str) -> None:
    asked = conditions(TRACES, {}, None)
    text = text.replace("DIGEST", asked.digest).replace("NO", "[null, null]")
    made = base64.urlsafe_b64encode(text.encode()).decode()
    for cursor in (made, text, f"{made}é", made.encode(), 5):
        with pytest.raises(BadArgument, match="cursor"):
            decode_cursor(cursor, asked, Order(TRACES))


@pytest.mark.parametrize("text", ["not JSON", "{", "[" * 100_000, "\x00", "NaN", '{"a": Infinity}'])
def test_text_that_is_not_json_is_given_as_it_is(text: str) -> None:
    assert Trace(**events.row("trace", id="t", input_json=text)).input == text


def test_every_value_is_a_parameter() -> None:
    values = {"name": "secret1", "name_contains": "secret2", "metadata": {"secret3": "secret4"}, "status": "ok"}
    asked = conditions(TRACES, values, "secret5")
    assert "secret" not in asked.where
    assert {f"secret{place}" for place in range(1, 6)} <= {*asked.parameters.values()}
