"""Reading `http://` and `https://` URLs behind the storage seam.

Needs nothing but GET with ranges, so that signed URLs work; where a server ignores ranges, a body that broke off is
read again from its start up to where it broke. What a message shows of a URL has no query and no user in it.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from corpusmith.errors import InputError, StorageError
from corpusmith.io.backends.ranged import Backoff, Body, RangedFile, buffered
from corpusmith.io.storage import FileInfo
from corpusmith.redact import redact_place

TIMEOUT_SECONDS = 60

_REPEATED = {408, 425, 429, 500, 502, 503, 504}
_RANGE_BEYOND_END = 416
_SKIPPED_AT_ONCE = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reply:
    """An answer: its body, the bytes [start, stop) of the file that it holds, the file's size and its version.

    `stop` and `size` are None where the server does not say how long the file is.
    """

    body: Body
    start: int
    stop: int | None
    size: int | None
    version: str


def _request(url: str, start: int, stop: int) -> urllib.request.Request:
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname:
        raise ValueError("it names no host")
    _ = parts.port  # raises ValueError where it is no number
    place = parts.netloc.rpartition("@")[2]
    path = urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
    request = urllib.request.Request(urllib.parse.urlunsplit((parts.scheme, place, path, parts.query, "")))
    request.add_header("Range", f"bytes={start}-{stop - 1}")
    request.add_header("Accept-Encoding", "identity")
    request.add_header("User-Agent", "corpusmith")
    if parts.username is not None:
        user = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        # not sent on to where a redirect leads
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
    return request


def _get(url: str, start: int, stop: int) -> _Reply | None:
    """Ask for the bytes [start, stop), again after a pause where that may help; None where the file ends before."""
    backoff = Backoff(url)
    while True:
        try:
            response = urllib.request.urlopen(_request(url, start, stop), timeout=TIMEOUT_SECONDS)
            return _reply(url, response)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == _RANGE_BEYOND_END:
                return None
            if error.code not in _REPEATED:
                _refuse(url, error.code)
            pause = error.headers.get("Retry-After", "")
            backoff.wait(ConnectionError(f"the server answered {error.code}"), float(pause) if pause.isdigit() else 0.0)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise StorageError(f"{redact_place(url)}: the server's certificate is not valid") from None
            backoff.wait(ConnectionError(error.reason))
        except (ValueError, http.client.InvalidURL) as error:
            raise InputError(f"{redact_place(url)}: not a web address: {redact_place(str(error))}") from None
        except (OSError, http.client.HTTPException) as error:
            backoff.wait(error)


def _refuse(url: str, status: int) -> NoReturn:
    if status in (404, 410):
        raise FileNotFoundError(redact_place(url)) from None
    if status in (401, 403):
        raise StorageError(f"{redact_place(url)}: access denied ({status}); a signed URL may have expired") from None
    raise StorageError(f"{redact_place(url)}: the server answered {status}") from None


def _reply(url: str, response: http.client.HTTPResponse) -> _Reply:
    """What an answer holds; StorageError where its length cannot be known, so that half a file would look whole."""
    headers = response.headers
    length = headers.get("Content-Length", "")
    version = headers.get("ETag") or headers.get("Last-Modified") or ""
    if response.status == http.client.PARTIAL_CONTENT:
        covered, _, total = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        first, _, last = covered.partition("-")
        if first.isdigit() and last.isdigit():
            size = int(total) if total.isdigit() else None
            return _Reply(body=response, start=int(first), stop=int(last) + 1, size=size, version=version)
    elif length.isdigit():
        return _Reply(body=response, start=0, stop=int(length), size=int(length), version=version)
    elif headers.get("Transfer-Encoding", "").lower() == "chunked":
        return _Reply(body=response, start=0, stop=None, size=None, version=version)
    response.close()
    raise StorageError(f"{redact_place(url)}: the server does not say how long its answer is")


class HttpBackend:
    """Files of web servers, for reading."""

    def stat(self, url: str) -> FileInfo:
        reply = _get(url, 0, 1)
        if reply is None:
            return FileInfo(url=url, size=0, etag="")
        reply.body.close()
        if reply.size is None:
            raise StorageError(f"{redact_place(url)}: the server does not say how long the file is")
        return FileInfo(url=url, size=reply.size, etag=reply.version)

    def is_dir(self, url: str) -> bool:
        return False

    def list_files(self, root: str) -> Iterator[FileInfo]:
        raise InputError(f"{redact_place(root)}: web servers cannot list folders; name the files one by one")

    def open_read(self, url: str) -> BinaryIO:
        reply = _get(url, 0, 1)
        if reply is None:
            return buffered(RangedFile(url, 0, functools.partial(_fetch, url, "")))
        reply.body.close()
        return buffered(RangedFile(url, reply.size, functools.partial(_fetch, url, reply.version)))

    def create(self, url: str) -> contextlib.AbstractContextManager[BinaryIO]:
        _only_for_reading(url)

    def create_new(self, url: str, data: bytes) -> bool:
        _only_for_reading(url)

    def remove(self, url: str) -> None:
        _only_for_reading(url)

    def remove_tree(self, url: str) -> None:
        _only_for_reading(url)

    def remove_leftovers(self, root: str) -> None:
        """There are none where nothing can be written."""


def _only_for_reading(url: str) -> NoReturn:
    raise InputError(f"{redact_place(url)}: http can only be read; write to a folder or to s3://")


def _fetch(url: str, version: str, start: int, stop: int) -> tuple[Body, int | None]:
    """The bytes from `start` on, and where they end; StorageError where the file is another one by now."""
    reply = _get(url, start, stop)
    if reply is None:
        raise StorageError(f"{redact_place(url)}: ends before byte {start}; it changed while it was read")
    if reply.version != version or reply.start > start:
        reply.body.close()
        raise StorageError(f"{redact_place(url)}: changed while it was read")
    left = start - reply.start
    while left:
        skipped = len(reply.body.read(min(left, _SKIPPED_AT_ONCE)))
        if not skipped:
            reply.body.close()
            raise ConnectionError("the body ended early")
        left -= skipped
    return reply.body, reply.stop
