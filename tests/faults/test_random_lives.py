"""Any sequence of what writers, people and kills do to a few files: each line that stood still for a run is there once.

Examples are few in CI; `LIVES_EXAMPLES=500` makes a long run of it.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.lives import PLACES, WHATS, Change, DisturbedRun, KilledRun, Lives, Round, Run
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig
from transforms.loads import journal

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

EXAMPLES = int(os.environ.get("LIVES_EXAMPLES", "25"))
CHUNK = 400
"""Bytes that are read at a time: two or three lines."""
LOAD = 900
"""Bytes of small loads: a file of some lines is in several."""
STEPS = 90
"""Statements and operations on files of a run over three small files; a later step is seldom reached."""

_examples = itertools.count()

files = st.integers(0, len(PLACES) - 1)
changes = st.builds(Change, st.sampled_from(WHATS), files, st.integers(1, 12))
runs = st.one_of(
    st.builds(Run),
    st.builds(KilledRun, st.just("insert"), st.integers(1, 5), st.booleans()),
    st.builds(KilledRun, st.just("step"), st.integers(1, STEPS), st.booleans()),
    st.builds(DisturbedRun, changes, st.integers(1, 8)),
)
rounds = st.builds(Round, st.lists(changes, min_size=1, max_size=3), runs)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # The same stories in each CI run; other ones whenever somebody asks for a number of them.
    derandomize="LIVES_EXAMPLES" not in os.environ,
    # The database is shared by all examples, each of which has a directory and projects of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(rounds, min_size=1, max_size=4), st.booleans())
def test_random_lives(
    embedded_config: ClickHouseConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: list[Round],
    small_loads: bool,
) -> None:
    # Whoever waits for a file to come back may do so for longer than the story goes on.
    monkeypatch.setattr(journal, "_FIRST_WAIT_MS", 0)
    name = f"e{next(_examples)}-"
    config = IngestConfig(
        input=str(tmp_path / name),
        clickhouse=embedded_config,
        block_bytes=CHUNK,
        load_bytes=LOAD if small_loads else 1_000_000,
    )
    lives = Lives(tmp_path, name, config)
    lives.worker.init()
    try:
        for files_written in range(len(PLACES)):
            lives.change(Change("add", files_written, 7))
        for step in rounds:
            for change in step.changes:
                lives.change(change)
            lives.run(step.run)
        lives.finish()
    finally:
        lives.worker.close()
