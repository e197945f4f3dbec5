"""What requests to stores are counted as."""

from __future__ import annotations

import pytest

from transforms.storage import requests
from transforms.storage.gcs import kind_of


@pytest.mark.parametrize(
    ("method", "path", "alt", "kind"),
    [
        ("GET", "/storage/v1/b/bucket/o", "", requests.LIST),
        ("GET", "/storage/v1/b/bucket/o/a%2Fo", "", requests.HEAD),
        ("GET", "/storage/v1/b/bucket/o/a%2Fo", "media", requests.GET),
        ("POST", "/storage/v1/b/bucket/o/a/moveTo/o/b", "", requests.COPY),
        ("POST", "/storage/v1/b/bucket/o/a/rewriteTo/b/bucket/o/b", "", requests.COPY),
        ("DELETE", "/storage/v1/b/bucket/o/a", "", requests.DELETE),
        ("POST", "/upload/storage/v1/b/bucket/o", "", requests.PUT),
    ],
)
def test_a_request_to_google_is_known_by_method_and_path(method: str, path: str, alt: str, kind: str) -> None:
    assert kind_of(method, path, alt) == kind


def test_kinds_are_in_one_order_and_only_those_that_there_were() -> None:
    requests.clear()
    for kind in (requests.GET, requests.LIST, requests.GET):
        requests.count(kind)
    assert list(requests.counts().items()) == [("LIST", 1), ("GET", 2)]
    requests.clear()
    assert requests.counts() == {}
