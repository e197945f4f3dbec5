"""Several workers on one directory: one is paused, killed, or has a wrong clock. Each line is there once all the same.

`WORKERS_SECONDS=120` makes the loop of three workers a long one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from beam_pipeline.schema import SchemaOptions, run_migrations
from tests.faults.runs import Run
from tests.faults.workers import LEASE_S, MOMENTS, is_stopped, start, start_loop
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.command_line import pending
from tests.support.dataset import Dataset, event, wrongs
from tests.support.waiting import eventually
from transforms.clickhouse import ClickHouseConfig
from transforms.events import EVENT_TYPES

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SECONDS = float(os.environ.get("WORKERS_SECONDS", "30"))
HOUR_S = 3600.0


@pytest.fixture
def url(server: ClickHouseEndpoint) -> str:
    """A server with tables, so that the statements of a run are those of loading."""
    with ClickHouseConfig(server.url).connect() as client:
        run_migrations(client, SchemaOptions())
    return server.url


@contextlib.contextmanager
def ended(run: Run) -> Iterator[Run]:
    """A run that does not outlive the test, even if that fails while it is stopped."""
    try:
        yield run
    finally:
        run.process.kill()


def finished(run: Run, *codes: int) -> str:
    """What a run said, which ended by itself with one of these exit codes."""
    code, said = run.finish()
    assert code in codes and "Traceback" not in said, f"exit code {code}:\n{said}"
    return said


def assert_all_is_there(url: str, dataset: Dataset) -> None:
    """One more run, undisturbed; then each line is there once."""
    said = finished(start(url, dataset), 0)
    with ClickHouseConfig(url).connect() as client:
        found = wrongs(client, dataset)
    assert not found, f"{found} after\n{said}"


def number(said: str, name: str) -> int:
    """A number in the JSON that a run printed."""
    match = re.search(rf'"{name}": (\d+)', said)
    assert match, said
    return int(match[1])


# Paused.


@pytest.mark.parametrize("moment", [*MOMENTS, "before statement 10", "after statement 20", "before statement 40"])
def test_a_worker_is_paused_for_longer_than_its_lease(url: str, dataset: Dataset, moment: str) -> None:
    """Another takes over and finishes; the first wakes up in the middle of what it was doing."""
    with ended(start(url, dataset, stop=moment)) as paused:
        eventually(lambda: not paused.process.is_alive() or is_stopped(paused))
        assert paused.process.is_alive(), f"a run does not come to that moment: {finished(paused, 0)}"
        outputs: list[str] = []
        while pending(Path(dataset.root)):
            assert len(outputs) < 12, f"nobody takes over:\n{outputs[-1]}"
            time.sleep(LEASE_S / 3)
            outputs.append(finished(start(url, dataset), 0, 1))
        assert is_stopped(paused)
        os.kill(paused.process.pid or 0, signal.SIGCONT)
        finished(paused, 0, 1)
    assert_all_is_there(url, dataset)


def test_a_worker_is_paused_and_wakes_up_while_another_takes_over(url: str, dataset: Dataset, tmp_path: Path) -> None:
    held = tmp_path / "held"
    with (
        ended(start(url, dataset, stop="before an insert")) as paused,
        contextlib.ExitStack() as others,
    ):
        eventually(lambda: is_stopped(paused))
        for _ in range(12):
            time.sleep(LEASE_S / 3)
            other = others.enter_context(ended(start(url, dataset, hold=("before an insert", held))))
            eventually(lambda: held.exists() or not other.process.is_alive())  # noqa: B023
            if held.exists():
                break
            finished(other, 0, 1)
        assert held.exists(), f"nobody takes over:\n{other.said}"
        os.kill(paused.process.pid or 0, signal.SIGCONT)
        finished(paused, 0, 1)
        held.unlink()
        finished(other, 0, 1)
    assert_all_is_there(url, dataset)


# In a loop.


def test_three_workers_in_a_loop_while_files_keep_coming_and_workers_are_killed(url: str, tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "observability"))
    Path(dataset.root).mkdir()
    enough = tmp_path / "enough"
    chance = random.Random(3)
    runs = [start_loop(url, dataset, enough) for _ in range(3)]
    killed: list[Run] = []
    try:
        end, next_kill = time.monotonic() + SECONDS, time.monotonic() + 4
        # A busy machine may kill most workers before they have begun: the loop ends when it has seen some that loaded.
        while time.monotonic() < end or len(looks(runs + killed)) < 3:
            deliver(dataset, chance)
            time.sleep(chance.uniform(0.05, 0.3))
            if time.monotonic() > next_kill:
                victim = chance.randrange(len(runs))
                runs[victim].process.kill()
                killed.append(runs[victim])
                runs[victim] = start_loop(url, dataset, enough)
                next_kill = time.monotonic() + chance.uniform(0.5, 3)
        enough.touch()
        for run in runs:
            finished(run, 0)
        for run in killed:
            finished(run, -signal.SIGKILL)
    finally:
        for run in runs:
            run.process.kill()
    assert not [error for look in looks(runs + killed) for error in look["errors"]]
    assert_all_is_there(url, dataset)


def looks(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What workers in a loop have said of their looks that found something."""
    return [json.loads(line) for run in runs for line in run.said.splitlines() if re.fullmatch(r"\{.*\}", line)]


def deliver(
    dataset: Dataset, chance: random.Random, sizes: Sequence[int] = (60,), suffixes: Sequence[str] = ("",)
) -> None:
    """A new file of any type, with a bad line now and then, of so many lines at most, and compressed as its suffix says."""
    file = len(dataset.files)
    kind = chance.choice(EVENT_TYPES)
    lines: list[tuple[str, str | None]] = []
    for line in range(chance.randint(1, sizes[file % len(sizes)])):
        identity = f"{file}-{line}"
        good = chance.random() > 0.05
        lines.append((event(kind, identity, deploymentId=identity), identity) if good else ('{"broken', None))
    name = f"20261120T12{file // 60:02}{file % 60:02}Z_{file:04x}.jsonl{suffixes[file % len(suffixes)]}"
    dataset.add_file(kind, f"p{chance.randrange(3)}", name, lines)


# With a wrong clock.


@pytest.mark.parametrize("whose", ["of the one that is loading", "of the one that looks"])
@pytest.mark.parametrize("clock", [HOUR_S, -HOUR_S], ids=["an hour fast", "an hour slow"])
def test_a_clock_is_wrong(url: str, dataset: Dataset, tmp_path: Path, clock: float, whose: str) -> None:
    """A worker that lives keeps its loads, for however long it is at them."""
    loading, looking = (clock, 0.0) if whose == "of the one that is loading" else (0.0, clock)
    held = tmp_path / "held"
    with ended(start(url, dataset, hold=("after an insert", held), clock=loading)) as first:
        eventually(lambda: held.exists() or not first.process.is_alive())
        assert held.exists(), first.said
        time.sleep(1.5 * LEASE_S)
        said = finished(start(url, dataset, "--json", clock=looking), 0)
        assert number(said, "adopted") == 0, said
        assert pending(Path(dataset.root)), "the files of the one that is loading are left to it"
        held.unlink()
        finished(first, 0)
    assert_all_is_there(url, dataset)


@pytest.mark.parametrize("clock", [HOUR_S, -HOUR_S], ids=["an hour fast", "an hour slow"])
def test_a_worker_with_a_wrong_clock_finishes_what_a_killed_one_left(url: str, dataset: Dataset, clock: float) -> None:
    with ended(start(url, dataset, stop="after an insert")) as killed:
        eventually(lambda: is_stopped(killed))
    finished(killed, -signal.SIGKILL)
    assert number(finished(start(url, dataset, "--json", clock=clock), 0), "adopted") >= 1
    assert_all_is_there(url, dataset)


# Side by side.


def test_two_workers_begin_at_once(url: str, dataset: Dataset) -> None:
    """Each file is loaded by one of them."""
    said = [finished(run, 0) for run in [start(url, dataset, "--json") for _ in range(2)]]
    assert sum(number(output, "files_processed") for output in said) == len(dataset.files)
    assert sum(number(output, "events_ingested") for output in said) == sum(map(len, dataset.events.values()))
    assert_all_is_there(url, dataset)
