"""The runners that there are here, behind one face: the command line with a runner's options, killed and ended as is its way."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from tests.support.command_line import CommandLine, Finished, Running
from tests.support.flink_session import SessionCluster
from tests.support.prism import fetch_prism


class Runner:
    """DirectRunner: the stages run in the command's own process. The others differ from it in what they override."""

    ends = True
    """Whether a run ends once it has loaded what was pending; a streaming one ends when it is stopped."""
    goes_on = False
    """Whether the command outlives `kill` and finishes what it has begun."""

    def options(self) -> list[str]:
        return ["--runner=DirectRunner"]

    def start(self, line: CommandLine, *arguments: str) -> Running:
        """Starts `ingest` on this runner."""
        return line.start("ingest", *arguments, *self.options())

    def end(self, running: Running, loaded: Callable[[], bool]) -> Finished:
        """Waits for its end. A run that does not end by itself is stopped when everything is loaded."""
        return running.finish(timeout=300)

    def kill(self, running: Running) -> None:
        """SIGKILLs what loads."""
        running.process.kill()
        assert running.process.wait(60) == -signal.SIGKILL

    def log(self) -> str:
        """What is worth reading when a test has failed, beside the command's own output."""
        return ""


class Prism(Runner):
    """Beam's portable runner for one machine. The command starts it, and has the Python workers in its own process."""

    def options(self) -> list[str]:
        return ["--runner=PrismRunner", f"--prism_location={fetch_prism()}"]

    def kill(self, running: Running) -> None:
        prism = psutil.Process(running.process.pid).children(recursive=True)
        super().kill(running)
        for process in prism:  # it may have ended with the command, and may not
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@dataclass
class Flink(Runner):
    """A bounded job on a session cluster. What is killed are the Python workers, so that Flink starts the job again."""

    cluster: SessionCluster
    goes_on = True

    def options(self) -> list[str]:
        return self.cluster.pipeline_options(parallelism=1)

    def kill(self, running: Running) -> None:
        restarts = self.cluster.restarts()
        for worker in self.cluster.workers():
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        running.wait_for(lambda: self.cluster.restarts() > restarts, timeout=180)

    def log(self) -> str:
        return self.cluster.log("job-manager")


@dataclass
class StreamingFlink(Flink):
    """An unbounded job, which is stopped with a savepoint."""

    ends = False
    jobs: dict[int, str] = field(default_factory=dict)
    """By the process that has submitted it."""

    def options(self) -> list[str]:
        return [*super().options(), "--streaming", "--checkpointing_interval=2000", "--poll_interval=1s"]

    def start(self, line: CommandLine, *arguments: str) -> Running:
        before = set(self.cluster.jobs())
        running = super().start(line, *arguments)
        running.wait_for(lambda: bool(set(self.cluster.jobs("RUNNING")) - before), timeout=180)
        (self.jobs[running.process.pid],) = set(self.cluster.jobs("RUNNING")) - before
        return running

    def end(self, running: Running, loaded: Callable[[], bool]) -> Finished:
        running.wait_for(loaded, timeout=240)
        self.stop(running)
        return super().end(running, loaded)

    def stop(self, running: Running) -> str:
        """Stops the job; where its savepoint is."""
        return self.cluster.stop_with_savepoint(self.jobs[running.process.pid])
