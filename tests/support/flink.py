"""What a real Flink for tests is made of: its jars, Beam's job server, and pools of Python workers.

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
POOL_HOST = "worker-pool"
"""The name under which each TaskManager finds a worker pool of its own: see `FlinkParts._hosts`."""


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


class FlinkParts:
    """Processes of a Flink cluster and of what Beam needs beside it. Everything ends with `stop`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._scratch = directory / "scratch"
        """Files of Flink's own, some 100 MB of jars for each job and TaskManager, which it leaves behind when it is killed."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._job_port, self._pool_port = free_port(), free_port()

    def _configure(self, configuration: str) -> None:
        """Writes what Flink reads."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        (self._directory / "flink-conf.yaml").write_text(configuration)

    @property
    def _scratch_option(self) -> str:
        """Where Java puts temporary files."""
        return f"-Djava.io.tmpdir={self._scratch}"

    def _start_job_server(self, master: str) -> None:
        """Starts Beam's job server, for a Flink at `master`. Raises RuntimeError with its log when it does not listen."""
        manifest = self._manifest_jar(fetch_jars())
        artifacts = self._directory / "artifacts"
        self._run(
            "job-server",
            [
                *(
                    "java",
                    "-Xmx384m",
                    self._scratch_option,
                    "-jar",
                    str(manifest),
                    "--job-host=127.0.0.1",
                    f"--job-port={self._job_port}",
                ),
                *(f"--artifact-port={free_port()}", f"--expansion-port={free_port()}", f"--flink-master={master}"),
                *(f"--artifacts-dir={artifacts}", f"--flink-conf-dir={self._directory}"),
            ],
        )
        self._wait_for("job-server", "127.0.0.1", self._job_port)

    def _start_pool(self, number: int) -> None:
        """Starts the worker pool of a TaskManager. Raises RuntimeError with the end of its log when it does not listen."""
        name, host = f"{POOL_HOST}-{number}", _pool_address(number)
        self._run(name, [sys.executable, "-m", "tests.support.worker_pool", host, str(self._pool_port)])
        self._wait_for(name, host, self._pool_port)

    def _hosts(self, number: int) -> Path:
        """The names of machines as one TaskManager knows them.

        A job has one address for the pools of all its TaskManagers, since each is thought to be on a machine of its own.
        Here each Java finds another loopback address under that name.
        """
        path = self._directory / f"hosts-{number}"
        path.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n{_pool_address(number)} {POOL_HOST}\n")
        return path

    def pipeline_options(self) -> list[str]:
        """The options that run a pipeline here, with its Python code in the pools' workers."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint=127.0.0.1:{self._job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config={POOL_HOST}:{self._pool_port}",
            "--sdk_worker_parallelism=1",
        ]

    def workers(self) -> list[psutil.Process]:
        """The Python workers that are running."""
        pools = [psutil.Process(one.pid) for name, one in self._processes.items() if name.startswith(POOL_HOST)]
        children = [child for pool in pools for child in pool.children(recursive=True)]
        return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]

    def log(self, name: str, last: int = 6000) -> str:
        """The end of what `job-server`, `worker-pool-0` or another process has said; all of it with `last=0`."""
        return (self._directory / f"{name}.log").read_text(errors="replace")[-last:]

    def stop(self) -> None:
        """Kills everything that was started, and what those started."""
        for name in reversed(list(self._processes)):
            self._kill(name)
        shutil.rmtree(self._scratch, ignore_errors=True)

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

    def _wait_for(self, name: str, host: str, port: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
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


def _pool_address(number: int) -> str:
    return f"127.0.0.{2 + number}"


def _wrapped(line: str) -> str:
    """A line of a manifest, which is at most 72 bytes long and goes on after a newline and a space."""
    parts = [line[:70], *(line[start : start + 69] for start in range(70, len(line), 69))]
    return "\r\n ".join(parts) + "\r\n"


if __name__ == "__main__":
    print(f"Flink is in {fetch_jars()}")
