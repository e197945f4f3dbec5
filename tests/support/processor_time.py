"""How much of a processor tests take, with all processes that they start. Linux only.

    python -m pytest -p tests.support.processor_time --slowest=25 tests/faults

Seconds by the clock, as `--durations` tells them, are those of a busy machine when others work on it; these are not.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_TICKS = os.sysconf("SC_CLK_TCK")


def used_s() -> float:
    """Seconds of a processor that this process and its descendants have used, those that have ended among them."""
    total, left = 0, [os.getpid()]
    while left:
        process = Path("/proc", str(left.pop()))
        try:
            # Of what comes behind the name, which may hold anything, these are its own and its children's.
            total += sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:15]))
            for thread in (process / "task").iterdir():
                left += map(int, (thread / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended, and its parent has what it used
    return total / _TICKS


class _Last:
    used_s = 0.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slowest", type=int, default=25, help="how many tests are shown with their processor time")


def pytest_runtest_logstart() -> None:
    _Last.used_s = _Last.used_s or used_s()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[Any]:
    report = yield
    now = used_s()
    # As an attribute of the report it comes from a worker of pytest-xdist, too.
    report.processor_s, _Last.used_s = now - _Last.used_s, now
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    tests: dict[str, float] = defaultdict(float)
    files: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "processor_s"):
                tests[report.nodeid] += report.processor_s
                files[report.nodeid.partition("::")[0]] += report.processor_s
    terminalreporter.section("processor time")
    for found in (files, tests):
        for name, seconds in sorted(found.items(), key=lambda item: -item[1])[: config.getoption("--slowest")]:
            terminalreporter.line(f"{seconds:7.2f} s {name}")
        terminalreporter.line("")
    terminalreporter.line(f"{sum(files.values()):7.2f} s in all")
