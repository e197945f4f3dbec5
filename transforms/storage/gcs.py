"""An input in a bucket of Google Cloud Storage."""

from __future__ import annotations

import errno
import json
import logging
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from dateutil.parser import isoparse

from transforms.storage import requests
from transforms.storage.contract import Content, StorageError, StorageUnavailable
from transforms.storage.gcs_errors import RIGHTS, explain, is_denied
from transforms.storage.object_listing import Entry
from transforms.storage.object_storage import Conflict, ObjectStorage, RangeBehindEnd, Stat
from transforms.storage.resumed import PART_BYTES, Answer, read_resumed
from transforms.storage.urls import bucket_and_key, missing_library

if TYPE_CHECKING:
    from gcsfs.core import GCSFileSystem

_OBJECT = "b/{}/o/{}"
_LISTED = "prefixes,nextPageToken,items(name,size,updated,generation,crc32c)"


class GcsStorage(ObjectStorage):
    """Event files below `gs://bucket/prefix`.

    An etag is the object's generation, its CRC32C and its size: the generation is what conditions go by, and a copy has the
    other two in common. Bytes are read as they are stored, never decompressed on the way. Options are those of
    `gcsfs.GCSFileSystem`; without any, everything comes from the environment.
    """

    names_on_page = 1000

    def __init__(self, root: str, **options: Any) -> None:
        super().__init__(root)
        self._bucket, self._prefix = bucket_and_key(root)
        self._options = options
        self._moves = True
        """Whether to try to move an object in one step, which not every store knows, and which is a right of its own."""

    def _connect(self) -> GCSFileSystem:
        if missing := missing_library(self.root):
            raise StorageError(missing)
        # Its support for zonal buckets speaks gRPC, which takes minutes to give up where there is none.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        from gcsfs.core import GCSFileSystem

        logger = logging.getLogger("gcsfs")
        if not logger.isEnabledFor(logging.DEBUG):
            logger.setLevel(logging.CRITICAL)  # it logs the traceback of each error that it raises
        try:
            fs = GCSFileSystem(**{"use_listings_cache": False, "skip_instance_cache": True, **self._options})
        except Exception as error:
            raise StorageError(explain(error, "", self._bucket)) from error
        fs.session_kwargs = {**fs.session_kwargs, "trace_configs": [_counting()]}
        return fs

    def _call(self, right: str, method: str, url: str, *names: str, **parameters: Any) -> Any:
        """One request, tried again by gcsfs where that may help. `right` is what it takes."""
        try:
            return self._fs.call(method, url, self._bucket, *names, **parameters)
        except Exception as error:
            self._raise(error, right, names[0] if names else "")

    def _raise(self, error: Exception, right: str, key: str) -> NoReturn:
        """Raises what the contract says for an error of the libraries."""
        if isinstance(error, StorageError):
            raise error
        if isinstance(error, FileExistsError):  # its word for 412
            raise Conflict from error
        if isinstance(error, FileNotFoundError) and key:
            raise FileNotFoundError(errno.ENOENT, "is gone", f"gs://{self._bucket}/{key}") from error
        resource = f"{self._bucket}/{key}" if key else self._bucket
        kind = StorageError if key and is_denied(error) else StorageUnavailable
        raise kind(explain(error, right, resource)) from error

    def _page(self, **parameters: Any) -> Mapping[str, Any]:
        headers, content = self._call(RIGHTS.LIST, "GET", "b/{}/o", **parameters)
        self._note_date(headers.get("Date", ""))
        page: Mapping[str, Any] = json.loads(content)
        return page

    def _look(self) -> None:
        self._page(prefix=f"{self._prefix}/" if self._prefix else "", maxResults=1, fields="kind")

    def _entries(self, path: str) -> Iterator[Entry]:
        prefix = f"{_key(path)}/".removeprefix("/")
        token: str | None = None
        while True:
            page = self._page(
                prefix=prefix, delimiter="/", pageToken=token, maxResults=self.names_on_page, fields=_LISTED
            )
            for directory in page.get("prefixes", ()):
                if name := directory[len(prefix) : -1]:
                    yield Entry(name, True)
            for found in page.get("items", ()):
                if name := found["name"][len(prefix) :]:  # '' is a marker that some programs write for a directory
                    yield Entry(name, False, int(found["size"]), _epoch_ms(found["updated"]), _etag(found))
            token = page.get("nextPageToken")
            if not token:
                return

    def _stat(self, path: str) -> Stat | None:
        try:
            found = self._call(RIGHTS.GET, "GET", _OBJECT, _key(path), json_out=True)
        except FileNotFoundError:
            return None
        return _stat_of(found)

    def _read(self, path: str, start: int, end: int) -> Content:
        from fsspec.asyn import sync

        fs, key = self._fs, _key(path)

        @asynccontextmanager
        async def request(reached: int, pin: str) -> AsyncIterator[Answer]:
            # The store decompresses what was stored with `Content-Encoding: gzip` for those who do not accept it.
            asked = {"Range": f"bytes={reached}-{end - 1}", "Accept-Encoding": "gzip"}
            await fs._set_session()
            async with fs.session.get(
                fs._format_path(_OBJECT, (self._bucket, key)),
                params=fs._get_params({"alt": "media", "ifGenerationMatch": pin or None}),
                headers=fs._get_headers(asked),
                timeout=fs.requests_timeout,
                auto_decompress=False,
            ) as answer:
                await _check(answer, key)
                yield _answer(answer)

        try:
            content: Content = sync(fs.loop, read_resumed, request, start, end, is_broken=_is_broken)
        except RangeBehindEnd:
            raise
        except Exception as error:
            self._raise(error, RIGHTS.GET, key)
        return content

    def _transfer(self, path: str, target: str, etag: str) -> bool:
        if not self._moves:
            return super()._transfer(path, target, etag)
        try:
            self._call(
                *(RIGHTS.MOVE, "POST", "b/{}/o/{}/moveTo/o/{}", _key(path), _key(target)),
                headers={"Content-Type": "application/json", "X-Goog-GCS-Idempotency-Token": str(uuid.uuid4())},
                ifSourceGenerationMatch=_generation(etag),
                ifGenerationMatch=0,
                json_out=True,
            )
            return True
        except FileNotFoundError:
            if self.etag(path) != etag:
                raise
        except StorageError as error:
            if is_overloaded(error.__cause__):
                raise
        removed = super()._transfer(path, target, etag)
        self._moves = False  # since this went well, the operation is not known here, or the right to it is missing
        return removed

    def _copy(self, path: str, target: str, etag: str) -> Stat:
        key, token = _key(path), None
        while True:
            # Without metadata in the request, the copy has that of the source.
            done = self._call(
                *(RIGHTS.CREATE, "POST", "b/{}/o/{}/rewriteTo/b/{}/o/{}", key, self._bucket, _key(target)),
                headers={"Content-Type": "application/json"},
                ifSourceGenerationMatch=_generation(etag),
                ifGenerationMatch=0,
                rewriteToken=token,
                json_out=True,
            )
            if done["done"]:
                return _stat_of(done["resource"])
            token = done["rewriteToken"]

    def _remove(self, path: str, etag: str) -> bool:
        try:
            self._call(RIGHTS.DELETE, "DELETE", _OBJECT, _key(path), ifGenerationMatch=_generation(etag))
        except FileNotFoundError:
            return False
        return True

    def write(self, path: str, data: bytes) -> None:
        try:
            self._fs.pipe_file(path, data)
        except Exception as error:
            self._raise(error, RIGHTS.CREATE, _key(path))

    def _is_same(self, stat: Stat, etag: str) -> bool | None:
        return stat.etag.split(":")[1:] == etag.split(":")[1:]


def _counting() -> Any:
    """Has aiohttp count the requests that it sends."""
    import aiohttp

    async def count(_: Any, __: Any, sent: Any) -> None:
        requests.count(kind_of(sent.method, sent.url.raw_path, sent.url.query.get("alt", "")))

    config = aiohttp.TraceConfig()
    config.on_request_start.append(count)
    return config


def kind_of(method: str, path: str, alt: str) -> str:
    """What a request counts as, by its method, the path of its URL as sent, and the parameter `alt`."""
    if method == "DELETE":
        return requests.DELETE
    if method == "GET":
        return requests.GET if alt == "media" else requests.LIST if path.endswith("/o") else requests.HEAD
    return requests.COPY if "/moveTo/" in path or "/rewriteTo/" in path else requests.PUT


async def _check(answer: Any, key: str) -> None:
    """Raises what an answer means that is not a body."""
    from gcsfs.retry import validate_response

    if answer.status == 416:
        raise RangeBehindEnd
    if answer.status >= 400:
        validate_response(answer.status, await answer.read(), key)


def is_overloaded(error: BaseException | None) -> bool:
    """Whether a request failed that may go well the next time."""
    from gcsfs.retry import is_retriable

    return error is not None and bool(is_retriable(error))


def _is_broken(error: BaseException) -> bool:
    """Whether it may help to ask again: a connection that broke, or a store that is overloaded."""
    import aiohttp

    return is_overloaded(error) or isinstance(error, (aiohttp.ClientError, ConnectionError, TimeoutError))


def _answer(answer: Any) -> Answer:
    headers = answer.headers
    content_range = headers.get("Content-Range")
    size = content_range.rpartition("/")[2] if content_range else headers.get("X-Goog-Stored-Content-Length")
    size = size or headers["Content-Length"]
    hashes = dict(one.strip().split("=", 1) for one in ",".join(headers.getall("X-Goog-Hash")).split(","))
    generation = headers["X-Goog-Generation"]
    encoding = headers.get("X-Goog-Stored-Content-Encoding", "identity")
    return Answer(
        etag=f"{generation}:{hashes['crc32c']}:{size}",
        pin=generation,
        size=int(size),
        encoding="" if encoding == "identity" else encoding,
        is_partial=bool(content_range),
        body=answer.content.iter_chunked(PART_BYTES),
    )


def _etag(found: Mapping[str, Any]) -> str:
    return f"{found['generation']}:{found['crc32c']}:{found['size']}"


def _generation(etag: str) -> str:
    return etag.partition(":")[0]


def _stat_of(found: Mapping[str, Any]) -> Stat:
    return Stat(_etag(found), int(found["size"]), found.get("contentEncoding", ""))


def _epoch_ms(text: str) -> int:
    return int(isoparse(text).timestamp() * 1000)


def _key(path: str) -> str:
    return bucket_and_key(path)[1]
