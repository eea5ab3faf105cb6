"""The worker's side of the runner: run a batch of tasks, turn exceptions into outcomes, note where a task is.

A task that died with its worker is run again under a watch: the worker notes each record's shard and index in a small
file mapped into memory, and Python's faulthandler adds the stack of a crash in native code. The file lies in the
temporary folder of the worker's machine, outlives the worker, and is fetched and removed by `take_note`.

A watched worker may have a limit for each record, in seconds of CPU: the kernel's profiling timer, wound up anew at
each record, ends the process when it runs out, whatever holds the interpreter's lock, and faulthandler leaves the
stack in the note first. It costs a system call per record, and no second process or thread.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import functools
import mmap
import os
import pathlib
import signal
import struct
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from corpusmith.errors import CorpusmithError, StorageError
from corpusmith.imports import resolve
from corpusmith.io import position

T = TypeVar("T")
R = TypeVar("R")

NOTE_BYTES = 4096
BEFORE_THE_FIRST_RECORD = -1
STACK_BYTES = 8192
TRANSIENT_PAUSES_SECONDS = (0.5, 2.0, 8.0)
TRANSIENT_ERRNOS = frozenset(
    getattr(errno, name)
    for name in ("EAGAIN", "EBUSY", "ESTALE", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED", "ENETUNREACH", "EHOSTUNREACH")
)

_HEAD = struct.Struct("<qH")
_CRASH = "Fatal Python error"

Result = tuple[R | None, str | None, str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """Where a worker was when it died: shard and index of the record, and the stack if native code crashed."""

    url: str | None
    record: int | None
    stack: str | None

    @property
    def is_late(self) -> bool:
        """Whether the record had used up its time: a stack, and no crash."""
        return self.stack is not None and not self.stack.startswith(_CRASH)


@functools.cache
def _set_up(function: str) -> None:
    resolve(function)()


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """How a worker is watched: name of the note that it leaves, seconds of CPU for each record, records to avoid."""

    name: str
    record_seconds: float | None = None
    avoid: position.Avoided = field(default_factory=dict)


def run_batch(
    function: Callable[[T], R], tasks: Sequence[T], set_up: str | None, folder: str, watch: Watch | None
) -> list[Result[R]]:
    """Run tasks one after the other and return (value, error, traceback) of each.

    Relative paths mean the same as in the driver, as far as the worker's machine has its working directory (`folder`).
    """
    with contextlib.ExitStack() as stack:
        if watch is not None:
            stack.enter_context(watched(watch.name, watch.record_seconds, watch.avoid))
        return [_outcome(function, task, set_up, folder) for task in tasks]


def _outcome(function: Callable[[T], R], task: T, set_up: str | None, folder: str) -> Result[R]:
    """The task boundary, where any exception becomes an outcome."""
    try:
        if os.getcwd() != folder and os.path.isdir(folder):
            os.chdir(folder)
        if set_up is not None:
            _set_up(set_up)
        return with_patience(function, task), None, None
    except CorpusmithError as error:
        return None, str(error), None
    except Exception as error:  # noqa: BLE001 - the task boundary: the other shards go on
        return None, f"{type(error).__name__}: {error}", traceback.format_exc()


def with_patience(function: Callable[[T], R], task: T, sleep: Callable[[float], None] = time.sleep) -> R:
    """`function(task)`, begun again after a pause where storage failed in a way that may pass."""
    for pause in TRANSIENT_PAUSES_SECONDS:
        try:
            return function(task)
        except StorageError as error:
            if not is_transient(error):
                raise
        sleep(pause)
    return function(task)


def is_transient(error: StorageError) -> bool:
    """Whether the same request may succeed a little later."""
    cause = error.__cause__
    return error.transient or (isinstance(cause, OSError) and cause.errno in TRANSIENT_ERRNOS)


def _note_path(name: str) -> pathlib.Path:
    return pathlib.Path(tempfile.gettempdir()) / f"corpusmith-{name}.note"


@contextlib.contextmanager
def watched(name: str, record_seconds: float | None = None, avoid: position.Avoided | None = None) -> Iterator[None]:
    """Note each record that the block reads, and the stack if it crashes or a record takes more than `record_seconds`
    of CPU, which ends the process; the note goes when the block ends alive."""
    path = _note_path(name)
    with open(path, "w+b") as file:
        file.write(_HEAD.pack(BEFORE_THE_FIRST_RECORD, 0).ljust(NOTE_BYTES, b"\0"))
        file.flush()
        with mmap.mmap(file.fileno(), NOTE_BYTES) as note:
            noted_url = ""

            def listener(url: str, index: int) -> None:
                nonlocal noted_url
                if record_seconds is not None:
                    signal.setitimer(signal.ITIMER_PROF, 0 if index == position.NO_RECORD else record_seconds)
                if index == position.NO_RECORD:
                    return
                if url != noted_url:
                    noted_url = url
                    name_bytes = url.encode()[: NOTE_BYTES - _HEAD.size]
                    note[_HEAD.size : _HEAD.size + len(name_bytes)] = name_bytes
                    _HEAD.pack_into(note, 0, index, len(name_bytes))
                else:
                    struct.pack_into("<q", note, 0, index)

            was_enabled = faulthandler.is_enabled()
            faulthandler.enable(file, all_threads=False)
            if record_seconds is not None:
                faulthandler.register(signal.SIGPROF, file, all_threads=True, chain=True)
            position.listen(listener, avoid)
            try:
                yield
            finally:
                position.listen(None)
                if record_seconds is not None:
                    signal.setitimer(signal.ITIMER_PROF, 0)
                    faulthandler.unregister(signal.SIGPROF)
                faulthandler.disable()
                if was_enabled:
                    faulthandler.enable()
                path.unlink(missing_ok=True)


def take_note(name: str) -> Note | None:
    """Read and remove the note of a dead worker on this machine; None if there is none."""
    path = _note_path(name)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    path.unlink(missing_ok=True)
    if len(content) < NOTE_BYTES:
        return None
    index, length = _HEAD.unpack_from(content)
    url = content[_HEAD.size : _HEAD.size + length].decode(errors="replace")
    stack = content[NOTE_BYTES : NOTE_BYTES + STACK_BYTES].decode(errors="replace").strip()
    if index == BEFORE_THE_FIRST_RECORD:
        return Note(url=None, record=None, stack=stack or None)
    return Note(url=url, record=index, stack=stack or None)
