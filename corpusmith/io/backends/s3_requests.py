"""Requests of S3: the connection of this process, one call, and what its refusals mean for the user.

Messages name the URL and S3's error code, never what the server or a credential helper wrote: that may hold keys.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.exceptions
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config

from corpusmith.errors import InputError, StorageError
from corpusmith.io.backends.ranged import ATTEMPTS
from corpusmith.redact import redact_place

_MISSING = {"404", "NoSuchKey", "NotFound"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
NOT_SUPPORTED = {"NotImplemented", "501", "MethodNotAllowed", "405"}
NO_BATCH_DELETE = NOT_SUPPORTED | {"MissingContentMD5", "InvalidRequest", "InvalidDigest", "MalformedXML", "400"}
DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem", "401", "Unauthorized"}
_BAD_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity"}
CHANGED = {"PreconditionFailed", "412"}
_BUSY = {"SlowDown", "503", "ServiceUnavailable", "InternalError", "500", "502", "504", "RequestTimeout", "Throttling"}

#: what botocore raises where a helper, a session or a login gives no credentials (LoginError: from 1.41 on)
_NO_CREDENTIALS_FETCHED = (
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.NoAuthTokenError,
    botocore.exceptions.SSOError,
    botocore.exceptions.TokenRetrievalError,
    botocore.exceptions.UnknownCredentialError,
    botocore.exceptions.UnknownTokenProviderError,
    getattr(botocore.exceptions, "LoginError", botocore.exceptions.SSOError),
)


class S3Refusal(StorageError):
    """A refused request; `code` is S3's error code."""

    code: str = ""


@dataclass(frozen=True, kw_only=True)
class _Connection:
    """A client, and whether it talks to a server that is not Amazon's."""

    client: Any
    is_foreign: bool


@functools.lru_cache(maxsize=1)
def connect(process: int) -> _Connection:
    """The connection of this process (a forked one must not share sockets, hence the argument)."""
    core = botocore.session.Session()
    session = boto3.session.Session(botocore_session=core)
    settings: dict[str, Any] = {
        "retries": {"mode": "standard", "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", ATTEMPTS))},
        "connect_timeout": 15,
        "read_timeout": 60,
        "user_agent_extra": "corpusmith",
    }
    if session.get_credentials() is None:
        settings["signature_version"] = UNSIGNED
    client = session.client("s3", config=Config(**settings))
    host = client.meta.endpoint_url.partition("://")[2].partition("/")[0].partition(":")[0]
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return _Connection(client=client, is_foreign=False)
    # Other servers: buckets in the path unless the user's config says otherwise, and no checksums as trailers.
    configured = core.get_scoped_config().get("s3")
    style = configured.get("addressing_style", "path") if isinstance(configured, dict) else "path"
    settings |= {
        "s3": {"addressing_style": style},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    return _Connection(client=session.client("s3", config=Config(**settings)), is_foreign=True)


def forget_connection() -> None:
    """Read credentials and endpoint anew at the next request."""
    connect.cache_clear()
    _known_buckets.clear()


_known_buckets: set[str] = set()


def split_url(url: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not bucket:
        raise InputError(f"{url}: no bucket; write s3://bucket/key")
    return bucket, key


def folder_of(root: str) -> tuple[str, str]:
    """Bucket of a folder, and the prefix of the keys in it."""
    bucket, key = split_url(root)
    key = key.rstrip("/")
    return bucket, f"{key}/" if key else ""


def request(url: str, operation: str, **arguments: Any) -> Any:
    """One request of S3; FileNotFoundError for a missing key, else S3Refusal, StorageError or InputError."""
    try:
        try:
            return getattr(connect(os.getpid()).client, operation)(**arguments)
        except botocore.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _EXPIRED:
                raise
            # a helper may have renewed them meanwhile
            forget_connection()
            return getattr(connect(os.getpid()).client, operation)(**arguments)
    except botocore.exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code") or "unknown")
        if code == "NoSuchBucket" or (code in _MISSING and _lacks_bucket(url)):
            raise InputError(f"{url}: no such bucket: {split_url(url)[0]}") from None
        if code in _MISSING:
            raise FileNotFoundError(url) from None
        refusal = S3Refusal(f"{url}: {_reason(code, operation, error.response)}")
        refusal.code = code
        raise refusal from None
    except botocore.exceptions.BotoCoreError as error:
        raise explain_failure(url, error) from None
    except ValueError as error:
        # what botocore says of an endpoint that is no URL
        raise InputError(f"{url}: {redact_place(str(error))}; check AWS_ENDPOINT_URL and AWS_MAX_ATTEMPTS") from None


def _lacks_bucket(url: str) -> bool:
    """Whether a missing key is missing because its bucket is (asked once per bucket)."""
    bucket = split_url(url)[0]
    if bucket in _known_buckets:
        return False
    try:
        connect(os.getpid()).client.head_bucket(Bucket=bucket)
    except botocore.exceptions.ClientError as error:
        return str(error.response.get("Error", {}).get("Code")) in {"404", "NoSuchBucket", "NotFound"}
    except botocore.exceptions.BotoCoreError:
        return False
    _known_buckets.add(bucket)
    return False


def _reason(code: str, operation: str, response: dict[str, Any]) -> str:
    """What an error code means for the user, and what to do."""
    metadata = response.get("ResponseMetadata", {})
    tries = int(metadata.get("RetryAttempts", 0)) + 1
    said = f"S3 answered {code} ({metadata.get('HTTPStatusCode', '?')}) to {operation}"
    if code in _EXPIRED:
        return f"the credentials have expired: {said}; renew them and run the same command again"
    if code in _BAD_CREDENTIALS:
        return f"the credentials were refused: {said}; check the key id, the secret and the endpoint"
    if code in DENIED:
        return f"access denied: {said}; check that the credentials may do this (a missing key may be hidden so too)"
    if code in CHANGED:
        return f"changed while it was read or written: {said}"
    if code == "RequestTimeTooSkewed":
        return f"this machine's clock is wrong: {said}"
    if code in _BUSY:
        return f"the server is overloaded or failing: {said}, after {tries} attempts"
    return said


def explain_failure(url: str, error: botocore.exceptions.BotoCoreError) -> Exception:
    """The error for a request that got no answer or was never sent."""
    exceptions = botocore.exceptions
    kind = type(error).__name__
    if isinstance(error, exceptions.ParamValidationError):
        return InputError(f"{url}: not a valid S3 bucket and key")
    if isinstance(error, exceptions.ProfileNotFound | exceptions.InvalidConfigError | exceptions.ConfigParseError):
        return InputError(f"{url}: {redact_place(str(error))}")
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return InputError(f"{url}: the AWS credentials are missing or incomplete ({kind})")
    if isinstance(error, _NO_CREDENTIALS_FETCHED):
        return StorageError(f"{url}: the AWS credentials could not be fetched ({kind}); renew them")
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return StorageError(
            f"{url}: no answer from S3: {redact_place(str(error))}; check the network and AWS_ENDPOINT_URL"
        )
    return StorageError(f"{url}: {redact_place(str(error))}")


def content_checksum(data: bytes) -> dict[str, str]:
    """The checksum by which a server refuses a damaged body; botocore sends one to Amazon's by itself."""
    if not connect(os.getpid()).is_foreign:
        return {}
    return {"ContentMD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()}
