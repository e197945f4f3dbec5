"""The endpoint that stands for a server in tests, proven against ClickHouse's own client library.

With CLICKHOUSE_URL set, what does not need faults or processes is proven on that server, too.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import clickhouse_connect
import lz4.frame
import pyarrow as pa
import pytest
import zstandard
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.compression import available_compression
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.clickhouse_statement import data_insert, output_format
from tests.support.waiting import eventually
from transforms.clickhouse import ClickHouseConfig

Connect = Callable[..., Client]


@pytest.fixture
def connect(http_config: ClickHouseConfig) -> Iterator[Connect]:
    """Makes clients of clickhouse-connect on a fresh database."""
    clients: list[Client] = []
    parts = urlsplit(http_config.url)

    def make(**options: Any) -> Client:
        options = {"autogenerate_session_id": False, "compress": False, **options}
        clients.append(
            clickhouse_connect.get_client(
                interface=parts.scheme,
                host=parts.hostname,
                port=parts.port or 8123,
                username=http_config.user,
                password=http_config.resolve_password(),
                database=http_config.database,
                **options,
            )
        )
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Connect) -> Client:
    return connect()


def post(
    config: ClickHouseConfig, body: Any, headers: dict[str, str] | None = None, method: str = "POST", **parameters: str
) -> tuple[int, dict[str, str], bytes]:
    """A bare HTTP request; status, headers and body of the answer."""
    parts = urlsplit(config.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 8123, timeout=30)
    try:
        parameters = {"database": config.database, **parameters}
        named = {"X-ClickHouse-User": config.user, "X-ClickHouse-Key": config.resolve_password()}
        url = f"/?{urlencode(parameters, quote_via=quote)}"
        connection.request(method, url, body, named if headers is None else headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


# Inserts


KINDS = """
    CREATE TABLE kinds (
        n UInt32, text String, word LowCardinality(String), state Enum8('ok' = 1, 'error' = 2), at DateTime64(3, 'UTC'),
        maybe Nullable(Float64), counts Map(LowCardinality(String), UInt64), words Array(String)
    ) ENGINE = MergeTree ORDER BY n"""
TIMES = [datetime(1901, 1, 1), datetime(2026, 11, 20, 12), datetime(2299, 12, 31, 23, 59, 59, 999000)]


def rows(count: int) -> list[list[Any]]:
    return [
        [
            n,
            f"\0'\\\n{n}" * 5,
            f"w{n % 7}",
            ("ok", "error")[n % 2],
            TIMES[n % 3],
            None if n % 3 else n / 8,
            {"k": n},
            ["", "é"],
        ]
        for n in range(count)
    ]


@pytest.mark.parametrize("compression", [False, *available_compression])
def test_answers_under_every_compression(connect: Connect, compression: str) -> None:
    answer = connect(compress=compression).query("SELECT number, repeat('x', number % 100) FROM numbers(50000)")
    assert [list(row) for row in answer.result_rows] == [[number, "x" * (number % 100)] for number in range(50_000)]


# clickhouse-connect has no deflate for inserts, though it offers it.
@pytest.mark.parametrize("compression", [False, *(name for name in available_compression if name != "deflate")])
def test_rows_in_native_format_under_every_compression(
    connect: Connect, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickhouse_connect.driver.insert.DEFAULT_BLOCK_BYTES", 1 << 16)
    client = connect(compress=compression)
    client.command(KINDS)
    names = ["n", "text", "word", "state", "at", "maybe", "counts", "words"]
    summary = client.insert("kinds", rows(20_000), column_names=names)
    assert summary.written_rows == 20_000
    answer = client.query("SELECT * FROM kinds ORDER BY n")
    assert [list(row) for row in answer.result_rows] == rows(20_000)


def test_arrow_tables(client: Client) -> None:
    client.command("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    table = pa.table({"a": pa.array(range(1000), pa.uint32()), "b": [str(number) for number in range(1000)]})
    client.insert_arrow("t", table)
    assert client.query_arrow("SELECT * FROM t ORDER BY a").cast(table.schema).equals(table)


LINES = b"".join(b'{"a": %d, "b": "%s"}\n' % (number, b"x" * 50) for number in range(30_000))


def frames(compress: Callable[[bytes], bytes]) -> bytes:
    """Several frames of one body."""
    return b"".join(compress(LINES[at : at + 100_000]) for at in range(0, len(LINES), 100_000))


ENCODED = {
    "gzip": frames(gzip.compress),
    "zstd": frames(zstandard.ZstdCompressor().compress),
    "lz4": frames(lz4.frame.compress),
    "deflate": zlib.compress(LINES),
}


@pytest.mark.parametrize("encoding", ENCODED)
@pytest.mark.parametrize("in_chunks", [False, True])
def test_bodies_of_several_frames(
    client: Client, http_config: ClickHouseConfig, encoding: str, in_chunks: bool
) -> None:
    client.command("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    whole = ENCODED[encoding]
    body = (whole[at : at + 7_001] for at in range(0, len(whole), 7_001)) if in_chunks else whole
    client.raw_insert("t", ["a", "b"], body, fmt="JSONEachRow", compression=encoding)
    assert client.query("SELECT count(), sum(a), min(length(b)) FROM t").result_rows == [(30_000, 449_985_000, 50)]


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "lz4"])
def test_a_body_that_ends_in_the_middle_of_a_frame_is_refused_as_a_whole(client: Client, encoding: str) -> None:
    client.command("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    with pytest.raises(DatabaseError):
        client.raw_insert("t", ["a", "b"], ENCODED[encoding][:-5], fmt="JSONEachRow", compression=encoding)
    assert client.command("SELECT count() FROM t") == 0


@pytest.mark.parametrize("data", [b"\n\n", b"\r\n", b" \n\t", b"\t", b"\n", b"--", b"'", b"/*", b"(", b"\0"])
@pytest.mark.parametrize("in_url", [False, True])
def test_rows_may_begin_with_anything(client: Client, data: bytes, in_url: bool) -> None:
    client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY ()")
    client.raw_insert("t", ["a"], iter([data]) if in_url else data, fmt="RowBinary")
    assert bytes(row[0] for row in client.query("SELECT a FROM t").result_rows) == data


@pytest.mark.parametrize("form", ["Native", "JSONEachRow", "TabSeparated", "RowBinary"])
def test_a_body_without_rows(client: Client, form: str) -> None:
    client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY ()")
    client.raw_insert("t", ["a"], b"", fmt=form)
    assert client.command("SELECT count() FROM t") == 0


STATEMENTS = [
    ("INSERT INTO t FORMAT TSV\n1\n", "1\n"),
    ("insert into t (a)\nsettings max_block_size = 1 format TSV 1\n", "1\n"),
    ("INSERT INTO t /* FORMAT x */ (a) -- FORMAT y\n SETTINGS log_comment = 'FORMAT z' FORMAT TSV\r\n\n", "\n"),
    ("INSERT INTO `FORMAT q` (`SELECT`) FORMAT CSV\n 1", " 1"),
    ("INSERT INTO FUNCTION file('FORMAT x') FORMAT TSV\nx", "x"),
]


@pytest.mark.parametrize(("text", "data"), STATEMENTS)
def test_where_the_rows_of_an_insert_begin(text: str, data: str) -> None:
    found = data_insert(text.encode())
    assert found is not None
    assert text[found.data_at :] == data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "INSERT",
        "SELECT 'INSERT INTO t FORMAT TSV'",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t FORMAT Values (1)",
        "INSERT INTO t SELECT 1 FORMAT TSV",
        "INSERT INTO t WITH 1 AS x SELECT x",
        "INSERT INTO t FROM INFILE 'x' FORMAT TSV",
    ],
)
def test_statements_without_rows_behind_them(text: str) -> None:
    assert data_insert(text.encode()) is None


@pytest.mark.parametrize(
    ("statement", "form"),
    [
        ("SELECT 1", "TSV"),
        ("SELECT 1\n FORMAT Native", "Native"),
        ("-- a\n/* b */ CREATE TABLE t (a UInt8)", None),
        ("SELECT 'x FORMAT y'", "TSV"),
        ("INSERT INTO t SELECT 1", None),
        ("SHOW TABLES FORMAT JSON;", "JSON"),
    ],
)
def test_formats_of_answers(statement: str, form: str | None) -> None:
    assert output_format(statement.encode(), "TSV") == form


# Answers


def test_answers_may_be_read_as_streams(connect: Connect) -> None:
    for compression in (False, "lz4", "zstd", "gzip"):
        client = connect(compress=compression)
        with client.query_row_block_stream("SELECT number FROM numbers(200000)") as blocks:
            assert sum(len(block) for block in blocks) == 200_000
        with client.query_arrow_stream("SELECT number FROM numbers(200000)") as batches:
            assert sum(batch.num_rows for batch in batches) == 200_000
    with client.raw_stream("SELECT number FROM numbers(200000)", fmt="TabSeparated") as stream:
        assert stream.read().count(b"\n") == 200_000


def test_an_answer_is_compressed_only_when_asked_for(http_config: ClickHouseConfig) -> None:
    sql = "SELECT repeat('x', 100000)"
    _, headers, body = post(http_config, sql)
    assert ("Content-Encoding" in headers, len(body)) == (False, 100_001)
    authorized = {"X-ClickHouse-User": http_config.user, "X-ClickHouse-Key": http_config.resolve_password()}
    accepting = {**authorized, "Accept-Encoding": "gzip"}
    _, headers, body = post(http_config, sql, accepting)
    assert ("Content-Encoding" in headers, len(body)) == (False, 100_001)
    _, headers, body = post(http_config, sql, accepting, enable_http_compression="1")
    assert (headers["Content-Encoding"], len(gzip.decompress(body))) == ("gzip", 100_001)


def test_what_an_answer_says_about_itself(http_config: ClickHouseConfig) -> None:
    status, headers, body = post(http_config, "SELECT 1 AS a FORMAT JSONEachRow", query_id="one")
    assert (status, body) == (200, b'{"a":1}\n')
    assert headers["X-ClickHouse-Query-Id"] == "one"
    assert headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert headers["X-ClickHouse-Timezone"] == "UTC"
    assert json.loads(headers["X-ClickHouse-Summary"])["read_rows"] == "1"
    _, headers, body = post(http_config, "SELECT 1 AS a", default_format="JSONEachRow")
    assert (headers["X-ClickHouse-Format"], body) == ("JSONEachRow", b'{"a":1}\n')
    _, headers, body = post(http_config, "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    assert ("X-ClickHouse-Format" in headers, body) == (False, b"")
    status, headers, body = post(http_config, "", query="SELECT 1 -- in the URL")
    assert (status, body) == (200, b"1\n")
    status, headers, body = post(http_config, "(1), (2)", query="INSERT INTO t VALUES")
    assert (status, post(http_config, "SELECT count() FROM t")[2]) == (200, b"2\n")
    status, headers, body = post(http_config, None, method="HEAD", query="SELECT 1")
    assert (status, body) == (200, b"")


def test_ping(client: Client, http_config: ClickHouseConfig) -> None:
    assert client.ping()


# Parameters, settings, databases


def test_parameters_in_the_url_and_as_a_form(connect: Connect) -> None:
    values = {"text": "'\\\n\t\0ü{x:String}", "list": ["a'", "\\N", ""], "n": 2**64 - 1, "none": None}
    ask = "SELECT {text:String}, {list:Array(String)}, {n:UInt64}, {none:Nullable(String)}"
    for form in (False, True):
        answer = connect(form_encode_query_params=form).query(ask, values)
        assert answer.result_rows == [tuple(values.values())]


def test_settings_and_databases_are_those_of_one_request(client: Client, http_config: ClickHouseConfig) -> None:
    ask = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    before = client.command(ask)
    assert client.query(ask, settings={"max_block_size": 77}).result_rows == [("77",)]
    client.command("USE system")
    assert client.command(ask) == before
    assert client.command("SELECT currentDatabase()") == http_config.database
    assert client.command("SELECT currentDatabase()", use_database=False) == "default"


# Errors


@pytest.mark.parametrize(
    ("statement", "code", "status"),
    [
        ("SELECT * FROM missing", 60, 404),
        ("SELECT missing", 47, 404),
        ("SELEC 1", 62, 400),
        ("SELECT throwIf(1)", 395, 500),
        ("SELECT toUInt8('x')", 6, 400),
        ("INSERT INTO missing FORMAT TSV\n1", 60, 404),
        ("SELECT sum(n) FROM (SELECT throwIf(number = 150000) AS n FROM numbers(200000))", 395, 500),
    ],
)
def test_errors_have_the_servers_code_and_its_status(
    http_config: ClickHouseConfig, statement: str, code: int, status: int
) -> None:
    found, headers, body = post(http_config, statement, wait_end_of_query="1")
    assert (found, headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert body.startswith(b"Code: %d. DB::Exception: " % code)


def test_unknown_settings_and_databases(http_config: ClickHouseConfig) -> None:
    assert post(http_config, "SELECT 1", no_such_setting="1")[1]["X-ClickHouse-Exception-Code"] == "115"
    assert post(http_config, "SELECT 1", database="missing")[1]["X-ClickHouse-Exception-Code"] == "81"


def test_users_and_passwords(tmp_path: Path) -> None:
    with ClickHouseEndpoint(tmp_path / "clickhouse", user="me", password="open:sésame") as endpoint:
        config = ClickHouseConfig(url=endpoint.url, database="default")
        basic = "Basic " + base64.b64encode("me:open:sésame".encode()).decode()
        right = [
            ({"Authorization": basic}, {}),
            ({"X-ClickHouse-User": "me", "X-ClickHouse-Key": "open:sésame".encode().decode("latin-1")}, {}),
            ({}, {"user": "me", "password": "open:sésame"}),
        ]
        for headers, parameters in right:
            assert post(config, "SELECT 1", headers, **parameters)[2] == b"1\n"
        wrong = [({}, {}), ({"Authorization": "Basic bWU6eA=="}, {}), ({}, {"user": "me", "password": "x"})]
        for headers, parameters in wrong:
            status, answer, body = post(config, "SELECT 1", headers, **parameters)
            assert (status, answer["X-ClickHouse-Exception-Code"]) == (403, "516")
            assert b"Authentication failed" in body
            assert "Set-Cookie" not in answer


# Faults and processes


@pytest.fixture
def faulty(endpoint: ClickHouseEndpoint, client: Client, http_config: ClickHouseConfig) -> Client:
    if http_config.url != endpoint.url:
        pytest.skip("a real server does not fail when it is asked to")
    client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    return client


def insert(client: Client) -> None:
    client.raw_insert("t", ["a"], iter([b"1\n"]), fmt="TabSeparated")


@pytest.mark.parametrize(
    ("kind", "when", "options", "raised", "rows"),
    [
        ("drop", "before", {}, OperationalError, 0),
        ("drop", "after", {}, OperationalError, 1),
        ("refuse", "before", {}, OperationalError, 0),
        ("refuse", "after", {}, OperationalError, 1),
        ("status", "before", {"status": 500}, DatabaseError, 0),
        ("status", "after", {"status": 503}, OperationalError, 1),
        ("status", "after", {"status": 500, "code": 252}, DatabaseError, 1),
        ("delay", "before", {"seconds": 0.2}, None, 1),
        ("delay", "after", {"seconds": 0.2}, None, 1),
    ],
)
def test_each_fault_strikes_where_it_is_told_to(
    faulty: Client, endpoint: ClickHouseEndpoint, kind: str, when: str, options: dict[str, Any], raised: Any, rows: int
) -> None:
    insert(faulty)
    fault = endpoint.fault(kind, "insert into .*`?t`? ", when=when, nth=2, **options)
    insert(faulty)
    assert endpoint.struck(fault) == 0
    began = time.monotonic()
    if raised is None:
        insert(faulty)
        assert time.monotonic() - began >= 0.2
    else:
        with pytest.raises(raised) as error:
            insert(faulty)
        assert error.value.code == (options.get("code") or None)
    if kind == "refuse":
        endpoint.accept_again()
    assert endpoint.struck(fault) == 1
    assert faulty.command("SELECT count() FROM t") == 2 + rows
    insert(faulty)
    assert (endpoint.struck(fault), faulty.command("SELECT count() FROM t")) == (1, 3 + rows)


def test_refused_connections_are_refused(
    faulty: Client, endpoint: ClickHouseEndpoint, http_config: ClickHouseConfig
) -> None:
    endpoint.fault("refuse", "SELECT 'x'")
    with pytest.raises(OperationalError):
        faulty.query("SELECT 'x'", settings={})
    with pytest.raises(ConnectionRefusedError):
        post(http_config, "SELECT 1")
    endpoint.accept_again()
    assert post(http_config, "SELECT 1")[2] == b"1\n"


@pytest.mark.parametrize(("when", "rows"), [("before", 2), ("after", 3)])
def test_killed_before_or_after_an_insert_and_restarted_on_the_same_data(
    faulty: Client, endpoint: ClickHouseEndpoint, when: str, rows: int
) -> None:
    port, pid = endpoint.port, endpoint.pid
    endpoint.fault("kill", "INSERT", when=when, nth=3)
    insert(faulty)
    insert(faulty)
    with pytest.raises(OperationalError):
        insert(faulty)
    assert endpoint.wait_for_death() == -signal.SIGKILL
    endpoint.start()
    assert (endpoint.port, endpoint.pid != pid) == (port, True)
    assert faulty.command("SELECT count() FROM t") == rows


def test_a_fault_that_strikes_for_ever_until_it_is_cleared(faulty: Client, endpoint: ClickHouseEndpoint) -> None:
    fault = endpoint.fault("status", "SELECT 'x'", times=0, code=60)
    for number in range(1, 4):
        with pytest.raises(DatabaseError):
            faulty.query("SELECT 'x'")
        assert endpoint.struck(fault) == number
    endpoint.clear_faults()
    assert faulty.command("SELECT 'x'") == "x"
    assert [request["query"] for request in endpoint.requests("'x'")] == ["SELECT 'x'"]


def test_two_on_the_same_data_are_not_possible(endpoint: ClickHouseEndpoint) -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        ClickHouseEndpoint(endpoint.data).start()


PARENT = """
import pathlib, sys, time
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
endpoint = ClickHouseEndpoint(pathlib.Path(sys.argv[1]))
endpoint.start()
print(endpoint.pid, flush=True)
time.sleep(3600)
"""


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    eventually(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="reads memory from /proc")
def test_its_memory_does_not_grow_with_what_it_has_taken(tmp_path: Path) -> None:
    with ClickHouseEndpoint(tmp_path / "clickhouse") as endpoint:
        parts = urlsplit(endpoint.url)
        client = clickhouse_connect.get_client(host=parts.hostname, port=parts.port, autogenerate_session_id=False)
        client.command("CREATE TABLE t (a String) ENGINE = Null")
        sink = pa.BufferOutputStream()
        table = pa.table({"a": ["x" * 1024] * (16 << 10)})
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write(table)
        body = memoryview(sink.getvalue())

        def insert(count: int) -> None:
            for _ in range(count):
                client.raw_insert("t", ["a"], body, fmt="Arrow")

        insert(5)
        before = _peak_bytes(endpoint.pid)
        threads = [threading.Thread(target=insert, args=(10,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert _peak_bytes(endpoint.pid) - before < 300 << 20
        client.close()


def _peak_bytes(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def test_many_at_once(connect: Connect) -> None:
    clients = [connect() for _ in range(8)]
    clients[0].command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    failures: list[BaseException] = []

    def work(client: Client) -> None:
        try:
            for _ in range(5):
                insert(client)
                client.command("SELECT count() FROM t")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert clients[0].command("SELECT count() FROM t") == 40
