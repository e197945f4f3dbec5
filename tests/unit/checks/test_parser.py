"""Which parser a run has is told, and the slower one is no failure."""

from __future__ import annotations

import pytest

from beam_pipeline.checks.check import Outcome
from beam_pipeline.checks.parser import check_parser
from tests.support.compiled_parser import require_compiled
from transforms.events import compiled


def test_the_compiled_parser_is_told() -> None:
    require_compiled()
    found = check_parser()
    assert (found.outcome, found.found) == (Outcome.OK, "lines are parsed in Rust")


def test_without_it_there_is_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_line_parser", None)
    found = check_parser()
    assert found.outcome is Outcome.WARNING and "in Python" in found.found and "Rust 1.88" in found.advice
