"""`s3://` behind the storage seam, by boto3.

Credentials, region, profile and endpoint (`AWS_ENDPOINT_URL`) are found as boto3 finds them; without credentials
requests go unsigned, which public buckets accept. botocore's standard mode repeats what was throttled or failed for a
moment (`AWS_MAX_ATTEMPTS`, here 8 by default); bodies that break off are continued by `RangedFile`. An object appears
whole or not at all: one put, or a multipart upload that is completed or aborted.

Messages name the URL and S3's error code, never what the server or a credential helper wrote: that may hold keys.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import boto3
import botocore.exceptions
import botocore.session
import urllib3.exceptions
from botocore import UNSIGNED
from botocore.config import Config

from corpusmith.errors import InputError, StorageError
from corpusmith.io.backends.ranged import ATTEMPTS, Backoff, Body, RangedFile, buffered
from corpusmith.io.storage import FileInfo
from corpusmith.redact import redact_place

PART_BYTES = 8 << 20
PARTS_OF_ONE_SIZE = 1000
DELETE_BATCH = 1000
UPLOAD_MARK = "corpusmith-upload"

_MISSING = {"404", "NoSuchKey", "NotFound"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_NOT_SUPPORTED = {"NotImplemented", "501", "MethodNotAllowed", "405"}
_NO_BATCH_DELETE = _NOT_SUPPORTED | {"MissingContentMD5", "InvalidRequest", "InvalidDigest", "MalformedXML", "400"}
_DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem", "401", "Unauthorized"}
_BAD_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity"}
_CHANGED = {"PreconditionFailed", "412"}
_BUSY = {"SlowDown", "503", "ServiceUnavailable", "InternalError", "500", "502", "504", "RequestTimeout", "Throttling"}
_BODY_ERRORS: tuple[type[BaseException], ...] = (
    botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError
)  # fmt: skip


class S3Refusal(StorageError):
    """A refused request; `code` is S3's error code."""

    code: str = ""


@dataclass(frozen=True, kw_only=True)
class _Connection:
    """A client, and whether it talks to a server that is not Amazon's."""

    client: Any
    is_foreign: bool


@functools.lru_cache(maxsize=1)
def _connect(process: int) -> _Connection:
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
    _connect.cache_clear()
    _known_buckets.clear()


_known_buckets: set[str] = set()


def _split(url: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not bucket:
        raise InputError(f"{url}: no bucket; write s3://bucket/key")
    return bucket, key


def _prefix(root: str) -> tuple[str, str]:
    """Bucket of a folder, and the prefix of the keys in it."""
    bucket, key = _split(root)
    key = key.rstrip("/")
    return bucket, f"{key}/" if key else ""


def _call(url: str, operation: str, **arguments: Any) -> Any:
    """One request of S3; FileNotFoundError for a missing key, else S3Refusal, StorageError or InputError."""
    try:
        try:
            return getattr(_connect(os.getpid()).client, operation)(**arguments)
        except botocore.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _EXPIRED:
                raise
            # a helper may have renewed them meanwhile
            forget_connection()
            return getattr(_connect(os.getpid()).client, operation)(**arguments)
    except botocore.exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code") or "unknown")
        if code == "NoSuchBucket" or (code in _MISSING and _lacks_bucket(url)):
            raise InputError(f"{url}: no such bucket: {_split(url)[0]}") from None
        if code in _MISSING:
            raise FileNotFoundError(url) from None
        refusal = S3Refusal(f"{url}: {_reason(code, operation, error.response)}")
        refusal.code = code
        raise refusal from None
    except botocore.exceptions.BotoCoreError as error:
        raise _failure(url, error) from None
    except ValueError as error:
        # what botocore says of an endpoint that is no URL
        raise InputError(f"{url}: {redact_place(str(error))}; check AWS_ENDPOINT_URL and AWS_MAX_ATTEMPTS") from None


def _lacks_bucket(url: str) -> bool:
    """Whether a missing key is missing because its bucket is (asked once per bucket)."""
    bucket = _split(url)[0]
    if bucket in _known_buckets:
        return False
    try:
        _connect(os.getpid()).client.head_bucket(Bucket=bucket)
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
    if code in _DENIED:
        return f"access denied: {said}; check that the credentials may do this (a missing key may be hidden so too)"
    if code in _CHANGED:
        return f"changed while it was read or written: {said}"
    if code == "RequestTimeTooSkewed":
        return f"this machine's clock is wrong: {said}"
    if code in _BUSY:
        return f"the server is overloaded or failing: {said}, after {tries} attempts"
    return said


def _failure(url: str, error: botocore.exceptions.BotoCoreError) -> Exception:
    """The error for a request that got no answer or was never sent."""
    exceptions = botocore.exceptions
    kind = type(error).__name__
    if isinstance(error, exceptions.ParamValidationError):
        return InputError(f"{url}: not a valid S3 bucket and key")
    if isinstance(error, exceptions.ProfileNotFound | exceptions.InvalidConfigError | exceptions.ConfigParseError):
        return InputError(f"{url}: {redact_place(str(error))}")
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return InputError(f"{url}: the AWS credentials are missing or incomplete ({kind})")
    if "Credential" in kind or "Token" in kind or "SSO" in kind or "Login" in kind:
        return StorageError(f"{url}: the AWS credentials could not be fetched ({kind}); renew them")
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return StorageError(
            f"{url}: no answer from S3: {redact_place(str(error))}; check the network and AWS_ENDPOINT_URL"
        )
    return StorageError(f"{url}: {redact_place(str(error))}")


def _info(url: str, size: int, etag: str) -> FileInfo:
    return FileInfo(url=url, size=size, etag=etag.strip('"'))


class S3Backend:
    """Objects of S3 and of servers that speak its protocol."""

    def stat(self, url: str) -> FileInfo:
        bucket, key = _split(url)
        if not key or key.endswith("/"):
            raise FileNotFoundError(url)
        head = _call(url, "head_object", Bucket=bucket, Key=key)
        return _info(url, head["ContentLength"], head.get("ETag", ""))

    def is_dir(self, url: str) -> bool:
        bucket, prefix = _prefix(url)
        return bool(_call(url, "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1).get("Contents"))

    def list_files(self, root: str) -> Iterator[FileInfo]:
        bucket, prefix = _prefix(root)
        for entry in self._entries(root):
            names = entry["Key"][len(prefix) :].split("/")
            # a key that ends in a slash is a folder's mark; names with a dot first are hidden, as on disk
            if names[-1] and not any(name.startswith(".") for name in names):
                yield _info(f"s3://{bucket}/{entry['Key']}", entry["Size"], entry.get("ETag", ""))

    def _entries(self, root: str) -> Iterator[dict[str, Any]]:
        """The listing below a folder, page by page."""
        bucket, prefix = _prefix(root)
        more: dict[str, str] = {}
        while True:
            page = _call(root, "list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def open_read(self, url: str) -> BinaryIO:
        found = self.stat(url)
        return buffered(RangedFile(url, found.size, functools.partial(_fetch, url, found.etag), _BODY_ERRORS))

    def read_range(self, url: str, start: int, length: int) -> bytes:
        with self.open_read(url) as file:
            file.seek(start)
            return file.read(length)

    @contextlib.contextmanager
    def create(self, url: str) -> Iterator[BinaryIO]:
        upload = _Upload(url)
        try:
            yield cast(BinaryIO, upload)
            upload.complete()
        except BaseException:
            upload.abort()
            raise

    def create_new(self, url: str, data: bytes) -> bool:
        """Put an object unless there is one, in one step; StorageError where the server has no such put."""
        bucket, key = _split(url)
        mark = uuid.uuid4().hex
        backoff = Backoff(url)
        while True:
            try:
                put: dict[str, Any] = {"Bucket": bucket, "Key": key, "Body": data, "Metadata": {UPLOAD_MARK: mark}}
                _call(url, "put_object", IfNoneMatch="*", **put, **_content_checksum(data))
            except S3Refusal as refusal:
                if refusal.code in _CHANGED:
                    # ours, when the answer to a first attempt was lost
                    return _mark_of(url) == mark
                if refusal.code in _NOT_SUPPORTED:
                    raise StorageError(f"{url}: this server cannot create an object only where none is") from None
                if refusal.code != "ConditionalRequestConflict":
                    raise
                backoff.wait(refusal)
                continue
            return True

    def remove(self, url: str) -> None:
        bucket, key = _split(url)
        _call(url, "delete_object", Bucket=bucket, Key=key)

    def remove_tree(self, url: str) -> None:
        bucket, prefix = _prefix(url)
        if not prefix:
            raise StorageError(f"{url}: will not remove a whole bucket; name a folder in it")
        batch: list[str] = []
        for entry in self._entries(url):
            batch.append(entry["Key"])
            if len(batch) == DELETE_BATCH:
                self._remove_all(bucket, batch)
                batch = []
        self._remove_all(bucket, batch)

    def _remove_all(self, bucket: str, keys: list[str]) -> None:
        """Delete keys in one request, and one by one what that leaves (not every server has batches)."""
        if not keys:
            return
        url = f"s3://{bucket}/{keys[0]}"
        try:
            objects = [{"Key": key} for key in keys]
            answer = _call(url, "delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            keys = [error["Key"] for error in answer.get("Errors", ()) if "Key" in error]
        except S3Refusal as refusal:
            if refusal.code not in _NO_BATCH_DELETE:
                raise
        for key in keys:
            self.remove(f"s3://{bucket}/{key}")

    def remove_leftovers(self, root: str) -> None:
        """Abort the multipart uploads below a folder; servers and rights without a list of them have none."""
        bucket, prefix = _prefix(root)
        more: dict[str, str] = {}
        while True:
            try:
                page = _call(root, "list_multipart_uploads", Bucket=bucket, Prefix=prefix, **more)
            except S3Refusal as refusal:
                if refusal.code in _NOT_SUPPORTED | _DENIED:
                    return
                raise
            for upload in page.get("Uploads", ()):
                if upload["Key"].startswith(prefix):
                    _abort(f"s3://{bucket}/{upload['Key']}", upload["UploadId"])
            if not page.get("IsTruncated"):
                return
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _fetch(url: str, etag: str, start: int, stop: int) -> tuple[Body, int]:
    """The bytes [start, stop) of the object that had this etag; StorageError where it is another one by now."""
    bucket, key = _split(url)
    condition = {"IfMatch": f'"{etag}"'} if etag else {}
    answer = _call(url, "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}", **condition)
    body: Body = answer["Body"]
    covered = answer.get("ContentRange", "").partition("/")[0] or f"bytes 0-{answer['ContentLength'] - 1}"
    if answer.get("ETag", "").strip('"') != etag:
        body.close()
        raise StorageError(f"{url}: changed while it was read")
    if covered != f"bytes {start}-{stop - 1}":
        body.close()
        raise StorageError(f"{url}: the server answered {covered!r} to a request for bytes {start}-{stop - 1}")
    return body, stop


def _mark_of(url: str) -> str | None:
    """The mark of the upload that made an object, or None."""
    bucket, key = _split(url)
    try:
        head = _call(url, "head_object", Bucket=bucket, Key=key)
    except FileNotFoundError:
        return None
    mark: str | None = head.get("Metadata", {}).get(UPLOAD_MARK)
    return mark


def _abort(url: str, upload_id: str) -> None:
    """Abort an upload; one that is gone is fine."""
    bucket, key = _split(url)
    try:
        _call(url, "abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload_id)
    except FileNotFoundError:
        return
    except S3Refusal as refusal:
        if refusal.code != "NoSuchUpload":
            raise


class _Upload(io.BufferedIOBase):
    """What is written to an object that does not exist before `complete`; closing it completes nothing."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._bucket, self._key = _split(url)
        if not self._key or self._key.endswith("/"):
            raise InputError(f"{url}: not the name of an object")
        self._held = bytearray()
        self._sent = 0
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._mark = uuid.uuid4().hex

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._sent + len(self._held)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
        self._held += view
        while len(self._held) >= self._part_bytes():
            size = self._part_bytes()
            self._send(bytes(memoryview(self._held)[:size]))
            del self._held[:size]
        return len(view)

    def _part_bytes(self) -> int:
        """Doubles every PARTS_OF_ONE_SIZE parts, so that S3's 10,000 parts hold its largest object."""
        return PART_BYTES << (len(self._parts) // PARTS_OF_ONE_SIZE)

    def _send(self, data: bytes) -> None:
        if self._upload_id is None:
            answer = self._ask("create_multipart_upload", Metadata={UPLOAD_MARK: self._mark})
            self._upload_id = answer["UploadId"]
        number = len(self._parts) + 1
        answer = self._ask(
            "upload_part", UploadId=self._upload_id, PartNumber=number, Body=data, **_content_checksum(data)
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"], **_checksums(answer)})
        self._sent += len(data)

    def _ask(self, operation: str, **arguments: Any) -> Any:
        """A request about this object; a missing upload is a StorageError, as it is nothing the user named."""
        return _call(self._url, operation, Bucket=self._bucket, Key=self._key, **arguments)

    def complete(self) -> None:
        """Make the object appear with all that was written."""
        data = bytes(self._held)
        if self._upload_id is None:
            self._ask("put_object", Body=data, **_content_checksum(data))
            return
        if data:
            self._send(data)
        try:
            self._ask("complete_multipart_upload", UploadId=self._upload_id, MultipartUpload={"Parts": self._parts})
        except (S3Refusal, FileNotFoundError) as error:
            # gone because it was completed, and the answer to that was lost
            is_gone = isinstance(error, FileNotFoundError) or error.code == "NoSuchUpload"
            if not is_gone or _mark_of(self._url) != self._mark:
                raise StorageError(f"{self._url}: the upload could not be completed: {error}") from None
        self._upload_id = None

    def abort(self) -> None:
        """Leave nothing; what cannot be aborted now is removed with the leftovers later."""
        self._held.clear()
        if self._upload_id is not None:
            with contextlib.suppress(StorageError, InputError, OSError):
                _abort(self._url, self._upload_id)


def _content_checksum(data: bytes) -> dict[str, str]:
    """The checksum by which a server refuses a damaged body; botocore sends one to Amazon's by itself."""
    if not _connect(os.getpid()).is_foreign:
        return {}
    return {"ContentMD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()}


def _checksums(answer: dict[str, Any]) -> dict[str, str]:
    """The checksums of a part that completing the upload has to repeat."""
    return {name: value for name, value in answer.items() if name.startswith("Checksum") and name != "ChecksumType"}
