"""The errors of queries, by what the caller can do about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from transforms.clickhouse import AccessDenied, ClickHouseError, EmbeddedBusy, SchemaError, Unavailable

_TIMEOUT_CODES = {159, 160, 209}
"""TIMEOUT_EXCEEDED, TOO_SLOW, SOCKET_TIMEOUT."""
_MEMORY_CODES = {241}
_SHOWN = 80
_SCOPE = re.compile(r"(?<=[.'`\]]) [Ii]n scope ")
"""After this ClickHouse repeats the whole statement."""


class QueryError(Exception):
    """A query failed. If ClickHouse is the reason, its error is the `__cause__`."""


class BadArgument(QueryError, ValueError):
    """An argument is wrong; nothing was sent to ClickHouse."""

    def __init__(self, argument: str, value: Any, expected: str) -> None:
        self.argument = argument
        self.value = value
        self.expected = expected
        """What the value must be."""
        super().__init__(f"{argument}: {shown(value)} must be {expected}")

    def __reduce__(self) -> tuple[type[BadArgument], tuple[str, Any, str]]:
        return type(self), (self.argument, self.value, self.expected)


def shown(value: Any) -> str:
    """A value for a message: times in ISO 8601, durations in seconds, long text cut off."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.10g}s"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


class NotFound(QueryError, LookupError):
    """There is no event with this id, or none in the project of this provider."""


class ServerUnavailable(QueryError):
    """ClickHouse cannot be reached or is overloaded; retry later."""


class DatabaseBusy(ServerUnavailable):
    """The embedded database is open in another process, which the message names; retry when that process has ended."""


class QueryDenied(QueryError):
    """ClickHouse refused access: wrong user or password, or missing rights."""


class QueryTimeout(QueryError, TimeoutError):
    """The query took longer than `max_execution_s`; restrict it by time or project."""


class QueryTooLarge(QueryError):
    """The query needed more memory than `max_memory_bytes`; restrict it by time or project."""


class SchemaNotMigrated(QueryError):
    """Tables or columns are missing; `python -m beam_pipeline migrate` creates them."""


@contextmanager
def translated() -> Iterator[None]:
    """Turns errors of the client into QueryErrors."""
    try:
        yield
    except ClickHouseError as error:
        kind, message = _error_class(error), str(error)
        if kind is SchemaNotMigrated:
            reason = _SCOPE.split(message)[0].rstrip(".")
            message = f"{reason}. To create or update the tables: python -m beam_pipeline migrate"
        raise kind(message) from error


def _error_class(error: ClickHouseError) -> type[QueryError]:
    if error.code in _TIMEOUT_CODES:
        return QueryTimeout
    if error.code in _MEMORY_CODES:
        return QueryTooLarge
    if isinstance(error, SchemaError):
        return SchemaNotMigrated
    if isinstance(error, EmbeddedBusy):
        return DatabaseBusy
    if isinstance(error, AccessDenied):
        return QueryDenied
    return ServerUnavailable if isinstance(error, Unavailable) else QueryError
