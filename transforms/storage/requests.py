"""How many requests this process has sent to object stores, by kind: what a provider charges for."""

from __future__ import annotations

import threading
from collections import Counter

LIST, HEAD, GET, PUT, COPY, DELETE = KINDS = ("LIST", "HEAD", "GET", "PUT", "COPY", "DELETE")
"""HEAD is any look at one object without its bytes, COPY any copy or move by the store itself. Retries count, too."""

_lock = threading.Lock()
_counts: Counter[str] = Counter()


def count(kind: str) -> None:
    """Notes one request that is sent."""
    with _lock:
        _counts[kind] += 1


def counts() -> dict[str, int]:
    """Requests since the process began or `clear` was called, by kind; kinds without any are left out."""
    with _lock:
        return {kind: _counts[kind] for kind in KINDS if _counts[kind]}


def clear() -> None:
    """Begins to count anew."""
    with _lock:
        _counts.clear()
