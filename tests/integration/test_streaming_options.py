"""What `ingest --streaming` refuses to start with, in words that say what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import CommandLine

FLINK = ("--runner=FlinkRunner", "--clickhouse_url=http://127.0.0.1:1")
CHECKPOINTS = "--checkpointing_interval=10000"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--streaming: DirectRunner runs no unbounded job; --continuous does the same on one machine"),
        (FLINK, "--checkpointing_interval: is missing, and Flink runs no streaming job without it"),
        ([*FLINK, "--checkpointing_interval=0"], "--checkpointing_interval: is missing"),
        ([*FLINK, CHECKPOINTS, "--once"], "--streaming: one job that never ends, so it does not go with --once"),
        ([*FLINK, CHECKPOINTS, "--max_files=9"], "--max_files: with --streaming use --loads_in_flight"),
        ([*FLINK, CHECKPOINTS, "--max_attempts=9"], "--max_attempts: counts runs, and a streaming job is one"),
        ([*FLINK, CHECKPOINTS, "--loads_in_flight=0"], "--loads_in_flight: 0 must be at least 1"),
        ([*FLINK, CHECKPOINTS, "--poll_interval=500ms"], "--poll_interval: 0.5s must be at least 1s with --streaming"),
    ],
)
def test_streaming_says_what_it_lacks(tmp_path: Path, options: list[str], said: str) -> None:
    finished = CommandLine().run("ingest", "--streaming", f"--input={tmp_path}", *options)
    assert finished.code == 2
    assert [line for line in finished.err.splitlines() if line.startswith(f"error: {said}")], finished.err
