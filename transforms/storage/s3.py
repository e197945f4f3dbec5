"""An input in a bucket of S3, or of a store that speaks its protocol."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

from transforms.storage import requests
from transforms.storage.contract import Content, StorageError, StorageUnavailable
from transforms.storage.object_listing import Entry
from transforms.storage.object_storage import Conflict, ObjectStorage, RangeBehindEnd, Stat, size_of
from transforms.storage.overlap import overlapped
from transforms.storage.resumed import PART_BYTES, Answer, read_resumed
from transforms.storage.s3_errors import code_of, explain, is_of_object, status_of
from transforms.storage.urls import bucket_and_key, missing_library

if TYPE_CHECKING:
    from s3fs import S3FileSystem

_MIB = 1024 * 1024
_MOST_PARTS, _PARTS_AT_ONCE = 10_000, 4
_KINDS = {
    "ListObjectsV2": requests.LIST,
    "HeadObject": requests.HEAD,
    "GetObjectTagging": requests.HEAD,
    "GetObject": requests.GET,
    "CopyObject": requests.COPY,
    "UploadPartCopy": requests.COPY,
    "DeleteObject": requests.DELETE,
    "AbortMultipartUpload": requests.DELETE,
}
"""Operations by what they are charged as; others are PUT."""
_CARRIED_OVER = (
    *("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires"),
    *("Metadata", "StorageClass", "WebsiteRedirectLocation"),
)
"""What a copy in parts has to be told of its source, by the names that HeadObject and CreateMultipartUpload share."""


class S3Storage(ObjectStorage):
    """Event files below `s3://bucket/prefix`.

    An etag is the object's ETag and its size. Options are those of `s3fs.S3FileSystem`; without any, everything comes from
    the environment and the configuration files that s3fs and botocore read.
    """

    whole_copy_bytes = 256 * _MIB
    """A larger object is copied in parts. S3 copies up to 5 GiB in one request, but takes longer than clients wait."""
    part_bytes = 256 * _MIB
    names_on_page = 1000

    def __init__(self, root: str, **options: Any) -> None:
        super().__init__(root)
        self._bucket, self._prefix = bucket_and_key(root)
        self._options = options
        self._no_conditional_copies = False
        """Whether the store has refused a condition on the target of a copy."""

    def _connect(self) -> S3FileSystem:
        if missing := missing_library(self.root):
            raise StorageError(missing)
        from s3fs import S3FileSystem

        fs = S3FileSystem(**{"use_listings_cache": False, "skip_instance_cache": True, **self._options})
        try:
            fs.connect()
            fs.s3.meta.events.register("before-send.s3", _count)
        except Exception as error:
            raise StorageError(explain(error, "", self._bucket, "")) from error
        return fs

    def _call(self, operation: str, *, key: str = "", **parameters: Any) -> Any:
        """One request, tried again by the libraries where that may help."""
        if key:
            parameters["Key"] = key
        try:
            return self._fs.call_s3(operation, Bucket=self._bucket, **parameters)
        except Exception as error:
            self._raise(error, operation, key)

    def _raise(self, error: Exception, operation: str, key: str) -> NoReturn:
        """Raises what the contract says for an error of the libraries."""
        if isinstance(error, StorageError):
            raise error
        if status_of(error) == 412 or code_of(error) == "ConditionalRequestConflict":
            raise Conflict from error
        if key and status_of(error) == 404 and code_of(error) != "NoSuchBucket":
            raise FileNotFoundError(errno.ENOENT, "is gone", f"s3://{self._bucket}/{key}") from error
        kind = StorageError if key and is_of_object(error) else StorageUnavailable
        raise kind(explain(error, operation, self._bucket, key)) from error

    def _look(self) -> None:
        page = self._call("list_objects_v2", Prefix=f"{self._prefix}/" if self._prefix else "", MaxKeys=1)
        self._note_date(page["ResponseMetadata"]["HTTPHeaders"].get("date", ""))

    def _entries(self, path: str) -> Iterator[Entry]:
        prefix = f"{_key(path)}/".removeprefix("/")
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=prefix, Delimiter="/", MaxKeys=self.names_on_page, **token)
            self._note_date(page["ResponseMetadata"]["HTTPHeaders"].get("date", ""))
            for directory in page.get("CommonPrefixes", ()):
                if name := directory["Prefix"][len(prefix) : -1]:
                    yield Entry(name, True)
            for found in page.get("Contents", ()):
                if name := found["Key"][len(prefix) :]:  # '' is a marker that some programs write for a directory
                    modified_ms = int(found["LastModified"].timestamp() * 1000)
                    yield Entry(name, False, found["Size"], modified_ms, _etag(found["ETag"], found["Size"]))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _stat(self, path: str) -> Stat | None:
        try:
            return _stat_of(self._call("head_object", key=_key(path)))
        except FileNotFoundError:
            return None

    def _read(self, path: str, start: int, end: int) -> Content:
        from fsspec.asyn import sync

        fs, key = self._fs, _key(path)

        @asynccontextmanager
        async def request(reached: int, pin: str) -> AsyncIterator[Answer]:
            condition = {"IfMatch": pin} if pin else {}
            head = await fs._call_s3(
                "get_object", Bucket=self._bucket, Key=key, Range=f"bytes={reached}-{end - 1}", **condition
            )
            async with head["Body"] as body:
                size = int(head["ContentRange"].rpartition("/")[2]) if "ContentRange" in head else head["ContentLength"]
                parts = body.iter_chunks(PART_BYTES)
                yield Answer(
                    *(_etag(head["ETag"], size), head["ETag"], size, _encoding(head)), "ContentRange" in head, parts
                )

        try:
            content: Content = sync(fs.loop, read_resumed, request, start, end, is_broken=_is_broken)
        except Exception as error:
            if status_of(error) == 416:
                raise RangeBehindEnd from error
            self._raise(error, "get_object", key)
        return content

    def _copy(self, path: str, target: str, etag: str) -> Stat:
        if size_of(etag) > self.whole_copy_bytes:
            return self._copy_in_parts(path, target, etag)
        copied = self._with_condition(
            "copy_object",
            key=_key(target),
            CopySource={"Bucket": self._bucket, "Key": _key(path)},
            CopySourceIfMatch=_quoted(etag),
        )
        # One of the same ETag is of the same bytes; another ETag says nothing, so that at least the size is looked at.
        new = _etag(copied["CopyObjectResult"]["ETag"], size_of(etag))
        return Stat(new, size_of(etag)) if new == etag else self._copied(target)

    def _copied(self, target: str) -> Stat:
        copy = self._stat(target)
        if copy is None:
            raise StorageError(f"its copy {target} is gone right after it was made")
        return copy

    def _with_condition(self, operation: str, **parameters: Any) -> Any:
        """A request that must not overwrite anything; for stores that do not know the condition, the look before is all."""
        if not self._no_conditional_copies:
            try:
                return self._call(operation, IfNoneMatch="*", **parameters)
            except StorageError as error:
                if status_of(error.__cause__) != 501:
                    raise
                self._no_conditional_copies = True
        return self._call(operation, **parameters)

    def _copy_in_parts(self, path: str, target: str, etag: str) -> Stat:
        source, key, size = _key(path), _key(target), size_of(etag)
        head = self._call("head_object", key=source, IfMatch=_quoted(etag))
        kept = {name: head[name] for name in _CARRIED_OVER if head.get(name)}
        if head.get("TagCount"):
            tags = self._call("get_object_tagging", key=source)["TagSet"]
            kept["Tagging"] = _query(tags)
        upload = self._call("create_multipart_upload", key=key, **kept)["UploadId"]
        try:
            part_bytes = max(self.part_bytes, -(-size // _MOST_PARTS))

            def copy_part(number: int) -> dict[str, Any]:
                start = (number - 1) * part_bytes
                part = self._call(
                    "upload_part_copy",
                    key=key,
                    UploadId=upload,
                    PartNumber=number,
                    CopySource={"Bucket": self._bucket, "Key": source},
                    CopySourceIfMatch=_quoted(etag),
                    CopySourceRange=f"bytes={start}-{min(start + part_bytes, size) - 1}",
                )
                return {"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]}

            parts = list(overlapped(copy_part, range(1, -(-size // part_bytes) + 1), _PARTS_AT_ONCE))
            self._with_condition(
                "complete_multipart_upload", key=key, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        except BaseException:
            # What nobody has completed costs money until a lifecycle rule removes it.
            with contextlib.suppress(OSError, StorageError, Conflict):
                self._call("abort_multipart_upload", key=key, UploadId=upload)
            raise
        return self._copied(target)

    def _remove(self, path: str, etag: str) -> bool:
        try:
            self._call("delete_object", key=_key(path), IfMatch=_quoted(etag))
        except FileNotFoundError:
            return False
        return True

    def write(self, path: str, data: bytes) -> None:
        self._call("put_object", key=_key(path), Body=data)

    def _is_same(self, stat: Stat, etag: str) -> bool | None:
        return True if stat.etag == etag else None if stat.size == size_of(etag) else False


def _count(request: Any, event_name: str, **_: Any) -> None:
    requests.count(_KINDS.get(event_name.rpartition(".")[2], requests.PUT))


def _is_broken(error: BaseException) -> bool:
    """Whether a connection broke while a body was read, so that another one may go on."""
    from s3fs.core import S3_RETRYABLE_ERRORS

    return isinstance(error, (*S3_RETRYABLE_ERRORS, ConnectionError, TimeoutError))


def _etag(header: str, size: int) -> str:
    return f"{header.strip(chr(34))}:{size}"


def _quoted(etag: str) -> str:
    """The ETag of an etag of ours, as headers have it."""
    return f'"{etag.rpartition(":")[0]}"'


def _encoding(head: Mapping[str, Any]) -> str:
    """The Content-Encoding without the one that some stores keep of how an object was uploaded."""
    encodings = [encoding.strip() for encoding in head.get("ContentEncoding", "").split(",")]
    return ",".join(encoding for encoding in encodings if encoding and encoding != "aws-chunked")


def _stat_of(head: Mapping[str, Any]) -> Stat:
    return Stat(_etag(head["ETag"], head["ContentLength"]), head["ContentLength"], _encoding(head))


def _query(tags: list[dict[str, str]]) -> str:
    return urlencode([(tag["Key"], tag["Value"]) for tag in tags])


def _key(path: str) -> str:
    return bucket_and_key(path)[1]
