"""The client: what it refuses, what it keeps to itself, which failures it tells apart, and that threads may share it."""

from __future__ import annotations

import os
import pickle
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from clickhouse_connect.driver import exceptions as driver

from tests.conftest import NO_PASSWORD
from tests.support.waiting import eventually
from transforms.clickhouse import (
    AccessDenied,
    ClickHouse,
    ClickHouseConfig,
    ClickHouseError,
    DataError,
    SchemaError,
    Unavailable,
)
from transforms.clickhouse import errors as clickhouse_errors
from transforms.clickhouse.errors import error_class
from transforms.clickhouse.translate import translate

SECRET = "hunter2-is-secret"


def http(port: int, **options: object) -> ClickHouseConfig:
    values: dict[str, object] = {"password": NO_PASSWORD, "retry_attempts": 1, "timeout_s": 2, **options}
    return ClickHouseConfig(url=f"http://127.0.0.1:{port}", **values)  # type: ignore[arg-type]


def run_python(source: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own, which can have an embedded database of its own."""
    return subprocess.run(
        [sys.executable, "-c", source, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[3],
    )


# What it refuses


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"url": "chdb://"}, ["--clickhouse_url", "chdb:///path"]),
        ({"url": "chdb:///data?max_threads=1"}, ["--clickhouse_url", "question mark"]),
        ({"url": "chdb:///da\0ta"}, ["--clickhouse_url", "NUL"]),
        ({"url": "localhost:8123"}, ["--clickhouse_url", "'localhost:8123'", "http(s)://host:port"]),
        ({"url": "http://host:99999"}, ["--clickhouse_url", "http(s)://host:port"]),
        ({"url": "http://host:0"}, ["--clickhouse_url", "'http://host:0'"]),
        ({"url": "http://"}, ["--clickhouse_url"]),
        ({"url": "http://host/?compress=1"}, ["--clickhouse_url"]),
        ({"url": "tcp://host:9000"}, ["--clickhouse_url", "'tcp://host:9000'"]),
        ({"user": ""}, ["--clickhouse_user", "default"]),
        ({"database": "my-data"}, ["--clickhouse_database", "'my-data'"]),
        ({"database": "1st"}, ["--clickhouse_database", "'1st'"]),
        ({"database": "a\n"}, ["--clickhouse_database"]),
        ({"password": SECRET}, ["--clickhouse_password_from", "env:NAME", "file:/path"]),
        ({"password": "file:relative"}, ["--clickhouse_password_from"]),
        ({"retry_attempts": 0}, ["--retry_attempts", "0", "at least 1"]),
        ({"retry_delay_s": -1.0}, ["--retry_delay", "-1.0"]),
        ({"timeout_s": 0.0}, ["timeout_s", "0"]),
        ({"max_server_memory_bytes": 0}, ["max_server_memory_bytes", "0"]),
    ],
)
def test_a_problem_names_the_option_the_value_and_what_would_be_right(
    options: dict[str, object], told: list[str]
) -> None:
    config = ClickHouseConfig(**{"url": "http://host:8123", **options})  # type: ignore[arg-type]
    (problem,) = config.problems()
    assert [text for text in told if text not in problem] == []
    assert SECRET not in problem
    with pytest.raises(ClickHouseError) as caught:
        config.connect()
    assert str(caught.value) == problem


def test_all_problems_are_told_at_once() -> None:
    problems = ClickHouseConfig(url="ftp://x", user="", database="", password="", retry_attempts=0).problems()
    assert len(problems) == 5


@pytest.mark.parametrize(
    "url", ["http://host", "https://host:8443", "http://[::1]:8123", "https://proxy/clickhouse", "chdb:///a/b c"]
)
def test_good_urls_are_no_problem(url: str) -> None:
    assert ClickHouseConfig(url=url).problems() == []


# What it keeps to itself


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{SECRET}@host:8123",
        f"http://{SECRET}@host",
        f"http://host:8123?password={SECRET}",
        f"http://host:8123/?user=me&password={SECRET}",
        f"http://me:{SECRET}@ho[st",
        f"ftp://me:{SECRET}@host",
        f"me:{SECRET}@host:9000",
        f"{SECRET}@host",
        f"http://host:8123/?user=me&pass={SECRET}",
        f"http://host:99999999/{SECRET}@",
    ],
)
def test_a_password_in_the_url_is_refused_and_never_shown(url: str) -> None:
    config = ClickHouseConfig(url=url)
    assert config.problems()
    with pytest.raises(ClickHouseError) as caught:
        config.connect()
    shown = [*config.problems(), repr(config), str(config), config.place, *traceback.format_exception(caught.value)]
    assert [text for text in shown if SECRET in text] == []


def test_a_password_given_in_place_of_a_reference_is_never_shown() -> None:
    config = ClickHouseConfig(url="http://host", password=SECRET)
    with pytest.raises(ClickHouseError) as caught:
        config.connect()
    assert SECRET not in f"{config!r} {config.problems()} {caught.value!r}"


def test_the_config_is_pickled_with_the_reference_and_not_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", SECRET)
    config = ClickHouseConfig(url="http://host:8123", password="env:MY_PASSWORD")
    assert config.resolve_password() == SECRET
    pickled = pickle.dumps(config)
    assert SECRET.encode() not in pickled
    assert pickle.loads(pickled) == config


def test_passwords_come_from_a_variable_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    config = ClickHouseConfig(url="http://host", password=f"file:{file}")
    for content, password in ((" pa ss\n", " pa ss"), ("pä\r\n", "pä"), ("", "")):
        file.write_text(content, encoding="utf-8", newline="")
        assert config.resolve_password() == password
    file.write_bytes(b"\xff\xfe" + SECRET.encode())
    with pytest.raises(AccessDenied, match="not text in UTF-8") as caught:
        config.resolve_password()
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    file.unlink()
    with pytest.raises(AccessDenied, match=r"password cannot be read: No such file"):
        config.resolve_password()
    monkeypatch.delenv("MY_PASSWORD", raising=False)
    assert replace(config, password="env:MY_PASSWORD").resolve_password() == ""


# Which failures it tells apart


def test_the_codes_have_the_engines_own_names(embedded: ClickHouse) -> None:
    tables = (clickhouse_errors.UNAVAILABLE_CODES, clickhouse_errors.DENIED_CODES, clickhouse_errors.SCHEMA_CODES)
    known = [code for table in tables for code in table]
    assert len(known) == len(set(known)), "a code is in two tables"
    rows = embedded.query(
        "SELECT code, errorCodeToName(code) AS name FROM (SELECT arrayJoin({codes:Array(Int32)}) AS code)",
        {"codes": known},
    )
    assert {row["code"]: row["name"] for row in rows} == {
        code: name for table in tables for code, name in table.items()
    }


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (252, Unavailable),
        (241, Unavailable),
        (516, AccessDenied),
        (497, AccessDenied),
        (60, SchemaError),
        (81, SchemaError),
        (62, DataError),
        (27, DataError),
        (None, DataError),
        (99999, DataError),
    ],
)
def test_a_code_decides_the_kind_and_an_unknown_one_is_not_tried_again(
    code: int | None, kind: type[ClickHouseError]
) -> None:
    assert error_class(code) is kind


def test_errors_survive_pickling_with_their_code() -> None:
    error = pickle.loads(pickle.dumps(Unavailable("too many parts", 252)))
    assert (type(error), str(error), error.code) == (Unavailable, "too many parts", 252)


def test_a_message_has_the_servers_words_once_without_the_drivers() -> None:
    text = (
        "Received ClickHouse exception, code: 60, server response: Code: 60. DB::Exception: Unknown table expression "
        "identifier 't' in scope SELECT 1 FROM t. (UNKNOWN_TABLE) (version 26.9.2.1 (official build)) "
        "(for url http://host:8123)"
    )
    error = driver.DatabaseError(text)
    error.code = 60
    assert str(translate(error, "http://host:8123")) == (
        "Unknown table expression identifier 't' in scope SELECT 1 FROM t. (UNKNOWN_TABLE)"
    )


@contextmanager
def server_that(handle: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Something that listens where ClickHouse should; its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            handle(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, object]:
            connection, address = super().get_request()
            return (context.wrap_socket(connection, server_side=True) if context else connection), address

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes away is expected here."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def answer(text: str) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text.replace("\n", "\r\n").encode())

    return handle


def failure(config: ClickHouseConfig) -> ClickHouseError:
    with pytest.raises(ClickHouseError) as caught:
        config.connect()
    message = str(caught.value)
    noise = ("Traceback", "urllib3", "HTTPConnection", "object at 0x", "Max retries", "HTTPDriver")
    assert [word for word in noise if word in message] == [], message
    assert len(message) < 200, message
    assert caught.value.__cause__ is None
    return caught.value


def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    error = failure(http(port))
    assert isinstance(error, Unavailable)
    assert error.unsent
    assert str(error) == f"http://127.0.0.1:{port} cannot be reached: Connection refused"


def test_a_host_that_does_not_exist() -> None:
    error = failure(replace(http(1), url="http://no-such-host.invalid:8123"))
    assert isinstance(error, Unavailable)
    assert error.unsent
    assert "http://no-such-host.invalid:8123 cannot be reached" in str(error)


def test_a_server_that_closes_the_connection() -> None:
    with server_that(lambda connection: connection.close()) as port:
        error = failure(http(port))
    assert isinstance(error, Unavailable)
    assert f"http://127.0.0.1:{port} cannot be reached" in str(error)


def test_a_server_that_never_answers() -> None:
    over = threading.Event()
    with server_that(lambda _: over.wait()) as port:
        error = failure(http(port, timeout_s=1))
        over.set()
    assert isinstance(error, Unavailable)
    assert "timed out" in str(error).lower()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("502 Bad Gateway", Unavailable),
        ("503 Service Unavailable", Unavailable),
        ("429 Too Many", Unavailable),
        ("401 Unauthorized", AccessDenied),
        ("403 Forbidden", AccessDenied),
        ("404 Not Found", DataError),
    ],
)
def test_an_answer_of_something_in_between(status: str, kind: type[ClickHouseError]) -> None:
    page = f"HTTP/1.1 {status}\nContent-Type: text/html\nContent-Length: 11\nConnection: close\n\n<h1>no</h1>"
    with server_that(answer(page)) as port:
        error = failure(http(port))
    assert type(error) is kind
    assert f"http://127.0.0.1:{port} answered with HTTP status {status[:3]}" in str(error)


@pytest.mark.parametrize("says", ["220 mail.example.com ESMTP\n", "\x15\x03\x01\x1b[31m\n"])
def test_something_that_is_not_http(says: str) -> None:
    with server_that(answer(says)) as port:
        error = failure(http(port))
    assert isinstance(error, Unavailable)
    assert str(error).startswith(
        f"http://127.0.0.1:{port} does not speak HTTP: give the port of ClickHouse's HTTP interface"
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate, with its key, that nobody has signed."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def test_a_certificate_that_is_not_trusted_is_told_and_not_tried_again(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with server_that(lambda connection: None, context) as port:
        error = failure(replace(http(port, retry_attempts=5, retry_delay_s=60), url=f"https://localhost:{port}"))
    assert type(error) is ClickHouseError
    assert str(error) == f"https://localhost:{port} is not trusted: self-signed certificate"


def test_tls_to_a_server_without_it() -> None:
    with server_that(answer("HTTP/1.1 400 Bad Request\nConnection: close\n\n")) as port:
        error = failure(replace(http(port), url=f"https://127.0.0.1:{port}"))
    assert str(error).startswith(f"https://127.0.0.1:{port} does not speak TLS: give its http:// URL")


def test_what_may_pass_is_tried_again_as_often_as_configured(waits: list[float]) -> None:
    tries: list[socket.socket] = []

    def handle(connection: socket.socket) -> None:
        tries.append(connection)
        connection.close()

    with server_that(handle) as port:
        failure(http(port, retry_attempts=3, retry_delay_s=0.2))
    assert waits == [0.2, 0.4], "the second delay is twice the first"
    # The driver repeats a read on a connection that was closed, once.
    assert len(tries) in (3, 6)


# The engine in this process

OPEN_AND_WAIT = """
import sys
from transforms.clickhouse import ClickHouseConfig
with ClickHouseConfig(url=f"chdb://{sys.argv[1]}").connect(create=True) as client:
    print("open", flush=True)
    sys.stdin.readline()
"""
OPEN = """
import sys
import tenacity.nap
from transforms.clickhouse import ClickHouseConfig, ClickHouseError
tenacity.nap.time = None  # whoever waits before another try fails
try:
    ClickHouseConfig(url=f"chdb://{sys.argv[1]}").connect(create=True).close()
    print("opened")
except ClickHouseError as error:
    print(type(error).__name__, error)
"""


def test_a_database_that_another_process_has_open_is_told_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "clickhouse"
    command = [sys.executable, "-c", OPEN_AND_WAIT, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parents[3]) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        told = run_python(OPEN, path)
        assert told.stdout.startswith(
            f"EmbeddedBusy the embedded database {path} is in use by process {other.pid}; one process at a time"
        ), told
        assert "--clickhouse_url" in told.stdout
        assert told.stderr == ""
        other.communicate("go\n")
    assert run_python(OPEN, path).stdout == "opened\n"


def test_the_database_of_a_killed_process_opens_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_AND_WAIT, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parents[3]) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        other.kill()
    assert run_python(OPEN, tmp_path).stdout == "opened\n"


def test_a_second_path_in_one_process_is_refused(embedded: ClickHouse, tmp_path: Path) -> None:
    other = ClickHouseConfig(url=f"chdb://{tmp_path}/other")
    with pytest.raises(ClickHouseError) as caught:
        other.connect(create=True)
    assert f"the embedded database {other.path} cannot be opened" in str(caught.value)
    assert str(embedded.config.path) in str(caught.value)
    assert embedded.query("SELECT 1 AS x") == [{"x": 1}]


@pytest.mark.parametrize("name", ["with space", "quote'd", "ünïcode", "per%20cent", "a&b=c"])
def test_paths_of_all_sorts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    told = run_python(OPEN, path)
    assert told.stdout == "opened\n", told
    assert "tmp" in os.listdir(path), "the data is elsewhere"


BOUNDED = """
import sys
from transforms.clickhouse import ClickHouseConfig, Unavailable
config = ClickHouseConfig(url=f"chdb://{sys.argv[1]}", max_server_memory_bytes=600 << 20, retry_attempts=1)
with config.connect(create=True) as client:
    try:
        client.query("SELECT length(groupArray(toString(number))) AS n FROM numbers(50000000)")
    except Unavailable as error:
        print(error.code, client.query("SELECT 1 AS x"))
"""


def test_the_engines_memory_is_bounded(tmp_path: Path) -> None:
    told = run_python(BOUNDED, tmp_path)
    assert told.stdout == "241 [{'x': 1}]\n", told


FULL = """
import resource, sys
import pyarrow as pa
from transforms.clickhouse import ClickHouseConfig, Unavailable
rows = pa.record_batch({"x": pa.array(range(200_000))})
config = ClickHouseConfig(url=f"chdb://{sys.argv[1]}", retry_attempts=1)
with config.connect(create=True) as client:
    client.command("CREATE TABLE t (x Int64) ENGINE = MergeTree ORDER BY x")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        client.insert("t", rows, token="a")
    except Unavailable as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    client.insert("t", rows, token="a")
    print(client.query("SELECT count() AS n FROM t"))
"""


def test_rows_that_do_not_fit_into_memory_are_an_error_of_ours(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full memory or disk: writing fails in the same way."""
    told = run_python(FULL, tmp_path)
    assert told.stdout == "rows cannot be handed to the embedded engine: File too large\n[{'n': 200000}]\n", told


def test_an_insert_leaves_no_file_and_no_descriptor(
    embedded: ClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    embedded.command("CREATE TABLE t (x Int64) ENGINE = MergeTree ORDER BY x")
    embedded.insert("t", pa.record_batch({"x": pa.array([1])}))
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    embedded.insert("t", pa.record_batch({"x": pa.array([2])}))
    with pytest.raises(ClickHouseError):
        embedded.insert("t", pa.record_batch({"y": pa.array([3])}))
    assert embedded.query("SELECT sum(x) AS s FROM t") == [{"s": 3}]
    assert os.listdir(tmp_path) == []
    if before:
        memory = [fd for fd in set(os.listdir("/proc/self/fd")) - before if _is_memory(fd)]
        assert memory == []


def test_a_run_writes_the_files_of_its_inserts_again(embedded: ClickHouse) -> None:
    """Also for fewer rows than there were in one, and until it ends; not that of an insert that has failed."""
    embedded.command("CREATE TABLE again (x Int64) ENGINE = MergeTree ORDER BY x")
    files = []
    with embedded.inserts_first():
        for rows in (1000, 1, 100_000, 10):
            embedded.insert("again", pa.record_batch({"x": pa.array([1] * rows)}))
            files.append({fd for fd in os.listdir("/proc/self/fd") if _is_memory(fd)})
        with pytest.raises(ClickHouseError):
            embedded.insert("again", pa.record_batch({"y": pa.array([1])}))
        assert not any(map(_is_memory, os.listdir("/proc/self/fd")))
        embedded.insert("again", pa.record_batch({"x": pa.array([1])}))
        with embedded.inserts_first():  # as a run that looks once more
            embedded.insert("again", pa.record_batch({"x": pa.array([1])}))
        embedded.insert("again", pa.record_batch({"x": pa.array([1])}))
    assert embedded.query("SELECT sum(x) AS s FROM again") == [{"s": 101_014}]
    assert len(files[0]) == 1 and files == files[:1] * 4
    assert not any(map(_is_memory, os.listdir("/proc/self/fd")))


def _is_memory(descriptor: str) -> bool:
    try:
        return "memfd:rows" in os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return False


# Threads


def test_threads_get_their_own_answers(clickhouse: ClickHouse) -> None:
    wrong: list[object] = []

    def ask(number: int) -> None:
        for step in range(10):
            rows = clickhouse.query("SELECT {n:UInt32} AS n, sleep(0.001) AS s", {"n": number * 100 + step})
            if rows != [{"n": number * 100 + step, "s": 0}]:
                wrong.append(rows)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closing_while_threads_are_at_work(clickhouse_config: ClickHouseConfig) -> None:
    """Each call either succeeds or raises our error; none hangs, and none gives another's answer."""
    client = clickhouse_config.connect()
    others: list[object] = []
    refused: list[ClickHouseError] = []
    answered: set[int] = set()

    def work(number: int) -> None:
        while True:
            try:
                rows = client.query("SELECT {n:UInt32} AS n, sleep(0.005) AS s", {"n": number})
            except ClickHouseError as error:
                refused.append(error)
                return
            except BaseException as error:
                others.append(error)
                return
            if rows != [{"n": number, "s": 0}]:
                others.append(rows)
            answered.add(number)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(answered) == 4)
    client.close()
    for thread in threads:
        thread.join(120)
    assert others == []
    assert len(refused) == 4
    client.close()
    with pytest.raises(ClickHouseError, match="has been closed"):
        client.query("SELECT 1")


def test_the_connections_of_threads_that_have_ended_are_closed(clickhouse: ClickHouse) -> None:
    for _ in range(20):
        thread = threading.Thread(target=clickhouse.query, args=("SELECT 1 AS x",))
        thread.start()
        thread.join()
    assert len(clickhouse._clients) <= 3
