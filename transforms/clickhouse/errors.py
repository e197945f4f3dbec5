"""What can go wrong with ClickHouse, told apart by the server's error codes, never by the text of its messages."""

from __future__ import annotations


class ClickHouseError(Exception):
    """ClickHouse, or the way to it, failed. `code` is the server's error code when it answered."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[ClickHouseError], tuple[str, int | None]]:
        return type(self), (str(self), self.code)


class Unavailable(ClickHouseError):
    """It may work later: no connection, a timeout, or a server that is overloaded, starting or short of something.

    Unless `unsent`, the statement may have been executed all the same.
    """

    unsent = False
    """Whether the server cannot have got the statement."""


class AccessDenied(ClickHouseError):
    """The user, the password or the rights do not suffice."""


class SchemaError(ClickHouseError):
    """A database, table or column is missing or is not what was expected."""


class DataError(ClickHouseError):
    """The statement or the rows are wrong; trying again gives the same."""


class EmbeddedBusy(ClickHouseError):
    """The embedded database is open in another process."""


UNAVAILABLE_CODES = {
    74: "CANNOT_READ_FROM_FILE_DESCRIPTOR",
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    76: "CANNOT_OPEN_FILE",
    95: "CANNOT_READ_FROM_SOCKET",
    96: "CANNOT_WRITE_TO_SOCKET",
    159: "TIMEOUT_EXCEEDED",
    160: "TOO_SLOW",
    173: "CANNOT_ALLOCATE_MEMORY",
    198: "DNS_ERROR",
    201: "QUOTA_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    204: "CANNOT_FSYNC",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    234: "NO_REPLICA_HAS_PART",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    244: "UNEXPECTED_ZOOKEEPER_ERROR",
    252: "TOO_MANY_PARTS",
    254: "NO_ACTIVE_REPLICAS",
    255: "TOO_MANY_RETRIES_TO_FETCH_PARTS",
    265: "NO_AVAILABLE_REPLICA",
    279: "ALL_CONNECTION_TRIES_FAILED",
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    294: "CANNOT_WRITE_TO_FILE",
    297: "SHARD_HAS_NO_CONNECTIONS",
    319: "UNKNOWN_STATUS_OF_INSERT",
    364: "RECEIVED_ERROR_TOO_MANY_REQUESTS",
    369: "ALL_REPLICAS_ARE_STALE",
    373: "SESSION_IS_LOCKED",
    384: "PART_IS_TEMPORARILY_LOCKED",
    394: "QUERY_WAS_CANCELLED",
    410: "EXTERNAL_SERVER_IS_NOT_RESPONDING",
    416: "REPLICA_STATUS_CHANGED",
    425: "SYSTEM_ERROR",
    439: "CANNOT_SCHEDULE_TASK",
    473: "DEADLOCK_AVOIDED",
    499: "S3_ERROR",
    500: "AZURE_BLOB_STORAGE_ERROR",
    519: "NO_REMOTE_SHARD_AVAILABLE",
    529: "NOT_A_LEADER",
    568: "RAFT_ERROR",
    574: "DISTRIBUTED_TOO_MANY_PENDING_BYTES",
    659: "UNKNOWN_STATUS_OF_TRANSACTION",
    677: "THREAD_WAS_CANCELED",
    692: "TOO_MANY_MUTATIONS",
    693: "AWS_ERROR",
    700: "USER_SESSION_LIMIT_EXCEEDED",
    707: "GCP_ERROR",
    722: "ASYNC_LOAD_WAIT_FAILED",
    733: "TABLE_IS_BEING_RESTARTED",
    737: "GOOGLE_CLOUD_ERROR",
    745: "SERVER_OVERLOADED",
    749: "TCP_CONNECTION_LIMIT_REACHED",
    762: "HTTP_CONNECTION_LIMIT_REACHED",
    776: "RESOURCE_LIMIT_EXCEEDED",
    777: "MEMORY_RESERVATION_KILLED",
    778: "MEMORY_RESERVATION_FAILED",
    999: "KEEPER_EXCEPTION",
    1019: "QUERY_SLOT_ACQUISITION_TIMEOUT",
    1020: "MEMORY_RESERVATION_ACQUISITION_TIMEOUT",
}
DENIED_CODES = {
    164: "READONLY",
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    195: "IP_ADDRESS_NOT_ALLOWED",
    291: "DATABASE_ACCESS_DENIED",
    392: "QUERY_IS_PROHIBITED",
    472: "READONLY_SETTING",
    497: "ACCESS_DENIED",
    511: "UNKNOWN_ROLE",
    512: "SET_NON_GRANTED_ROLE",
    516: "AUTHENTICATION_FAILED",
    620: "QUERY_NOT_ALLOWED",
    720: "USER_EXPIRED",
    763: "SESSION_REFUSED",
    767: "REQUIRED_SECOND_FACTOR",
}
UNKNOWN_DATABASE = 81
SCHEMA_CODES = {
    8: "THERE_IS_NO_COLUMN",
    10: "NOT_FOUND_COLUMN_IN_BLOCK",
    16: "NO_SUCH_COLUMN_IN_TABLE",
    47: "UNKNOWN_IDENTIFIER",
    57: "TABLE_ALREADY_EXISTS",
    60: "UNKNOWN_TABLE",
    UNKNOWN_DATABASE: "UNKNOWN_DATABASE",
    82: "DATABASE_ALREADY_EXISTS",
    122: "INCOMPATIBLE_COLUMNS",
    218: "TABLE_IS_DROPPED",
}


def error_class(code: int | None) -> type[ClickHouseError]:
    """The kind of error that a code of the server means; an unknown code is one that trying again does not mend."""
    if code in UNAVAILABLE_CODES:
        return Unavailable
    if code in DENIED_CODES:
        return AccessDenied
    if code in SCHEMA_CODES:
        return SchemaError
    return DataError
