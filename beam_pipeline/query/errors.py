"""What can go wrong with a query, by what its caller can do about it."""

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
"""Behind this ClickHouse repeats the whole statement."""


class QueryError(Exception):
    """A query gave no answer. Where ClickHouse is the reason, its error is the `__cause__`."""


class BadArgument(QueryError, ValueError):
    """An argument is not what it must be; nothing was asked of ClickHouse."""

    def __init__(self, argument: str, value: Any, expected: str) -> None:
        self.argument = argument
        self.value = value
        self.expected = expected
        """What would be right."""
        super().__init__(f"{argument}: {shown(value)} must be {expected}")

    def __reduce__(self) -> tuple[type[BadArgument], tuple[str, Any, str]]:
        return type(self), (self.argument, self.value, self.expected)


def shown(value: Any) -> str:
    """A value in a message: times as people write them, anything that is long cut off."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.10g}s"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


class NotFound(QueryError, LookupError):
    """There is no event of this id, or none that this provider may see."""


class ServerUnavailable(QueryError):
    """ClickHouse cannot be reached or is overloaded; the same query may work later."""


class DatabaseBusy(ServerUnavailable):
    """The embedded database is open in another process, which the message names; the query may work once that one ends."""


class QueryDenied(QueryError):
    """ClickHouse does not let this user in, or not at this; the password or the rights are wrong."""


class QueryTimeout(QueryError, TimeoutError):
    """The query took longer than `max_execution_s`; narrow it, by time or project."""


class QueryTooLarge(QueryError):
    """The query needed more memory than `max_memory_bytes`; narrow it, by time or project."""


class SchemaNotMigrated(QueryError):
    """The database lacks our tables or columns: `python -m beam_pipeline migrate` makes them."""


@contextmanager
def translated() -> Iterator[None]:
    """Turns what the client raises into a QueryError."""
    try:
        yield
    except ClickHouseError as error:
        kind, told = _error_class(error), str(error)
        if kind is SchemaNotMigrated:
            reason = _SCOPE.split(told)[0].rstrip(".")
            told = f"{reason}. The tables are made, or brought up to date, by: python -m beam_pipeline migrate"
        raise kind(told) from error


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
