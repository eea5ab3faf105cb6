"""Any URL: list, open, range, atomic write.

All functions take a local path or a URL as `str`. A backend per scheme does the work: the local file system here,
`s3://` and `http(s)://` in modules of their own, other schemes through fsspec; each is imported when its first URL is
met. Errors of the operating system become StorageError (or InputError where a path that the user named is missing), so
no caller handles `OSError`; messages show URLs without what `redaction` hides.

Follows datatrove's idea of one folder-like seam under all steps; departs from it in that writes are atomic: a file
appears under its name whole or not at all.
"""

from __future__ import annotations

import contextlib
import functools
import json
import mmap
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from corpusmith.errors import InputError, StorageError
from corpusmith.imports import resolve
from corpusmith.redact import redact_place

TEMPORARY_PREFIX = ".partial-"
COPY_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """A file's URL, its size in bytes, and what changes when its content does (local: modification time in ns)."""

    url: str
    size: int
    etag: str


class Backend(Protocol):
    """What a storage scheme must offer; raises FileNotFoundError and OSError."""

    def stat(self, url: str) -> FileInfo:
        """Size and version of a file; FileNotFoundError where there is none, or a folder."""

    def is_dir(self, url: str) -> bool:
        """Whether a folder stands there; where there are no folders, whether a file lies below."""

    def list_files(self, root: str) -> Iterator[FileInfo]:
        """All files below a folder in any order; hidden ones, and what lies in hidden folders, are passed over."""

    def open_read(self, url: str) -> BinaryIO:
        """A file for reading, seekable where that is possible."""

    def create(self, url: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """A file that appears when the block ends, and not at all if it raises; makes parent folders."""

    def create_new(self, url: str, data: bytes) -> bool:
        """Write a whole file unless one stands there, in one step; returns whether it did."""

    def remove(self, url: str) -> None:
        """Remove a file; FileNotFoundError where there is none, if the storage can tell."""

    def remove_tree(self, url: str) -> None:
        """Remove all below a folder; none there is fine."""

    def remove_leftovers(self, root: str) -> None:
        """Remove what killed writers left below a folder."""


class LocalBackend:
    """The file system of this machine (or a mounted one)."""

    def stat(self, url: str) -> FileInfo:
        status = os.stat(url)
        if not os.path.isfile(url):
            raise FileNotFoundError(url)
        return FileInfo(url=url, size=status.st_size, etag=str(status.st_mtime_ns))

    def is_dir(self, url: str) -> bool:
        return os.path.isdir(url)

    def list_files(self, root: str) -> Iterator[FileInfo]:
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            for name in names:
                path = os.path.join(folder, name)
                if not name.startswith(".") and os.path.isfile(path):
                    yield self.stat(path)

    def open_read(self, url: str) -> BinaryIO:
        return open(url, "rb")

    @contextlib.contextmanager
    def create(self, url: str) -> Iterator[BinaryIO]:
        with self._temporary(url) as (file, temporary):
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, url)

    def create_new(self, url: str, data: bytes) -> bool:
        with self._temporary(url) as (file, temporary):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            try:
                os.link(temporary, url)
            except FileExistsError:
                return False
            return True

    @contextlib.contextmanager
    def _temporary(self, url: str) -> Iterator[tuple[BinaryIO, str]]:
        """A file beside `url`, and its path; it is gone in the end unless it was moved."""
        folder, name = os.path.split(url)
        os.makedirs(folder or ".", exist_ok=True)
        temporary = os.path.join(folder, f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{name}"[:200])
        try:
            with open(temporary, "wb") as file:
                yield file, temporary
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def remove(self, url: str) -> None:
        os.unlink(url)

    def remove_tree(self, url: str) -> None:
        if os.path.isdir(url):
            shutil.rmtree(url)

    def remove_leftovers(self, root: str) -> None:
        if not os.path.isdir(root):
            return
        for path in pathlib.Path(root).rglob(f"{TEMPORARY_PREFIX}*"):
            path.unlink(missing_ok=True)


_LOCAL = LocalBackend()
_BACKENDS = {
    "s3": "corpusmith.io.backends.s3:S3Backend",
    "http": "corpusmith.io.backends.http:HttpBackend",
    "https": "corpusmith.io.backends.http:HttpBackend",
}


@functools.cache
def _backend_of(scheme: str) -> Backend:
    """The backend of a scheme, its module imported the first time."""
    if scheme not in _BACKENDS:
        backend: Backend = resolve("corpusmith.io.backends.fsspec:open_backend")(scheme)
        return backend
    made: Backend = resolve(_BACKENDS[scheme])()
    return made


def _backend(url: str) -> tuple[Backend, str]:
    """The backend of a URL, and the URL as that backend wants it."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _LOCAL, url
    if scheme == "file":
        return _LOCAL, rest
    return _backend_of(scheme), url


@contextlib.contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{redact_place(url)}: no such file") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{redact_place(str(error.filename or url))}: {redact_place(reason)}") from error


def join(url: str, *parts: str) -> str:
    """The URL of `parts` below `url`; a part may hold slashes but must stay below."""
    for part in parts:
        if part.startswith("/") or ".." in part.split("/"):
            raise StorageError(f"{part!r} would leave {url!r}")
        url = f"{url.rstrip('/')}/{part}" if url not in ("", "/") else url + part
    return url


def basename(url: str) -> str:
    """The last part of a URL, trailing slashes ignored; of a web address without query and fragment."""
    if url.startswith(("http://", "https://")):
        url = url.partition("?")[0].partition("#")[0]
    return url.rstrip("/").rsplit("/", 1)[-1]


def parent(url: str) -> str:
    """The URL without its last part; `.` for a bare local name."""
    head, separator, _ = url.rstrip("/").rpartition("/")
    return head if separator and head else ("/" if separator else ".")


def relative(url: str, root: str) -> str:
    """`url` relative to `root`, below which it must lie."""
    prefix = root.rstrip("/") + "/"
    if not url.startswith(prefix):
        raise StorageError(f"{url!r} does not lie below {root!r}")
    return url[len(prefix) :]


def exists(url: str) -> bool:
    """Whether a file stands there (a folder is none)."""
    backend, path = _backend(url)
    try:
        backend.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(f"{redact_place(url)}: {redact_place(error.strerror or str(error))}") from error
    return True


def is_dir(url: str) -> bool:
    """Whether a folder stands there."""
    backend, path = _backend(url)
    with _storage_errors(url):
        return backend.is_dir(path)


def stat(url: str) -> FileInfo:
    """Size and etag; InputError if there is no such file."""
    backend, path = _backend(url)
    with _storage_errors(url):
        return backend.stat(path)


def list_files(root: str, suffixes: tuple[str, ...] = ()) -> list[FileInfo]:
    """All files below `root`, sorted by URL; names that start with a dot are skipped, and so are their folders."""
    backend, path = _backend(root)
    with _storage_errors(root):
        found = [info for info in backend.list_files(path.rstrip("/") or path) if info.url.endswith(suffixes or ("",))]
    return sorted(found, key=lambda info: info.url)


def open_read(url: str) -> BinaryIO:
    """Open for reading; InputError if there is no such file."""
    backend, path = _backend(url)
    with _storage_errors(url):
        return backend.open_read(path)


def read_bytes(url: str) -> bytes:
    """The whole content."""
    with open_read(url) as file, _storage_errors(url):
        return file.read()


def read_range(url: str, start: int, length: int) -> bytes:
    """`length` bytes from `start` on; fewer at the end of the file."""
    with open_read(url) as file, _storage_errors(url):
        file.seek(start)
        return file.read(length)


def map_bytes(url: str) -> memoryview:
    """The content as memory: a local file is mapped, an object is read as a whole."""
    backend, path = _backend(url)
    if backend is not _LOCAL:
        return memoryview(read_bytes(url))
    with _storage_errors(url), open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")  # an empty file cannot be mapped
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


@contextlib.contextmanager
def atomic_write(url: str) -> Iterator[BinaryIO]:
    """A file that appears under `url` when the block ends, and not at all if it raises; makes parent folders."""
    backend, path = _backend(url)
    with contextlib.ExitStack() as stack:
        with _storage_errors(url):
            file = stack.enter_context(backend.create(path))
        yield file
        with _storage_errors(url):
            stack.close()


def create_new(url: str, data: bytes) -> bool:
    """Write a whole file unless one stands there already, in one step: of several writers one gets True.

    Raises:
        StorageError: the server cannot do that.
        InputError: the storage cannot.
    """
    backend, path = _backend(url)
    with _storage_errors(url):
        return backend.create_new(path, data)


def write_bytes(url: str, data: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_write(url) as file:
        file.write(data)


def copy_file(source: str, target: str) -> None:
    """Copy a file to another URL piece by piece; the copy appears whole or not at all."""
    with open_read(source) as reader, atomic_write(target) as writer:
        while True:
            with _storage_errors(source):
                piece = reader.read(COPY_BYTES)
            if not piece:
                return
            writer.write(piece)


def append_bytes(url: str, data: bytes) -> None:
    """Add to the end of a file, which is made where there is none; for small logs with one writer.

    A local file grows in place; an object is written anew as a whole.
    """
    backend, path = _backend(url)
    if backend is not _LOCAL:
        write_bytes(url, (read_bytes(url) if exists(url) else b"") + data)
        return
    with _storage_errors(url):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "ab") as file:
            file.write(data)


def read_json(url: str) -> Any:
    """The JSON document in a file; InputError with the position if it is none."""
    try:
        return json.loads(read_bytes(url))
    except ValueError as error:
        raise InputError(f"{redact_place(url)}: not a JSON document: {error}") from error


def write_json(url: str, document: Any, indent: int | None = None) -> None:
    """Write a JSON document atomically, with a final newline."""
    write_bytes(url, (json.dumps(document, indent=indent, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))


def remove(url: str) -> None:
    """Remove a file; none there is fine."""
    backend, path = _backend(url)
    with _storage_errors(url), contextlib.suppress(FileNotFoundError):
        backend.remove(path)


def remove_tree(url: str) -> None:
    """Remove a folder and all below it; none there is fine."""
    backend, path = _backend(url)
    with _storage_errors(url):
        backend.remove_tree(path)


def remove_leftovers(root: str) -> None:
    """Remove what killed writers left below `root`: temporary names, or uploads that were never completed.

    It cannot tell the dead from the living: nobody else may be writing there.
    """
    backend, path = _backend(root)
    with _storage_errors(root):
        backend.remove_leftovers(path)


def check_writable(folder: str) -> None:
    """Raise InputError unless files can be written below `folder`."""
    probe = join(folder, f"{TEMPORARY_PREFIX}probe")
    try:
        write_bytes(probe, b"")
        remove(probe)
    except (StorageError, InputError) as error:
        raise InputError(f"cannot write to {redact_place(folder)}: {error}") from error
