"""Which file systems of fsspec can be an input."""

from __future__ import annotations

from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.implementations.zip import ZipFileSystem
from gcsfs.core import GCSFileSystem
from s3fs import S3FileSystem

from transforms.storage.any_fsspec import cannot


def test_what_a_file_system_cannot_do_is_told() -> None:
    assert [cannot(kind) for kind in (LocalFileSystem, MemoryFileSystem, S3FileSystem, GCSFileSystem)] == [[]] * 4
    assert cannot(HTTPFileSystem) == ["move", "delete"]
    assert "move" in cannot(ZipFileSystem)
