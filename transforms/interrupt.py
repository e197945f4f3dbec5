"""Asks the stages of this process to finish the loads in hand and to start no new ones."""

from __future__ import annotations

import threading

requested = threading.Event()
"""Asks all runs of the process, as SIGINT and SIGTERM do."""

_runs: set[str] = set()


def request_of(run_id: str) -> None:
    """Asks one run."""
    _runs.add(run_id)


def is_requested(run_id: str) -> bool:
    """Whether this run is asked to stop."""
    return requested.is_set() or run_id in _runs


def forget(run_id: str) -> None:
    """A run has ended."""
    _runs.discard(run_id)
