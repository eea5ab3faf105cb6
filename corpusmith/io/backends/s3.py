"""`s3://` behind the storage seam, by boto3.

Credentials, region, profile and endpoint (`AWS_ENDPOINT_URL`) are found as boto3 finds them; without credentials
requests go unsigned, which public buckets accept. botocore's standard mode repeats what was throttled or failed for a
moment (`AWS_MAX_ATTEMPTS`, here 8 by default); bodies that break off are continued by `RangedFile`. An object appears
whole or not at all: one put, or a multipart upload that is completed or aborted.
"""

from __future__ import annotations

import contextlib
import functools
import io
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import botocore.exceptions
import botocore.session
import urllib3.exceptions

from corpusmith.errors import InputError, StorageError
from corpusmith.io.backends.ranged import Backoff, Body, RangedFile, buffered
from corpusmith.io.backends.s3_requests import (
    CHANGED,
    DENIED,
    NO_BATCH_DELETE,
    NOT_SUPPORTED,
    S3Refusal,
    content_checksum,
    folder_of,
    request,
    split_url,
)
from corpusmith.io.storage import FileInfo

PART_BYTES = 8 << 20
PARTS_OF_ONE_SIZE = 1000
DELETE_BATCH = 1000
UPLOAD_MARK = "corpusmith-upload"


_BODY_ERRORS = (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError)


def _info(url: str, size: int, etag: str) -> FileInfo:
    return FileInfo(url=url, size=size, etag=etag.strip('"'))


class S3Backend:
    """Objects of S3 and of servers that speak its protocol."""

    def stat(self, url: str) -> FileInfo:
        bucket, key = split_url(url)
        if not key or key.endswith("/"):
            raise FileNotFoundError(url)
        head = request(url, "head_object", Bucket=bucket, Key=key)
        return _info(url, head["ContentLength"], head.get("ETag", ""))

    def is_dir(self, url: str) -> bool:
        bucket, prefix = folder_of(url)
        return bool(request(url, "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1).get("Contents"))

    def list_files(self, root: str) -> Iterator[FileInfo]:
        bucket, prefix = folder_of(root)
        for entry in self._entries(root):
            names = entry["Key"][len(prefix) :].split("/")
            # a key that ends in a slash is a folder's mark; names with a dot first are hidden, as on disk
            if names[-1] and not any(name.startswith(".") for name in names):
                yield _info(f"s3://{bucket}/{entry['Key']}", entry["Size"], entry.get("ETag", ""))

    def _entries(self, root: str) -> Iterator[dict[str, Any]]:
        """The listing below a folder, page by page."""
        bucket, prefix = folder_of(root)
        more: dict[str, str] = {}
        while True:
            page = request(root, "list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def open_read(self, url: str) -> BinaryIO:
        found = self.stat(url)
        return buffered(RangedFile(url, found.size, functools.partial(_fetch, url, found.etag), _BODY_ERRORS))

    @contextlib.contextmanager
    def create(self, url: str) -> Iterator[BinaryIO]:
        upload = _Upload(url)
        with contextlib.ExitStack() as undo:
            undo.callback(upload.abort)
            yield cast(BinaryIO, upload)
            upload.complete()
            undo.pop_all()

    def create_new(self, url: str, data: bytes) -> bool:
        """Put an object unless there is one, in one step; StorageError where the server has no such put."""
        bucket, key = split_url(url)
        mark = uuid.uuid4().hex
        backoff = Backoff(url)
        while True:
            try:
                put: dict[str, Any] = {"Bucket": bucket, "Key": key, "Body": data, "Metadata": {UPLOAD_MARK: mark}}
                request(url, "put_object", IfNoneMatch="*", **put, **content_checksum(data))
            except S3Refusal as refusal:
                if refusal.code in CHANGED:
                    # ours, when the answer to a first attempt was lost
                    return _mark_of(url) == mark
                if refusal.code in NOT_SUPPORTED:
                    raise StorageError(f"{url}: this server cannot create an object only where none is") from None
                if refusal.code != "ConditionalRequestConflict":
                    raise
                backoff.wait(refusal)
                continue
            return True

    def remove(self, url: str) -> None:
        bucket, key = split_url(url)
        request(url, "delete_object", Bucket=bucket, Key=key)

    def remove_tree(self, url: str) -> None:
        bucket, prefix = folder_of(url)
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
            answer = request(url, "delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            keys = [error["Key"] for error in answer.get("Errors", ()) if "Key" in error]
        except S3Refusal as refusal:
            if refusal.code not in NO_BATCH_DELETE:
                raise
        for key in keys:
            self.remove(f"s3://{bucket}/{key}")

    def remove_leftovers(self, root: str) -> None:
        """Abort the multipart uploads below a folder; servers and rights without a list of them have none."""
        bucket, prefix = folder_of(root)
        more: dict[str, str] = {}
        while True:
            try:
                page = request(root, "list_multipart_uploads", Bucket=bucket, Prefix=prefix, **more)
            except S3Refusal as refusal:
                if refusal.code in NOT_SUPPORTED | DENIED:
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
    bucket, key = split_url(url)
    condition = {"IfMatch": f'"{etag}"'} if etag else {}
    answer = request(url, "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}", **condition)
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
    bucket, key = split_url(url)
    try:
        head = request(url, "head_object", Bucket=bucket, Key=key)
    except FileNotFoundError:
        return None
    mark: str | None = head.get("Metadata", {}).get(UPLOAD_MARK)
    return mark


def _abort(url: str, upload_id: str) -> None:
    """Abort an upload; one that is gone is fine."""
    bucket, key = split_url(url)
    try:
        request(url, "abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload_id)
    except FileNotFoundError:
        return
    except S3Refusal as refusal:
        if refusal.code != "NoSuchUpload":
            raise


class _Upload(io.BufferedIOBase):
    """What is written to an object that does not exist before `complete`; closing it completes nothing."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._bucket, self._key = split_url(url)
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
            "upload_part", UploadId=self._upload_id, PartNumber=number, Body=data, **content_checksum(data)
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"], **_checksums(answer)})
        self._sent += len(data)

    def _ask(self, operation: str, **arguments: Any) -> Any:
        """A request about this object; a missing upload is a StorageError, as it is nothing the user named."""
        return request(self._url, operation, Bucket=self._bucket, Key=self._key, **arguments)

    def complete(self) -> None:
        """Make the object appear with all that was written."""
        data = bytes(self._held)
        if self._upload_id is None:
            self._ask("put_object", Body=data, **content_checksum(data))
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


def _checksums(answer: dict[str, Any]) -> dict[str, str]:
    """The checksums of a part that completing the upload has to repeat."""
    return {name: value for name, value in answer.items() if name.startswith("Checksum") and name != "ChecksumType"}
