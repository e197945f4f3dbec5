"""How a run ended: where its time went."""

from __future__ import annotations

import pytest

from beam_pipeline.commands.summary import profile
from beam_pipeline.results import ProcessingResult


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [
        ({"reading": 1.0, "parsing": 4.0, "waiting for inserts": 2.0}, "parsing"),
        ({"reading": 1.0, "parsing": 2.0, "waiting for inserts": 5.0}, "ClickHouse"),
        ({"reading": 6.0, "parsing": 2.0, "waiting for inserts": 1.0}, "reading"),
        ({"reading": 0.1, "parsing": 0.2, "waiting for inserts": 0.1}, "starting and ending"),
    ],
)
def test_it_names_what_nothing_else_was_done_beside(seconds: dict[str, float], bound: str) -> None:
    result = ProcessingResult(duration_ms=10_000, seconds=seconds | {"inserting": 9.0, "load log": 9.5})
    told = profile(result)
    assert told.endswith(f"; bound by {bound}")
    rest = 10 - sum(seconds.values())
    assert f"everything else {rest:.2f} s; beside it: inserting 9.00 s, load log 9.50 s" in told


def test_a_run_that_did_nothing_was_starting_and_ending() -> None:
    assert profile(ProcessingResult(duration_ms=20)).endswith("bound by starting and ending")
