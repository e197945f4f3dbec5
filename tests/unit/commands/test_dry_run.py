"""What a dry run counts, whatever it comes across."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from beam_pipeline.commands.dry_run import Pending
from transforms.events import EVENT_TYPES
from transforms.storage import PendingFile

DAY_MS = 86_400_000
FILES = st.lists(
    st.builds(
        lambda day, event_type, size, number: file(day, event_type, size, number),
        st.integers(-700_000, 2_900_000),
        st.sampled_from(EVENT_TYPES),
        st.integers(0, 1 << 40),
        st.integers(0, 5),
    )
)


def file(day: int, event_type: str, size: int, number: int = 0) -> PendingFile:
    timestamp_ms = day * DAY_MS + number
    return PendingFile(timestamp_ms, f"{event_type}/p/{number}.jsonl", event_type, "p", size, timestamp_ms, "etag")


@given(FILES, st.integers(1, 10))
def test_every_file_counts_once_by_day_type_and_month_and_the_oldest_are_named(
    files: list[PendingFile], listed: int
) -> None:
    def coming() -> Iterator[PendingFile]:
        yield from files

    found = Pending.of(coming(), listed)
    months = found.by_span(7)
    for counts in (found, months):
        assert counts.total == len(files)
        assert counts.bytes.total() == sum(each.size for each in files)
    for event_type, (count, size) in found.by_type().items():
        of_type = [each for each in files if each.event_type == event_type]
        assert (count, size) == (len(of_type), sum(each.size for each in of_type))
    assert found.oldest == sorted(files)[:listed]


def test_days_are_those_of_utc_and_sort_by_time() -> None:
    days = [0, 20_000, -700_000]
    assert sorted(day for day, _ in Pending.of(file(day, "log", 1) for day in days).files) == [
        "0053-06-19",
        "1970-01-01",
        "2024-10-04",
    ]
