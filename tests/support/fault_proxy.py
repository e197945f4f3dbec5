"""A proxy in front of an object store that notes every request, and spoils those that it is told to.

    with FaultProxy("http://127.0.0.1:4443") as proxy:
        fault = proxy.fault("COPY-ish regex of METHOD and path", "lose_answer", times=1)
        ...
        assert fault.struck == 1

Real HTTP on both sides. Faults:

* `lose_answer`: the store does what was asked, and the connection ends before its answer comes
* `cut_body`: half of the answer's body comes, then the connection ends
* `refuse`: the connection ends before the store hears of the request
* an `Answer`: that answer comes, and the store hears of nothing
* a function of the request: the `Answer` that it gives, or none when it gives None
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "expect")


@dataclass(frozen=True)
class Answer:
    """An answer that the proxy gives in place of the store."""

    status: int
    body: bytes = b""
    content_type: str = "application/xml"


@dataclass(frozen=True)
class Sent:
    """A request as it was sent."""

    method: str
    path: str
    """Decoded, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case names."""


Kind = Literal["lose_answer", "cut_body", "refuse"] | Answer | Callable[[Sent], Answer | None]


@dataclass
class Fault:
    """What happens to requests whose method and decoded path, as in `GET /bucket/key`, match."""

    pattern: re.Pattern[str]
    kind: Kind
    times: int
    after: int
    """So many matching requests are let through first."""
    seen: int = 0
    struck: int = 0


@dataclass
class FaultProxy:
    """The proxy, in threads of this process, as long as the context lasts."""

    upstream: str
    requests: list[Sent] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> FaultProxy:
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fault(self, pattern: str, kind: Kind, *, times: int = 1, after: int = 0) -> Fault:
        """Sets a fault for requests that match a regular expression."""
        fault = Fault(re.compile(pattern), kind, times, after)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Forgets all faults and all requests."""
        with self._lock:
            self._faults.clear()
            self.requests.clear()

    def sent(self, pattern: str) -> list[Sent]:
        """The requests so far whose method and decoded path match."""
        with self._lock:
            return [sent for sent in self.requests if re.search(pattern, f"{sent.method} {sent.path}")]

    def note(self, sent: Sent) -> Kind | None:
        """Notes a request; what is to happen to it, if anything."""
        with self._lock:
            self.requests.append(sent)
            for fault in self._faults:
                if fault.pattern.search(f"{sent.method} {sent.path}"):
                    fault.seen += 1
                    if fault.seen > fault.after and fault.struck < fault.times:
                        fault.struck += 1
                        return fault.kind
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _forward(self) -> None:
        body = self._body()
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        sent = Sent(self.command, unquote(parts.path), query, headers)
        fault = self.server.proxy.note(sent)
        if callable(fault):
            fault = fault(sent) or "refuse"
        if isinstance(fault, Answer):
            self._answer(fault.status, [("Content-Type", fault.content_type)], fault.body)
            return
        if fault == "refuse":
            self.close_connection = True
            return
        with _connection(self.server.proxy.upstream) as upstream:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    upstream.putheader(name, value)
            upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
        if fault == "lose_answer":
            self.close_connection = True
            return
        length = int(answer.headers.get("Content-Length") or 0) if self.command == "HEAD" else len(content)
        self._answer(answer.status, kept, content, length=length, cut=fault == "cut_body")

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, *, length: int | None = None, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _forward


@contextlib.contextmanager
def _connection(url: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        yield connection
    finally:
        connection.close()
