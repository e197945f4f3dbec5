"""Which indexes queries use, and how many rows they read, on a table of a hundred thousand rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from beam_pipeline.query import ClickHouseQueryProvider
from tests.support import query_events as events
from tests.support.query_reads import CountingClient
from transforms.clickhouse import ClickHouse

ROWS = 100_000
GRANULE = 8192
PROJECTS = 5
SPAN_COLUMNS = "span_id, trace_id, name, kind, start_time, recorded_at, project_id, ingested_at"
TRACE_COLUMNS = "trace_id, name, status, start_time, recorded_at, project_id, ingested_at"
IDS = "lower(hex(sipHash128(number))) AS id"
OF_ALL = (
    "toDateTime64('2100-11-20 00:00:00', 3, 'UTC') + number AS at, at AS recorded_at, "
    f"concat('p', toString(intDiv(number, {ROWS // PROJECTS}))) AS project_id, at AS ingested_at"
)


@pytest.fixture(scope="module")
def client(embedded_admin: ClickHouse) -> Iterator[CountingClient]:
    """A second for each row: 28 hours; a fifth of them for each of five projects, ten spans a trace."""
    with events.migrated_database(embedded_admin) as client:
        for table, columns, values in (
            ("traces", TRACE_COLUMNS, f"{IDS}, 'n', 'ok', {OF_ALL}"),
            ("spans", SPAN_COLUMNS, f"{IDS}, lower(hex(sipHash128(intDiv(number, 10)))), 'n', 'server', {OF_ALL}"),
        ):
            client.command(f"INSERT INTO mastra_admin_{table} ({columns}) SELECT {values} FROM numbers({ROWS})")
            client.command(f"OPTIMIZE TABLE mastra_admin_{table} FINAL")
        yield CountingClient(client)


def an_id(client: CountingClient, number: int) -> str:
    return str(client.client.query(f"SELECT lower(hex(sipHash128(toUInt64({number})))) AS id")[0]["id"])


def granules(client: CountingClient, sql: str, **parameters: object) -> dict[str, tuple[int, int]]:
    """By index: how many granules it has left of how many."""
    lines = [row["explain"].strip() for row in client.client.query(f"EXPLAIN indexes = 1 {sql}", parameters)]
    found, name = {}, ""
    for line in lines:
        if line in ("PrimaryKey", "Min-Max", "Partition") or line.startswith("Name: "):
            name = line.removeprefix("Name: ")
        match = re.fullmatch(r"Granules: (\d+)/(\d+)", line)
        if match:
            found[name] = (int(match[1]), int(match[2]))
    return found


def provider(client: CountingClient) -> ClickHouseQueryProvider:
    stand_in: object = client
    client.reset()
    return ClickHouseQueryProvider(stand_in)  # type: ignore[arg-type]


def test_a_trace_is_found_by_the_index_on_its_id(client: CountingClient) -> None:
    trace_id = an_id(client, 4321)
    found = granules(client, "SELECT * FROM mastra_admin_traces WHERE trace_id = {id:String}", id=trace_id)
    left, of = found["trace_id_bloom"]
    assert left < of / 4
    assert provider(client).get_trace(trace_id).project_id == "p0"
    assert client.rows <= left * GRANULE


def test_spans_are_found_by_the_primary_key_and_the_index_on_the_trace(client: CountingClient) -> None:
    trace_id = an_id(client, 4321)
    assert len(provider(client).get_spans_for_trace(trace_id, project_id="p2")) == 10
    assert client.rows <= 2 * GRANULE
    assert len(provider(client).get_spans_for_trace(trace_id)) == 10
    assert client.rows <= 4 * GRANULE


def test_a_page_reads_what_is_of_its_project_and_hour(client: CountingClient) -> None:
    start = events.NOON.replace(hour=6)
    hour = {"project_id": "p1", "start": start, "end": start + timedelta(hours=1, milliseconds=-1)}
    page = provider(client).list_traces(count="none", **hour)
    assert len(page) == 50 and page.has_more
    assert client.queries == 2  # the rows, and whether there are newer versions of them
    assert client.rows <= ROWS * 0.6
    ours = client.rows
    client.reset()
    client.query(
        "SELECT * FROM mastra_admin_traces WHERE project_id = {p:String} AND start_time >= '2100-11-20 06:00:00' "
        "AND start_time < '2100-11-20 07:00:00' ORDER BY start_time DESC LIMIT 51",
        {"p": "p1"},
    )
    assert client.rows <= 4 * GRANULE  # two granules, once for the order and once for the other columns
    assert ours <= client.rows + ROWS / PROJECTS + 3 * GRANULE


def test_the_latest_page_does_not_read_its_projects_whole_past(client: CountingClient) -> None:
    assert len(provider(client).list_traces(project_id="p4", per_page=10, count="none")) == 10
    assert client.queries == 3
    assert client.rows < ROWS * 0.6


def test_a_series_from_the_rollup_reads_cells_not_events(client: CountingClient) -> None:
    series = provider(client).get_error_rate_time_series(interval=3600, project_id="p2")
    assert (series.source, sum(bucket.count for bucket in series.buckets)) == ("rollup", ROWS // PROJECTS)
    assert client.rows < 100
