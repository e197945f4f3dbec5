"""Which indexes queries use, and how many rows they read, on a month of a million events of each type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from beam_pipeline.query import ClickHouseQueryProvider
from tests.support.databases import FOR_EVER, fresh_database, make_tables
from tests.support.query_month import DAYS, START, an_id, fill
from tests.support.query_reads import CountingClient
from transforms.clickhouse import ClickHouse
from transforms.events import TABLES

ROWS = 1_000_000
LITTLE = 0.01
FEW = 20 * 1024
"""Rows of twenty granules, which is what is read at least: 0.4 % of five million. Their exact number varies with what the
server's threads happen to have found when they look at further ones."""
CELLS = 5_000
"""A thousandth of a table of five million rows: how many cells a rollup has does not depend on how many events it is of."""
MS = timedelta(milliseconds=1)
NOON = START + timedelta(days=15, hours=12)
PROJECT = {"project_id": "project-3"}
HOUR = {**PROJECT, "start": NOON, "end": NOON + timedelta(hours=1) - MS}
MONTH = {**PROJECT, "start": START, "end": START + timedelta(days=DAYS) - MS}
PARTLY = {**PROJECT, "start": START + timedelta(minutes=10), "end": START + timedelta(days=DAYS, minutes=-17)}
"""Days, but no whole hours at the ends."""


LEFT_TO_THE_MERGE = {"optimize_on_insert": 0, "materialize_skip_indexes_on_insert": 0}


@pytest.fixture(scope="module")
def client(embedded_admin: ClickHouse) -> Iterator[CountingClient]:
    with fresh_database(embedded_admin) as config, config.connect() as client:
        make_tables(client, FOR_EVER)
        names = [name for table in TABLES.values() for name in (table.table, table.rollup)]
        for name in names:
            client.command(f"SYSTEM STOP MERGES {name}")
        fill(client, ROWS, days_at_once=10, settings=LEFT_TO_THE_MERGE)
        # What is read beside what is asked for depends on how many parts there are: here it is always one.
        for name in names:
            client.command(f"SYSTEM START MERGES {name}")
            client.command(f"OPTIMIZE TABLE {name} FINAL")
        yield CountingClient(client)


def provider(client: CountingClient) -> ClickHouseQueryProvider:
    stand_in: Any = client
    client.reset()
    return ClickHouseQueryProvider(stand_in)


def granules_of_all(granules: dict[str, tuple[int, int]]) -> int:
    """How many granules the table has: each index is told how many the ones before it have left."""
    return max(of for _, of in granules.values())


LISTS: dict[str, Callable[[ClickHouseQueryProvider], Any]] = {
    "traces": lambda api: api.list_traces(**HOUR),
    "spans": lambda api: api.list_spans(**HOUR),
    "logs": lambda api: api.list_logs(**HOUR),
    "metrics": lambda api: api.list_metrics(**HOUR),
    "scores": lambda api: api.list_scores(**HOUR),
    "status": lambda api: api.list_traces(status="ok", **HOUR),
    "text": lambda api: api.list_logs(message_contains="100% done", **HOUR),
    "attributes": lambda api: api.list_logs(attributes={"tier": "pro"}, **HOUR),
    "without a total": lambda api: api.list_logs(count="none", **HOUR),
    "second page": lambda api: api.list_logs(page=1, per_page=20, **HOUR),
    "slowest": lambda api: api.slowest_spans(**HOUR),
}


@pytest.mark.parametrize("name", LISTS)
def test_what_is_of_a_project_and_an_hour_is_found_by_the_primary_key(client: CountingClient, name: str) -> None:
    assert len(LISTS[name](provider(client)))
    assert len(client.statements) == 2  # the rows; and their number, or whether there are newer versions of them
    assert client.rows < FEW
    for granules in client.granules():
        assert granules["PrimaryKey"][0] < LITTLE * granules_of_all(granules)


def test_a_trace_is_found_by_the_index_on_its_id(client: CountingClient) -> None:
    trace_id = an_id(client.client, ROWS // 2)
    assert provider(client).get_trace(trace_id).project_id
    assert client.rows <= 4 * 1024
    (granules,) = client.granules()
    assert granules["trace_id_bloom"][0] < LITTLE * granules_of_all(granules)


@pytest.mark.parametrize("project_id", [None, "project-0"])
def test_the_spans_of_a_trace_are_found_by_the_index_on_it(client: CountingClient, project_id: str | None) -> None:
    trace_id = an_id(client.client, ROWS // 20)
    assert len(provider(client).get_spans_for_trace(trace_id, project_id=project_id)) == 10
    assert client.rows <= 4 * 1024
    (granules,) = client.granules()
    left, of = granules["trace_id_bloom"]
    assert left < of / 10 and left < LITTLE * granules_of_all(granules)
    assert len(provider(client).get_span_tree(trace_id, project_id=project_id)) == 10


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_the_first_page_does_not_read_its_projects_whole_month(client: CountingClient, order: Any) -> None:
    page = provider(client).list_traces(count="none", order=order, **MONTH)
    assert len(page) == 50 and page.has_more
    # where the first events are, these, and whether there are newer versions of them
    assert len(client.statements) == 3
    assert client.rows < FEW
    next_page = provider(client).list_traces(count="none", order=order, cursor=page.next_cursor, **MONTH)
    assert len(next_page) == 50
    assert client.rows < FEW


ROLLED_UP: dict[str, Callable[[ClickHouseQueryProvider, dict[str, Any]], Any]] = {
    "trace counts": lambda api, asked: api.get_trace_count_time_series(interval=3600, **asked),
    "error rates": lambda api, asked: api.get_error_rate_time_series(interval=3600, **asked),
    "throughput": lambda api, asked: api.throughput(interval=86_400, of="span", **asked),
    "latency": lambda api, asked: api.latency_time_series(interval=3600, of="span", **asked),
    "percentiles": lambda api, asked: api.latency_percentiles(group_by=["status"], **asked),
    "error rate": lambda api, asked: api.error_rate(of="span", group_by=["kind"], **asked),
    "log volume": lambda api, asked: api.log_volume(interval=3600, **asked),
    "metrics": lambda api, asked: api.metric_series(interval=3600, name="operation-1", percentiles=[0.5], **asked),
}


@pytest.mark.parametrize("name", ROLLED_UP)
def test_a_month_is_read_from_the_rollup(client: CountingClient, name: str) -> None:
    found = ROLLED_UP[name](provider(client), MONTH)
    assert found.source == "rollup"
    assert client.rows < CELLS
    (granules,) = client.granules()
    assert granules["PrimaryKey"][0] < granules_of_all(granules) / 4  # a project of twenty


@pytest.mark.parametrize("name", ROLLED_UP)
def test_a_month_that_ends_within_an_hour_reads_events_of_its_ends_only(client: CountingClient, name: str) -> None:
    found = ROLLED_UP[name](provider(client), PARTLY)
    assert found.source == "rollup+events"
    assert client.rows < FEW + CELLS


OF_A_PROJECT = ROWS // 20
FROM_EVENTS: dict[str, Callable[[ClickHouseQueryProvider], Any]] = {
    "percentiles by name": lambda api: api.latency_percentiles(of="span", group_by=["name"], **MONTH),
    "error rate by name": lambda api: api.error_rate(of="span", group_by=["name"], **MONTH),
    "log volume by text": lambda api: api.log_volume(interval=3600, message_contains="100% done", **MONTH),
    "metrics by label": lambda api: api.metric_series(interval=86_400, group_by_labels=["tier"], **MONTH),
    "metrics by minute": lambda api: api.metric_series(interval=600, name="operation-1", percentiles=[0.5], **MONTH),
}


@pytest.mark.parametrize("name", FROM_EVENTS)
def test_versions_are_compared_of_events_with_several_rows_only(client: CountingClient, name: str) -> None:
    found = FROM_EVENTS[name](provider(client))
    assert found.source == "events"
    # The hashes of the project's rows, and the rows; here no event has several.
    assert len(client.statements) == 2
    assert client.rows < 2.1 * OF_A_PROJECT
    assert not any("argMax" in sql for sql, _ in client.statements)


def test_few_events_by_an_attribute_are_found_in_one_look(client: CountingClient) -> None:
    page = provider(client).list_spans(attributes={"tokens": 30}, **MONTH)
    assert (len(page), page.total) == (50, ROWS // 4000)
    # where the first events are, and these, too few for a page; then all that match, their hashes, and the page's columns
    assert len(client.statements) == 5
    assert client.rows < 3 * OF_A_PROJECT
    assert sum("JSONExtract" in sql for sql, _ in client.statements) == 2


def test_the_slowest_are_found_in_one_look(client: CountingClient) -> None:
    assert len(provider(client).slowest_spans(10, **MONTH)) == 10
    assert len(client.statements) == 2  # these, and whether there are newer versions of them
    assert client.rows < 2 * OF_A_PROJECT
