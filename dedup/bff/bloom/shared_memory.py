"""A filter, or a range of its blocks, in memory that all processes of a node map without copies.

It is a file in `/dev/shm`, or in the temporary folder where that has no room. It outlives the task, so the next round
finds it as the last one left it; its first page says what it is and how many rounds are in it. A task that dies in the
middle leaves it `dirty`, one on another node or after a boot finds none: then it is filled again from a snapshot and
the recorded decisions.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import pathlib
import struct
import tempfile
from collections.abc import Iterator

import numpy as np

from corpusmith.errors import InputError, StorageError
from corpusmith.text.kernels import U64Array

HEADER_BYTES = 4096
SHARED_MEMORY = pathlib.Path("/dev/shm")
SPARE = 1.02

_HEAD = struct.Struct("<8s32s36sqq")
_MAGIC = b"cmbloom1"
_BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")


def _boot_id() -> bytes:
    try:
        return _BOOT_ID.read_bytes().strip()[:36].ljust(36)
    except OSError:
        return b"-".ljust(36)


def _candidates(name: str) -> list[pathlib.Path]:
    folders = [SHARED_MEMORY, pathlib.Path(tempfile.gettempdir())]
    return [folder / f"corpusmith-bloom-{os.getuid()}-{name}" for folder in folders if folder.is_dir()]


class SharedFilter:
    """The mapped words (U64) of a filter, and how many rounds are in them.

    `rounds` is -1 where that is unknown: new memory, a boot, or a task that died while it wrote. `is_new`: the memory
    was made just now, and is zero.
    """

    def __init__(self, view: mmap.mmap, identity: bytes, is_new: bool) -> None:
        self.is_new = is_new
        self._view = view
        self._identity = identity
        self.words: U64Array = np.frombuffer(view, dtype=np.uint64, offset=HEADER_BYTES)

    @property
    def rounds(self) -> int:
        """How many rounds are in it, or -1."""
        magic, identity, boot, rounds, dirty = _HEAD.unpack_from(self._view)
        known = (magic, identity, boot) == (_MAGIC, self._identity, _boot_id()) and not dirty
        return int(rounds) if known else -1

    def begin(self) -> None:
        """Say that the words are being changed."""
        self._write(-1, dirty=True)

    def commit(self, rounds: int) -> None:
        """Say that the words hold exactly the first `rounds` rounds."""
        self._write(rounds, dirty=False)

    def _write(self, rounds: int, *, dirty: bool) -> None:
        _HEAD.pack_into(self._view, 0, _MAGIC, self._identity, _boot_id(), rounds, dirty)


def room_for(size: int) -> str:
    """Where a filter of so many bytes would lie: `memory` or `disk`; InputError where neither has the room."""
    for path in _candidates("probe"):
        status = os.statvfs(path.parent)
        if status.f_bavail * status.f_frsize >= size * SPARE:
            return "memory" if path.parent == SHARED_MEMORY else "disk"
    raise InputError(
        f"a filter of {size:,} bytes fits neither into {SHARED_MEMORY} nor into {tempfile.gettempdir()}; lower "
        "expected_ngram_count, raise fp_rate, or set TMPDIR to a larger disk"
    )


def _place(name: str, size: int) -> pathlib.Path:
    """The file that stands already with this size, or where a new one goes."""
    paths = _candidates(name)
    for path in paths:
        if path.exists() and path.stat().st_size == size:
            return path
        path.unlink(missing_ok=True)
    return paths[0] if room_for(size) == "memory" else paths[-1]


@contextlib.contextmanager
def open_shared(name: str, identity: str, words: int) -> Iterator[SharedFilter]:
    """The filter `name` of so many words, made where it is missing; held by one process at a time.

    `identity` (32 characters) tells apart what lay under that name before. Memory is reserved when the file is made, so
    that a lack of it is an error here and no crash later.
    """
    size = HEADER_BYTES + 8 * words
    path = _place(name, size)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(file).st_uid != os.getuid():
            raise StorageError(f"{path} belongs to another user; remove it")
        fcntl.flock(file, fcntl.LOCK_EX)
        is_new = os.fstat(file).st_size == 0
        try:
            os.posix_fallocate(file, 0, size)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise StorageError(f"{path}: no room for a filter of {size:,} bytes: {error.strerror}") from error
        # the pages are mapped at once: by single faults they would cost more than the look-ups
        view = mmap.mmap(file, size, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
        shared = SharedFilter(view, identity.encode()[:32].ljust(32), is_new)
        try:
            yield shared
        finally:
            del shared.words
            with contextlib.suppress(BufferError):  # somebody still holds the words: the view goes with them
                view.close()
    finally:
        os.close(file)


def remove_shared(name: str) -> None:
    """Give the memory back; none there is fine."""
    for path in _candidates(name):
        path.unlink(missing_ok=True)
