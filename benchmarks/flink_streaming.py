"""A streaming job under continuous arrival whose TaskManagers are killed: how long files wait, and how large the state gets.

    python -m benchmarks.flink_streaming --minutes=10 --kill_every=120

Files are closed five a second; a row counts as visible when a query finds it, which is tried twice a second. Ends with
exit code 1 when an event is not there exactly once.
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

    def delays(self) -> list[float]:
        return [seen - self.closed[number] for number, seen in self.seen.items() if number in self.closed]


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
        job = subprocess.Popen(command, stderr=said, stdout=said)
        while not (jobs := cluster.jobs("RUNNING")):
            time.sleep(1)
        threads = [threading.Thread(target=arrivals.write), threading.Thread(target=arrivals.watch, args=(client,))]
        for thread in threads:
            thread.start()
        started = last_kill = last_look = time.time()
        kills = 0
        while (now := time.time()) < started + arguments.minutes * 60:
            time.sleep(1)
            if arguments.kill_every and now - last_kill > arguments.kill_every:
                cluster.kill_task_manager()
                cluster.start_task_manager()
                last_kill, kills = now, kills + 1
            if now - last_look > 60:
                last_look = now
                print(_state(cluster, jobs[0], arrivals), flush=True)
        arrivals.stopping.set()
        for thread in threads:
            thread.join(600)
        while pending(Path(arrivals.dataset.root)):
            time.sleep(1)
        print(_state(cluster, jobs[0], arrivals))
        cluster.stop_with_savepoint(jobs[0])
        code = job.wait(120)
        p50, p95, most = np.percentile(arrivals.delays(), [50, 95, 100])
        print(f"{kills} kills, {cluster.restarts()} restarts, {len(arrivals.closed)} files, exit code {code}")
        print(f"closed to visible: p50 {p50:.1f} s, p95 {p95:.1f} s, longest {most:.1f} s")
        found = wrongs(client, arrivals.dataset)
        print("\n".join(found) or "every event once")
        return int(bool(found))


def _state(cluster: SessionCluster, job: str, arrivals: Arrivals) -> str:
    checkpoints = cluster.checkpoints(job)
    latest = checkpoints["latest"]["completed"] or {"state_size": 0, "end_to_end_duration": 0}
    return (
        f"{len(arrivals.closed)} files closed, {len(arrivals.seen)} visible, "
        f"{checkpoints['counts']['completed']} checkpoints, {checkpoints['counts']['failed']} failed, "
        f"the last of {latest['state_size']:,} bytes in {latest['end_to_end_duration']} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
