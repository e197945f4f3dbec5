"""What an error of Google Cloud Storage means to somebody who has to mend it: which right on what is missing, or what else."""

from __future__ import annotations

from transforms.storage.urls import without_credentials


class RIGHTS:
    """The right that each operation needs."""

    LIST = "storage.objects.list"
    GET = "storage.objects.get"
    MOVE = "storage.objects.move"
    CREATE = "storage.objects.create"
    DELETE = "storage.objects.delete"


def is_denied(error: BaseException) -> bool:
    """Whether a right is missing, perhaps for one object only."""
    return str(getattr(error, "code", "")) == "403" or str(error).startswith("Forbidden: ")


def explain(error: BaseException, right: str, resource: str) -> str:
    """What has gone wrong, in one line that names the right and the resource, and no secret."""
    code = str(getattr(error, "code", ""))
    text = without_credentials(str(error)) or type(error).__name__
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return f"bucket {resource} does not exist"
    if code == "401" and "nonymous" in text:
        return (
            f"no credentials were found, and without any there is no {right} on {resource}; run "
            "`gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
        )
    if code == "401":
        return f"the credentials are not valid, or have expired: {text}"
    if kind in ("RefreshError", "DefaultCredentialsError"):
        return f"the credentials cannot be used: {text}"
    if is_denied(error):
        said = text.partition("Forbidden: ")[2].partition(" ")[2] or text.removesuffix(", 403")
        return f"access denied to {right} on {resource}{f': {said}' if said else ''}"
    if "requester pays" in text.lower():
        return f"{resource} is paid by who asks; set FSSPEC_GS_REQUESTER_PAYS=PROJECT"
    return f"{right or 'connecting'} on {resource} failed: {text}"
