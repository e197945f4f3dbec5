"""Where passwords are read, and what is said where that fails: one line, never the password."""

from __future__ import annotations

import pickle
import socket
import sys
import traceback
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.google_secrets import SecretManagerStub
from transforms.clickhouse import AccessDenied, ClickHouseConfig, ClickHouseError, Unavailable
from transforms.clickhouse.passwords import EMULATOR, is_reference, read_password

SECRET = "hush-7c1d"
NAME = "projects/my-project/secrets/clickhouse"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretManagerStub]:
    with SecretManagerStub() as stub:
        monkeypatch.setenv(EMULATOR, stub.address)
        yield stub


def refusal(reference: str, kind: type[ClickHouseError] = AccessDenied) -> str:
    """What is said of a password that cannot be read."""
    with pytest.raises(ClickHouseError) as caught:
        read_password(reference)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message.startswith("--clickhouse_password_from: ") and "\n" not in message
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    return message


@pytest.mark.parametrize(
    "reference",
    [
        "env:CLICKHOUSE_PASSWORD",
        "file:/run/secrets/clickhouse",
        f"gcp-secret:{NAME}",
        f"gcp-secret:{NAME}/versions/7",
        f"gcp-secret:{NAME}/versions/latest",
        f"gcp-secret:{NAME}/versions/in-use",
        "gcp-secret:projects/1234567/secrets/S_1-x",
        "gcp-secret:projects/example.com:p1/secrets/s",
    ],
)
def test_what_is_a_reference(reference: str) -> None:
    assert is_reference(reference)
    assert ClickHouseConfig("http://host", password=reference).problems() == []


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        "",
        "env:",
        "env:MY-PASSWORD",
        "file:relative",
        "gcp-secret:",
        "gcp-secret:clickhouse",
        "gcp-secret:projects/p/secrets/",
        f"gcp-secret:{NAME}/",
        f"gcp-secret:{NAME}/versions/",
        f"gcp-secret:{NAME}/versions/1/x",
        f"gcp-secret:{NAME}\n",
        f"gcp-secret:/{NAME}",
        "gcp-secret:projects/p/secrets/a?b",
        "gcp_secret:projects/p/secrets/s",
    ],
)
def test_what_is_none(text: str) -> None:
    assert not is_reference(text)
    (problem,) = ClickHouseConfig("http://host", password=text).problems()
    assert "gcp-secret:projects/P/secrets/S[/versions/V]" in problem and SECRET not in problem


@given(st.text())
def test_only_what_says_where_may_be_repeated(text: str) -> None:
    known = ("env:", "file:/", "gcp-secret:projects/")
    assert not is_reference(text) or text.startswith(known)


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        (f"gcp-secret:{NAME}", f"{NAME}/versions/latest"),
        (f"gcp-secret:{NAME}/versions/7", f"{NAME}/versions/7"),
        (f"gcp-secret:{NAME}/versions/in-use", f"{NAME}/versions/in-use"),
    ],
)
def test_a_secret_is_read_in_the_version_that_is_named_or_the_latest(
    secrets: SecretManagerStub, reference: str, version: str
) -> None:
    secrets.versions = {version: f" {SECRET} ä\n".encode()}
    assert read_password(reference) == f" {SECRET} ä"
    assert secrets.asked == [version]


def test_a_secret_is_read_anew_each_time_so_that_it_can_be_changed(secrets: SecretManagerStub) -> None:
    config = ClickHouseConfig("http://host", password=f"gcp-secret:{NAME}")
    for password in ("one", "two"):
        secrets.versions = {f"{NAME}/versions/latest": password.encode()}
        assert config.resolve_password() == password
    assert b"two" not in pickle.dumps(config)


def test_what_is_said_of_a_secret_that_is_not_there(secrets: SecretManagerStub) -> None:
    assert f"there is no {NAME}/versions/latest" in refusal(f"gcp-secret:{NAME}")


def test_what_is_said_of_a_secret_that_may_not_be_read(secrets: SecretManagerStub) -> None:
    secrets.versions = {f"{NAME}/versions/latest": 403}
    assert "roles/secretmanager.secretAccessor" in refusal(f"gcp-secret:{NAME}")


def test_what_is_said_of_a_version_that_is_disabled(secrets: SecretManagerStub) -> None:
    secrets.versions = {f"{NAME}/versions/3": 400}
    assert f"{NAME}/versions/3 is disabled or destroyed" in refusal(f"gcp-secret:{NAME}/versions/3")


def test_what_is_said_of_a_secret_that_is_no_text(secrets: SecretManagerStub) -> None:
    secrets.versions = {f"{NAME}/versions/latest": b"\xff" + SECRET.encode()}
    assert "is not text in UTF-8" in refusal(f"gcp-secret:{NAME}")


def test_a_service_that_is_away_may_be_asked_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # not listening: connections are refused
        monkeypatch.setenv(EMULATOR, f"127.0.0.1:{bound.getsockname()[1]}")
        assert "cannot be read now: no connection to Google" in refusal(f"gcp-secret:{NAME}", Unavailable)


def test_a_service_that_is_overloaded_may_be_asked_later(secrets: SecretManagerStub) -> None:
    secrets.versions = {f"{NAME}/versions/latest": 503}
    assert "cannot be read now: refused: " in refusal(f"gcp-secret:{NAME}", Unavailable)
    assert len(secrets.asked) == 1  # the client of ClickHouse is who tries again, as it is told to


def test_a_machine_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(EMULATOR, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json")
    assert "there are no Google credentials" in refusal(f"gcp-secret:{NAME}")


@pytest.mark.parametrize("missing", ["google.api_core", "google.cloud.secretmanager"])
def test_what_is_said_where_the_library_is_not_installed(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert "[gcp]" in refusal(f"gcp-secret:{NAME}", ClickHouseError)


def test_the_client_tries_again_as_configured_and_says_why_it_gave_up(
    secrets: SecretManagerStub, waits: list[float]
) -> None:
    secrets.versions = {f"{NAME}/versions/latest": 503}
    config = ClickHouseConfig("http://127.0.0.1:9", password=f"gcp-secret:{NAME}", retry_attempts=3)
    with pytest.raises(Unavailable, match="cannot be read now"):
        config.connect()
    assert (len(secrets.asked), len(waits)) == (3, 2)
