"""ClickHouse's HTTP interface in front of chDB, for tests where no server can be had. See `clickhouse_endpoint`."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import chdb

from tests.support.clickhouse_bodies import ENCODINGS, BadRequest, decoded, encoded, form_fields, raw_body
from tests.support.clickhouse_faults import BEFORE, Fault, Faults
from tests.support.clickhouse_limits import FORM_BYTES, QUERY_BYTES, URI_BYTES, Refused, check_fields, limited
from tests.support.clickhouse_statement import DataInsert, data_insert, output_format

NOT_SETTINGS = {
    "query", "database", "default_format", "user", "password", "query_id", "session_id", "session_timeout",
    "session_check", "compress", "decompress", "quota_key", "role", "client_protocol_version", "wait_end_of_query",
    "send_progress_in_http_headers", "http_headers_progress_interval_ms", "buffer_size", "enable_http_compression",
    "stacktrace", "close_session",
}  # fmt: skip


@dataclass
class State:
    """What all requests of the server share."""

    path: str
    user: str = "default"
    password: str = ""
    max_memory_bytes: int = 0
    low_merges: bool = False
    """Whether it merges at the lowest priority, which takes a privileged user."""
    faults: Faults = field(default_factory=Faults)
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=2000))
    concurrent: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(8))
    """So that no more than so many bodies are in memory at once."""
    listening: threading.Event = field(default_factory=threading.Event)
    """Cleared while connections are refused."""

    def connect(self) -> Any:
        """A handle for one request: one that has failed would answer the next query with rows of the failed one."""
        options = {}
        if self.max_memory_bytes:
            options["max_server_memory_usage"] = self.max_memory_bytes
        if self.low_merges:
            options["os_threads_nice_value_merge_mutate"] = 19
        return chdb.connect(f"{self.path}?{urlencode(options)}" if options else self.path)


@dataclass
class Request:
    """One statement to execute."""

    parameters: dict[str, str]
    statement: bytes = b""
    insert: DataInsert | None = None
    data: int = -1
    """Descriptor of a file in memory with an INSERT's rows."""
    data_bytes: int = 0

    def close(self) -> None:
        if self.data >= 0:
            os.close(self.data)

    @property
    def text(self) -> str:
        text = self.statement if self.insert is None else self.insert.before + self.insert.behind
        return text[:QUERY_BYTES].decode(errors="replace")

    def execute(self, connection: Any) -> Any:
        """Runs it on a handle of its own; the engine's result."""
        values = self.parameters
        if values.get("database"):
            connection.query("USE `" + values["database"].replace("\\", "\\\\").replace("`", "\\`") + "`")
        settings = {
            name: value for name, value in values.items() if name not in NOT_SETTINGS and not name.startswith("param_")
        }
        for name in settings:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise Refused(115, f"Unknown setting '{name}'. (UNKNOWN_SETTING)")
        if settings:
            connection.query("SET " + ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items()))
        parameters = {name[6:]: value for name, value in values.items() if name.startswith("param_")}
        if self.insert is None:
            return connection.query(self.statement, values.get("default_format", "TabSeparated"), params=parameters)
        infile = f" FROM INFILE '/dev/fd/{self.data}' ".encode()
        return connection.query(self.insert.before + infile + self.insert.behind, params=parameters)


def _write(descriptor: int, data: bytes | memoryview) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests, one after the other."""

    protocol_version = "HTTP/1.1"
    server: Server
    wbufsize = 1 << 16

    def log_message(self, *_: Any) -> None:
        """Nothing goes to standard error."""

    def handle_one_request(self) -> None:
        """As that of the base class, which takes no address of more than 64 KiB."""
        self.raw_requestline = self.rfile.readline(URI_BYTES + 100)
        if not self.raw_requestline:
            self.close_connection = True
        elif not self.raw_requestline.endswith(b"\n"):
            self.requestline = self.request_version = self.command = ""
            self.close_connection = True
            self.send_error(400, "HTTP request URI invalid or too long")
        elif self.parse_request():
            self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        state = self.server.state
        url = urlsplit(self.path)
        parameters = dict(parse_qsl(url.query, keep_blank_values=True))
        self._cut = False
        self._query_id = parameters.get("query_id") or self.headers.get("X-ClickHouse-Query-Id") or str(uuid.uuid4())
        try:
            if url.path == "/__control":
                self._control()
            elif url.path in ("/ping", "/replicas_status") or (self.command != "POST" and "query" not in parameters):
                self._send(200, b"Ok.\n", {"Content-Type": "text/html; charset=UTF-8"})
            else:
                self._authenticate(parameters)
                self._check_address(url.query)
                with state.concurrent:
                    request = self._read(parameters)
                    try:
                        self._execute(request)
                    finally:
                        request.close()
        except Refused as error:
            self._send_error(error.code, str(error), error.status)
        except BadRequest as error:
            self.close_connection = True
            self._send_error(354, f"Code: 354. DB::Exception: {error}. (ZLIB_INFLATE_FAILED)", 400)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True

    def _authenticate(self, parameters: dict[str, str]) -> None:
        user, password = self._text("X-ClickHouse-User"), self._text("X-ClickHouse-Key")
        header = self.headers.get("Authorization", "")
        if header.startswith("Basic "):
            user, _, password = base64.b64decode(header[6:]).decode().partition(":")
        elif user is None:
            user, password = parameters.get("user"), parameters.get("password")
        if ((user or "default"), (password or "")) != (self.server.state.user, self.server.state.password):
            self.close_connection = True  # the body has not been read
            raise Refused(
                516,
                f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is no user "
                "with such name. (AUTHENTICATION_FAILED)",
            )

    def _check_address(self, query: str) -> None:
        kept, self.close_connection = self.close_connection, True  # the body has not been read
        check_fields(field.partition("=")[2] for field in query.split("&"))
        self.close_connection = kept

    def _text(self, header: str) -> str | None:
        value = self.headers.get(header)
        return None if value is None else value.encode("latin-1").decode(errors="replace")

    def _read(self, parameters: dict[str, str]) -> Request:
        """The statement and, in a file in memory, the rows that come with it."""
        length = self.headers.get("Content-Length")
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        pieces = raw_body(self.rfile, int(length) if length else None, chunked)
        content_type = self.headers.get("Content-Type", "")
        if content_type.startswith("multipart/form-data"):
            fields = form_fields(content_type, limited(pieces, FORM_BYTES))
            check_fields(fields.values())
            parameters |= {name: value.decode() for name, value in fields.items()}
            pieces = iter(())
        body = decoded(pieces, self.headers.get("Content-Encoding", "").lower())
        head = parameters.get("query", "").encode()
        head += b"\n" if head else b""
        in_url = len(head)
        for piece in body:
            head += piece
            if len(head) - in_url >= QUERY_BYTES:
                break
        insert = data_insert(head[: in_url + QUERY_BYTES])
        if insert is None:
            statement = head + limited(body, FORM_BYTES)
            if len(statement) > QUERY_BYTES:
                raise Refused(62, "Code: 62. DB::Exception: Max query size exceeded. (SYNTAX_ERROR)")
            return Request(parameters, statement)
        request = Request(parameters, insert=insert, data=os.memfd_create("insert"))
        try:
            request.data_bytes = _write(request.data, memoryview(head)[insert.data_at :])
            for piece in body:
                request.data_bytes += _write(request.data, piece)
        except BaseException:
            request.close()
            raise
        return request

    def _execute(self, request: Request) -> None:
        state = self.server.state
        note = {
            "query": request.text[:2000],
            "query_id": self._query_id,
            "data_bytes": request.data_bytes,
            "encoding": self.headers.get("Content-Encoding", ""),
            "accept": self.headers.get("Accept-Encoding", ""),
            "method": self.command,
            "target": self.path[:4000],
            "client": self.client_address[1],
        }
        state.requests.append(note)
        faults = state.faults.for_query(request.text)
        for fault in faults:
            if fault.when == BEFORE and self._strike(fault):
                return
        began = time.perf_counter_ns()
        connection = state.connect()
        try:
            result = request.execute(connection)
            for fault in faults:
                if fault.when != BEFORE and self._strike(fault):
                    return
            self._send_result(request, result, time.perf_counter_ns() - began)
        except chdb._exceptions.ChdbError as error:
            message = str(error)
            code = re.match(r"Code: (\d+)", message)
            raise Refused(int(code[1]) if code else 1002, message) from None
        finally:
            connection.close()

    def _send_result(self, request: Request, result: Any, elapsed_ns: int) -> None:
        rows, size = result.rows_read(), result.bytes_read()
        wrote = request.insert is not None
        summary = {
            "read_rows": rows,
            "read_bytes": size,
            "written_rows": rows if wrote else 0,
            "written_bytes": size if wrote else 0,
            "total_rows_to_read": 0,
            "result_rows": rows if wrote else 0,
            "result_bytes": size if wrote else 0,
            "elapsed_ns": elapsed_ns,
        }
        headers = {"X-ClickHouse-Summary": json.dumps({name: str(value) for name, value in summary.items()})}
        name = request.parameters.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        answer = None if wrote else output_format(request.statement, name)
        if answer:
            headers |= {"X-ClickHouse-Format": answer, "Content-Type": _content_type(answer)}
        if len(result) == 0:
            self._send(200, b"", headers, request.parameters)
            return
        memory = result.get_memview()
        try:
            self._send(200, memory.view(), headers, request.parameters)
        finally:
            memory.release()

    def _send_error(self, code: int, message: str, status: int) -> None:
        headers = {"X-ClickHouse-Exception-Code": str(code)} if code else {}
        self._send(status, message.encode() + b"\n", headers | {"Content-Type": "text/plain; charset=UTF-8"})

    def _send(self, status: int, body: Any, headers: dict[str, str], parameters: dict[str, str] | None = None) -> None:
        self.send_response(status)
        encoding = ""
        if parameters and parameters.get("enable_http_compression") in ("1", "true"):
            accepted = [word.split(";")[0].strip() for word in self.headers.get("Accept-Encoding", "").split(",")]
            encoding = next((name for name in accepted if name in ENCODINGS), "")
        headers = {
            "X-ClickHouse-Query-Id": self._query_id,
            "X-ClickHouse-Server-Display-Name": "endpoint",
            "X-ClickHouse-Timezone": "UTC",
            **headers,
            **({"Content-Encoding": encoding} if encoding else {}),
            "Transfer-Encoding": "chunked",
            **({"Connection": "close"} if self.close_connection else {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            for piece in encoded(memoryview(body).cast("B"), encoding):
                if len(piece):
                    self.wfile.write(b"%x\r\n" % len(piece))
                    self.wfile.write(piece)
                    if self._cut:
                        self.wfile.flush()
                        self._reset()
                        return
                    self.wfile.write(b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _strike(self, fault: Fault) -> bool:
        """Makes a fault happen; true if that was the answer."""
        if fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.kind == "delay":
            time.sleep(fault.seconds)
            return False
        if fault.kind == "hold":
            self.server.state.faults.wait_until_cleared()
            return False
        if fault.kind == "cut":
            self._cut = True
            return False
        if fault.kind == "status":
            self._send_error(fault.code, fault.message, fault.status)
            return True
        if fault.kind == "refuse":
            self.server.refuse()
        self._reset()
        return True

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _control(self) -> None:
        """GET tells the faults and the last requests; POST sets a fault; HEAD forgets all of them."""
        state = self.server.state
        if self.command == "POST":
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer: Any = asdict(state.faults.add(Fault.of(json.loads(body))))
        elif self.command == "GET":
            answer = {"faults": [asdict(fault) for fault in state.faults.all()], "requests": list(state.requests)}
        else:
            answer = {}
            state.faults.clear()
            state.requests.clear()
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


class Server(ThreadingHTTPServer):
    """Listens until it is closed or told to refuse connections."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], state: State) -> None:
        super().__init__(address, Handler)
        self.state = state
        self._sockets: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what tests do; anything else is a mistake of the endpoint."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def refuse(self) -> None:
        """Stops listening, and drops all connections; `serve` begins again once `listening` is set."""
        self.state.listening.clear()
        threading.Thread(target=self.shutdown, daemon=True).start()

    def drop_all(self) -> None:
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def serve(address: tuple[str, int], state: State) -> Iterator[int]:
    """Serves for ever. Yields the port each time that it is going to listen."""
    keep = state.connect()  # the engine stays up between requests
    try:
        while True:
            with Server(address, state) as server:
                address = (address[0], server.server_address[1])
                state.listening.set()
                yield address[1]
                server.serve_forever(poll_interval=0.02)
            server.drop_all()
            state.listening.wait()
    finally:
        keep.close()


def _content_type(name: str) -> str:
    if name.startswith("JSON"):
        return "application/json; charset=UTF-8"
    if name.startswith(("Tab", "TSV")):
        return "text/tab-separated-values; charset=UTF-8"
    return "application/octet-stream"
