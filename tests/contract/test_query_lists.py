"""Lists in the engine, over both transports, against what Python says of the same deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_pipeline.query.lists import sparse
from beam_pipeline.query.provider import ClickHouseQueryProvider
from tests.support import query_events as events
from transforms.clickhouse import ClickHouse
from transforms.events import EVENT_TYPES

LISTS = 4
"""How many lists are read of the same deliveries."""
few = settings(
    max_examples=6,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", params=["embedded_admin", "server_admin"])
def database(request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """Migrated once; each example empties the table that it is about."""
    with events.migrated_database(request.getfixturevalue(request.param)) as client:
        yield client


@pytest.mark.parametrize("crowded", [False, True], ids=["varied", "crowded"])
@pytest.mark.parametrize("event_type", EVENT_TYPES)
@few
@given(data=st.data())
def test_pages_have_each_event_once_in_its_newest_version_if_that_meets_the_filters(
    database: ClickHouse, event_type: str, crowded: bool, data: st.DataObject
) -> None:
    rows = data.draw(events.crowded_deliveries(event_type) if crowded else events.deliveries(event_type))
    events.empty(database, event_type)
    half = len(rows) // 4 * 2  # what has one `ingested_at` comes in one insert
    events.insert(database, event_type, rows[:half])
    events.insert(database, event_type, rows[half:])
    for _ in range(LISTS):
        filters = data.draw(events.crowded_filters(event_type) if crowded else events.filters(event_type))
        moved = data.draw(st.sampled_from((timedelta(), timedelta(hours=1), events.MOVED, timedelta.max)))
        first = data.draw(st.sampled_from(("newest", "oldest")))
        provider = ClickHouseQueryProvider(database, moved=moved)
        list_events = partial(getattr(provider, f"list_{event_type}s"), order=first)
        check_pages(list_events, filters, events.listed(event_type, rows, filters, moved, first), data)


def check_pages(list_events: Any, filters: events.Filters, expected: list[Any], data: st.DataObject) -> None:
    """Goes through all pages of a list, to each by its number or by the cursor of the one before."""
    per_page = data.draw(st.sampled_from((1, 3, 5, 50, 50, 50)))
    # How many rows are few decides how events are looked for.
    few_rows = data.draw(st.sampled_from((0, 2, sparse.MAX_FOUND)))
    cursor: str | None = None
    for number in range(max(-(-len(expected) // per_page), 1)):
        count = data.draw(st.sampled_from(("exact", "none")))
        place = data.draw(st.sampled_from(({"page": number}, {"cursor": cursor})))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sparse, "MAX_FOUND", few_rows)
            page = list_events(per_page=per_page, count=count, **place, **filters)
        assert page.items == expected[number * per_page :][:per_page]
        assert page.total == (len(expected) if count == "exact" else None)
        assert page.has_more == (len(expected) > (number + 1) * per_page) == (page.next_cursor is not None)
        cursor = page.next_cursor
