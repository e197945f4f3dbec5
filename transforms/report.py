"""What went wrong, by name: logged where it happens, and kept in this process for the summary of a local run."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

_logger = logging.getLogger("beam_pipeline")
_lock = threading.Lock()
_failures: dict[str, str] = {}


@dataclass(frozen=True, slots=True, order=True)
class Failure:
    """A file, directory or load that is left for a later run, and why."""

    name: str
    reason: str


def fail(name: str, reason: str) -> None:
    """Notes that something failed; the last reason for a name counts."""
    _logger.warning("%s: %s", name, reason)
    with _lock:
        _failures[name] = reason


def failures() -> list[Failure]:
    """What failed in this process since `clear`, by name."""
    with _lock:
        return sorted(Failure(name, reason) for name, reason in _failures.items())


def clear() -> None:
    with _lock:
        _failures.clear()
