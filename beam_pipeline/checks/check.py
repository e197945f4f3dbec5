"""One thing that a run needs, and whether it is so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Outcome(str, Enum):
    """How a check ended. The value is what is printed."""

    OK = "ok"
    WARNING = "warning"
    """A run would work, but somebody should know this."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """It could not be tried, for the reason that is told."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was tried, how it ended, what was found, and what to do when it is not as it should be."""

    name: str
    outcome: Outcome
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Check:
    return Check(name, Outcome.OK, found)


def warning(name: str, found: str, advice: str = "") -> Check:
    return Check(name, Outcome.WARNING, found, advice)


def failed(name: str, found: str, advice: str = "") -> Check:
    return Check(name, Outcome.FAILED, found, advice)


def skipped(name: str, found: str) -> Check:
    return Check(name, Outcome.SKIPPED, found)
