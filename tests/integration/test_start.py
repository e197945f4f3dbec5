"""What a command imports before it needs it: the time until a program answers is mostly that of its imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from beam_pipeline.cli import COMMANDS
from tests.support.dataset import event

SLOW = (
    "apache_beam",
    "pyarrow",
    "numpy",
    "pandas",
    "clickhouse_connect",
    "chdb",
    "grpc",
    "pymongo",
    "s3fs",
    "gcsfs",
    "fsspec",
    "google.cloud.storage",
    "google.cloud.bigquery",
    "google.cloud.pubsub",
    "google.cloud.dataflow",
    "apitools",
    "requests",
)
"""Libraries that take more than a twentieth of a second each."""
_PROGRAM = f"""
import atexit, runpy, sys
atexit.register(lambda: print([name for name in {SLOW} if sys.modules.get(name)], file=sys.__stderr__))
sys.argv = ["beam_pipeline", *sys.argv[1:]]
runpy.run_module("beam_pipeline", run_name="__main__", alter_sys=True)
"""


def imported_by(*arguments: str) -> list[str]:
    """Those of the slow libraries that a command imports in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, check=True, timeout=300
    )
    *_, told = done.stderr.splitlines()
    return [name for name in SLOW if repr(name) in told]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)])
def test_help_imports_no_slow_library(arguments: list[str]) -> None:
    assert imported_by(*arguments) == []


def test_generate_imports_no_slow_library(tmp_path: Path) -> None:
    assert imported_by("generate", f"--output={tmp_path}", "--events=10") == []


def test_only_what_has_something_to_load_imports_beam(tmp_path: Path) -> None:
    """The driver of the embedded engine brings numpy and Arrow along."""
    (tmp_path / "in/log/p").mkdir(parents=True)
    place = [f"--input={tmp_path}/in", f"--clickhouse_url=chdb://{tmp_path}/db"]
    driver = ["pyarrow", "numpy", "clickhouse_connect", "chdb"]
    assert imported_by(*place) == driver
    assert imported_by("status", *place) == driver
    assert imported_by("check", *place) == driver
    assert imported_by("query", "logs", place[1], "--project_id=p") == driver
    (tmp_path / "in/log/p/20261120T120000Z_a.jsonl").write_text(event("log", "1") + "\n")
    assert imported_by(*place) == ["apache_beam", *driver, "grpc"]


def test_a_runner_without_a_name_is_told() -> None:
    """What Beam is to do without depends on the runner, before options are checked."""
    done = subprocess.run(
        [sys.executable, "-m", "beam_pipeline", "--runner"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: --runner: expected one argument"
