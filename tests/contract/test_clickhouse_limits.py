"""What a server takes in one request, and that our client keeps within it.

The endpoint refuses what ClickHouse refuses with its default settings; with CLICKHOUSE_URL set, it is a server that does.
"""

from __future__ import annotations

import contextlib
import http.client
from urllib.parse import quote, urlsplit

import pytest

from transforms.clickhouse import ClickHouse, ClickHouseConfig, ClickHouseError

FIELD, QUERY, ADDRESS = 128 << 10, 256 << 10, 1 << 20


@pytest.fixture
def client(http_config: ClickHouseConfig) -> ClickHouse:
    return http_config.connect()


def asked(config: ClickHouseConfig, address: str, body: bytes, content_type: str = "text/plain") -> tuple[int, bytes]:
    """The status and the body of an answer."""
    parts = urlsplit(config.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 8123, timeout=60)
    user = {"X-ClickHouse-User": config.user, "X-ClickHouse-Key": config.resolve_password()}
    connection.request("POST", address, body, {"Content-Type": content_type, **user})
    answer = connection.getresponse()
    status, told = answer.status, answer.read()
    connection.close()
    return status, told


def form(**fields: bytes) -> bytes:
    parts = [
        b'--limit\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in fields.items()
    ]
    return b"".join(parts) + b"--limit--\r\n"


FORM = "multipart/form-data; boundary=limit"


def test_a_statement_is_at_most_256_kib(http_config: ClickHouseConfig) -> None:
    fits = b"SELECT 1 " + b" " * (QUERY - 20)
    assert asked(http_config, "/", fits) == (200, b"1\n")
    status, told = asked(http_config, "/", b"SELECT 1 /* " + b"x" * QUERY + b" */")
    assert status == 400 and b"Code: 62" in told and b"Max query size exceeded" in told


def test_a_field_of_a_form_is_at_most_128_kib(http_config: ClickHouseConfig) -> None:
    sql = b"SELECT length({a:String})"
    assert asked(http_config, "/", form(query=sql, param_a=b"x" * FIELD), FORM) == (200, b"%d\n" % FIELD)
    for fields in ({"query": sql, "param_a": b"x" * (FIELD + 1)}, {"query": sql + b" " * FIELD, "param_a": b""}):
        status, told = asked(http_config, "/", form(**fields), FORM)
        assert status >= 400 and b"Field value too long" in told


def test_a_form_is_read_byte_for_byte(http_config: ClickHouseConfig) -> None:
    value = b" --limit \r--limi\xc3\xa9 \r \0 \r"
    body = form(query=b"SELECT hex({a:String})", param_a=value)
    assert asked(http_config, "/", body, FORM) == (200, value.hex().upper().encode() + b"\n")


def test_an_address_has_at_most_1_mib_and_values_of_128_kib(http_config: ClickHouseConfig) -> None:
    many = "&".join(f"param_a{n}={'x' * 100_000}" for n in range(10))
    assert asked(http_config, f"/?{many}", b"SELECT 1") == (200, b"1\n")
    status, told = asked(http_config, f"/?param_a={quote('é' * (FIELD // 6 + 1))}", b"SELECT 1")
    assert status >= 400 and b"Field value too long" in told
    with contextlib.suppress(ConnectionError):  # the server may close the connection before all was sent
        assert asked(http_config, f"/?{many}&{many}", b"SELECT 1")[0] == 400


def test_parameters_of_any_length_reach_the_server(client: ClickHouse) -> None:
    texts = [f"text {n} \\ it's\té\n" for n in range(30_000)]
    long = "😀\r\n'" * 200_000
    sql = (
        "SELECT {texts:Array(String)} AS texts, {long:String} AS long, has({all:Array(String)}, {long:String}) AS there"
    )
    with client:
        (row,) = client.query(sql, {"texts": texts, "long": long, "all": [*texts, long]})
        assert (row["texts"], row["long"], row["there"]) == (texts, long, 1)
        assert client.query_arrow(sql, {"texts": texts, "long": long, "all": texts}).num_rows == 1
        with pytest.raises(ClickHouseError, match=r"Field value too long|query size"):
            client.query(f"SELECT length('{'x' * QUERY}') + {{one:UInt8}} AS n", {"one": 1})
