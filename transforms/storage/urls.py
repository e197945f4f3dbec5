"""What `--input` names: a directory, or a URL of a bucket. Nothing here connects to anything."""

from __future__ import annotations

import importlib.util
import os
import re

S3, GCS, FILE = "s3", "gs", "file"
_LIBRARIES = {S3: ("s3fs", "s3"), GCS: ("gcsfs", "gcs")}
"""What each scheme needs, and the extra of this package that brings it."""
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+@")
_OTHER_NAMES = {"s3a": S3, "s3n": S3, "gcs": GCS}


def is_url(root: str) -> bool:
    """Whether an input is not a directory of this machine's file system."""
    return "://" in root and scheme_of(root) != FILE


def scheme_of(url: str) -> str:
    """The scheme of a URL as this package spells it, such as `gs`; '' of a path."""
    scheme, separator, _ = url.partition("://")
    return _OTHER_NAMES.get(scheme.lower(), scheme.lower()) if separator else ""


def bucket_and_key(url: str) -> tuple[str, str]:
    """The bucket of a URL, and what comes after it."""
    bucket, _, key = url.partition("://")[2].partition("/")
    return bucket, key


def url_problem(url: str) -> str:
    """Why a text cannot be the URL of an input; '' when it can, or is a path. Never repeats a secret."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return ""
    place, _, path = rest.partition("/")
    user, at, _ = place.rpartition("@")
    if at and (":" in user or scheme_of(url) in (S3, GCS)):
        return (
            f"the {scheme} URL has credentials in it, which would show in logs; leave them out: they are read from the "
            "environment and from configuration files (docs/storage.md)"
        )
    if "::" in scheme:
        return f"{url!r} joins several file systems, which is not supported"
    if scheme_of(url) in (S3, GCS) and not place:
        return f"{url!r} names no bucket; give {scheme}://BUCKET or {scheme}://BUCKET/PREFIX"
    parts = path.rstrip("/").split("/") if path else []
    if any(part in ("", ".", "..") for part in parts) and scheme_of(url) in (S3, GCS):
        return f"{url!r} has an empty or relative part, which is part of no object's name"
    return ""


def without_credentials(text: str) -> str:
    """A message of a library without the credentials of the URLs in it, in one line."""
    return _CREDENTIALS.sub("", " ".join(text.split()))


def missing_library(url: str) -> str:
    """What to install before an input at this URL can be used; '' when it is there, or nothing is needed."""
    scheme = scheme_of(url)
    library, extra = _LIBRARIES.get(scheme, ("fsspec" if is_url(url) else "", ""))
    if not library or importlib.util.find_spec(library):
        return ""
    what = f"'observability-beam-pipeline[{extra}]'" if extra else library
    return f"{scheme}:// needs the library {library}: pip install {what}"


def input_root(text: str) -> str:
    """An input as the load log knows it, so that each has one name only.

    A directory is absolute and without links; a URL has a lower-case scheme and no slash at its end.
    """
    if not is_url(text):
        return os.path.realpath(text.partition("://")[2] if "://" in text else text)
    rest = text.partition("://")[2]
    return f"{scheme_of(text)}://{rest.rstrip('/')}"
