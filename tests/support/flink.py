"""A real Flink for tests: Beam's job server with Flink inside, and a pool of Python workers in processes of their own.

    python -m tests.support.flink      fetches what it needs (about 160 MB) into a cache outside of the repository

The runner is of an older Beam than the pipelines; it is the newest whose parts are all published, and runs them well.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import psutil

POM = Path(__file__).with_name("flink-pom.xml")
START_TIMEOUT_S = 90
OPENED = (
    "java.lang java.util java.util.concurrent java.util.concurrent.atomic java.util.concurrent.locks java.net java.io "
    "java.nio sun.nio.ch java.text java.time java.lang.reflect"
)
CONFIGURATION = """
parallelism.default: 2
taskmanager.numberOfTaskSlots: 4
taskmanager.memory.network.min: 64mb
taskmanager.memory.network.max: 64mb
restart-strategy: fixed-delay
restart-strategy.fixed-delay.attempts: 10
restart-strategy.fixed-delay.delay: 1 s
"""


def cache_directory() -> Path:
    """Where jars are kept between runs of the tests."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "observability-beam-pipeline"


def fetch_jars() -> Path:
    """The folder with the jars, fetched by maven when it is not there. Killed in the middle, it starts anew."""
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    jars = cache / "flink-jars"
    with open(cache / "flink-jars.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.exists():
            with tempfile.TemporaryDirectory(dir=cache) as partial:
                shutil.copy(POM, Path(partial, "pom.xml"))
                maven = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]
                subprocess.run([*maven, f"-DoutputDirectory={partial}/jars"], cwd=partial, check=True)
                Path(partial, "jars").rename(jars)
    return jars


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class FlinkCluster:
    """Flink in Beam's job server, and a Python worker pool beside it. Everything ends with `stop`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._job_port, self._pool_port = free_port(), free_port()

    def __enter__(self) -> FlinkCluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts both and waits until they listen. Raises RuntimeError with the end of the log when one does not."""
        self._configure(CONFIGURATION)
        self._start_beam("[local]", heap="1500m")

    def _configure(self, configuration: str) -> None:
        """Writes what Flink reads."""
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "flink-conf.yaml").write_text(configuration)

    def _start_beam(self, master: str, heap: str) -> None:
        """Starts Beam's job server, for a Flink at `master`, and the worker pool."""
        manifest = self._manifest_jar(fetch_jars())
        artifacts = self._directory / "artifacts"
        self._run(
            "job-server",
            [
                *("java", f"-Xmx{heap}", "-jar", str(manifest), "--job-host=127.0.0.1", f"--job-port={self._job_port}"),
                *(f"--artifact-port={free_port()}", f"--expansion-port={free_port()}", f"--flink-master={master}"),
                *(f"--artifacts-dir={artifacts}", f"--flink-conf-dir={self._directory}"),
            ],
        )
        self._run(
            "worker-pool",
            [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={self._pool_port}"],
        )
        for name, port in (("job-server", self._job_port), ("worker-pool", self._pool_port)):
            self._wait_for(name, port)

    def pipeline_options(self) -> list[str]:
        """The options that run a pipeline here, with its Python code in the pool's workers."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint=127.0.0.1:{self._job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config=127.0.0.1:{self._pool_port}",
            "--sdk_worker_parallelism=2",
        ]

    def workers(self) -> list[psutil.Process]:
        """The Python workers that are running."""
        pool = psutil.Process(self._processes["worker-pool"].pid)
        return [child for child in pool.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]

    def kill_worker(self) -> None:
        """SIGKILLs one Python worker. Raises RuntimeError when none is running."""
        workers = self.workers()
        if not workers:
            raise RuntimeError("no worker is running")
        workers[0].kill()

    def log(self, name: str, last: int = 6000) -> str:
        """The end of what `job-server`, `worker-pool` or another process has said; all of it with `last=0`."""
        return (self._directory / f"{name}.log").read_text(errors="replace")[-last:]

    def restarts(self) -> int:
        """How often Flink has started a job again because a task of it had failed."""
        return self.log("job-server", last=0).count("to RESTARTING")

    def stop(self) -> None:
        """Kills everything that was started, and what those started."""
        for name in reversed(list(self._processes)):
            self._kill(name)

    def _kill(self, name: str) -> None:
        """SIGKILLs one of the processes, and what it has started."""
        process = self._processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _run(self, name: str, command: list[str]) -> None:
        # The pool starts `python`: the one that runs the tests.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        root = str(Path(__file__).parents[2])
        with open(self._directory / f"{name}.log", "wb") as log:
            self._processes[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=root,
                env={**os.environ, "PATH": path, "PYTHONPATH": root, "FLINK_CONF_DIR": str(self._directory)},
                start_new_session=True,
            )

    def _wait_for(self, name: str, port: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.2)
        self.stop()
        raise RuntimeError(f"{name} does not listen:\n{self.log(name)}")

    def _manifest_jar(self, jars: Path) -> Path:
        """A jar without classes that names the main class, the jars, and the packages that Flink must see into."""
        lines = [
            "Manifest-Version: 1.0",
            "Main-Class: org.apache.beam.runners.flink.FlinkJobServerDriver",
            "Class-Path: " + " ".join(jar.as_uri() for jar in sorted(jars.glob("*.jar"))),
            "Add-Opens: " + " ".join(f"java.base/{package}" for package in OPENED.split()),
            "Add-Exports: java.base/sun.net.util",
        ]
        text = "".join(_wrapped(line) for line in lines)
        path = self._directory / "job-server.jar"
        with zipfile.ZipFile(path, "w") as jar:
            jar.writestr("META-INF/MANIFEST.MF", text)
        return path


def _wrapped(line: str) -> str:
    """A line of a manifest, which is at most 72 bytes long and goes on after a newline and a space."""
    parts = [line[:70], *(line[start : start + 69] for start in range(70, len(line), 69))]
    return "\r\n ".join(parts) + "\r\n"


if __name__ == "__main__":
    print(f"Flink is in {fetch_jars()}")
