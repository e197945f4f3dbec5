"""What object stores have beside the contract: metadata, conditions at the wire, faults, pages, counts of requests.

The emulators ignore some conditions (moto those of CopyObject; fake-gcs-server those of deletes, copies and reads). Where
they do, the request that was sent must carry the condition.
"""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import fsspec.config
import pytest

from beam_pipeline.checks.check import Outcome
from beam_pipeline.checks.input import try_move
from beam_pipeline.options import input_problems
from tests.support.fault_proxy import Answer, FaultProxy, Sent
from tests.support.object_stores import s3_options
from tests.support.places import GcsPlace, S3Place
from transforms.storage import FileChanged, Moved, StorageError, is_own_fault, requests
from transforms.storage.s3 import S3Storage

NAME = "20261120T120000Z_ab12.jsonl"
PENDING, PROCESSED = f"trace/p1/{NAME}", f"trace/p1/processed/{NAME}"


@dataclass
class Store:
    """An input behind a proxy, and how its requests look."""

    place: S3Place | GcsPlace
    proxy: FaultProxy
    copy: str
    """Matches the request that copies an object."""
    delete: str
    read: str
    listing: str
    overloaded: Answer
    expired: Answer
    denied: Answer
    changed: Answer


def s3_error(status: int, code: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())


def gcs_error(status: int, message: str) -> Answer:
    return Answer(status, json.dumps({"error": {"code": status, "message": message}}).encode(), "application/json")


@pytest.fixture
def s3_store(s3: str) -> Iterator[Store]:
    with FaultProxy(s3) as proxy:
        yield Store(
            S3Place(s3, via=proxy.url),
            proxy,
            copy="PUT .*/processed/",
            delete=r"DELETE .*\.jsonl",
            read=r"GET .*\.jsonl",
            listing="GET /[^/]*$",
            overloaded=s3_error(503, "SlowDown"),
            expired=s3_error(400, "ExpiredToken"),
            denied=s3_error(403, "AccessDenied"),
            changed=s3_error(412, "PreconditionFailed"),
        )


@pytest.fixture
def gcs_store(gcs: str) -> Iterator[Store]:
    with FaultProxy(gcs) as proxy:
        yield Store(
            GcsPlace(gcs, via=proxy.url),
            proxy,
            copy="POST .*/rewriteTo/",
            delete=r"DELETE .*\.jsonl",
            read=r"GET .*\.jsonl",
            listing="GET .*/o$",
            overloaded=gcs_error(503, "backend error"),
            expired=gcs_error(401, "Invalid token"),
            denied=gcs_error(403, "no access"),
            changed=gcs_error(412, "conditionNotMet"),
        )


@pytest.fixture(params=["s3_store", "gcs_store"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found


def tag(store: Store, path: str) -> str:
    found = store.place.storage.etag(path)
    assert found is not None
    return found


# Faults


def test_a_throttled_listing_is_tried_again(store: Store) -> None:
    store.place.put(PENDING)
    fault = store.proxy.fault(store.listing, store.overloaded, times=2)
    files = list(store.place.storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(reason)))
    assert [store.place.within(file.path) for file in files] == [PENDING] and fault.struck == 2


def test_a_connection_that_is_cut_in_the_middle_of_a_body_is_resumed_where_it_was(store: Store) -> None:
    data = os.urandom(4_000_000)
    path = store.place.put(PENDING, data)
    store.proxy.clear()
    fault = store.proxy.fault(store.read, "cut_body", times=2)
    content = store.place.storage.read(path, 100, 3_900_000)
    assert content.data == data[100:3_900_000] and fault.struck == 2
    reads = store.proxy.sent(store.read)
    assert [sent.headers["range"] for sent in reads] == [
        "bytes=100-3899999",
        "bytes=1950050-3899999",
        "bytes=2925025-3899999",
    ], "what has come is not asked for again"
    conditions = [sent.headers.get("if-match") or sent.query.get("ifGenerationMatch") for sent in reads]
    etag = content.etag.partition(":")[0]
    assert [condition and condition.strip('"') for condition in conditions] == [None, etag, etag]


def test_a_body_is_never_made_of_two_contents(store: Store) -> None:
    """The object is replaced while the connection is down: the store refuses to go on with it, and the read begins anew."""
    path = store.place.put(PENDING, b"1" * 1_000_000)

    def replaced(_: Sent) -> Answer:
        store.place.put(PENDING, b"2" * 1_000_000)
        return store.changed  # which fake-gcs-server does not say by itself

    store.proxy.fault(store.read, "cut_body")
    store.proxy.fault(store.read, replaced)
    content = store.place.storage.read(path, 0, 1_000_000)
    assert (content.data, content.etag) == (b"2" * 1_000_000, tag(store, path))
    assert [sent.headers["range"] for sent in store.proxy.sent(store.read) if "range" in sent.headers] == [
        "bytes=0-999999",
        "bytes=500000-999999",
        "bytes=0-999999",
    ]


def test_a_move_that_was_done_but_whose_answers_were_lost_is_done_once(store: Store) -> None:
    path = store.place.put(PENDING, b"one\n")
    etag = tag(store, path)
    copies = store.proxy.fault(store.copy, "lose_answer")
    deletes = store.proxy.fault(store.delete, "lose_answer")
    assert store.place.storage.move(path, etag).target == store.place.path(PROCESSED)
    assert (copies.struck, deletes.struck) == (1, 1)
    assert store.place.names() == [PROCESSED] and store.place.get(PROCESSED) == b"one\n"


def test_a_move_of_which_only_the_copy_was_made_is_finished(store: Store) -> None:
    path = store.place.put(PENDING, b"one\n")
    etag = tag(store, path)
    denied = store.proxy.fault(store.delete, store.denied, times=10)
    with pytest.raises(StorageError, match=r"access denied to .*[dD]elete"):
        store.place.storage.move(path, etag)
    assert denied.struck and store.place.names() == [PENDING, PROCESSED]
    store.proxy.clear()
    assert store.place.storage.move(path, etag) == Moved(store.place.path(PROCESSED), now=True)
    assert store.place.names() == [PROCESSED]
    assert not store.proxy.sent(store.copy), "the copy was there already"


def test_a_store_that_refuses_to_copy_leaves_the_file_pending(store: Store) -> None:
    path = store.place.put(PENDING)
    store.proxy.fault(store.copy, store.denied, times=10)
    with pytest.raises(StorageError, match=r"access denied to (s3:PutObject|storage\.objects\.create)"):
        store.place.storage.move(path, tag(store, path))
    assert store.place.names() == [PENDING]


def test_credentials_that_expire_in_the_middle_are_told(store: Store) -> None:
    path = store.place.put(PENDING)
    etag = tag(store, path)
    store.proxy.fault(".", store.expired, times=100)
    for act in (
        lambda: store.place.storage.read(path, 0, 9),
        lambda: store.place.storage.etag(path),
        lambda: store.place.storage.move(path, etag),
        lambda: store.place.storage.delete(path, etag),
        store.place.storage.check_writable,
    ):
        with pytest.raises(StorageError, match="expired"):
            act()
    errors: dict[str, str] = {}
    assert not list(store.place.storage.list_pending(("trace",), "p1", errors.__setitem__))
    (reason,) = errors.values()
    assert "expired" in reason
    store.proxy.clear()
    assert store.place.storage.move(path, etag).now


def test_a_copy_that_is_not_the_same_ends_nothing(store: Store) -> None:
    """The object grew between the look and the copy, and the emulators ignore the condition that would have seen it."""
    path = store.place.put(PENDING, b"one\n")
    etag = tag(store, path)
    grow = store.place.storage._copy  # type: ignore[attr-defined]

    def grown_meanwhile(*arguments: str) -> object:
        store.place.put(PENDING, b"one and more\n")
        return grow(*arguments)

    store.place.storage._copy = grown_meanwhile  # type: ignore[attr-defined]
    with pytest.raises((StorageError, FileChanged)):
        store.place.storage.move(path, etag)
    assert store.place.get(PENDING) == b"one and more\n"


# At the wire


def test_each_request_of_a_move_carries_its_condition(store: Store) -> None:
    path = store.place.put(PENDING)
    etag = tag(store, path)
    store.proxy.clear()
    store.place.storage.move(path, etag)
    (copy,), (delete,) = store.proxy.sent(store.copy), store.proxy.sent(store.delete)
    content = etag.partition(":")[0]
    if isinstance(store.place, S3Place):
        assert copy.headers["x-amz-copy-source-if-match"] == f'"{content}"'
        assert copy.headers["if-none-match"] == "*"
        assert delete.headers["if-match"] == f'"{content}"'
        return
    assert (copy.query["ifSourceGenerationMatch"], copy.query["ifGenerationMatch"]) == (content, "0")
    assert delete.query["ifGenerationMatch"] == content
    (move,) = store.proxy.sent("POST .*/moveTo/")
    assert (move.query["ifSourceGenerationMatch"], move.query["ifGenerationMatch"]) == (content, "0")


def test_a_delete_carries_its_condition(store: Store) -> None:
    path = store.place.put(PENDING)
    etag = tag(store, path)
    store.proxy.clear()
    assert store.place.storage.delete(path, etag)
    (delete,) = store.proxy.sent(store.delete)
    condition = delete.headers.get("if-match") or delete.query.get("ifGenerationMatch") or ""
    assert condition.strip('"') == etag.partition(":")[0]


def test_a_chunk_costs_one_get_and_no_other_request(store: Store) -> None:
    path = store.place.put(PENDING, b"0123456789")
    store.place.storage.read(path, 0, 1)
    store.proxy.clear()
    store.place.storage.read(path, 0, 10)
    assert [sent.method for sent in store.proxy.requests] == ["GET"]


def test_requests_are_counted_by_kind_as_sent(store: Store) -> None:
    path = store.place.put(PENDING, b"0123456789")
    store.place.storage.check_writable()
    requests.clear()
    store.proxy.clear()
    store.proxy.fault(store.read, "cut_body")
    store.place.storage.read(path, 0, 10)
    list(store.place.storage.list_pending(("trace", "log"), None, lambda path, reason: pytest.fail(reason)))
    store.place.storage.move(path, tag(store, path))
    counted = requests.counts()
    assert sum(counted.values()) == len(store.proxy.requests)
    # A copy that is tried as a move first counts twice: a real Google Cloud Storage moves at once.
    copies = 1 if isinstance(store.place, S3Place) else 2
    assert counted == {"LIST": 3, "HEAD": 3, "GET": 2, "COPY": copies, "DELETE": 1}


# Moves in one step


def moving(place: GcsPlace, *, answers: bool) -> Callable[[Sent], Answer | None]:
    """objects.move, which fake-gcs-server does not know: in one step, under its two conditions."""
    lock = threading.Lock()

    def move(sent: Sent) -> Answer | None:
        source, target = (name.removeprefix("some/where/") for name in sent.path.split("/o/", 1)[1].split("/moveTo/o/"))
        with lock:
            stat = place._hands._stat(place.path(source))
            if stat is None:
                return gcs_error(404, "Not Found")
            if stat.etag.partition(":")[0] != sent.query["ifSourceGenerationMatch"] or place.get(target) is not None:
                return gcs_error(412, "conditionNotMet")
            assert sent.query["ifGenerationMatch"] == "0"
            place.put(target, place.get(source) or b"")
            place._hands.delete(place.path(source), stat.etag)
        return Answer(200, b"{}", "application/json") if answers else None

    return move


@pytest.mark.parametrize("answers", [True, False], ids=["", "and the answer is lost"])
def test_google_moves_an_object_in_one_step(gcs_store: Store, answers: bool) -> None:
    place, proxy = gcs_store.place, gcs_store.proxy
    assert isinstance(place, GcsPlace)
    path = place.put(PENDING, b"one\n")
    etag = tag(gcs_store, path)
    proxy.fault("POST .*/moveTo/", moving(place, answers=answers), times=1)
    proxy.fault("POST .*/moveTo/", moving(place, answers=True), times=9)
    assert place.storage.move(path, etag) == Moved(place.path(PROCESSED), now=answers)
    assert place.names() == [PROCESSED] and place.get(PROCESSED) == b"one\n"
    assert not proxy.sent(gcs_store.copy) and not proxy.sent(gcs_store.delete)
    path = place.put(PENDING, b"two\n")
    assert place.within(place.storage.move(path, tag(gcs_store, path)).target) == PROCESSED.replace(
        ".jsonl", ".2.jsonl"
    )


def test_a_name_that_is_taken_between_look_and_move_is_not_overwritten(store: Store) -> None:
    path = store.place.put(PENDING, b"one\n")

    def taken(_: Sent) -> Answer:
        store.place.put(PROCESSED, b"of somebody else\n")
        return store.changed

    store.proxy.fault(store.copy if isinstance(store.place, S3Place) else "POST .*/moveTo/", taken)
    target = store.place.storage.move(path, tag(store, path)).target
    assert store.place.within(target) == PROCESSED.replace(".jsonl", ".2.jsonl")
    assert store.place.get(PROCESSED) == b"of somebody else\n"


def test_a_file_that_is_replaced_between_look_and_copy_is_left(store: Store) -> None:
    path = store.place.put(PENDING, b"one\n")
    etag = tag(store, path)

    def replaced(_: Sent) -> Answer:
        store.place.put(PENDING, b"two\n")
        return store.changed

    store.proxy.fault(store.copy if isinstance(store.place, S3Place) else "POST .*/moveTo/", replaced)
    with pytest.raises(FileChanged):
        store.place.storage.move(path, etag)
    assert store.place.names() == [PENDING] and store.place.get(PENDING) == b"two\n"


def test_every_request_says_who_pays_where_that_is_configured(
    s3: str, gcs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"FSSPEC_S3_REQUESTER_PAYS": "true", "FSSPEC_GS_REQUESTER_PAYS": "my-project"}
    configured: dict[str, dict[str, object]] = {}
    fsspec.config.set_conf_env(configured, environment)
    for scheme, options in configured.items():
        monkeypatch.setitem(fsspec.config.conf, scheme, options)
    for kind, url in ((S3Place, s3), (GcsPlace, gcs)):
        with FaultProxy(url) as proxy:
            place = kind(url, via=proxy.url)
            place.storage.check_writable()
            path = place.put(PENDING)
            (file,) = place.storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(reason))
            place.storage.read(path, 0, 9)
            assert place.storage.move(path, file.etag).now
            payers = {
                sent.headers.get("x-amz-request-payer") or sent.query.get("userProject") for sent in proxy.requests
            }
            assert payers == ({"requester"} if kind is S3Place else {"my-project"})


# What is stored with a file


def test_a_move_keeps_what_is_stored_with_a_file(store: Store) -> None:
    if isinstance(store.place, S3Place):
        path = store.place.put(
            *(PENDING, b"\x1f\x8b not really"),
            Metadata={"origin": "web-2"},
            ContentType="application/x-ndjson",
            ContentEncoding="gzip",
            CacheControl="no-store",
            Tagging="team=blue&kept=yes",
        )
    else:
        path = store.place.put(
            *(PENDING, b"\x1f\x8b not really"),
            metadata={"origin": "web-2"},
            contentType="application/x-ndjson",
            contentEncoding="gzip",
            cacheControl="no-store",
        )
    before = store.place.kept(PENDING)
    store.place.storage.move(path, tag(store, path))
    assert store.place.kept(PROCESSED) == before and any(before.values())


def test_bytes_are_raw_and_their_encoding_is_told(store: Store) -> None:
    stored = b"\x1f\x8b not really"
    name = "ContentEncoding" if isinstance(store.place, S3Place) else "contentEncoding"
    path = store.place.put(PENDING, stored, **{name: "gzip"})
    content = store.place.storage.read(path, 0, 99)
    assert (content.data, content.encoding, content.size) == (stored, "gzip", len(stored))
    assert store.place.storage.read(path, 3, 6).data == stored[3:6]
    assert store.place.storage.read(path, 99, 100).encoding == "gzip"
    assert store.place.storage.read(store.place.put(PENDING, b"plain"), 0, 9).encoding == ""


# Listing


def test_a_listing_costs_what_is_pending_and_not_what_was_loaded(store: Store) -> None:
    for number in range(5):
        store.place.put(f"trace/p{number % 2}/{number}.jsonl")
        store.place.put(f"trace/p{number % 2}/processed/old-{number}.jsonl")
        store.place.put(f"trace/p{number % 2}/failed/bad-{number}.jsonl")
    store.place.storage.check_writable()
    store.proxy.clear()
    files = list(store.place.storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(reason)))
    assert len(files) == 5
    prefixes = [sent.query["prefix"].removeprefix("some/where/") for sent in store.proxy.requests]
    assert sorted(prefixes) == ["trace/", "trace/p0/", "trace/p1/"]
    assert {sent.query["delimiter"] for sent in store.proxy.requests} == {"/"}


def test_a_listing_goes_on_from_page_to_page(store: Store) -> None:
    names = [f"trace/p1/{number:04}.jsonl" for number in range(8)]
    for name in names:
        store.place.put(name, b"")
    store.place.storage.names_on_page = 3  # type: ignore[attr-defined]
    store.proxy.clear()
    files = store.place.storage.list_pending(("trace",), "p1", lambda path, reason: pytest.fail(reason))
    assert sorted(store.place.within(file.path) for file in files) == names
    assert len(store.proxy.sent(store.listing)) == 3


def test_markers_of_directories_and_unfinished_uploads_are_no_files(store: Store) -> None:
    for path in ("", "trace/", "trace/p1/", "trace/p1/processed/"):
        store.place.put(path, b"")
    if isinstance(store.place, S3Place):
        store.place.call("create_multipart_upload", "trace/p1/unfinished.jsonl")
    ignored: list[object] = []
    listing = store.place.storage.list_pending(
        ("trace", "log"), None, lambda path, reason: pytest.fail(reason), ignored.append
    )
    assert list(listing) == [] and ignored == []


def test_an_input_may_be_a_whole_bucket(store: Store) -> None:
    place = type(store.place)(store.proxy.upstream, "")
    path = place.put(PENDING)
    (file,) = place.storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(reason))
    assert file.path == path == f"{place.storage.root}/{PENDING}"
    assert place.storage.move(path, file.etag).target == f"{place.storage.root}/{PROCESSED}"


# Large objects


@pytest.fixture
def in_parts(s3_store: Store) -> Store:
    """S3 takes parts of 5 MiB and more; larger objects than that are copied in parts here."""
    assert isinstance(s3_store.place.storage, S3Storage)
    s3_store.place.storage.whole_copy_bytes = s3_store.place.storage.part_bytes = 5 * 1024 * 1024
    return s3_store


def test_a_large_object_is_copied_in_parts_with_all_that_is_stored_with_it(in_parts: Store) -> None:
    place = in_parts.place
    data = os.urandom(11 * 1024 * 1024)
    path = place.put(
        *(PENDING, data), Metadata={"a": "b"}, ContentType="x/y", ContentEncoding="gzip", Tagging="t=1&u=a%20b"
    )
    before = place.kept(PENDING)
    assert place.storage.move(path, tag(in_parts, path)) == Moved(place.path(PROCESSED), now=True)
    assert place.kept(PROCESSED) == before and place.get(PROCESSED) == data and place.names() == [PROCESSED]
    parts = [sent for sent in in_parts.proxy.sent("PUT .*/processed/") if "partNumber" in sent.query]
    assert sorted(sent.headers["x-amz-copy-source-range"] for sent in parts) == [
        "bytes=0-5242879",
        "bytes=10485760-11534335",
        "bytes=5242880-10485759",
    ]
    assert all("x-amz-copy-source-if-match" in sent.headers for sent in parts)
    (complete,) = [sent for sent in in_parts.proxy.sent("POST .*/processed/") if "uploadId" in sent.query]
    assert complete.headers["if-none-match"] == "*"


def test_a_copy_in_parts_that_was_made_is_known_though_its_etag_is_another(in_parts: Store) -> None:
    """The answer to the completion was lost, or the process died before the source was deleted."""
    data = os.urandom(6 * 1024 * 1024)
    path = in_parts.place.put(PENDING, data)
    etag = tag(in_parts, path)
    in_parts.proxy.fault("DELETE .*trace/p1/2", in_parts.denied, times=10)
    with pytest.raises(StorageError):
        in_parts.place.storage.move(path, etag)
    assert in_parts.place.names() == [PENDING, PROCESSED]
    assert tag(in_parts, in_parts.place.path(PROCESSED)) != etag
    in_parts.proxy.clear()
    assert in_parts.place.storage.move(path, etag) == Moved(in_parts.place.path(PROCESSED), now=True)
    assert in_parts.place.storage.move(path, etag) == Moved(in_parts.place.path(PROCESSED), now=False)
    assert in_parts.place.names() == [PROCESSED]


def test_another_content_of_the_same_size_is_not_taken_for_the_copy(in_parts: Store) -> None:
    size = 6 * 1024 * 1024
    in_parts.place.put(PROCESSED, b"1" * size)
    path = in_parts.place.put(PENDING, b"2" * size)
    moved = in_parts.place.storage.move(path, tag(in_parts, path))
    assert in_parts.place.within(moved.target) == PROCESSED.replace(".jsonl", ".2.jsonl")
    assert in_parts.place.get(PROCESSED) == b"1" * size


def test_a_copy_in_parts_that_fails_leaves_no_unfinished_upload(in_parts: Store) -> None:
    path = in_parts.place.put(PENDING, os.urandom(6 * 1024 * 1024))
    in_parts.proxy.fault("POST .*/processed/", in_parts.denied, after=1, times=10)
    with pytest.raises(StorageError, match="access denied to s3:PutObject"):
        in_parts.place.storage.move(path, tag(in_parts, path))
    assert isinstance(in_parts.place.storage, S3Storage)
    assert not in_parts.place.storage._call("list_multipart_uploads").get("Uploads")
    assert in_parts.place.names() == [PENDING]


def test_a_store_that_knows_no_condition_on_copies_is_asked_without(s3_store: Store) -> None:
    fault = s3_store.proxy.fault(s3_store.copy, s3_error(501, "NotImplemented"))
    for name in ("a.jsonl", "b.jsonl"):
        path = s3_store.place.put(f"trace/p1/{name}")
        assert s3_store.place.storage.move(path, tag(s3_store, path)).now
    assert fault.struck == 1
    assert ["if-none-match" in sent.headers for sent in s3_store.proxy.sent(s3_store.copy)] == [True, False, False]


# What is a file's own fault


def test_only_a_refusal_of_one_object_is_the_object_s_own_fault(store: Store) -> None:
    """That credentials have expired, or that nobody answers, says nothing about a file."""
    path = store.place.put(PENDING)
    for answer, own in ((store.denied, True), (store.expired, False)):
        store.proxy.fault(store.read, answer, times=100)
        with pytest.raises(StorageError) as failed:
            store.place.storage.read(path, 0, 9)
        assert is_own_fault(failed.value) is own
        store.proxy.clear()
    with pytest.raises(StorageError) as failed:
        S3Storage("s3://b/x", **s3_options("http://127.0.0.1:9")).read("s3://b/x/y", 0, 9)
    assert not is_own_fault(failed.value)
    assert not is_own_fault(FileChanged("changed")) and not is_own_fault(TimeoutError(110, "timed out"))
    assert is_own_fault(PermissionError(13, "Permission denied"))


# What is tried before a run


@pytest.mark.parametrize(("refused", "what"), [("copy", "move"), ("delete", "delete")])
def test_a_check_names_the_right_that_is_missing_and_what_it_leaves(store: Store, refused: str, what: str) -> None:
    store.place.put(PENDING)
    (file,) = store.place.storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(reason))
    store.proxy.fault(
        "PUT .*/processed/|POST .*/rewriteTo/" if refused == "copy" else "DELETE ", store.denied, times=100
    )
    check = try_move(store.place.storage, file)
    assert check.outcome is Outcome.FAILED and "access denied to " in check.found
    left = [name for name in store.place.names() if name != PENDING]
    if refused == "copy":
        assert left == [] and f"cannot {what} a file to processed/ in" in check.found
    else:
        assert len(left) == 2 and all(name in check.advice for name in left), "each that is left is named"


# What a user has to mend


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (s3_error(403, "AccessDenied"), "access denied to s3:ListBucket on {bucket}"),
        (
            Answer(403, b"<Error><Code>AccessDenied</Code><Message>no policy\n allows it</Message></Error>"),
            "access denied to s3:ListBucket on {bucket}: no policy allows it",
        ),
        (s3_error(404, "NoSuchBucket"), "bucket {bucket} does not exist"),
        (s3_error(403, "InvalidAccessKeyId"), "the access key is unknown to the store"),
        (s3_error(403, "SignatureDoesNotMatch"), "the secret key does not belong to the access key"),
        (s3_error(400, "ExpiredToken"), "the credentials have expired"),
    ],
)
def test_what_s3_refuses_is_told_in_one_line(s3_store: Store, code: Answer, reason: str) -> None:
    s3_store.proxy.fault(".", code, times=100)
    with pytest.raises(StorageError) as told:
        s3_store.place.storage.check_writable()
    assert isinstance(s3_store.place, S3Place)
    message = str(told.value)
    assert message.startswith(f"--input: {s3_store.place.storage.root}: {reason.format(bucket=s3_store.place.bucket)}")
    assert "secret-" not in message and len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            gcs_error(403, "x does not have storage.objects.list access"),
            "access denied to storage.objects.list on {bucket}",
        ),
        (gcs_error(404, "The specified bucket does not exist."), "bucket {bucket} does not exist"),
        (gcs_error(401, "Anonymous caller does not have storage.objects.list access"), "no credentials were found"),
        (gcs_error(401, "Invalid token"), "the credentials are not valid, or have expired"),
        (
            gcs_error(400, "Bucket is a requester pays bucket but no user project provided."),
            "{bucket} is paid by who asks",
        ),
    ],
)
def test_what_google_refuses_is_told_in_one_line(gcs_store: Store, code: Answer, reason: str) -> None:
    gcs_store.proxy.fault(".", code, times=100)
    with pytest.raises(StorageError) as told:
        gcs_store.place.storage.check_writable()
    assert isinstance(gcs_store.place, GcsPlace)
    message = str(told.value)
    assert message.startswith(
        f"--input: {gcs_store.place.storage.root}: {reason.format(bucket=gcs_store.place.bucket)}"
    )
    assert len(message.splitlines()) == 1


def test_a_store_that_nobody_answers_for_is_told() -> None:
    with pytest.raises(StorageError, match=r"--input: s3://b/x: s3:ListBucket on b failed: Could not connect"):
        S3Storage("s3://b/x", **s3_options("http://127.0.0.1:9")).check_writable()


def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match="--input: s3://b/x: no credentials were found; set AWS_PROFILE, or"):
        S3Storage("s3://b/x").check_writable()


def test_a_machine_without_the_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for url, extra in (("s3://b/x", "s3"), ("gs://b/x", "gcs")):
        (problem,) = input_problems(url)
        assert problem.startswith(f"--input: {url[:2]}:// needs the library ")
        assert problem.endswith(f"pip install 'observability-beam-pipeline[{extra}]'")


def test_the_age_of_files_is_by_the_clock_of_the_store(store: Store) -> None:
    place = store.place
    place.put(PENDING)
    hour_ms = 3_600_000
    place.storage._note_date(formatdate(time.time() + 86_400))  # type: ignore[attr-defined]
    place.storage._note_date("")  # type: ignore[attr-defined]
    assert abs(place.storage.now_ms() - time.time() * 1000 - 24 * hour_ms) < hour_ms, "its clock is a day ahead"
    list(place.storage.list_pending(("trace",), None, lambda path, reason: pytest.fail(reason)))
    assert abs(place.storage.now_ms() - time.time() * 1000) < hour_ms, "the listing has said what time it is there"


# Processes


def test_a_process_that_was_forked_makes_connections_of_its_own(store: Store) -> None:
    path = store.place.put(PENDING, b"0123456789")
    assert store.place.storage.read(path, 0, 10).data == b"0123456789"
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write_end, store.place.storage.read(path, 2, 5).data)
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as answer:
        assert answer.read() == b"234"
    os.waitpid(child, 0)
    assert store.place.storage.read(path, 0, 3).data == b"012"
