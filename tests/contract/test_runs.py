"""Which runs live: their rows on a server, and what a worker does that could not renew its own in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.databases import make_tables
from tests.support.waiting import eventually
from transforms.clickhouse import ClickHouse, ClickHouseConfig, ClickHouseError
from transforms.loads import runs as module
from transforms.loads.runs import (
    RUNS_TABLE,
    Lease,
    Owner,
    TakenOver,
    held_here,
    is_gone,
    live_runs,
    this_process,
)

LEASE_S = 60.0
ELSEWHERE = "another-boot/pid:[1] 17 4711"
"""A process of another machine."""


@pytest.fixture
def server(http_config: ClickHouseConfig) -> Iterator[ClickHouse]:
    with http_config.connect() as client:
        make_tables(client)
        yield client


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """This machine's own clock: the sum of what is in the list, in seconds."""
    seconds = [1_000_000.0]
    monkeypatch.setattr(module, "_clock", lambda: sum(seconds))
    return seconds


def lease_of(client: Any, run_id: str = "a run", *, lease_s: float = LEASE_S, holder: Any = None) -> Lease:
    return Lease(client, run_id=run_id, input="/in", lease_s=lease_s, holder=holder or (lambda load_id: ("", 0)))


def renew(
    client: ClickHouse, run_id: str, seconds_ago: float = 0, *, process: str = ELSEWHERE, ended: bool = False
) -> None:
    """Writes that a process of a run has given a sign of life some time ago, by the server's clock."""
    client.command(
        f"INSERT INTO {RUNS_TABLE} SELECT {{run_id:String}}, {{process:String}}, '/in', 'web-2', {{lease:UInt32}}, "
        "{ended:Bool}, now64(3) - toIntervalMillisecond({ago:UInt32})",
        {
            "run_id": run_id,
            "process": process,
            "lease": int(LEASE_S * 1000),
            "ended": ended,
            "ago": int(seconds_ago * 1000),
        },
    )


def rows(client: ClickHouse) -> list[dict[str, Any]]:
    return client.query(
        f"SELECT run_id, process, input, host, lease_ms, ended, renewed_at FROM {RUNS_TABLE} FINAL ORDER BY ALL"
    )


# Who is alive


def test_a_run_lives_for_its_lease_by_the_server_s_clock(server: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    renew(server, "just now")
    renew(server, "lately", LEASE_S / 2)
    renew(server, "long ago", LEASE_S)
    found = live_runs(server, ["just now", "lately", "long ago", "never heard of"])
    assert set(found) == {"just now", "lately"}
    assert (found["lately"].run_id, found["lately"].host) == ("lately", "web-2")
    assert LEASE_S / 2 <= found["lately"].seconds_ago < LEASE_S
    renew(server, "long ago")
    assert set(live_runs(server, ["long ago"])) == {"long ago"}
    assert live_runs(server, []) == {}


def test_an_owner_is_told_to_people() -> None:
    assert Owner("7f3a0123456789", "web-2", 4.2).describe() == "run 7f3a0123 (host web-2, active 4 s ago)"


def test_a_lease_says_that_its_run_lives_and_when_it_ended(server: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "this_process", lambda: ELSEWHERE)
    lease = lease_of(server)
    lease.start()
    monkeypatch.undo()
    (row,) = rows(server)
    assert (row["run_id"], row["process"], row["input"], row["ended"]) == ("a run", ELSEWHERE, "/in", False)
    assert row["lease_ms"] == LEASE_S * 1000
    assert live_runs(server, ["a run"])["a run"].host == row["host"] == os.uname().nodename
    monkeypatch.setattr(module, "this_process", lambda: ELSEWHERE)
    lease.end()
    monkeypatch.undo()
    assert live_runs(server, ["a run"]) == {}, "at once, and not when the lease has passed"
    assert [row["ended"] for row in rows(server)] == [True]


def test_a_lease_is_renewed_again_and_again(server: ClickHouse) -> None:
    lease = lease_of(server, lease_s=0.3)
    lease.start()
    try:
        (first,) = rows(server)
        eventually(lambda: rows(server)[0]["renewed_at"] > first["renewed_at"])
        (second,) = rows(server)
        eventually(lambda: rows(server)[0]["renewed_at"] > second["renewed_at"])
    finally:
        lease.end()
    (last,) = rows(server)
    assert last["ended"] and last["renewed_at"] > second["renewed_at"]


def test_a_lease_that_cannot_be_renewed_for_a_time_is_renewed_later(
    http_config: ClickHouseConfig, endpoint: ClickHouseEndpoint
) -> None:
    if http_config.url != endpoint.url:
        pytest.skip("a real server does not fail when it is asked to")
    with http_config.connect() as client:
        make_tables(client)
        lease = lease_of(client, lease_s=0.3)
        lease.start()
        try:
            fault = endpoint.fault("status", f"INSERT INTO .*{RUNS_TABLE}", status=500, times=20)
            eventually(lambda: endpoint.struck(fault) >= 4)
            endpoint.clear_faults()
            (before,) = rows(client)
            eventually(lambda: rows(client)[0]["renewed_at"] > before["renewed_at"])
        finally:
            lease.end()


def test_a_run_lives_as_long_as_one_of_its_processes(server: ClickHouse) -> None:
    others = [f"another-boot/pid:[1] {pid} 4711" for pid in (1, 2, 3)]
    renew(server, "a run", 5, process=others[0])
    renew(server, "a run", process=others[1], ended=True)
    renew(server, "a run", LEASE_S, process=others[2])
    assert 5 <= live_runs(server, ["a run"])["a run"].seconds_ago < LEASE_S
    renew(server, "a run", process=others[0], ended=True)
    assert live_runs(server, ["a run"]) == {}
    renew(server, "a run", process=others[2])
    assert set(live_runs(server, ["a run"])) == {"a run"}


def test_a_run_of_this_process_lives_while_it_is_held(server: ClickHouse) -> None:
    """Whatever its rows say: it may have ended here without the time to say so."""
    renew(server, "a run", process=this_process())
    assert live_runs(server, ["a run"]) == {}
    with held_here("a run"):
        with held_here("a run"):
            pass
        assert live_runs(server, ["a run", "another"]) == {"a run": Owner("a run", os.uname().nodename, 0.0)}
    assert live_runs(server, ["a run"]) == {}


# Processes of this machine


HOLDER = """
import sys, time
from transforms.clickhouse import ClickHouseConfig
from transforms.loads.runs import Lease
url, database, user, run_id = sys.argv[1:]
client = ClickHouseConfig(url=url, database=database, user=user).connect()
Lease(client, run_id=run_id, input="/in", lease_s=3600, holder=lambda load_id: ("", 0)).start()
print("held", flush=True)
time.sleep(3600)
"""


@contextmanager
def holder(config: ClickHouseConfig, run_id: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has a lease of an hour, and does nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, config.url, config.database, config.user, run_id],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_run_of_a_process_that_was_killed_is_dead_at_once(server: ClickHouse) -> None:
    with holder(server.config, "a run") as process:
        assert set(live_runs(server, ["a run"])) == {"a run"}
        process.send_signal(signal.SIGSTOP)
        assert set(live_runs(server, ["a run"])) == {"a run"}, "one that is paused may go on"
        (row,) = rows(server)
        process.kill()
        # It is dead before its parent has taken notice, too.
        eventually(lambda: is_gone(row["process"]))
        assert live_runs(server, ["a run"]) == {}
        process.wait()
        assert live_runs(server, ["a run"]) == {}
        assert not row["ended"], "it could not say so"


def test_a_lease_that_has_passed_is_dead_although_its_process_is_there(server: ClickHouse) -> None:
    with holder(server.config, "a run"):
        (row,) = rows(server)
        server.command(f"TRUNCATE TABLE {RUNS_TABLE}")
        renew(server, "a run", LEASE_S, process=row["process"])
        assert not is_gone(row["process"]) and live_runs(server, ["a run"]) == {}


def test_a_process_whose_id_another_one_has_now_is_gone(server: ClickHouse) -> None:
    with holder(server.config, "a run"):
        (row,) = rows(server)
        machine, pid, started = row["process"].split(" ")
        earlier = f"{machine} {pid} {int(started) - 1}"
        assert is_gone(earlier) and not is_gone(row["process"])
        renew(server, "another run", process=earlier)
        assert set(live_runs(server, ["a run", "another run"])) == {"a run"}


def test_only_processes_of_this_machine_can_be_seen_to_be_gone() -> None:
    machine, pid, started = this_process().split(" ")
    assert not is_gone(this_process())
    assert is_gone(f"{machine} {pid} {started}0") and is_gone(f"{machine} {2**30} {started}")
    boot, namespace = machine.split("/", 1)
    for another in (f"{boot}0/{namespace}", f"{boot}/pid:[1]", ""):
        assert not is_gone(f"{another} {2**30} {started}")


def test_a_fork_is_a_process_of_its_own() -> None:
    this_process()  # what is kept of it must not reach the child
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, this_process().encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    told = os.read(read, 1000).decode()
    assert told != this_process() and told.split(" ")[1] == str(child) and is_gone(told)
    os.close(read)
    os.close(write)


# What a worker may still write


class Holder:
    """The journal, as far as a lease asks it."""

    def __init__(self) -> None:
        self.now: dict[str, tuple[str, int]] = {"load": ("a run", 1), "other": ("a run", 1)}
        self.asked: list[str] = []

    def __call__(self, load_id: str) -> tuple[str, int]:
        self.asked.append(load_id)
        return self.now[load_id]


class Noting:
    """A client that notes when a lease is renewed, and may take some time for it or fail."""

    def __init__(self, client: ClickHouse, clock: list[float]) -> None:
        self.config, self._client, self._clock = client.config, client, clock
        self.renewals = 0
        self.takes_s = 0.0
        self.is_away = False

    def insert(self, *arguments: Any, **named: Any) -> None:
        if self.is_away:
            raise ClickHouseError("away")
        self._client.insert(*arguments, **named)
        self.renewals += 1
        self._clock.append(self.takes_s)


@pytest.fixture
def noting(server: ClickHouse, clock: list[float]) -> Noting:
    return Noting(server, clock)


@pytest.fixture
def journal() -> Holder:
    return Holder()


@pytest.fixture
def lease(noting: Noting, journal: Holder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lease]:
    """One that is renewed by nobody else, so that nothing happens beside the test."""
    monkeypatch.setattr(Lease, "_renew_again", lambda lease: None)
    lease = lease_of(noting, holder=journal)
    lease.start()
    yield lease
    lease.end()


def test_a_lease_that_is_fresh_is_neither_renewed_nor_asked_about(
    lease: Lease, noting: Noting, journal: Holder, clock: list[float]
) -> None:
    for _ in range(3):
        lease.check("load", 1)
        clock.append(10)
    assert (noting.renewals, journal.asked) == (1, [])


def test_after_a_lapse_a_load_is_asked_for_once_and_goes_on_when_nobody_has_taken_it(
    lease: Lease, noting: Noting, journal: Holder, clock: list[float]
) -> None:
    clock.append(LEASE_S)
    for _ in range(3):
        lease.check("load", 1)
    assert (noting.renewals, journal.asked) == (2, ["load"])
    lease.check("other", 1)
    assert (noting.renewals, journal.asked) == (2, ["load", "other"])
    clock.append(LEASE_S)
    lease.check("load", 1)
    assert (noting.renewals, journal.asked) == (3, ["load", "other", "load"])


def test_after_a_lapse_a_load_that_another_run_has_taken_up_is_not_written(
    lease: Lease, noting: Noting, journal: Holder, clock: list[float]
) -> None:
    clock.append(LEASE_S)
    journal.now["load"] = ("b0123456789", 2)
    for _ in range(2):
        with pytest.raises(TakenOver, match="run b0123456 has taken it over, since this one was paused or cut off"):
            lease.check("load", 1)
    lease.check("other", 1)
    assert noting.renewals == 2


def test_after_a_lapse_a_later_attempt_of_the_same_run_is_another_one(
    lease: Lease, journal: Holder, clock: list[float]
) -> None:
    """It is taken up by another run, which fails, and by this one again: what it began is over."""
    clock.append(LEASE_S)
    journal.now["load"] = ("a run", 3)
    with pytest.raises(TakenOver):
        lease.check("load", 1)
    lease.check("load", 3)


def test_a_lapse_that_the_renewing_thread_came_upon_is_one_too(
    lease: Lease, noting: Noting, journal: Holder, clock: list[float]
) -> None:
    """The whole process was paused, and that thread was the first to go on."""
    clock.append(LEASE_S)
    with lease._lock:
        lease._renew()
    lease.check("load", 1)
    assert (noting.renewals, journal.asked) == (2, ["load"])


def test_nothing_is_written_while_the_lease_cannot_be_renewed(
    lease: Lease, noting: Noting, journal: Holder, clock: list[float]
) -> None:
    clock.append(LEASE_S)
    noting.is_away = True
    for _ in range(2):
        with pytest.raises(ClickHouseError, match="away"):
            lease.check("load", 1)
    noting.is_away = False
    lease.check("load", 1)
    assert (noting.renewals, journal.asked) == (2, ["load"])


def test_a_renewal_counts_from_when_it_was_sent(
    lease: Lease, noting: Noting, journal: Holder, clock: list[float]
) -> None:
    """The server has written it down at any moment of the time that it took, so that others may count from its beginning."""
    noting.takes_s = 0.6 * LEASE_S
    with lease._lock:
        lease._renew()
    noting.takes_s = 0.0
    clock.append(0.3 * LEASE_S)
    lease.check("load", 1)
    assert (noting.renewals, journal.asked) == (3, ["load"])


def test_a_renewal_that_reached_the_server_late_is_a_lapse(
    lease: Lease, noting: Noting, journal: Holder, clock: list[float]
) -> None:
    """It was sent in time, and is fresh; but between it and the one before the server had not heard of the run for too long."""
    clock.append(0.6 * LEASE_S)
    noting.takes_s = 0.6 * LEASE_S
    with lease._lock:
        lease._renew()
    journal.now["load"] = ("another run", 2)
    with pytest.raises(TakenOver):
        lease.check("load", 1)


def test_what_is_forgotten_is_asked_for_again(lease: Lease, journal: Holder, clock: list[float]) -> None:
    clock.append(LEASE_S)
    lease.check("load", 1)
    lease.forget("load")
    lease.check("load", 1)
    assert journal.asked == ["load", "load"]


# Embedded


def test_an_embedded_database_needs_no_rows(embedded: ClickHouse, clock: list[float]) -> None:
    """It is open in one process, so that all other runs are dead."""
    make_tables(embedded)
    journal = Holder()
    lease = lease_of(embedded, holder=journal)
    lease.start()
    clock.append(10 * LEASE_S)
    journal.now["load"] = ("another run", 2)
    lease.check("load", 1)
    assert (rows(embedded), journal.asked) == ([], [])
    renew(embedded, "a run")
    assert live_runs(embedded, ["a run"]) == {}
    with held_here("a run"):
        assert set(live_runs(embedded, ["a run", "another run"])) == {"a run"}
    lease.end()
    assert len(rows(embedded)) == 1
