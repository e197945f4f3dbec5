"""Where files are: the contract that every kind of storage fulfils, a directory on a file system, and buckets."""

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
    file_timestamp_ms,
    name_timestamp_ms,
    numbered,
    open_storage,
    reason_of,
)
from transforms.storage.urls import input_root, is_url

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
    "file_timestamp_ms",
    "input_root",
    "is_url",
    "name_timestamp_ms",
    "numbered",
    "open_storage",
    "reason_of",
]
