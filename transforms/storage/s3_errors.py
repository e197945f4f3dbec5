"""What an error of S3 means to somebody who has to mend it: which right on which resource is missing, or what else is wrong."""

from __future__ import annotations

from typing import Any

from transforms.storage.urls import without_credentials

_ACTIONS = {
    "list_objects_v2": "s3:ListBucket",
    "head_object": "s3:GetObject",
    "get_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "get_object_tagging": "s3:GetObjectTagging",
    "copy_object": "s3:PutObject (and s3:PutObjectTagging for objects with tags)",
    "create_multipart_upload": "s3:PutObject",
    "upload_part_copy": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
}
"""The right that each operation needs."""
_REASONS = {
    "NoSuchBucket": "bucket {bucket} does not exist",
    "InvalidBucketName": "{bucket} cannot be the name of a bucket",
    "InvalidAccessKeyId": "the access key is unknown to the store (InvalidAccessKeyId)",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key (SignatureDoesNotMatch)",
    "ExpiredToken": "the credentials have expired (ExpiredToken)",
    "InvalidToken": "the session token is not valid (InvalidToken)",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: it differs too much from the store's (RequestTimeTooSkewed)",
    "PermanentRedirect": "bucket {bucket} is in another region: set AWS_DEFAULT_REGION",
    "301": "bucket {bucket} is in another region: set AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "bucket {bucket} is in another region: set AWS_DEFAULT_REGION",
    "InvalidObjectState": "{key} is archived and has to be restored first (InvalidObjectState)",
}
# The answer to a HEAD has no body, and so no code.
_REASONS["400"] = "the store refuses it without saying why (400), as it does when credentials have expired"
_DENIED = ("AccessDenied", "403", "Forbidden", "AllAccessDisabled")
_NO_CREDENTIALS = (
    "no credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role"
)


def _answer(error: BaseException | None) -> dict[str, Any]:
    """What the store has answered, of an error of botocore or of s3fs, which hides it in the cause."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return response
        error = error.__cause__
    return {}


def code_of(error: BaseException | None) -> str:
    """The store's code, such as `NoSuchKey`; '' when the store has not answered."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def status_of(error: BaseException | None) -> int:
    """The HTTP status of the store's answer; 0 when it has not answered."""
    return int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_of_object(error: BaseException | None) -> bool:
    """Whether an error is of one object, rather than of the bucket, the credentials, the network or a store that is busy."""
    return code_of(error) in (*_DENIED, "InvalidObjectState")


def _said(error: BaseException) -> str:
    """What the store adds to its refusal, such as the policy that lacks a right; '' when it is the usual word."""
    said = without_credentials(str(_answer(error).get("Error", {}).get("Message", "")))
    return f": {said}" if said.lower().rstrip(".") not in ("", "access denied", "accessdenied", "forbidden") else ""


def explain(error: BaseException, operation: str, bucket: str, key: str) -> str:
    """What has gone wrong, in one line that names the right and the resource, and no secret."""
    code = code_of(error)
    if code in _REASONS:
        return _REASONS[code].format(bucket=bucket, key=key)
    resource = f"{bucket}/{key}" if key else bucket
    if code in _DENIED:
        return f"access denied to {_ACTIONS.get(operation, operation)} on {resource}{_said(error)}"
    causes = [type(found).__name__ for found in (error, error.__cause__, error.__context__) if found is not None]
    if "NoCredentialsError" in causes or "PartialCredentialsError" in causes:
        return _NO_CREDENTIALS
    text = str(error.__cause__ if code and error.__cause__ is not None else error) or type(error).__name__
    return f"{_ACTIONS.get(operation, operation) or 'connecting'} on {resource} failed: {without_credentials(text)}"
