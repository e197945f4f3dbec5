"""What queries must never do, over both transports: run what is in an argument, show another project, wait for ever."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from beam_pipeline.query import (
    BadArgument,
    ClickHouseQueryProvider,
    NotFound,
    QueryError,
    QueryTimeout,
    QueryTooLarge,
    SchemaNotMigrated,
    ServerUnavailable,
)
from beam_pipeline.query.filters import FILTERS
from tests.conftest import NO_PASSWORD
from tests.support import query_events as events
from tests.support.databases import fresh_database
from transforms.clickhouse import ClickHouse, ClickHouseConfig

HOUR = timedelta(hours=1)
ATTACKS = (
    "' OR 1=1 --",
    "'; DROP TABLE mastra_admin_traces; --",
    "\\' OR 1=1 --",
    "') OR (1=1",
    "a') UNION ALL SELECT * FROM mastra_admin_traces --",
    "{project_id:String}",
    "%",
    "_%",
    "$$ OR 1=1 $$",
    "\x00' OR 1=1",
    "p1' AND '1'='1",
)
FILTERS_OF: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"list_{name}s": (name, {}) for name in FILTERS},
    **dict.fromkeys(("slowest_traces",), ("trace", {})),
    **dict.fromkeys(("slowest_spans",), ("span", {})),
    **dict.fromkeys(
        ("get_trace_count_time_series", "get_error_rate_time_series", "throughput"), ("trace", {"interval": HOUR})
    ),
    "latency_time_series": ("trace", {"interval": HOUR}),
    "latency_percentiles": ("span", {"of": "span"}),
    "error_rate": ("span", {"of": "span"}),
    "log_volume": ("log", {"interval": HOUR}),
    "metric_series": ("metric", {"interval": HOUR}),
    "score_distribution": ("score", {}),
}
BY_ID = ("get_trace", "get_spans_for_trace", "get_span_tree")
METHODS = {
    name
    for name, member in inspect.getmembers(ClickHouseQueryProvider, inspect.isfunction)
    if not name.startswith("_") and name not in ("close", "init")
}


BAD: tuple[tuple[str, dict[str, Any]], ...] = (
    ("list_traces", {"cursor": ...}),
    ("list_traces", {"count": ...}),
    ("list_traces", {"page": ...}),
    ("list_traces", {"per_page": ...}),
    ("list_traces", {"ignore_case": ..., "name_contains": "x"}),
    ("list_traces", {"start": ...}),
    ("slowest_traces", {"limit": ...}),
    ("throughput", {"interval": ...}),
    ("throughput", {"interval": 60, "of": ...}),
    ("throughput", {"interval": 60, "source": ...}),
    ("throughput", {"interval": 60, "group_by": ...}),
    ("throughput", {"interval": 60, "group_by": [...]}),
    ("latency_percentiles", {"percentiles": [...]}),
    ("metric_series", {"interval": 60, "group_by_labels": ...}),
    ("score_distribution", {"bins": ...}),
    ("score_distribution", {"low": ...}),
)
"""Arguments that are no filters; `...` is where an attack goes."""


@pytest.fixture(scope="module", params=["embedded_admin", "server_admin"])
def database(request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """Two projects with the same events."""
    with events.migrated_database(request.getfixturevalue(request.param)) as client:
        for event_type in events.MODELS:
            rows = [
                events.row(event_type, id=f"{project}-{place}", project_id=project, **fields)
                for project in ("mine", "theirs")
                for place, fields in enumerate([{}, {"trace_id": "shared"} if event_type != "trace" else {}])
            ]
            if event_type == "span":
                for row in rows:
                    row["trace_id"] = "shared"
            if event_type == "trace":
                rows += [events.row("trace", id="shared", project_id="theirs")]
            events.insert(client, event_type, rows)
        yield client


def count_of(found: Any) -> int:
    """How many events an answer is of."""
    if hasattr(found, "series"):
        return sum(bucket.count for series in found.series for bucket in series.buckets)
    if hasattr(found, "groups"):
        return sum(group.count for group in found.groups)
    if hasattr(found, "total"):
        assert found.total == len(found.items)
        return len(found.items)
    return found.count if hasattr(found, "histogram") else len(found)


def test_these_are_all_methods() -> None:
    assert {*FILTERS_OF, *BY_ID} == METHODS


@pytest.mark.parametrize("method", sorted(FILTERS_OF))
def test_a_filter_is_never_more_than_a_value(database: ClickHouse, method: str) -> None:
    event_type, kept = FILTERS_OF[method]
    ask: Callable[..., Any] = getattr(ClickHouseQueryProvider(database), method)
    everything = count_of(ask(**kept))
    assert everything
    for name, known in FILTERS[event_type].items():
        for attack in ATTACKS if name == "project_id" else ATTACKS[:2]:
            value: Any = attack
            if name in ("metadata", "attributes", "labels", "events"):
                assert count_of(ask(**kept, **{name: {attack: attack}})) == 0
                assert count_of(ask(**kept, **{name: {(attack, 0, attack): None}})) == everything
                value = {"a": attack}
            elif name.startswith(("min_", "max_")) or known.column in ("status", "kind", "level", "type"):
                with pytest.raises(BadArgument):
                    ask(**kept, **{name: value})
                continue
            assert count_of(ask(**kept, **{name: value})) == 0, (name, attack)
    assert count_of(ask(**kept)) == everything


def test_no_other_argument_is_part_of_a_statement(database: ClickHouse) -> None:
    provider: Any = ClickHouseQueryProvider(database)
    for attack in ATTACKS:
        for method in BY_ID[:1] + BY_ID[2:]:
            with pytest.raises(NotFound):
                getattr(provider, method)(attack)
        assert provider.get_spans_for_trace(attack, project_id=attack) == []
        for method, arguments in BAD:
            hostile = {
                name: [attack] if value == [...] else attack if value is ... else value
                for name, value in arguments.items()
            }
            with pytest.raises(BadArgument):
                getattr(provider, method)(**hostile)
        with pytest.raises(BadArgument):
            provider.list_traces(**{attack: "x"})
        found = provider.metric_series(interval=60, group_by_labels=[attack, (attack, 1)])
        assert [set(series.group.values()) for series in found.series] == [{None}]


@pytest.mark.parametrize("method", sorted(FILTERS_OF))
def test_a_project_never_sees_another(database: ClickHouse, method: str) -> None:
    _, kept = FILTERS_OF[method]
    mine: Any = ClickHouseQueryProvider(database, project_id="mine")
    everybody: Any = ClickHouseQueryProvider(database)
    own = count_of(getattr(mine, method)(**kept))
    assert 0 < own < count_of(getattr(everybody, method)(**kept))
    assert own == count_of(getattr(everybody, method)(**kept, project_id="mine"))
    assert own == count_of(getattr(mine, method)(**kept, project_id="mine"))
    for other in ("theirs", "", "mine' OR '1'='1", ["mine", "theirs"], {"theirs": 1}):
        with pytest.raises(BadArgument, match="project_id"):
            getattr(mine, method)(**kept, project_id=other)
    for name in ("name_contains", "trace_id", "span_id"):
        if name in FILTERS[FILTERS_OF[method][0]]:
            found = getattr(mine, method)(**kept, **{name: "n" if name == "name_contains" else "shared"})
            assert count_of(found) <= own


def test_a_project_never_sees_anothers_ids_and_cursors(database: ClickHouse) -> None:
    mine = ClickHouseQueryProvider(database, project_id="mine")
    with pytest.raises(NotFound):
        mine.get_trace("shared")
    with pytest.raises(NotFound):
        mine.get_trace("theirs-0")
    assert {span.project_id for span in mine.get_spans_for_trace("shared")} == {"mine"}
    assert len(mine.get_span_tree("shared")) == 2
    for ask in (mine.get_trace, mine.get_spans_for_trace, mine.get_span_tree):
        with pytest.raises(BadArgument, match="project_id"):
            ask("shared", project_id="theirs")
    everybody = ClickHouseQueryProvider(database)
    for page in (everybody.list_traces(per_page=1), everybody.list_traces(per_page=1, project_id="theirs")):
        with pytest.raises(BadArgument, match="cursor"):
            mine.list_traces(cursor=page.next_cursor)
    groups = mine.latency_percentiles(group_by=["project_id"]).groups
    assert [group.group for group in groups] == [{"project_id": "mine"}]


def test_what_a_provider_may_see_cannot_be_changed(database: ClickHouse) -> None:
    mine: Any = ClickHouseQueryProvider(database, project_id="mine")
    page = mine.list_logs(per_page=1)
    for target, name, value in (
        *((mine, "project_id", value) for value in (None, "theirs")),
        (database, "config", replace(database.config, database="other")),
        (database.config, "database", "other"),
    ):
        with pytest.raises(AttributeError):
            setattr(target, name, value)
    with pytest.raises(AttributeError):
        del mine.project_id
    assert mine.project_id == "mine"
    assert {log.project_id for log in page.iter_events()} == {"mine"} and len(list(page.iter_events())) == 2

    class Anything(str):
        """A string that claims to be equal to any other."""

        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = str.__hash__

    assert {log.project_id for log in mine.list_logs(project_id=Anything("theirs"))} == {"mine"}


def test_threads_share_a_provider(database: ClickHouse) -> None:
    provider = ClickHouseQueryProvider(database)

    def ask(place: int) -> list[str]:
        project = "mine" if place % 2 else "theirs"
        return [one.id for one in provider.list_logs(project_id=project, per_page=1 + place % 3).items]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(40)))
    for place, answer in enumerate(found):
        project = "mine" if place % 2 else "theirs"
        assert answer == [f"{project}-{number}" for number in range(1 + place % 3)][:2]


def test_a_query_ends_at_its_limits(clickhouse_config: ClickHouseConfig) -> None:
    with events.migrated(clickhouse_config) as client:
        client.command(
            "INSERT INTO mastra_admin_logs (id, project_id, message, timestamp, recorded_at) SELECT toString(number), 'p', "
            "repeat('x', 20), toDateTime64('2100-11-20 12:00:00', 3, 'UTC') AS at, at FROM numbers(300000)"
        )
        with (
            ClickHouseQueryProvider(clickhouse_config, max_memory_bytes=4 << 20) as small,
            pytest.raises(QueryTooLarge, match="memory"),
        ):
            small.log_volume(interval=1, source="events", message_contains="x")
        with (
            ClickHouseQueryProvider(clickhouse_config, max_execution_s=0.001) as hasty,
            pytest.raises(QueryTimeout),
        ):
            hasty.list_logs(message_contains=["x" * 21] * 50, ignore_case=True)


def test_without_tables_it_says_so(clickhouse: ClickHouse) -> None:
    provider = ClickHouseQueryProvider(clickhouse)
    for ask in (provider.list_traces, provider.latency_percentiles, lambda: provider.get_trace("t")):
        with pytest.raises(SchemaNotMigrated, match="mastra_admin_traces"):
            ask()


def test_init_makes_the_tables_that_are_missing(clickhouse: ClickHouse) -> None:
    provider = ClickHouseQueryProvider(clickhouse)
    for _ in range(2):
        provider.init()
        assert provider.list_traces().total == 0
    provider.close()
    assert clickhouse.query("SELECT count() AS n FROM mastra_admin_schema_migrations")[0]["n"] > 0


def test_without_a_server_it_says_so(database: ClickHouse) -> None:
    with pytest.raises(ServerUnavailable, match="cannot be reached"):
        ClickHouseQueryProvider(ClickHouseConfig(url="http://127.0.0.1:1", password=NO_PASSWORD, retry_attempts=1))
    missing = replace(database.config, database="no_such_database")
    with pytest.raises(QueryError) as raised, ClickHouseQueryProvider(missing) as provider:
        provider.list_traces()
    assert raised.value.__cause__ is not None


def test_the_client_of_another_stays_open(clickhouse_config: ClickHouseConfig) -> None:
    with events.migrated(clickhouse_config) as client:
        with ClickHouseQueryProvider(client) as provider:
            assert provider.list_traces().total == 0
        assert client.query("SELECT 1 AS one") == [{"one": 1}]
        with ClickHouseQueryProvider(clickhouse_config) as own:
            assert own.list_traces().total == 0
        with pytest.raises(QueryError, match="closed"):
            own.list_traces()


def test_databases_are_apart(embedded_admin: ClickHouse, database: ClickHouse) -> None:
    with fresh_database(embedded_admin) as config, events.migrated(config) as client:
        assert ClickHouseQueryProvider(client).list_traces().total == 0
