"""A log that grows line by line, on disk or on an object store.

A local file grows in place. An object can only be written anew as a whole, so its lines are held and written together
every so many seconds, and whenever `flush` is called.
"""

from __future__ import annotations

import time

from corpusmith.io import storage

REMOTE_SECONDS = 20.0


class LogFile:
    """One writer's log at `url`; lines that were not flushed are lost when the process dies."""

    def __init__(self, url: str, remote_seconds: float = REMOTE_SECONDS) -> None:
        self._url = url
        self._seconds = remote_seconds if "://" in url else 0.0
        self._held: list[bytes] = []
        self._written = time.monotonic()

    def append(self, line: bytes) -> None:
        """Add a line, which ends in a line end."""
        self._held.append(line)
        if time.monotonic() - self._written >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            storage.append_bytes(self._url, b"".join(self._held))
        self._held, self._written = [], time.monotonic()
