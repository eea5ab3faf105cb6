"""Storage of other schemes through fsspec, where a driver for the scheme is installed.

A file is written under a temporary name beside its own and moved: drivers differ in what they do with a file whose
writer died, and the temporary name is hidden from listings and removed with the leftovers.
"""

from __future__ import annotations

import contextlib
import importlib
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

from corpusmith.errors import InputError, UserError
from corpusmith.io.storage import TEMPORARY_PREFIX, FileInfo
from corpusmith.redact import redact_place

# Their drivers break boto3's pins, or `s3://` does better.
_OURS = {"s3a": "s3", "s3n": "s3"}
_VERSION_KEYS = ("etag", "ETag", "md5Hash", "mtime", "LastModified", "created")


def open_backend(scheme: str) -> FsspecBackend:
    """The backend of a scheme; InputError or UserError that names the package to install."""
    if scheme in _OURS:
        raise InputError(f"no storage backend for {scheme}://; write {_OURS[scheme]}://")
    try:
        fsspec = importlib.import_module("fsspec")
    except ImportError:
        raise UserError(
            f"no storage backend for {scheme}://; run: pip install fsspec and its driver for {scheme}://"
        ) from None
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise UserError(f"no storage backend for {scheme}://; its fsspec driver is missing: {error}") from None
    except ValueError:
        raise InputError(f"no storage backend for {scheme}://; fsspec has none either") from None
    return FsspecBackend(scheme)


class FsspecBackend:
    """Files of the file systems that one of fsspec's drivers reaches (a URL may name its host)."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme

    def _at(self, url: str) -> tuple[Any, str]:
        """The file system of a URL, its listings not cached, and the path there."""
        files, path = importlib.import_module("fsspec.core").url_to_fs(url)
        files.invalidate_cache()
        return files, str(path)

    def _info(self, url: str, entry: dict[str, Any]) -> FileInfo:
        version = next((str(entry[key]) for key in _VERSION_KEYS if entry.get(key) is not None), "")
        return FileInfo(url=url, size=int(entry["size"] or 0), etag=version)

    def stat(self, url: str) -> FileInfo:
        files, path = self._at(url)
        entry = files.info(path)
        if entry["type"] != "file":
            raise FileNotFoundError(redact_place(url))
        return self._info(url, entry)

    def is_dir(self, url: str) -> bool:
        files, path = self._at(url)
        return bool(files.isdir(path))

    def list_files(self, root: str) -> Iterator[FileInfo]:
        files, base = self._at(root)
        for path, entry in files.find(base, detail=True).items():
            name = path.removeprefix(base.rstrip("/")).lstrip("/")
            if name and not any(part.startswith(".") for part in name.split("/")):
                yield self._info(f"{root.rstrip('/')}/{name}", entry)

    def open_read(self, url: str) -> BinaryIO:
        files, path = self._at(url)
        file: BinaryIO = files.open(path, "rb")
        return file

    @contextlib.contextmanager
    def create(self, url: str) -> Iterator[BinaryIO]:
        files, path = self._at(url)
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{name}"[: len(folder) + 200]
        files.makedirs(folder, exist_ok=True)
        with contextlib.ExitStack() as undo:
            undo.callback(_remove_quietly, files, temporary)
            with files.open(temporary, "wb") as file:
                yield file
            files.mv(temporary, path)
            undo.pop_all()

    def create_new(self, url: str, data: bytes) -> bool:
        raise InputError(f"{redact_place(url)}: a file cannot be created only where none is on {self._scheme}://")

    def remove(self, url: str) -> None:
        files, path = self._at(url)
        files.rm_file(path)

    def remove_tree(self, url: str) -> None:
        files, path = self._at(url)
        if files.isdir(path):
            files.rm(path, recursive=True)

    def remove_leftovers(self, root: str) -> None:
        files, base = self._at(root)
        for path in files.find(base):
            if path.rpartition("/")[2].startswith(TEMPORARY_PREFIX):
                files.rm_file(path)


def _remove_quietly(files: Any, path: str) -> None:
    """Remove a file of which nobody should know; what stays is a leftover."""
    with contextlib.suppress(OSError):
        files.rm_file(path)
