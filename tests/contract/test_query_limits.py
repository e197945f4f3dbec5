"""Long and many arguments, over both transports, and numbers that no double holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from beam_pipeline.query import BadArgument, ClickHouseQueryProvider
from tests.support import query_events as events
from transforms.clickhouse import ClickHouse

DAY = timedelta(days=1)
LONG = "it's long \\ é😀\n" * 20_000
"""More bytes than ClickHouse takes in a form's field."""


def ids(found: Any) -> list[str]:
    return [one.id for one in found]


def test_thousands_of_texts_are_looked_for(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    texts = [f"<{n}> it's" for n in range(5000)]
    events.insert(
        database,
        "log",
        [events.row("log", id="all", message="".join(texts)), events.row("log", id="few", message="".join(texts[1:]))],
    )
    assert ids(provider.list_logs(message_contains=texts)) == ["all"]
    assert ids(provider.list_logs(message_contains=[text.upper() for text in texts], ignore_case=True)) == ["all"]
    assert ids(provider.list_logs(message_contains=texts[1:])) == ["all", "few"]


def test_a_long_text_is_looked_for(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    rows = [events.row("log", id="it", message=LONG), events.row("log", id="other", message=LONG + "!")]
    events.insert(database, "log", [{**row, "attributes_json": '{"a":"x"}'} for row in rows])
    assert ids(provider.list_logs(message=LONG)) == ["it"]
    assert ids(provider.list_logs(message_contains=[LONG, LONG[5:], "!"])) == ["other"]
    assert provider.list_logs(attributes={LONG: LONG}).items == []
    assert provider.get_spans_for_trace(LONG) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"message": "x" * (5 << 20)}, r"message: 'x+… must be shorter: at most 4194304 bytes of text per filter"),
        (
            {"message_contains": ["é" * (1 << 20), "à" * (2 << 20)]},
            "message_contains: .*: at most 4194304 bytes of text",
        ),
        ({"attributes": {"a": "x" * (5 << 20)}}, "attributes: .* must be shorter: at most 4194304 bytes of text"),
        (
            {"attributes": {f"k{n}": n for n in range(5000)}},
            "attributes: .* must be fewer, or paths with fewer dots",
        ),
    ],
)
def test_what_no_request_has_room_for_is_refused(
    provider: ClickHouseQueryProvider, arguments: Any, message: str
) -> None:
    with pytest.raises(BadArgument, match=message):
        provider.list_logs(**arguments)


def test_as_many_paths_as_are_taken_fit_into_a_statement(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    labels = {f"key{n}": n for n in range(70)}
    wide = [f"label{n}.{'x.' * 5}y" for n in range(2)]
    asked: Any = {"interval": DAY, "percentiles": [0.5], "labels": labels, "name": "x" * 5000}
    assert provider.metric_series(group_by_labels=wide, **asked).series == []
    for refused in ({"labels": {**labels, **dict.fromkeys(wide, 1)}}, {"group_by_labels": [*wide, "a.b.c.d.e.f.g"]}):
        with pytest.raises(BadArgument, match=r"labels: .* must be fewer, or paths with fewer dots"):
            provider.metric_series(interval=DAY, **refused)
    assert provider.list_metrics(labels=labels, name="x" * 5000).items == []


def metrics(database: ClickHouse, *values: float) -> None:
    events.insert(database, "metric", [events.row("metric", id=str(n), value=value) for n, value in enumerate(values)])


def test_a_sum_that_no_double_holds_is_none(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    metrics(database, 1e308, 1e308)
    for source in ("rollup", "events"):
        values = provider.metric_series(interval=DAY, source=source).buckets[0].values  # type: ignore[arg-type]
        assert values == {"sum": None, "avg": None, "min": 1e308, "max": 1e308}


def test_percentiles_beyond_a_t_digest_are_those_of_the_events(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    metrics(database, 1e300, 1e300, -1e300)
    exact = provider.metric_series(interval=DAY, percentiles=[0.5])
    assert (exact.source, exact.buckets[0].values["p50"]) == ("events", 1e300)
    rollup = provider.metric_series(interval=DAY, percentiles=[0.5], source="rollup")
    assert rollup.buckets[0].values["p50"] is None


def test_a_trend_of_normalized_scores_counts_those_that_are_normalized(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    values = [0.5, None, 1.0, None, None]
    rows = [events.row("score", id=str(n), normalized_value=value) for n, value in enumerate(values)]
    events.insert(database, "score", rows)
    found = provider.score_distribution(normalized=True, interval=DAY)
    assert found.trend is not None
    assert (found.count, [bucket.count for bucket in found.trend.buckets]) == (2, [2])
    every = provider.score_distribution(interval=DAY).trend
    assert every is not None and [bucket.count for bucket in every.buckets] == [5]
