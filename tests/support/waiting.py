"""Waiting for something that another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(happened: Callable[[], bool], *, timeout_s: float = 120) -> None:
    """Returns once something is so. Fails after a time that no machine should need, however busy it is."""
    end = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end, f"it did not come to that in {timeout_s} s"
        time.sleep(0.01)
