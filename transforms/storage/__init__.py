"""Where files are: the contract that every kind of storage fulfils, and a directory on a file system."""

from transforms.storage.contract import (
    CONTROL,
    FIRST_MS,
    LAST_MS,
    Content,
    FileChanged,
    LineTooLong,
    Moved,
    PendingFile,
    Storage,
    StorageError,
    StorageUnavailable,
    file_timestamp_ms,
    is_own_fault,
    name_timestamp_ms,
    numbered,
    open_storage,
)

__all__ = [
    "CONTROL",
    "FIRST_MS",
    "LAST_MS",
    "Content",
    "FileChanged",
    "LineTooLong",
    "Moved",
    "PendingFile",
    "Storage",
    "StorageError",
    "StorageUnavailable",
    "file_timestamp_ms",
    "is_own_fault",
    "name_timestamp_ms",
    "numbered",
    "open_storage",
]
