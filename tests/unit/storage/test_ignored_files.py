from __future__ import annotations

import re
from pathlib import Path

import pytest

from transforms.storage.ignored_files import (
    IgnoredFile,
    IgnoredFiles,
    IgnoreReason,
    hint_of_name,
    looks_like_events,
    nearest_type,
    reason_of_name,
)

TYPES = ("trace", "span", "log", "metric", "score")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("20261120T120000Z_ab.jsonl", None),
        ("no time.jsonl", None),
        ("#~odd.tmp.jsonl", None),
        (".hidden.jsonl", IgnoreReason.TEMPORARY),
        (".jsonl", IgnoreReason.TEMPORARY),
        ("a.jsonl.part", IgnoreReason.TEMPORARY),
        ("a.jsonl.TMP", IgnoreReason.TEMPORARY),
        ("a.jsonl~", IgnoreReason.TEMPORARY),
        ("a.jsonl.gz", None),
        ("a.jsonl.gzip", None),
        ("20261120T120000Z_ab.jsonl.zst", None),
        ("a.jsonl.zstd", None),
        (".a.jsonl.gz", IgnoreReason.TEMPORARY),
        ("a.jsonl.gz.part", IgnoreReason.TEMPORARY),
        ("a.jsonl.GZ", IgnoreReason.SUFFIX),
        ("a.jsonl.gz.zst", IgnoreReason.SUFFIX),
        ("a.zst", IgnoreReason.SUFFIX),
        ("a.jsonl.bz2", IgnoreReason.COMPRESSED),
        ("a.xz", IgnoreReason.COMPRESSED),
        ("a.JSONL", IgnoreReason.SUFFIX),
        ("a.jsonl ", IgnoreReason.SUFFIX),
        ("jsonl", IgnoreReason.SUFFIX),
    ],
)
def test_a_name_tells_whether_a_file_is_loaded(name: str, reason: IgnoreReason | None) -> None:
    assert reason_of_name(name) is reason


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.ndjson", "rename it to a.jsonl"),
        ("a.JSONL.GZ", "rename it to a.jsonl.gz"),
        ("a.jsonlines.zstd", "rename it to a.jsonl.zstd"),
        ("a.json.gz", ""),
        ("a.gz", ""),
    ],
)
def test_a_name_that_is_nearly_right_leads_to_the_right_one(name: str, hint: str) -> None:
    assert hint_of_name(name) == hint


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("a.jsonl", True),
        ("a.NDJSON", True),
        ("a.jsonl.gz", True),
        ("a.json", False),
        ("a.txt", False),
        (".a.jsonl", False),
    ],
)
def test_event_files_are_known_by_their_ending_wherever_they_are(name: str, like: bool) -> None:
    assert looks_like_events(name) is like


@pytest.mark.parametrize(
    ("directory", "meant"),
    [
        ("logs", "log"),
        ("Traces", "trace"),
        ("METRIC", "metric"),
        ("spam", "span"),
        ("invoices", ""),
        ("observability", ""),
    ],
)
def test_a_wrong_type_s_name_leads_to_the_right_one(directory: str, meant: str) -> None:
    assert nearest_type(directory, TYPES) == meant


def test_files_are_counted_by_reason_with_one_example_each() -> None:
    found = IgnoredFiles()
    for number in range(1500):
        found.add(IgnoredFile(f"/in/trace/p/{number}.JSONL", IgnoreReason.SUFFIX, f"rename it to {number}.jsonl"))
    found.add(IgnoredFile("/in/log/x.jsonl", IgnoreReason.NO_PROJECT))
    one, many = found.groups()
    assert one.describe() == "1 file ignored: not in the directory of a project (TYPE/PROJECT/FILE) (/in/log/x.jsonl)"
    assert many.describe() == (
        "1,500 files ignored: the name does not end in .jsonl, .jsonl.gz or .jsonl.zst "
        "(for example /in/trace/p/0.JSONL; rename it to 0.jsonl)"
    )
    found.clear()
    assert found.groups() == []


def test_every_reason_is_explained_in_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "files.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [reason.value for reason in IgnoreReason]
