"""Where the password for ClickHouse is kept: a reference goes through options, jobs and logs, and only `connect` reads it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from transforms.clickhouse.errors import AccessDenied, ClickHouseError, Unavailable

if TYPE_CHECKING:
    from google.cloud.secretmanager import SecretManagerServiceClient

FORMS = "env:NAME, file:/path or gcp-secret:projects/P/secrets/S[/versions/V]"
OPTION = "--clickhouse_password_from"
EMULATOR = "SECRET_MANAGER_EMULATOR_HOST"
"""A variable that names a stand-in for Google's Secret Manager, as `host:port`: plain HTTP, without credentials."""
TIMEOUT_S = 30.0
"""Seconds that an answer may take."""

_REFERENCE = re.compile(
    r"env:[A-Za-z_][A-Za-z0-9_]*"
    r"|file:/.+"
    r"|gcp-secret:projects/(?:[a-z][\w.:-]*|\d+)/secrets/[\w-]{1,255}(?:/versions/(?:latest|\d+|[a-zA-Z][\w-]*))?",
    re.ASCII,
)

_REQUEST = re.compile(r"^[A-Z]+ https?:\S+: ")
"""What the library puts before the service's own words."""


def is_reference(text: str) -> bool:
    """Whether a text says where a password is; any other may be a password, and must not be repeated."""
    return _REFERENCE.fullmatch(text) is not None


def read_password(reference: str) -> str:
    """The password that a reference stands for, without a final newline. Blocks.

    An environment variable that is not set means no password. Raises AccessDenied for a place that cannot be read,
    Unavailable where it may be read later, ClickHouseError where a library is missing.
    """
    kind, _, place = reference.partition(":")
    if kind == "env":
        return os.environ.get(place, "")
    content = _file(place) if kind == "file" else _secret(place)
    try:
        return content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise AccessDenied(f"{OPTION}: {place} is not text in UTF-8") from None


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise AccessDenied(f"{OPTION}: {path} cannot be read: {error.strerror}") from None


def _secret(name: str) -> bytes:
    """The payload of a secret's version in Google's Secret Manager; of its latest when the name has none."""
    try:
        from google.api_core import exceptions as api
        from google.auth import exceptions as auth
    except ImportError:
        raise _not_installed() from None
    version = name if "/versions/" in name else f"{name}/versions/latest"
    try:
        with _secret_manager() as client:
            return bytes(client.access_secret_version(name=version, timeout=TIMEOUT_S, retry=None).payload.data)
    except api.NotFound:
        raise AccessDenied(f"{OPTION}: there is no {version}, or no version of it that is enabled") from None
    except (api.Forbidden, api.Unauthorized):
        raise AccessDenied(
            f"{OPTION}: {version} may not be read; give the account that this process runs as the role "
            "roles/secretmanager.secretAccessor on it"
        ) from None
    except auth.DefaultCredentialsError:
        raise AccessDenied(
            f"{OPTION}: {version} cannot be read: there are no Google credentials; on your own machine run "
            "gcloud auth application-default login"
        ) from None
    except api.BadRequest:
        raise AccessDenied(
            f"{OPTION}: {version} is disabled or destroyed, or cannot be a version; enable it, or name another"
        ) from None
    except (api.ServerError, api.TooManyRequests) as error:
        raise _later(version, google_says(error)) from None
    except (auth.TransportError, OSError) as error:
        raise _later(version, f"no connection to Google ({type(error).__name__})") from None
    except (api.GoogleAPIError, auth.GoogleAuthError) as error:
        raise AccessDenied(f"{OPTION}: {version} cannot be read: {google_says(error)}") from None


def _secret_manager() -> SecretManagerServiceClient:
    # These imports take a second; only who has a secret there needs them.
    try:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.secretmanager import SecretManagerServiceClient
    except ImportError:
        raise _not_installed() from None
    if emulator := os.environ.get(EMULATOR):
        return SecretManagerServiceClient(
            transport="rest",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": f"http://{emulator}"},
        )
    # Plain requests: gRPC's threads do not survive a fork, and Beam's workers are forked.
    return SecretManagerServiceClient(transport="rest")


def _not_installed() -> ClickHouseError:
    return ClickHouseError(
        f"{OPTION}: gcp-secret: needs google-cloud-secret-manager: pip install 'observability-beam-pipeline[gcp]'"
    )


def _later(version: str, reason: str) -> Unavailable:
    failure = Unavailable(f"{OPTION}: {version} cannot be read now: {reason}")
    failure.unsent = True  # ClickHouse has not been asked anything
    return failure


def google_says(error: Exception) -> str:
    """What a service of Google, or the way to it, has said in an error of its client, in one line."""
    said = str(getattr(error, "message", "") or error).strip().partition("\n")[0]
    return _REQUEST.sub("", said) or type(error).__name__
