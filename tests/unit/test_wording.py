"""Numbers and their nouns in messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import beam_pipeline
from beam_pipeline.wording import counted, sized


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("line",), "0 lines"),
        (1, ("line",), "1 line"),
        (2_000, ("line",), "2,000 lines"),
        (1, ("line was", "lines were"), "1 line was"),
        (2, ("line was", "lines were"), "2 lines were"),
    ],
)
def test_one_thing_is_singular(count: int, words: tuple[str, ...], text: str) -> None:
    assert counted(count, *words) == text


def test_no_message_has_a_plural_of_its_own() -> None:
    root = Path(beam_pipeline.__file__).parent
    plural = re.compile(r""":,\} [a-z]*s\b|['"]s['"] if|else ['"]s['"]""")
    paths = [*(root / "commands").glob("*.py"), root / "progress.py"]
    assert [f"{path.name}: {found}" for path in paths for found in plural.findall(path.read_text())] == []


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (64_000_000, "64.0 MB")),
        *((999_949, "999.9 kB"), (999_950, "1.0 MB"), (1_234_567_890_123, "1.2 TB"), (10**16, "10,000.0 TB")),
    ],
)
def test_a_size_is_in_the_unit_of_which_there_is_one(size: int, text: str) -> None:
    assert sized(size) == text
