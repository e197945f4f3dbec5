"""A Flink session cluster for tests and benchmarks: a JobManager and TaskManagers in processes of their own.

They are started from the jars of Beam's Flink runner. Pipelines come through Beam's job server, and their Python code runs in
worker pools: one for each TaskManager, as on machines of their own.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.flink import OPENED, FlinkParts, fetch_jars, free_port

CONFIGURATION = """
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest}
classloader.resolve-order: parent-first
taskmanager.host: 127.0.0.1
taskmanager.numberOfTaskSlots: {slots}
taskmanager.cpu.cores: {slots}
taskmanager.memory.task.heap.size: 256mb
taskmanager.memory.task.off-heap.size: 0mb
taskmanager.memory.framework.heap.size: 128mb
taskmanager.memory.framework.off-heap.size: 128mb
taskmanager.memory.managed.size: 64mb
taskmanager.memory.network.min: 64mb
taskmanager.memory.network.max: 64mb
taskmanager.memory.jvm-metaspace.size: 256mb
taskmanager.memory.jvm-overhead.min: 192mb
taskmanager.memory.jvm-overhead.max: 192mb
cluster.registration.error-delay: 500
cluster.evenly-spread-out-slots: true
akka.ask.timeout: 120 s
akka.startup-timeout: 120 s
heartbeat.interval: 1000
heartbeat.timeout: 60000
restart-strategy: fixed-delay
restart-strategy.fixed-delay.attempts: 100
restart-strategy.fixed-delay.delay: 1 s
state.backend: hashmap
state.checkpoints.dir: {checkpoints}
state.savepoints.dir: {savepoints}
"""
"""A TaskManager that was killed is missed after two heartbeats that it does not answer; one that is only slow is waited for.

Flink itself waits ten seconds for its actors to start, which a busy machine may need more than.
"""

_JAVA = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_SLF4J = "-Dorg.slf4j.simpleLogger.defaultLogLevel=info"


class SessionCluster(FlinkParts):
    """A session cluster with a job server and worker pools; everything ends with `stop`.

    Args:
        slots: of each TaskManager. A pipeline takes as many as its parallelism.
        task_managers: how many of them there are, numbered from 0 on. Each has a worker pool of its own: a pool tells workers
            apart by numbers that each TaskManager counts from 1, and of two it would stop the wrong one.
    """

    def __init__(self, directory: Path, *, slots: int = 2, task_managers: int = 1) -> None:
        super().__init__(directory)
        self._slots = slots
        self._task_managers = task_managers
        self._rest_port = free_port()

    def __enter__(self) -> SessionCluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts everything, and waits until the cluster has its slots. Raises RuntimeError when that does not come."""
        self._configure(
            CONFIGURATION.format(
                rpc=free_port(),
                rest=self._rest_port,
                slots=self._slots,
                checkpoints=(self._directory / "checkpoints").as_uri(),
                savepoints=(self._directory / "savepoints").as_uri(),
            )
        )
        self._java("job-manager", "384m", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint")
        for number in range(self._task_managers):
            self.start_task_manager(number)
            self._start_pool(number)
        self._start_job_server(f"127.0.0.1:{self._rest_port}")
        self._until(lambda: self.get("/overview")["slots-total"] >= self._slots * self._task_managers, "job-manager")

    def pipeline_options(self, parallelism: int = 2) -> list[str]:
        """The options that run a pipeline here."""
        return [*super().pipeline_options(), f"--parallelism={parallelism}"]

    def start_task_manager(self, number: int = 0) -> None:
        """Starts one that is not running. Does not wait until the cluster knows it."""
        main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        options = ("-XX:MaxMetaspaceSize=256m", f"-Djdk.net.hosts.file={self._hosts(number)}")
        self._java(_name(number), "384m", main, *options)

    def kill_task_manager(self, number: int = 0) -> None:
        """SIGKILLs one."""
        self._kill(_name(number))

    def get(self, path: str) -> Any:
        """What the JobManager answers. Raises OSError, or RuntimeError when it refuses."""
        return self._ask("GET", path)

    def jobs(self, *states: str) -> list[str]:
        """Ids of the jobs in these states, or of all; the latest first."""
        jobs = sorted(self.get("/jobs/overview")["jobs"], key=lambda job: -job["start-time"])
        return [job["jid"] for job in jobs if not states or job["state"] in states]

    def checkpoints(self, job: str) -> dict[str, Any]:
        """Flink's statistics of a job's checkpoints: `counts`, `latest`, `history`."""
        found: dict[str, Any] = self.get(f"/jobs/{job}/checkpoints")
        return found

    def cancel(self, job: str) -> None:
        """Cancels a job, as a user does who does not want a savepoint, and waits until it is over."""
        self._ask("PATCH", f"/jobs/{job}?mode=cancel")
        self._until(lambda: self.get(f"/jobs/{job}")["state"] == "CANCELED", "job-manager")

    def stop_with_savepoint(self, job: str) -> str:
        """Stops a streaming job and returns where its savepoint is. Raises RuntimeError when that fails."""
        trigger = self._ask("POST", f"/jobs/{job}/stop", {"drain": False})["request-id"]
        path = f"/jobs/{job}/savepoints/{trigger}"
        self._until(lambda: self.get(path)["status"]["id"] == "COMPLETED", "job-manager")
        operation = self.get(path)["operation"]
        if "location" not in operation:
            raise RuntimeError(f"job {job} was not stopped: {json.dumps(operation)[:2000]}")
        location: str = operation["location"]
        return location

    def restarts(self) -> int:
        """How often Flink has started a job again because a task of it had failed."""
        return self.log("job-manager", last=0).count("to RESTARTING")

    def _java(self, name: str, heap: str, main: str, *options: str) -> None:
        opens = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED.split()]
        exports = "--add-exports=java.base/sun.net.util=ALL-UNNAMED"
        self._run(
            name,
            [
                *(
                    *_JAVA,
                    f"-Xmx{heap}",
                    self._scratch_option,
                    *options,
                    _SLF4J,
                    *opens,
                    exports,
                    "-cp",
                    f"{fetch_jars()}/*",
                ),
                *(main, "--configDir", str(self._directory)),
            ],
        )

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._rest_port, timeout=30)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:2000]}")
        return json.loads(text or "{}")

    def _until(self, happened: Callable[[], bool], name: str, timeout_s: float = 180) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, RuntimeError, http.client.HTTPException):
                if happened():
                    return
            time.sleep(0.2)
        raise RuntimeError(f"it did not come to that in {timeout_s} s:\n{self.log(name)}")


def _name(number: int) -> str:
    return f"task-manager-{number}"
