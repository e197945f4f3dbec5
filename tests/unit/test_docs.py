from __future__ import annotations

import re
from pathlib import Path

import pytest

from beam_pipeline.schema import VIEW_NAMES
from beam_pipeline.schema.migrations import ALL_TABLES
from transforms.events.columns import FIELDS

ROOT = Path(__file__).parents[2]
TEXTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "templates/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(text: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text.read_text(encoding="utf-8"))
    assert [link for link in links if not (text.parent / link).exists()] == []


def test_every_table_and_view_is_documented() -> None:
    text = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    names = [*VIEW_NAMES.values(), *(table.name for table in ALL_TABLES if not table.name.endswith("_hourly"))]
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("event_type", FIELDS)
def test_every_field_of_an_event_is_documented(event_type: str) -> None:
    text = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{event_type}` .*$", text, re.MULTILINE)
    (common,) = re.findall(r"^\| all .*$", text, re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", row + common)) | {"id"}
    assert {field.json for field in FIELDS[event_type]} - named == set()
