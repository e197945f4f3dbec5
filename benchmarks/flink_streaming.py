"""A streaming job under continuous arrival whose TaskManagers are killed: how long files wait, and how large the state gets.

    python -m benchmarks.flink_streaming --minutes=10 --kill_every=120

Files are closed five a second; a row counts as visible when a query finds it, which is tried twice a second. A restart lasts
from the kill, or from when the job was last seen running, until all of its tasks run again. Ends with exit code 1 when an event
is not there exactly once, or the job did not end well.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.command_line import pending
from tests.support.dataset import Dataset, event, wrongs
from tests.support.flink_session import SessionCluster
from transforms.clickhouse import ClickHouse, ClickHouseConfig, ClickHouseError

LINES = 50
PATIENCE_S = 600
"""How long the rest of the files may take after the last one was closed."""
NOBODY = "env:A_VARIABLE_THAT_IS_NOT_SET"


@dataclass
class Arrivals:
    """Files that are closed five a second, and when their first row was seen."""

    dataset: Dataset
    closed: dict[int, float] = field(default_factory=dict)
    seen: dict[int, float] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)

    def write(self) -> None:
        number = 0
        while not self.stopping.wait(0.2):
            lines = [(event("log", f"log-{number}-{line}"), f"log-{number}-{line}") for line in range(LINES)]
            name = f"20261120T12{number // 60 % 60:02}{number % 60:02}Z_{number:06x}.jsonl"
            self.dataset.add_file("log", f"p{number % 3}", name, list(lines))
            self.closed[number] = time.time()
            number += 1

    def watch(self, client: ClickHouse) -> None:
        while not (self.stopping.wait(0.5) and len(self.seen) == len(self.closed)):
            with contextlib.suppress(ClickHouseError):
                rows = client.query("SELECT id FROM mastra_admin_logs WHERE endsWith(id, '-0')")
                now = time.time()
                for row in rows:
                    self.seen.setdefault(int(row["id"].split("-")[1]), now)

    def delays(self, restarts: Restarts) -> tuple[list[float], list[float]]:
        """How long files took that no restart came upon on their way, and the others."""
        running: list[float] = []
        restarting: list[float] = []
        for number, seen in self.seen.items():
            if number in self.closed:
                closed = self.closed[number]
                (restarting if restarts.overlap(closed, seen) else running).append(seen - closed)
        return running, restarting


@dataclass
class Restarts:
    """When the job was not running: from when to when."""

    cluster: SessionCluster
    job: str
    periods: list[tuple[float, float]] = field(default_factory=list)
    kills: int = 0
    _begun: float = 0.0
    """When the restart that is under way has begun; 0 when there is none."""
    _noticed: bool = False
    """Whether Flink has noticed it: until it misses a TaskManager it says that all is well."""
    _last_up: float = 0.0

    def kill(self) -> None:
        """Kills the TaskManager, and starts another one."""
        self._begun = self._begun or time.time()
        self.kills += 1
        self.cluster.kill_task_manager()
        self.cluster.start_task_manager()

    def watch(self, stopping: threading.Event) -> None:
        while not stopping.is_set() or self._begun:
            time.sleep(0.5)
            asked = time.time()
            if not self.job_is_up():
                self._begun = self._begun or self._last_up or asked
                self._noticed = True
            elif self._begun and self._noticed:
                self.periods.append((self._begun, time.time()))
                self._begun, self._noticed = 0.0, False
            elif not self._begun:
                self._last_up = asked

    def overlap(self, begin: float, end: float) -> bool:
        return any(start <= end and begin <= over for start, over in self.periods)

    def job_is_up(self) -> bool:
        """Whether all tasks run; not so while they are being started."""
        try:
            job = self.cluster.get(f"/jobs/{self.job}")
        except (OSError, RuntimeError):
            return False
        return job["state"] == "RUNNING" and all(vertex["status"] == "RUNNING" for vertex in job["vertices"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kill_every", type=float, default=120, help="seconds; 0 for never")
    parser.add_argument("--poll_interval", default="2s")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as temporary,
        ClickHouseEndpoint(Path(temporary, "clickhouse")) as endpoint,
        SessionCluster(Path(temporary, "flink")) as cluster,
        ClickHouseConfig(endpoint.url).connect() as client,
        open(Path(temporary, "said"), "wb") as said,
    ):
        connection = [f"--clickhouse_url={endpoint.url}", f"--clickhouse_password_from={NOBODY}"]
        program = [sys.executable, "-m", "beam_pipeline"]
        subprocess.run([*program, "migrate", *connection], check=True)
        arrivals = Arrivals(Dataset(str(Path(temporary, "observability"))))
        Path(arrivals.dataset.root).mkdir()
        options = [*cluster.pipeline_options(2), "--checkpointing_interval=5000", "--lease=10s"]
        looks = [f"--input={arrivals.dataset.root}", f"--poll_interval={arguments.poll_interval}"]
        command = [*program, "--streaming", *connection, *looks, *options]
        process = subprocess.Popen(command, stderr=said, stdout=said)
        while not (jobs := cluster.jobs("RUNNING")):
            time.sleep(1)
        restarts = Restarts(cluster, jobs[0])
        while not restarts.job_is_up():
            time.sleep(1)
        threads = [
            threading.Thread(target=arrivals.write, daemon=True),
            threading.Thread(target=arrivals.watch, args=(client,), daemon=True),
            threading.Thread(target=restarts.watch, args=(arrivals.stopping,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        started = last_kill = time.time()
        sizes: list[int] = []
        while (now := time.time()) < started + arguments.minutes * 60:
            time.sleep(1)
            if arguments.kill_every and now - last_kill > arguments.kill_every:
                restarts.kill()
                last_kill = now
            if now - started > 60 * (len(sizes) + 1):
                sizes.append(_checkpoint(cluster, jobs[0])["state_size"])
                print(_state(cluster, jobs[0], arrivals), flush=True)
        arrivals.stopping.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        while pending(Path(arrivals.dataset.root)) and time.time() < now + PATIENCE_S:
            time.sleep(1)
        sizes.append(_checkpoint(cluster, jobs[0])["state_size"])
        print(_state(cluster, jobs[0], arrivals))
        cluster.stop_with_savepoint(jobs[0])
        code = process.wait(PATIENCE_S)
        down = ", ".join(f"{end - start:.0f} s" for start, end in restarts.periods)
        print(f"{restarts.kills} kills, {cluster.restarts()} restarts, not running for {down or 'no time'}")
        print(f"{len(arrivals.closed)} files, exit code {code}")
        running, restarting = arrivals.delays(restarts)
        print(f"closed to visible: {_percentiles(running + restarting)}")
        print(f"the job ran all the time: {_percentiles(running)}")
        print(f"a restart came upon them: {_percentiles(restarting)}")
        print(f"bytes of the last checkpoint, minute by minute: {', '.join(f'{size:,}' for size in sizes)}")
        found = wrongs(client, arrivals.dataset)
        print("\n".join(found) or "every event once")
        return int(bool(found) or code != 0)


def _percentiles(delays: list[float]) -> str:
    if not delays:
        return "0 files"
    p50, p95, most = np.percentile(delays, [50, 95, 100])
    return f"{len(delays)} files, p50 {p50:.1f} s, p95 {p95:.1f} s, longest {most:.1f} s"


def _checkpoint(cluster: SessionCluster, job: str) -> dict[str, int]:
    """The last one that was completed."""
    return cluster.checkpoints(job)["latest"]["completed"] or {"state_size": 0, "end_to_end_duration": 0}


def _state(cluster: SessionCluster, job: str, arrivals: Arrivals) -> str:
    counts, latest = cluster.checkpoints(job)["counts"], _checkpoint(cluster, job)
    return (
        f"{len(arrivals.closed)} files closed, {len(arrivals.seen)} visible, "
        f"{counts['completed']} checkpoints, {counts['failed']} failed, "
        f"the last of {latest['state_size']:,} bytes in {latest['end_to_end_duration']} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
