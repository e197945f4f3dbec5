"""Google's Secret Manager as its client sees it over REST: one call, with the answers and the errors of the service."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote

STATUS = {404: "NOT_FOUND", 403: "PERMISSION_DENIED", 400: "FAILED_PRECONDITION", 503: "UNAVAILABLE"}


class SecretManagerStub:
    """Answers `GET /v1/{version}:access` on a loopback port.

    `versions` has what is read by the full name of a version: the payload, or the HTTP status of a refusal.
    """

    def __init__(self, versions: dict[str, bytes | int] | None = None) -> None:
        self.versions = versions or {}
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> SecretManagerStub:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """The status and the body for a request."""
        name = unquote(path.partition("?")[0]).removeprefix("/v1/").removesuffix(":access")
        self.asked.append(name)
        found = self.versions.get(name, 404)
        if isinstance(found, int):
            return found, {"error": {"code": found, "message": f"refused: {name}", "status": STATUS[found]}}
        return 200, {"name": name, "payload": {"data": base64.b64encode(found).decode()}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = stub.answer(self.path)
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler
