"""What queries say of single cases, over both transports: versions, times, pages."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from beam_pipeline.query import BadArgument, ClickHouseQueryProvider, NotFound
from beam_pipeline.query.lists import sparse, versions
from tests.support import query_events as events
from tests.support.query_events import LOADED, NOON, trace
from transforms.clickhouse import ClickHouse

HOUR, MS = timedelta(hours=1), timedelta(milliseconds=1)


def span(identity: str, trace_id: str, **fields: Any) -> events.Delivery:
    return events.row("span", id=identity, trace_id=trace_id, **fields)


def ids(found: Any) -> list[str]:
    return [one.id for one in found]


def test_a_trace_is_its_newest_version(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    older, newer = (
        trace("t", version=1, status="unset"),
        trace("t", NOON + 3 * HOUR, 2, status="ok", deployment_id="d2"),
    )
    events.insert(database, "trace", [newer])
    events.insert(database, "trace", [older])
    assert provider.get_trace("t").status == "ok"
    assert provider.list_traces(status="unset").items == []
    assert provider.list_traces(end=NOON).total == 0
    assert ids(provider.list_traces(deployment_id="d2")) == ["t"]


def test_a_version_far_outside_of_a_range_is_not_looked_for(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    events.insert(database, "trace", [trace("t", version=1), trace("t", NOON + 30 * HOUR, 2)])
    older = provider.list_traces(start=NOON, end=NOON + HOUR)
    assert (ids(older), older.total) == (["t"], 1)
    for moved in (29 * HOUR, timedelta.max):
        farther = ClickHouseQueryProvider(database, moved=moved)
        newer = farther.list_traces(start=NOON, end=NOON + HOUR)
        assert (newer.items, newer.total) == ([], 0)
        assert farther.latency_percentiles(start=NOON, end=NOON + HOUR, source="events").groups[0].count == 0
    assert ids(provider.list_traces(start=NOON)) == ["t"]


def test_what_is_not_there_is_not_found(provider: ClickHouseQueryProvider) -> None:
    with pytest.raises(NotFound, match="'absent'"):
        provider.get_trace("absent")
    with pytest.raises(NotFound, match="'absent'"):
        provider.get_span_tree("absent")
    assert provider.get_spans_for_trace("absent") == []


def test_an_id_in_several_projects_needs_a_project(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    events.insert(database, "trace", [trace("t", project_id="a"), trace("t", project_id="b")])
    events.insert(database, "span", [span("s", "t", project_id="a"), span("s", "t", project_id="b")])
    with pytest.raises(BadArgument, match="project_id: None must be one of 'a', 'b'"):
        provider.get_trace("t")
    with pytest.raises(BadArgument, match="project_id"):
        provider.get_span_tree("t")
    assert provider.get_trace("t", project_id="b").project_id == "b"
    assert len(provider.get_span_tree("t", project_id="b")) == 1
    assert [one.project_id for one in provider.list_traces()] == ["a", "b"]


def test_spans_are_told_apart_within_their_trace(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    events.insert(
        database,
        "span",
        [span("1", "a"), span("1", "b", ingested_at=LOADED + MS), span("2", "a", start_time=NOON - HOUR)],
    )
    events.insert(
        database, "span", [span("2", "a", start_time=NOON + HOUR, parent_span_id="1", ingested_at=LOADED + MS)]
    )
    assert ids(provider.get_spans_for_trace("a")) == ["1", "2"]
    assert [(node.span.id, node.depth) for node in provider.get_span_tree("a").walk()] == [("1", 0), ("2", 1)]
    assert ids(provider.list_spans(span_id="1")) == ["1", "1"]


def test_the_later_line_of_an_insert_is_newer(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    rows = [trace("t", status=status) for status in ("unset", "error", "ok")]
    events.insert(database, "trace", [*rows[:1], *(trace(f"other {n}") for n in range(9)), *rows[1:]])
    events.insert(database, "trace", [trace("t", NOON - n * HOUR, -1, status="error") for n in range(3)])
    assert [one.status for one in provider.list_traces(trace_id="t")] == ["ok"]
    assert provider.list_traces(trace_id="t", status="error").total == 0
    assert provider.get_trace("t").status == "ok"
    database.command("OPTIMIZE TABLE mastra_admin_traces FINAL")
    assert provider.get_trace("t").status == "ok"  # a merge has kept the same


def test_a_version_of_the_same_time_behind_a_pages_edge_is_not_missed(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    for version, deployment in ((0, "a"), (3, "c"), (1, "b"), (2, "d")):
        events.insert(database, "trace", [trace("t", NOON, version, deployment_id=deployment)])
    events.insert(database, "trace", [trace("s", NOON + MS), trace("u", NOON - MS)])
    for per_page in (1, 2, 3):
        pages = [provider.list_traces(per_page=per_page, page=page) for page in range(3)]
        assert [(one.id, one.deployment_id) for page in pages for one in page] == [("s", ""), ("t", "c"), ("u", "")]


@pytest.mark.parametrize(("event_type", "field"), [("trace", "status"), ("span", "status"), ("log", "level")])
def test_an_event_that_shares_its_project_with_one_and_its_id_with_another_is_listed_once(
    database: ClickHouse, provider: ClickHouseQueryProvider, event_type: str, field: str
) -> None:
    def versions(project: str, identity: str, *values: str) -> list[events.Delivery]:
        own = {"id": identity, "project_id": project} | ({"trace_id": "t"} if event_type == "span" else {})
        return [
            events.row(event_type, **own, deployment_id=f"{n}", ingested_at=LOADED + n * MS, **{field: value})
            for n, value in enumerate(values)
        ]

    better = "debug" if field == "level" else "ok"
    # The newest versions of (a, 1) and (b, 2) are to be looked up; (a, 2) is not, and has both of its own in the page.
    for rows in (
        versions("a", "1", "error", better),
        versions("b", "2", "error", better),
        versions("a", "2", "error", "error"),
    ):
        events.insert(database, event_type, rows)
    list_events = getattr(provider, f"list_{event_type}s")
    for count in ("exact", "none"):
        page = list_events(**{field: "error"}, count=count)
        assert [(one.project_id, one.id, one.deployment_id) for one in page] == [("a", "2", "1")]
        assert page.total == (1 if count == "exact" else None)


def test_latest_events_are_found_in_any_part_of_a_long_range(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    rows = [
        trace(f"{place:03}", NOON - place * place * HOUR, name="rare" if place > 60 else "n") for place in range(70)
    ]
    events.insert(database, "trace", rows)
    events.insert(database, "trace", [trace("069", NOON + HOUR, 1)])
    assert ids(provider.list_traces(per_page=3)) == ["069", "000", "001"]
    assert ids(provider.list_traces(per_page=3, name="rare")) == ["061", "062", "063"]
    everything = [row["id"] for row in rows]
    assert ids(provider.list_traces(per_page=5, page=2)) == ["069", *everything][10:15]
    database.command("TRUNCATE TABLE mastra_admin_traces_hourly")
    assert ids(provider.list_traces(per_page=100)) == ["069", *everything[:-1]]


def few_of_many(database: ClickHouse) -> None:
    """Six slow traces, far from each other, among many others; the hourly rollup does not tell where they are.

    What is not the newest version has another sorting key, so that no merge drops it before it is looked at.
    """
    events.insert(database, "trace", [trace(f"{place:03}", NOON - place * HOUR) for place in range(200)])
    slow = [trace(f"e{place}", NOON - (50 * place + 20) * HOUR, duration_ms=9) for place in range(4)]
    twins = [trace(f"e{place}", slow[2]["start_time"], duration_ms=9) for place in (9, 8)]
    events.insert(database, "trace", [*slow, *twins])
    events.insert(database, "trace", slow[1:3])  # delivered again
    again = trace("e3", slow[3]["start_time"], 1, duration_ms=9, name="again", deployment_id="other")
    events.insert(database, "trace", [again])
    was_slow = trace("w", NOON - 33 * HOUR, duration_ms=9)
    events.insert(database, "trace", [was_slow])
    events.insert(database, "trace", [trace("w", was_slow["start_time"], 1, deployment_id="other")])


FEW = ["e0", "e1", "e2", "e8", "e9", "e3"]


@pytest.mark.parametrize("scattered", [0, 20])
def test_few_events_of_a_long_range_are_found_wherever_they_are(
    database: ClickHouse, provider: ClickHouseQueryProvider, monkeypatch: pytest.MonkeyPatch, scattered: int
) -> None:
    monkeypatch.setattr(sparse, "_SCATTERED", scattered)  # 0: their versions are found by hashes, not by ids
    monkeypatch.setattr(versions, "_MAX_HASHES", 4)
    few_of_many(database)
    everything = provider.list_traces(min_duration_ms=9, per_page=10)
    assert (ids(everything), everything.total, everything.has_more) == (FEW, 6, False)
    assert everything.items[-1].name == "again"
    for per_page in (1, 2, 4, 6):
        found, cursor = [], None
        for number in range(-(-len(FEW) // per_page)):
            page = provider.list_traces(min_duration_ms=9, per_page=per_page, cursor=cursor)
            assert page.items == provider.list_traces(min_duration_ms=9, per_page=per_page, page=number).items
            assert page.total == 6
            found += ids(page)
            cursor = page.next_cursor
        assert (found, cursor) == (FEW, None)
    assert provider.list_traces(min_duration_ms=9, per_page=2, page=3).items == []
    assert provider.list_traces(name="none at all", end=NOON + HOUR).total == 0


def test_a_row_that_goes_between_two_looks_is_not_listed(database: ClickHouse) -> None:
    class Deleting:
        """Deletes a row once it is known where it is, before it is read."""

        deleted = False

        def query(self, sql: str, *asked: Any) -> Any:
            if "_key_0" in sql and "among_0" in sql and "_row" not in sql and not self.deleted:
                database.command(
                    "ALTER TABLE mastra_admin_traces DELETE WHERE trace_id = 'e2' SETTINGS mutations_sync = 2"
                )
                self.deleted = True
            return database.query(sql, *asked)

    few_of_many(database)
    deleting: Any = Deleting()
    page = ClickHouseQueryProvider(deleting).list_traces(min_duration_ms=9)
    assert deleting.deleted
    assert (ids(page), page.total) == ([name for name in FEW if name != "e2"], 5)


def test_rows_that_differ_in_nothing_are_one_event(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    for _ in range(3):
        events.insert(database, "log", [events.row("log", id="a"), events.row("log", id="b")])
    assert ids(provider.list_logs()) == ["a", "b"]
    assert ids(provider.list_logs(per_page=1, page=1)) == ["b"]
    assert provider.list_logs().total == 2
    assert provider.log_volume(interval=60, source="events", start=NOON, end=NOON).series[0].buckets[0].count == 2


def test_both_ends_of_a_range_belong_to_it(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    events.insert(database, "trace", [trace(str(place), NOON + place * MS) for place in range(5)])
    assert ids(provider.list_traces(start=NOON + MS, end=NOON + 3 * MS)) == ["3", "2", "1"]
    inside = timedelta(microseconds=500)
    assert ids(provider.list_traces(start=NOON + inside, end=NOON + 3 * MS + inside)) == ["3", "2", "1"]
    east = timezone(timedelta(hours=5, minutes=30))
    assert ids(provider.list_traces(start=(NOON + 4 * MS).astimezone(east))) == ["4"]
    assert provider.list_traces(start=datetime.min.replace(tzinfo=timezone.utc)).total == 5
    assert provider.list_traces(end=datetime.max.replace(tzinfo=timezone.utc)).total == 5
    assert provider.list_traces(start=datetime.max.replace(tzinfo=timezone.utc)).total == 0


def test_times_before_1970_and_after_2106(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    times = [
        datetime(1900, 1, 1, tzinfo=timezone.utc),
        datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=timezone.utc),
    ]
    times += [datetime(2299, 12, 31, 23, 59, 59, 999_000, tzinfo=timezone.utc)]
    events.insert(database, "trace", [trace(str(place), at, end_time=at) for place, at in enumerate(times)])
    assert [(one.start_time, one.end_time) for one in provider.list_traces()] == [(at, at) for at in reversed(times)]
    for source in ("events", "rollup"):
        year = provider.get_trace_count_time_series(interval=timedelta(days=365), source=source)
        assert sum(bucket.count for bucket in year.buckets) == 3
        hour = {"start": times[1] - HOUR + MS, "end": times[1]}
        assert [
            one.count for one in provider.get_trace_count_time_series(interval=HOUR, source=source, **hour).buckets
        ] == [1]


def test_pages_by_cursor_stay_as_rows_arrive(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    there = [trace(f"{place:03}", NOON + (place % 7) * MS) for place in range(60)]
    events.insert(database, "trace", there)
    found, cursor, arrived = [], None, 0
    while True:
        page = provider.list_traces(per_page=7, cursor=cursor, count="none")
        found += page.items
        events.insert(database, "trace", [trace(f"new{arrived}-{place}", NOON + place * HOUR) for place in range(5)])
        events.insert(database, "trace", there[arrived::9])  # delivered again
        arrived += 1
        cursor = page.next_cursor
        if not page.has_more:
            break
    old = [one.id for one in found if not one.id.startswith("new")]
    expected = sorted(there, key=lambda row: (-row["start_time"].timestamp(), row["id"]))
    assert old == [row["id"] for row in expected]
    assert len({one.id for one in found}) == len(found)


def test_rows_that_are_merged_between_two_looks_are_listed_once(database: ClickHouse) -> None:
    class Merging:
        """Merges the table after each query."""

        def query(self, *asked: Any) -> Any:
            rows = database.query(*asked)
            database.command("OPTIMIZE TABLE mastra_admin_traces FINAL")
            return rows

    for version in range(2):
        events.insert(database, "trace", [trace(f"{place}", NOON, version) for place in range(3)])
    merging: Any = Merging()
    for per_page in (1, 3):
        found = ClickHouseQueryProvider(merging).list_traces(per_page=per_page, count="none")
        assert ids(found) == ["0", "1", "2"][:per_page]
        assert [one.ingested_at for one in found.items] == [LOADED + MS] * per_page


def test_a_row_that_is_merged_away_before_the_events_are_counted_is_not_listed(database: ClickHouse) -> None:
    class MergingFirst:
        """Merges the table after the page is read, and counts only then."""

        merged = threading.Event()

        def query(self, sql: str, *asked: Any) -> Any:
            if "_mixed" in sql:
                assert self.merged.wait(30)
            rows = database.query(sql, *asked)
            if not self.merged.is_set():
                database.command("OPTIMIZE TABLE mastra_admin_traces FINAL")
                self.merged.set()
            return rows

    events.insert(database, "trace", [trace("t", status="error")])
    events.insert(database, "trace", [trace("t", version=1, status="ok")])
    merging: Any = MergingFirst()
    page = ClickHouseQueryProvider(merging).list_traces(status="error", start=NOON, end=NOON + HOUR)
    assert (page.items, page.total) == ([], 0)


def test_many_versions_and_deep_pages(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    identities = [f"{place:04}-{'x' * 60}" for place in range(1300)]
    for version in range(3):
        rows = [trace(name, NOON + version * HOUR, version) for name in identities]
        events.insert(database, "trace", rows)
    page = provider.list_traces(per_page=1000)
    assert (len(page), page.total, page.has_more) == (1000, 1300, True)
    assert ids(page) == identities[:1000]
    assert ids(provider.list_traces(per_page=100, page=12)) == identities[1200:]
    assert provider.list_traces(per_page=100, page=13).items == []
    assert ids(provider.list_traces(per_page=1000, cursor=page.next_cursor)) == identities[1000:]
    assert ids(provider.slowest_traces(3)) == identities[:3]
    # Each event has versions that are in these ranges, and others.
    assert provider.list_traces(end=NOON).total == 0
    latest = provider.list_traces(start=NOON + 2 * HOUR, per_page=1000)
    assert (ids(latest), latest.total) == (identities[:1000], 1300)


def test_many_newer_versions_that_do_not_meet_the_filters(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    identities = [f"{place:04}-{'x' * 60}" for place in range(1300)]
    events.insert(database, "trace", [trace(name, status="error") for name in identities])
    events.insert(database, "trace", [trace(name, version=1, deployment_id="other") for name in identities[:-1]])
    for count in ("exact", "none"):
        page = provider.list_traces(status="error", per_page=1000, start=NOON, count=count)
        assert ids(page) == identities[-1:]
    assert provider.list_traces(status="error", start=NOON, page=1, per_page=1000).items == []
    assert provider.list_traces(status="error", start=NOON, per_page=1).total == 1


def test_many_events_of_one_time_are_listed_in_order(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    identities = [f"{place:03}" for place in range(60)]
    rows = [trace(name, NOON) for name in identities]
    events.insert(database, "trace", [*rows[1::2], trace("after", NOON + MS), trace("before", NOON - MS)])
    events.insert(database, "trace", rows[::2])
    events.insert(database, "trace", [{**row, "ingested_at": LOADED + MS, "name": "again"} for row in rows[::7]])
    expected = ["after", *identities, "before"]
    for per_page in (1, 7, 20):
        found, cursor = [], None
        for number in range(-(-len(expected) // per_page)):
            page = provider.list_traces(per_page=per_page, cursor=cursor, count="none")
            assert page.items == provider.list_traces(per_page=per_page, page=number).items
            found += page.items
            cursor = page.next_cursor
        assert (ids(found), cursor) == (expected, None)
        assert {one.id for one in found if one.name == "again"} == set(identities[::7])


def test_a_version_that_comes_between_page_and_count_does_not_list_its_event_twice(database: ClickHouse) -> None:
    class Updating:
        """Delivers an event again, at another time, once the page is read, and counts only then."""

        updated = threading.Event()

        def query(self, sql: str, *asked: Any) -> Any:
            if "event_hash" in sql and "_key_0" not in sql and "LIMIT" not in sql:
                assert self.updated.wait(30)
            rows = database.query(sql, *asked)
            if "_key_0" in sql and not self.updated.is_set():
                events.insert(database, "trace", [trace("t", NOON - MS, 1, deployment_id="other")])
                self.updated.set()
            return rows

    events.insert(database, "trace", [trace("s", NOON + MS), trace("t", NOON)])
    updating: Any = Updating()
    provider = ClickHouseQueryProvider(updating)
    page = provider.list_traces(project_id="p1", start=NOON - HOUR, end=NOON + HOUR, per_page=3)
    assert updating.updated.is_set()
    assert (ids(page), page.total) == (["s"], 1)  # the newest row of t is in another place than the one that was read
    page = provider.list_traces(project_id="p1", start=NOON - HOUR, end=NOON + HOUR, per_page=3)
    assert ([(one.id, one.deployment_id) for one in page], page.total) == ([("s", ""), ("t", "other")], 2)


def test_json_is_parsed_and_its_text_is_kept(database: ClickHouse, provider: ClickHouseQueryProvider) -> None:
    texts = {"input_json": '{"a":  1}', "output_json": "", "metadata_json": "not JSON"}
    events.insert(database, "trace", [trace("t", **texts)])
    found = provider.get_trace("t")
    assert (found.input, found.output, found.metadata) == ({"a": 1}, None, "not JSON")
    assert (found.input_json, found.metadata_json) == ('{"a":  1}', "not JSON")
