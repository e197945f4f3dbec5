"""A ClickHouse that speaks HTTP, for tests and benchmarks: chDB behind ClickHouse's HTTP interface, in its own process.

    python -m tests.support.clickhouse_endpoint --data=DIR [--port=8123] [--user=…] [--memory=BYTES]

The password of the user is in CLICKHOUSE_ENDPOINT_PASSWORD. An answer is made as a whole before it is sent, as
ClickHouse does with wait_end_of_query=1. Faults are set with `ClickHouseEndpoint.fault`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

PASSWORD_VARIABLE = "CLICKHOUSE_ENDPOINT_PASSWORD"
START_TIMEOUT_S = 30
HOST = "127.0.0.1"


class ClickHouseEndpoint:
    """The endpoint's process on a directory with data. It ends when this process does, however it ends.

    with ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint:
        fault = endpoint.fault("drop", "INSERT INTO .*mastra_admin_traces", when="after", nth=3)
        ...
        assert endpoint.struck(fault) == 1
    """

    def __init__(
        self,
        data: Path,
        *,
        user: str = "default",
        password: str = "",
        max_memory_bytes: int = 0,
        low_merges: bool = False,
        port: int = 0,
    ) -> None:
        self.data = data
        self.user = user
        self.port = port
        self._password = password
        self._max_memory_bytes = max_memory_bytes
        self._low_merges = low_merges
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> ClickHouseEndpoint:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`, the same after a restart."""
        return f"http://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the endpoint is not running"
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it answers. The first start picks a free port, which later ones keep."""
        assert self._process is None, "the endpoint is running"
        command = [sys.executable, "-m", "tests.support.clickhouse_endpoint", "--end-with-stdin"]
        command += [f"--data={self.data}", f"--port={self.port}", f"--user={self.user}"]
        command += [f"--memory={self._max_memory_bytes}", *(["--low-merges"] if self._low_merges else [])]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, PASSWORD_VARIABLE: self._password},
        )
        assert self._process.stdout is not None
        timer = threading.Timer(START_TIMEOUT_S, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            self._reap()
            raise RuntimeError(f"the endpoint on {self.data} did not start")
        self.port = int(line)

    def stop(self) -> None:
        """Ends it as a server that is told to; a no-op when it is not running."""
        if self._process is not None:
            self._process.terminate()
            self._reap()

    def kill(self) -> None:
        """Ends it as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def accept_again(self) -> None:
        """Ends a fault that refuses connections; waits until it listens."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("listen\n")
        self._process.stdin.flush()
        assert int(self._process.stdout.readline()) == self.port

    def wait_for_death(self, timeout_s: float = 30) -> int:
        """Waits until it has died of a fault; its exit code."""
        assert self._process is not None, "the endpoint is not running"
        code = self._process.wait(timeout_s)
        self._reap()
        return code

    def restart(self) -> None:
        """Starts it again on the same data and port, whether it is running or has died."""
        self.stop()
        self.start()

    def _reap(self) -> None:
        process, self._process = self._process, None
        assert process is not None
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def fault(self, kind: str, pattern: str = "", **options: Any) -> int:
        """Sets a fault and returns its number; kinds and options are those of `tests.support.clickhouse_faults.Fault`."""
        answer = self._control("POST", json.dumps({"kind": kind, "pattern": pattern, **options}))
        return int(answer["id"])

    def clear_faults(self) -> None:
        """Forgets all faults and requests."""
        self._control("HEAD")

    def struck(self, fault: int) -> int:
        """How many queries a fault has struck."""
        (found,) = [one for one in self._control("GET")["faults"] if one["id"] == fault]
        return int(found["struck"])

    def requests(self, containing: str = "") -> list[dict[str, Any]]:
        """The last requests, oldest first: `query`, `query_id`, `data_bytes` (rows, decompressed), `encoding`, `target`."""
        return [one for one in self._control("GET")["requests"] if containing.lower() in one["query"].lower()]

    def _control(self, method: str, body: str = "") -> Any:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request(method, "/__control", body or None)
            return json.loads(connection.getresponse().read() or "{}")
        finally:
            connection.close()


def main() -> None:
    from tests.support.clickhouse_http import State, serve

    parser = argparse.ArgumentParser(description="ClickHouse's HTTP interface in front of chDB")
    parser.add_argument("--data", required=True)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--user", default="default")
    parser.add_argument("--memory", type=int, default=0, help="bound on the engine's memory in bytes, 0 for none")
    parser.add_argument(
        "--low-merges", action="store_true", help="merge at the lowest priority; takes a privileged user"
    )
    parser.add_argument("--end-with-stdin", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.makedirs(arguments.data, exist_ok=True)
    state = State(
        arguments.data,
        arguments.user,
        os.environ.get(PASSWORD_VARIABLE, ""),
        max_memory_bytes=arguments.memory,
        low_merges=arguments.low_merges,
    )
    if arguments.end_with_stdin:
        threading.Thread(target=_obey, args=(state.listening,), daemon=True).start()
    for port in serve((arguments.host, arguments.port), state):
        print(port, flush=True)


def _obey(listening: threading.Event) -> None:
    """Listens again at each line of standard input, and ends with it."""
    for _ in sys.stdin:
        listening.set()
    os._exit(0)


if __name__ == "__main__":
    main()
