"""Read a remote file through range requests as one seekable stream that survives cut connections.

A window of the file is asked for at a time and streamed: windows grow while the reader goes on in order (few
requests for a shard) and start small after a jump (little is fetched in vain for a cell of a spill file). A body that
breaks off is asked for again from the byte at which it broke, after a pause with jitter.
"""

from __future__ import annotations

import http.client
import io
import random
import time
from collections.abc import Callable
from typing import BinaryIO, Protocol, cast

from corpusmith.errors import StorageError
from corpusmith.redact import redact_place

ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 20.0
BUFFER_BYTES = 256 << 10
FIRST_WINDOW_BYTES = 8 << 20
JUMP_WINDOW_BYTES = 256 << 10
LARGEST_WINDOW_BYTES = 64 << 20
LARGEST_READ_BYTES = 4 << 20

# Of its own, so that pauses draw nothing from the generator that a user's code may have seeded.
_jitter = random.Random()


class Body(Protocol):
    """The content of an answer, as it comes in."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


# (start, stop) -> the body of the bytes from `start` on, and where it will end (None: not said by the server)
Fetch = Callable[[int, int], tuple[Body, int | None]]


class Backoff:
    """Pauses between attempts: the longest possible one doubles each time, the real one is drawn below it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0

    def wait(self, error: BaseException, at_least: float = 0.0) -> None:
        """Pause before the next attempt; StorageError when ATTEMPTS have failed."""
        self._failures += 1
        if self._failures >= ATTEMPTS:
            reason = redact_place(f"{type(error).__name__}: {error}")
            raise StorageError(
                f"{redact_place(self._what)}: gave up after {self._failures} attempts: {reason}"
            ) from None
        ceiling = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._failures)
        time.sleep(max(min(at_least, LONGEST_PAUSE_SECONDS), ceiling * _jitter.random()))


class RangedFile(io.RawIOBase):
    """A remote file of `size` bytes (None: not known before its end) for reading, seekable.

    `fetch` makes a request, with retries of its own, and raises StorageError for good; exceptions of `transient`,
    OSError and HTTPException while a body is read make it ask again from where the body broke off.
    """

    def __init__(
        self, url: str, size: int | None, fetch: Fetch, transient: tuple[type[BaseException], ...] = ()
    ) -> None:
        self._url = url
        self._size = size
        self._fetch = fetch
        self._transient: tuple[type[BaseException], ...] = (OSError, http.client.HTTPException, *transient)
        self._position = 0
        self._window = FIRST_WINDOW_BYTES
        self._body: Body | None = None
        self._body_at = 0
        self._body_stop: int | None = None

    @property
    def name(self) -> str:
        """The URL as it may be shown."""
        return redact_place(self._url)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self._size is None:
            raise io.UnsupportedOperation(f"{self.name}: the server does not say how long the file is")
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size or 0}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        if not len(view) or (self._size is not None and self._position >= self._size):
            return 0
        backoff = Backoff(f"{self._url}: reading at byte {self._position}")
        while True:
            try:
                data = self._read_some(len(view))
                break
            except self._transient as error:
                self._drop()
                backoff.wait(error)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read_some(self, wanted: int) -> bytes:
        """At least one byte from the position on; none only at the end of the file."""
        if self._body is not None and self._body_at != self._position:
            self._drop()
            self._window = JUMP_WINDOW_BYTES
        if self._body is None:
            self._open(wanted)
        assert self._body is not None
        left = LARGEST_READ_BYTES if self._body_stop is None else self._body_stop - self._body_at
        data = self._body.read(min(wanted, left, LARGEST_READ_BYTES))
        self._body_at += len(data)
        if not data:
            if self._body_stop is not None:
                raise ConnectionError(f"the body ended {left} bytes early")
            self._size = self._position
        elif self._body_at == self._body_stop:
            # asking once more lets the connection go back to its pool
            self._body.read(1)
            self._drop()
            self._window = min(LARGEST_WINDOW_BYTES, self._window * 4)
        return data

    def _open(self, wanted: int) -> None:
        if self._body_at != self._position:
            self._window = JUMP_WINDOW_BYTES
        stop = self._position + max(self._window, min(wanted, LARGEST_WINDOW_BYTES))
        if self._size is not None:
            stop = min(stop, self._size)
        self._body, self._body_stop = self._fetch(self._position, stop)
        self._body_at = self._position

    def _drop(self) -> None:
        if self._body is not None:
            body, self._body = self._body, None
            body.close()

    def close(self) -> None:
        self._drop()
        super().close()


def buffered(file: RangedFile) -> BinaryIO:
    """The file as callers read it: a read gives all it asks for, small reads make no requests of their own."""
    return cast(BinaryIO, io.BufferedReader(file, BUFFER_BYTES))
