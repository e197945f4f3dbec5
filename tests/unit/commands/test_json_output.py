"""What commands print with `--json` is JSON: no Infinity, no NaN."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

import beam_pipeline
from beam_pipeline.commands.base import print_json
from beam_pipeline.commands.query_output import cell


def test_numbers_that_json_has_not_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    infinite, nan = float("inf"), float("nan")
    at = datetime(2100, 1, 1, tzinfo=timezone.utc)
    print_json({"a": [infinite, (-infinite, {"b": nan})], "c": 1e308, "d": 10**400, "e": at, "f": "\ud800"})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "a": [None, [None, {"b": None}]],
        "c": 1e308,
        "d": 10**400,
        "e": "2100-01-01T00:00:00.000+00:00",
        "f": "\ud800",
    }


def test_nothing_else_prints_json() -> None:
    root = Path(beam_pipeline.__file__).parent
    found = [path for path in root.glob("c*/**/*.py") if re.search(r"json\.dumps?\(", path.read_text(encoding="utf-8"))]
    assert [path.name for path in found] == ["base.py"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1e308, "1e+308"),
        (-1.7e300, "-1.7e+300"),
        (1e15, "1e+15"),
        (999_999_999_999_999.0, "999,999,999,999,999"),
        (1_500_000.0, "1,500,000"),
        (1234.5, "1,234.5"),
        (float("inf"), "inf"),
    ],
)
def test_a_great_number_is_short_in_a_table(value: float, shown: str) -> None:
    assert cell(value) == shown
