"""The Dataflow service as its client sees it: jobs that are submitted to it, and the state that they are said to be in."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

JOB_ID = "2026-11-26_00_00_00-1"


class DataflowService:
    """Answers what Beam's runner asks of Dataflow's REST API on a loopback port, and keeps the jobs.

    A job is never run: it is `state` at once, or refused with `status`.
    """

    def __init__(self, directory: Path, state: str = "JOB_STATE_DONE", status: int = 200) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.state = state
        self.status = status
        self.staging = directory / "staging"
        self.staging.mkdir(parents=True)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    def __enter__(self) -> DataflowService:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def options(self) -> list[str]:
        """Beam's options that submit to this service instead of Google's. Beam knows it by the name `localhost` only."""
        return [
            "--runner=DataflowRunner",
            "--project=my-project",
            "--region=europe-west1",
            "--job_name=observability",
            f"--temp_location={self.staging.parent}/temp",
            f"--staging_location={self.staging}",
            "--no_auth",
            f"--dataflow_endpoint=http://localhost:{self._server.server_address[1]}",
        ]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        """The status and the body for a request."""
        self.asked.append(f"{method} {path.partition('?')[0]}")
        if method == "POST" and self.status != 200:
            return self.status, {"error": {"code": self.status, "message": "no such project", "status": "DENIED"}}
        if method == "POST":
            self.jobs.append(body)
        if path.partition("?")[0].endswith("/messages"):
            return 200, {"jobMessages": []}
        if path.partition("?")[0].endswith("/metrics"):
            return 200, {"metrics": []}
        return 200, {"id": JOB_ID, "projectId": "my-project", "name": "observability", "currentState": self.state}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Any) -> None:
                status, answer = service.answer(self.command, self.path, body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler
