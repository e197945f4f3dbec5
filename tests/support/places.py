"""Inputs of every kind, and the hands that put files into them and look at what is there, beside the storage under test."""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import fsspec

from tests.support.object_stores import gcs_options, new_gcs_bucket, new_s3_bucket, s3_options
from transforms.storage import Storage, open_storage
from transforms.storage.gcs import GcsStorage
from transforms.storage.s3 import S3Storage


class Place(ABC):
    """An empty input. Paths are within it."""

    storage: Storage

    def path(self, path: str) -> str:
        """A path as the storage has it."""
        return f"{self.storage.root}/{path}"

    def within(self, path: str) -> str:
        return path.removeprefix(f"{self.storage.root}/")

    @abstractmethod
    def put(self, path: str, content: bytes = b"{}\n", **stored: Any) -> str:
        """Makes or replaces a file; its path as the storage has it. `stored` is what some stores keep with it."""

    @abstractmethod
    def get(self, path: str) -> bytes | None:
        """The bytes of a file as they are stored; None when it is not there."""

    @abstractmethod
    def names(self) -> list[str]:
        """All files, whatever they are."""

    def kept(self, path: str) -> dict[str, Any]:
        """What is stored with a file."""
        raise NotImplementedError


class LocalPlace(Place):
    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        self.root = root
        self.storage = open_storage(str(root))

    def put(self, path: str, content: bytes = b"{}\n", **stored: Any) -> str:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{uuid.uuid4().hex}.tmp")
        new.write_bytes(content)
        new.replace(target)  # another inode: no two contents have one etag, however soon after each other they come
        return str(target)

    def get(self, path: str) -> bytes | None:
        target = self.root / path
        return target.read_bytes() if target.exists() else None

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())


class MemoryPlace(Place):
    """In the memory of this process, by fsspec."""

    def __init__(self) -> None:
        self._fs = fsspec.filesystem("memory")
        self.storage = open_storage(f"memory://{uuid.uuid4().hex}/observability")

    def put(self, path: str, content: bytes = b"{}\n", **stored: Any) -> str:
        self._fs.pipe_file(self.path(path), content)
        return self.path(path)

    def get(self, path: str) -> bytes | None:
        return self._fs.cat_file(self.path(path)) if self._fs.exists(self.path(path)) else None  # type: ignore[no-any-return]

    def names(self) -> list[str]:
        root = self._fs._strip_protocol(self.storage.root)
        return sorted(name.removeprefix(f"{root}/") for name in self._fs.find(root))


class S3Place(Place):
    """A bucket of S3; with `via`, the storage reaches it by another URL than the hands do."""

    def __init__(self, url: str, prefix: str = "some/where", *, via: str = "") -> None:
        self.bucket = new_s3_bucket(url)
        root = f"s3://{self.bucket}/{prefix}".rstrip("/")
        self.storage = S3Storage(root, **s3_options(via or url))
        self._prefix = f"{prefix}/".removeprefix("/")
        self._hands = S3Storage(root, **s3_options(url))

    def call(self, operation: str, path: str, **parameters: Any) -> Any:
        """Any operation on an object, by the names of botocore."""
        return self._hands._call(operation, key=f"{self._prefix}{path}", **parameters)

    def put(self, path: str, content: bytes = b"{}\n", **stored: Any) -> str:
        self.call("put_object", path, Body=content, **stored)
        return self.path(path)

    def get(self, path: str) -> bytes | None:
        stat = self._hands._stat(self.path(path))
        return None if stat is None else self._hands.read(self.path(path), 0, stat.size).data

    def names(self) -> list[str]:
        names, token = [], {}
        while True:
            page = self._hands._call("list_objects_v2", Prefix=self._prefix, **token)
            names += [found["Key"].removeprefix(self._prefix) for found in page.get("Contents", ())]
            if not page["IsTruncated"]:
                return sorted(names)
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def kept(self, path: str) -> dict[str, Any]:
        head = self.call("head_object", path)
        kept = {name: head.get(name) for name in ("Metadata", "ContentType", "ContentEncoding", "CacheControl")}
        return kept | {"Tags": self.call("get_object_tagging", path)["TagSet"]}


class GcsPlace(Place):
    """A bucket of Google Cloud Storage; with `via`, the storage reaches it by another URL than the hands do."""

    def __init__(self, url: str, prefix: str = "some/where", *, via: str = "") -> None:
        self.bucket = new_gcs_bucket(url)
        root = f"gs://{self.bucket}/{prefix}".rstrip("/")
        self.storage = GcsStorage(root, **gcs_options(via or url))
        self._url = url
        self._prefix = f"{prefix}/".removeprefix("/")
        self._hands = GcsStorage(root, **gcs_options(url))

    def put(self, path: str, content: bytes = b"{}\n", **stored: Any) -> str:
        about = {"name": f"{self._prefix}{path}", **stored}
        body = b"--==0==\nContent-Type: application/json; charset=UTF-8\n\n" + json.dumps(about).encode()
        body += b"\n--==0==\nContent-Type: application/x-ndjson\n\n" + content + b"\n--==0==--"
        self._hands._fs.call(
            *("POST", f"{self._url}/upload/storage/v1/b/{self.bucket}/o"),
            uploadType="multipart",
            headers={"Content-Type": 'multipart/related; boundary="==0=="'},
            data=body,
        )
        return self.path(path)

    def get(self, path: str) -> bytes | None:
        stat = self._hands._stat(self.path(path))
        return None if stat is None else self._hands.read(self.path(path), 0, stat.size).data

    def names(self) -> list[str]:
        names: list[str] = []
        token = None
        while True:
            page = self._hands._page(prefix=self._prefix, pageToken=token)
            names += [found["name"].removeprefix(self._prefix) for found in page.get("items", ())]
            token = page.get("nextPageToken")
            if not token:
                return sorted(names)

    def kept(self, path: str) -> dict[str, Any]:
        found = self._hands._call("", "GET", "b/{}/o/{}", f"{self._prefix}{path}", json_out=True)
        return {name: found.get(name) for name in ("metadata", "contentType", "contentEncoding", "cacheControl")}
