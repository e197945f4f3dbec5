"""Lists in the engine, over both transports, against what Python says of the same deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_pipeline.query import sparse
from beam_pipeline.query.provider import ClickHouseQueryProvider
from tests.support import query_events as events
from transforms.clickhouse import ClickHouse
from transforms.events import EVENT_TYPES

few = settings(
    max_examples=10,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", params=["embedded_admin", "server_admin"])
def database(request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """Migrated once; each example empties the table that it is about."""
    with events.migrated_database(request.getfixturevalue(request.param)) as client:
        yield client


def lister(provider: ClickHouseQueryProvider, event_type: str) -> Any:
    return getattr(provider, f"list_{event_type}s")


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@few
@given(data=st.data())
def test_a_list_has_each_event_in_its_newest_version_if_that_meets_the_filters(
    database: ClickHouse, event_type: str, data: st.DataObject
) -> None:
    rows = data.draw(events.deliveries(event_type))
    filters = data.draw(events.filters(event_type))
    per_page = data.draw(st.integers(1, 5))
    events.empty(database, event_type)
    half = len(rows) // 2
    events.insert(database, event_type, rows[:half])
    events.insert(database, event_type, rows[half:])
    moved = data.draw(st.sampled_from((timedelta(), timedelta(hours=1), events.MOVED, timedelta.max)))
    first = data.draw(st.sampled_from(("newest", "oldest")))
    expected = events.listed(event_type, rows, filters, moved, first)
    list_events = partial(lister(ClickHouseQueryProvider(database, moved=moved), event_type), order=first)
    # How many rows are few decides how events are looked for.
    few_rows = data.draw(st.sampled_from((0, 2, sparse.MAX_FOUND)))

    found, number, cursor = [], 0, None
    while True:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sparse, "MAX_FOUND", few_rows)
            page = list_events(page=number, per_page=per_page, **filters)
        by_number = list_events(page=number, per_page=per_page, count="none", **filters)
        assert (by_number.items, by_number.next_cursor) == (page.items, page.next_cursor)
        by_cursor = list_events(cursor=cursor, per_page=per_page, count="none", **filters)
        assert (page.items, page.has_more, page.next_cursor) == (
            by_cursor.items,
            by_cursor.has_more,
            by_cursor.next_cursor,
        )
        assert (page.total, by_cursor.total, page.page) == (len(expected), None, number)
        found += page.items
        if not page.has_more:
            break
        number, cursor = number + 1, page.next_cursor
    assert found == expected
