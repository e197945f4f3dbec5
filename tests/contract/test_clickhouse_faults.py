"""What the client does when a server fails: what it repeats, how often, and what is in the table afterwards."""

from __future__ import annotations

import functools
import pickle
import signal
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import tenacity.nap

from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.waiting import eventually
from transforms.clickhouse import AccessDenied, ClickHouse, ClickHouseConfig, ClickHouseError, Unavailable

ONE = pa.RecordBatch.from_pydict({"a": pa.array([1], pa.uint64())})
INSERT = "INSERT INTO .*t"


@pytest.fixture
def table(http_config: ClickHouseConfig, endpoint: ClickHouseEndpoint) -> ClickHouseConfig:
    """A database with a table `t` that has a dedup window, on the endpoint."""
    if http_config.url != endpoint.url:
        pytest.skip("a real server does not fail when it is asked to")
    with http_config.connect() as client:
        client.command(
            "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
        )
    return http_config


def count(client: ClickHouse) -> int:
    return int(client.query("SELECT count() AS n FROM t")[0]["n"])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("drop", {}),
        ("status", {"status": 500, "code": 241}),
        ("status", {"status": 500, "code": 319}),
        ("status", {"status": 502}),
        ("status", {"status": 503}),
    ],
)
def test_an_insert_with_a_token_is_repeated_and_is_there_once(
    table: ClickHouseConfig, endpoint: ClickHouseEndpoint, kind: str, options: dict[str, int], when: str
) -> None:
    fault = endpoint.fault(kind, INSERT, when=when, times=2, **options)
    with table.connect() as client:
        assert client.insert("t", ONE, token="t"), "that it was repeated"
        assert (endpoint.struck(fault), count(client)) == (2, 1)
        assert not client.insert("t", ONE, token="t")


@pytest.mark.parametrize(("when", "rows"), [("before", 0), ("after", 1)])
def test_an_insert_without_a_token_is_not_repeated(
    table: ClickHouseConfig, endpoint: ClickHouseEndpoint, when: str, rows: int
) -> None:
    fault = endpoint.fault("drop", INSERT, when=when)
    with table.connect() as client:
        with pytest.raises(Unavailable) as raised:
            client.insert("t", ONE)
        assert not raised.value.unsent
        assert (endpoint.struck(fault), count(client)) == (1, rows)


def test_an_insert_without_a_token_is_repeated_when_the_server_turned_it_away(
    table: ClickHouseConfig, endpoint: ClickHouseEndpoint
) -> None:
    fault = endpoint.fault("status", INSERT, status=500, code=202)
    with table.connect() as client:
        client.insert("t", ONE)
        assert (endpoint.struck(fault), count(client)) == (1, 1)


def test_an_insert_without_a_token_is_repeated_when_no_connection_can_be_made(
    table: ClickHouseConfig, endpoint: ClickHouseEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        table.connect() as client,
        replace(table, retry_attempts=1).connect() as impatient,
        replace(table, retry_attempts=5, retry_delay_s=0.2).connect() as patient,
    ):
        endpoint.fault("refuse", "SELECT 'refuse'")
        with pytest.raises(Unavailable):
            impatient.query("SELECT 'refuse'")
        with pytest.raises(Unavailable, match=r"cannot be reached: Connection refused") as raised:
            impatient.insert("t", ONE)
        assert raised.value.unsent
        listens = functools.cache(lambda _: endpoint.accept_again())
        monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda seconds: listens("once")))
        patient.insert("t", ONE)
        assert count(client) == 1


def test_a_query_is_tried_so_many_times_and_waits_longer_each_time(
    table: ClickHouseConfig, endpoint: ClickHouseEndpoint, waits: list[float]
) -> None:
    fault = endpoint.fault("status", "SELECT 'x'", times=0, status=500, code=210)
    with replace(table, retry_attempts=4, retry_delay_s=0.05).connect() as client:
        with pytest.raises(Unavailable):
            client.query("SELECT 'x'")
        assert (endpoint.struck(fault), waits) == (4, [0.05, 0.1, 0.2])


def test_a_server_that_is_away_costs_the_tries_of_one_operation(
    table: ClickHouseConfig, endpoint: ClickHouseEndpoint
) -> None:
    with replace(table, retry_attempts=4, retry_delay_s=0.01).connect() as client:

        def tries() -> int:
            fault = endpoint.fault("status", "SELECT 'x'", times=0, status=500, code=210)
            with pytest.raises(Unavailable):
                client.query("SELECT 'x'")
            return endpoint.struck(fault)

        assert [tries(), tries(), tries()] == [4, 1, 1]
        client.query("SELECT 'back'")
        assert tries() == 4


@pytest.mark.parametrize("code", [60, 62, 516, 117, 9999])
def test_what_does_not_pass_is_not_tried_again(
    table: ClickHouseConfig, endpoint: ClickHouseEndpoint, code: int
) -> None:
    fault = endpoint.fault("status", INSERT, times=0, status=500, code=code)
    with table.connect() as client:
        with pytest.raises(ClickHouseError) as raised:
            client.insert("t", ONE, token="t")
        assert (raised.value.code, endpoint.struck(fault)) == (code, 1)


def test_an_insert_that_is_answered_too_late_may_be_there(
    table: ClickHouseConfig, endpoint: ClickHouseEndpoint
) -> None:
    with replace(table, timeout_s=1).connect() as client:
        fault = endpoint.fault("hold", INSERT, when="after")
        with pytest.raises(Unavailable, match="timed out") as raised:
            client.insert("t", ONE)  # and is not sent again without a token
        assert not raised.value.unsent
        assert endpoint.struck(fault) == 1
        eventually(lambda: count(client) == 1)


def test_an_answer_that_breaks_off_is_asked_for_again(table: ClickHouseConfig, endpoint: ClickHouseEndpoint) -> None:
    ask = "SELECT number AS n FROM numbers(300000)"
    with table.connect() as client:
        fault = endpoint.fault("cut", "numbers", times=2)
        assert [row["n"] for row in client.query(ask)] == list(range(300_000))
        assert endpoint.struck(fault) == 2
        fault = endpoint.fault("cut", "numbers", times=2)
        assert client.query_arrow(ask)["n"].to_pylist() == list(range(300_000))
        assert endpoint.struck(fault) == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_server_that_comes_back(table: ClickHouseConfig, endpoint: ClickHouseEndpoint, when: str) -> None:
    with replace(table, retry_attempts=7, retry_delay_s=0.2).connect() as client:
        client.insert("t", ONE, token="before")
        endpoint.fault("kill", INSERT, when=when)

        def restart() -> None:
            assert endpoint.wait_for_death() == -signal.SIGKILL
            endpoint.start()

        thread = threading.Thread(target=restart)
        thread.start()
        client.insert("t", ONE, token="killed")
        thread.join()
        assert count(client) == 2


def test_a_stopped_server_that_comes_back_on_the_same_client(
    table: ClickHouseConfig, endpoint: ClickHouseEndpoint
) -> None:
    with table.connect() as client:
        endpoint.stop()
        with pytest.raises(Unavailable):
            client.query("SELECT 1")
        endpoint.start()
        assert count(client) == 0


# What crosses the network


def test_rows_are_compressed_for_a_network_only(table: ClickHouseConfig, endpoint: ClickHouseEndpoint) -> None:
    rows = pa.RecordBatch.from_pydict({"a": pa.array([7] * 50_000, pa.uint64())})
    sizes = []
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):  # of the last one cannot tell that it is this machine
        with replace(table, url=f"http://{host}:{endpoint.port}").connect() as client:
            client.insert("t", rows, token=host)
            sizes.append(endpoint.requests("INSERT")[-1]["data_bytes"])
    with table.connect() as client:
        assert client.query("SELECT count() AS n, sum(a) AS s FROM t") == [{"n": 150_000, "s": 1_050_000}]
    assert sizes[0] == sizes[1] > 400_000
    assert sizes[2] < 100_000


def test_a_wrong_password_is_denied_and_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ClickHouseEndpoint(tmp_path / "clickhouse", user="me", password="open-sesame") as endpoint:
        config = ClickHouseConfig(url=endpoint.url, user="me", password="env:SOME_PASSWORD", retry_delay_s=60)
        monkeypatch.setenv("SOME_PASSWORD", "hunter2")
        with pytest.raises(AccessDenied) as raised:
            config.connect()
        monkeypatch.setenv("SOME_PASSWORD", "open-sesame")
        with config.connect() as client:
            client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
            client.insert("t", ONE)
            assert client.query("SELECT a FROM t WHERE a = {a:UInt64}", {"a": 1}) == [{"a": 1}]
            sent = str([request["target"] for request in endpoint.requests()])
            shown = [repr(client), repr(config), str(pickle.dumps(config))]
    assert raised.value.code == 516
    assert raised.value.__cause__ is None
    for text in (str(raised.value), repr(raised.value), str(pickle.dumps(raised.value)), sent, *shown):
        assert "hunter2" not in text and "open-sesame" not in text
