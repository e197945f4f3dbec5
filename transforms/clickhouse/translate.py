"""Errors of the driver, the embedded engine and the network, as ours."""

from __future__ import annotations

import re
import ssl
from http.client import BadStatusLine, RemoteDisconnected

from clickhouse_connect.driver import exceptions as driver
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from transforms.clickhouse.errors import AccessDenied, ClickHouseError, DataError, Unavailable, error_class

_NO_SPACE = 243
"""The server does not say where there is none."""
_UNSENT_CODES = {202, 745, 749, 762, 1019}
"""The server turned the statement away before it looked at it."""
_STATUS = re.compile(r"HTTP driver received HTTP status (\d{3})")
_NOISE = re.compile(
    r"^Received ClickHouse exception, code: \d+(, server response: )?|^HTTPDriver for \S+ |\(for url \S+\)\s*$|"
    r"\s*\(version [^()]*(\([^()]*\)[^()]*)?\)|: \(in file/uri /dev/fd/\d+\)"
)
_PREFIX = re.compile(r"^(Code: \d+\. DB::Exception: )+")


def translate(error: Exception, place: str) -> ClickHouseError:
    """An error of the driver or of the network as one of ours. `place` is the server's address, for the message."""
    code: int | None = getattr(error, "code", None)
    failure = _with_code(error, code, place) if code is not None else _without_code(error, place)
    if isinstance(failure, Unavailable):
        failure.unsent = code in _UNSENT_CODES or _never_connected(error)
    return failure


def _with_code(error: Exception, code: int, place: str) -> ClickHouseError:
    told = _plain(str(error))
    return error_class(code)(f"{place}: {told}" if code == _NO_SPACE else told, code)


def _without_code(error: Exception, place: str) -> ClickHouseError:
    """What it means that something between the server and us failed, or that the driver refused by itself."""
    message = _plain(str(error))
    status = _STATUS.match(message)
    if status is None:
        if isinstance(error, driver.Error) and not isinstance(error, driver.OperationalError):
            return DataError(message)
        # The driver's message holds the whole URL, and with it the values of parameters.
        cause = _causes(error)[-1]
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ClickHouseError(f"{place} is not trusted: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return Unavailable(f"{place} does not speak TLS: give its http:// URL, or the port of https, usually 8443")
        if isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected):
            return Unavailable(
                f"{place} does not speak HTTP: give the port of ClickHouse's HTTP interface, usually 8123, or 8443 with https"
            )
        return Unavailable(f"{place} cannot be reached: {getattr(cause, 'strerror', None) or cause}")
    text = f"{place} answered with HTTP status {status[1]}{message[status.end() :]}"
    if status[1] in ("401", "403", "407"):
        return AccessDenied(text)
    return Unavailable(text) if status[1] in ("408", "429") or status[1] >= "500" else DataError(text)


def _never_connected(error: Exception) -> bool:
    return any(isinstance(cause, (NewConnectionError, ConnectTimeoutError)) for cause in _causes(error))


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it came from, the first cause last."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.reason if isinstance(cause, MaxRetryError) else cause.__cause__ or cause.__context__
    return causes


def _plain(message: str) -> str:
    """The server's own words, once, without the driver's and the version."""
    message = _NOISE.sub("", message.strip()).strip()
    return _PREFIX.sub("", message.split("\nCode: ")[0]).strip()
