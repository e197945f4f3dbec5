"""What the journal says without a server. See tests/contract/test_journal.py for the rest."""

from __future__ import annotations

from transforms.loads.journal import wait_ms


def test_a_load_that_fails_again_and_again_waits_longer_each_time() -> None:
    """But not at first: most failures are over by the third attempt."""
    assert [wait_ms(attempt) for attempt in range(1, 9)] == [0, 0, *(30_000 * 2**n for n in range(6))]
    assert [wait_ms(attempt) for attempt in (10, 100, 1000)] == [3_600_000] * 3
