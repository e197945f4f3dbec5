"""What `query` prints for people, in terminals of any width."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest

from beam_pipeline.commands.query_output import print_tree
from beam_pipeline.query import Span, build_span_tree
from tests.support import query_events as events

START = datetime(2100, 11, 20, 12, tzinfo=timezone.utc)
LENGTHS = {"root": (None, 0, 1000), "child": ("root", 250, 500), "late": ("child", 700, 50)}


def spans() -> list[Span]:
    found = []
    for name, (parent, start, length) in LENGTHS.items():
        at = START + timedelta(milliseconds=start)
        fields = {"id": name, "parent_span_id": parent, "trace_id": "t", "start_time": at, "duration_ms": length}
        found.append(Span(**events.row("span", name=f"{name} operation", **fields)))
    return found


@pytest.mark.parametrize("width", [70, 78, 90, 200])
def test_each_span_is_one_line_with_its_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were a terminal
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    print_tree(build_span_tree(spans()))
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()]
    first = next(place for place, line in enumerate(lines) if "root operation" in line)
    tree = lines[first : first + 3]
    assert [line.split()[0] for line in tree] == list(LENGTHS)
    assert all(len(line) <= width for line in lines) and not any(lines[first + 3 :])
    bars = [re.search(r" ( *)(█*)[▏▎▍▌▋▊▉]?$", line[tree[0].index("█") - 1 :]) for line in tree]
    starts, lengths = zip(*((len(bar[1]), len(bar[2])) for bar in bars if bar), strict=True)
    full = lengths[0]
    assert 10 <= full <= 40
    assert starts == (0, full // 4, int(full * 0.7))
    assert abs(lengths[1] - full / 2) <= 1 and lengths[2] <= full / 20 + 1
