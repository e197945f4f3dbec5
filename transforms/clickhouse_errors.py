"""What can go wrong with ClickHouse, told apart by the server's error codes, never by the text of a message."""

from __future__ import annotations


class ClickHouseError(Exception):
    """ClickHouse, or the way to it, failed. `code` is the server's error code when it answered."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[ClickHouseError], tuple[str, int | None]]:
        return type(self), (str(self), self.code)


class Unavailable(ClickHouseError):
    """It may work later: no connection, a timeout, or a server that is overloaded, starting or short of something."""


class AccessDenied(ClickHouseError):
    """The user, the password or the rights do not suffice."""


class SchemaError(ClickHouseError):
    """A database, table or column is missing or is not what was expected."""


class DataError(ClickHouseError):
    """The statement or the rows are wrong; trying again gives the same."""


class EmbeddedBusy(ClickHouseError):
    """The embedded database is open in another process."""


_UNAVAILABLE = {
    3: "UNEXPECTED_END_OF_FILE",
    74: "CANNOT_READ_FROM_FILE_DESCRIPTOR",
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    76: "CANNOT_OPEN_FILE",
    95: "CANNOT_READ_FROM_SOCKET",
    96: "CANNOT_WRITE_TO_SOCKET",
    159: "TIMEOUT_EXCEEDED",
    160: "TOO_SLOW",
    164: "READONLY",
    198: "DNS_ERROR",
    201: "QUOTA_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    244: "UNEXPECTED_ZOOKEEPER_ERROR",
    252: "TOO_MANY_PARTS",
    254: "NO_ACTIVE_REPLICAS",
    265: "ALL_CONNECTION_TRIES_FAILED",
    279: "ALL_CONNECTION_TRIES_FAILED",
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    298: "TABLE_IS_BEING_RESTARTED",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    425: "SYSTEM_ERROR",
    439: "CANNOT_SCHEDULE_TASK",
    473: "DEADLOCK_AVOIDED",
    499: "S3_ERROR",
    999: "KEEPER_EXCEPTION",
}
_DENIED = {
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    195: "IP_ADDRESS_NOT_ALLOWED",
    291: "DATABASE_ACCESS_DENIED",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
}
_SCHEMA = {
    10: "NOT_FOUND_COLUMN_IN_BLOCK",
    16: "NO_SUCH_COLUMN_IN_TABLE",
    47: "UNKNOWN_IDENTIFIER",
    57: "TABLE_ALREADY_EXISTS",
    60: "UNKNOWN_TABLE",
    81: "UNKNOWN_DATABASE",
    82: "DATABASE_ALREADY_EXISTS",
    122: "INCOMPATIBLE_COLUMNS",
    218: "TABLE_IS_DROPPED",
}


def error_class(code: int | None) -> type[ClickHouseError]:
    """The kind of error that a code of the server means; an unknown code is one that trying again does not mend."""
    if code in _UNAVAILABLE:
        return Unavailable
    if code in _DENIED:
        return AccessDenied
    if code in _SCHEMA:
        return SchemaError
    return DataError
