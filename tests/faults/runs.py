"""Runs of the real command line in processes of their own, which a test may kill, and what they must leave behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.faults import driver
from tests.support import processes
from tests.support.dataset import Dataset
from transforms.clickhouse import ClickHouseConfig

SMALL = ("--load_bytes=20K", "--block_bytes=6K", "--inserts_in_flight=2", "--retry_delay=0.1", "--page_files=5")
"""So that the small dataset makes several loads of several blocks, which are recorded and committed in several groups."""


@dataclass
class Run:
    """A run that was started."""

    process: BaseProcess
    output: Path

    def finish(self, timeout: float = 240) -> tuple[int, str]:
        """Waits for the end; the exit code (-9 when killed) and everything that was said."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still running after {timeout} s:\n{self.said}"
        return self.process.exitcode, self.said

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""


def start(
    database: ClickHouseConfig | str,
    dataset: Dataset,
    *options: str,
    root: str = "",
    kill: str = "",
    hold: Path | None = None,
    pause: Path | None = None,
    check: bool = False,
) -> Run:
    """Starts an ingest of a dataset that was saved beside its root as `dataset.json`, and runs in that directory.

    It kills itself where `kill` says, or holds at the point that `hold` is named after and makes that file, or is paused at
    that of `pause` until it is sent SIGCONT. `root` is how the input is given if not by the dataset's own root.
    """
    directory = Path(dataset.root).parent
    arguments = [f"--kill={kill}"] if kill else []
    arguments += [f"--hold={hold.name},{hold}"] if hold else []
    arguments += [f"--pause={pause.name},{pause}"] if pause else []
    arguments += [f"--check={directory / 'dataset.json'}"] if check else []
    at = database if isinstance(database, str) else database.url
    arguments += ["--", "ingest", f"--input={root or dataset.root}", f"--clickhouse_url={at}"]
    if not isinstance(database, str):
        arguments.append(f"--clickhouse_database={database.database}")
    arguments += [*SMALL, *options]
    output = directory / f"output-{len(list(directory.glob('output-*')))}.txt"
    return Run(processes.start(driver.main, arguments, output, directory=directory), output)


def assert_a_plain_run_completes(
    database: ClickHouseConfig | str, dataset: Dataset, *options: str, root: str = ""
) -> str:
    """Runs once more, undisturbed: it ends well and everything is there exactly once. Returns what it said."""
    code, output = start(database, dataset, *options, root=root, check=True).finish()
    assert code == 0, output
    (line,) = [line for line in output.splitlines() if line.startswith("WRONGS ")]
    assert json.loads(line.removeprefix("WRONGS ")) == [], output
    return output
