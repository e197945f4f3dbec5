"""Pages in Python, over both transports: as sequences, one behind the other, and in their range of time."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import pyarrow as pa
import pytest

from beam_pipeline.query import BadArgument, ClickHouseQueryProvider, QueryError
from tests.support import query_events as events
from tests.support.query_events import NOON, trace
from transforms.clickhouse import ClickHouse

HOUR, WEEK, MS = timedelta(hours=1), timedelta(weeks=1), timedelta(milliseconds=1)


class Counting:
    """A client that counts what it is asked."""

    def __init__(self, client: ClickHouse) -> None:
        self.client = client
        self.asked = 0

    def query(self, *asked: Any) -> Any:
        self.asked += 1
        return self.client.query(*asked)


def ids(found: Any) -> list[str]:
    return [one.id for one in found]


@pytest.fixture
def seven(database: ClickHouse) -> list[str]:
    """The ids of seven traces, in the order of a list."""
    events.insert(database, "trace", [trace(str(place), NOON - place * MS) for place in range(7)])
    return [str(place) for place in range(7)]


def test_a_page_is_a_sequence_of_its_events(provider: ClickHouseQueryProvider, seven: list[str]) -> None:
    page = provider.list_traces(per_page=4)
    assert isinstance(page, Sequence) and len(page) == 4
    assert (page[0].id, page[-1].id, ids(page[1:3]), ids(reversed(page))) == ("0", "3", ["1", "2"], seven[3::-1])
    assert page[2] in page and page.index(page[2]) == 2
    with pytest.raises(IndexError):
        page[4]
    assert not provider.list_traces(name="none")


@pytest.mark.parametrize("start", [None, NOON - 5 * MS, timedelta.max])
@pytest.mark.parametrize("count", ["exact", "none"])
def test_all_events_are_iterated_over_page_by_page(
    provider: ClickHouseQueryProvider, seven: list[str], start: Any, count: Any
) -> None:
    wanted = seven[:6] if isinstance(start, datetime) else seven
    for per_page in (1, 3, 7, 100):
        first = provider.list_traces(per_page=per_page, start=start, count=count)
        assert ids(first.iter_events()) == wanted
        pages = list(first.iter_pages())
        assert pages[0] is first
        assert [ids(page) for page in pages] == [wanted[at : at + per_page] for at in range(0, len(wanted), per_page)]
        assert pages[-1].next_page() is None
    second = provider.list_traces(per_page=3, page=1)
    assert ids(second.iter_events()) == seven[3:]
    assert list(provider.list_traces(name="none").iter_events()) == []


def test_a_page_is_read_when_it_is_reached(database: ClickHouse, seven: list[str]) -> None:
    counting: Any = Counting(database)
    found = ClickHouseQueryProvider(counting).list_traces(per_page=3, count="none").iter_events()
    before = counting.asked
    assert ids(islice(found, 3)) == seven[:3] and counting.asked == before
    assert next(found).id == "3" and counting.asked > before
    events.insert(database, "trace", [trace("new", NOON + HOUR)])
    assert ids(found) == seven[4:]


def test_a_page_that_was_copied_has_its_events_but_no_provider(
    provider: ClickHouseQueryProvider, seven: list[str]
) -> None:
    page = provider.list_traces(per_page=3)
    for other in (pickle.loads(pickle.dumps(page)), copy.deepcopy(page)):
        assert other == page and other.to_arrow().num_rows == 3
        with pytest.raises(QueryError, match="a copy"):
            other.next_page()
    last = provider.list_traces(per_page=3, cursor=page.next_cursor).next_page()
    assert last is not None and pickle.loads(pickle.dumps(last)).next_page() is None


def test_a_cursor_goes_on_in_the_range_that_its_page_was_asked_for(
    database: ClickHouse, provider: ClickHouseQueryProvider
) -> None:
    now = datetime.now(timezone.utc).replace(microsecond=0)
    events.insert(database, "trace", [trace(f"{n}", now - n * WEEK) for n in range(1, 12)])
    first = provider.list_traces(per_page=2, start=5.5 * WEEK)
    expected = ["1", "2", "3", "4", "5"]
    assert (ids(first), first.total) == (expected[:2], 5)
    for given in ({}, {"start": 5.5 * WEEK}):
        found, cursor = ids(first), first.next_cursor
        while cursor is not None:
            page = provider.list_traces(per_page=2, cursor=cursor, **given)
            assert page.total == first.total
            found, cursor = [*found, *ids(page)], page.next_cursor
        assert found == expected
    with pytest.raises(BadArgument, match="start: 604800s must be 3326400s or left out"):
        provider.list_traces(per_page=2, cursor=first.next_cursor, start=WEEK)
    with pytest.raises(BadArgument, match="start: 2100-11-20T12:00:00"):
        provider.list_traces(per_page=2, cursor=first.next_cursor, start=NOON)
    with pytest.raises(BadArgument, match="must be the next_cursor of a page of the same list, with the same filters"):
        provider.list_traces(per_page=2, cursor=first.next_cursor, status="error")


def test_a_cursor_of_an_absolute_range_carries_it(provider: ClickHouseQueryProvider, seven: list[str]) -> None:
    between = {"start": NOON - 4 * MS, "end": NOON - MS}
    first = provider.list_traces(per_page=2, **between)
    for given in ({}, between, {"end": NOON - MS}):
        rest = provider.list_traces(per_page=5, cursor=first.next_cursor, **given)
        assert (ids(first), ids(rest), rest.total) == (["1", "2"], ["3", "4"], 4)


@pytest.mark.parametrize("event_type", events.MODELS)
def test_a_page_becomes_an_arrow_table(database: ClickHouse, event_type: str) -> None:
    """Of the stored types, and with all that the events have."""
    list_events = getattr(ClickHouseQueryProvider(database), f"list_{event_type}s")
    empty = list_events().to_arrow()
    own = {"trace_id": "t"} if event_type == "span" else {}
    events.insert(database, event_type, [events.row(event_type, id=name, **own) for name in ("a", "it's\n😀")])
    page = list_events()
    table = page.to_arrow()
    assert table.to_pylist() == [{field.name: getattr(event, field.name) for field in fields(event)} for event in page]
    assert table.schema == empty.schema and empty.num_rows == 0
    assert pa.concat_tables(one.to_arrow() for one in list_events(per_page=1).iter_pages()) == table
