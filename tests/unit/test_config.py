from __future__ import annotations

import pytest

from transforms.config import month_of
from transforms.storage import FIRST_MS, LAST_MS


@pytest.mark.parametrize(
    ("epoch_ms", "month"),
    [(0, "197001"), (-1, "196912"), (1_795_176_000_000, "202611"), (FIRST_MS, "000101"), (LAST_MS, "999912")],
)
def test_the_month_of_any_time_that_a_file_may_have(epoch_ms: int, month: str) -> None:
    assert month_of(epoch_ms) == month
