"""Reading and writing JSONL files, local or on S3, for users' code and for `process_single_file`.

Follows DCLM's `file_utils` (compression by the name's ending, `json.dumps` defaults, no final newline in compressed
files); departs from it in serialising everything before a file is touched and in replacing a file as a whole. Our own
shards go through `corpusmith.io.pages.shards`, which streams.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import jsonlines
from backports import zstd

from corpusmith.io import storage

__all__ = [
    "delete_file",
    "is_compressed",
    "is_exists",
    "is_s3",
    "list_dir",
    "makedirs_if_missing",
    "read_jsonl",
    "write_jsonl",
]

S3_PREFIX = "s3://"
ZSTD_SUFFIXES = (".zst", ".zstd")
GZIP_SUFFIX = ".gz"
BYTE_ORDER_MARK = "\ufeff"


def is_s3(file_path: str) -> bool:
    """Whether the path is a URL of S3."""
    return file_path.startswith(S3_PREFIX)


def is_compressed(file_path: str) -> bool:
    """Whether the name ends in `.zst`, `.zstd` or `.gz`."""
    return file_path.endswith((*ZSTD_SUFFIXES, GZIP_SUFFIX))


def is_exists(file_path: str) -> bool:
    """Whether a file stands there; a folder is none."""
    return storage.exists(file_path) if is_s3(file_path) else os.path.isfile(file_path)


def delete_file(file_path: str) -> None:
    """Remove a file.

    Raises:
        FileNotFoundError: there is none.
        OSError: a folder.
    """
    if not is_s3(file_path):
        os.remove(file_path)
        return
    if not storage.exists(file_path):
        raise FileNotFoundError(f"{file_path} does not exist.")
    storage.remove(file_path)


def makedirs_if_missing(dir_path: str) -> None:
    """Make a local folder and those above it; S3 needs none."""
    if not is_s3(dir_path):
        os.makedirs(dir_path, exist_ok=True)


def list_dir(dirname: str) -> list[str]:
    """The direct children, files and folders, sorted, without names that start with a dot.

    Local ones as absolute paths, those on S3 as full URLs.
    """
    if not is_s3(dirname):
        root = os.path.abspath(dirname)
        return sorted(os.path.join(root, name) for name in os.listdir(root) if not name.startswith("."))
    root = dirname.rstrip("/")
    names = {storage.relative(info.url, root).partition("/")[0] for info in storage.list_files(root)}
    return sorted(f"{root}/{name}" for name in names if not name.startswith("."))


def read_jsonl(file_path: str) -> Iterator[Any]:
    """Yield the JSON value of each line; nothing is opened before the first is asked for.

    All frames of a zstd file and all members of a gzip file are read; a byte-order mark at the start is skipped.

    Raises:
        jsonlines.InvalidLineError: an empty line, `null` or invalid JSON (a ValueError).
        UnicodeDecodeError: not UTF-8.
        FileNotFoundError: no such local file (InputError on S3).
    """
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(_open_read(file_path))
        content: Any = raw
        if file_path.endswith(ZSTD_SUFFIXES):
            content = stack.enter_context(zstd.open(raw, "rb"))
        elif file_path.endswith(GZIP_SUFFIX):
            content = stack.enter_context(gzip.open(raw, "rb"))
        yield from jsonlines.Reader(_decoded(content), loads=json.loads).iter()


def _open_read(file_path: str) -> BinaryIO:
    return storage.open_read(file_path) if is_s3(file_path) else open(file_path, "rb")


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """The lines as text; they end at line feeds alone, so U+2028 and its like stand inside them."""
    for number, line in enumerate(lines):
        text = line.decode("utf-8")
        yield text.removeprefix(BYTE_ORDER_MARK) if number == 0 else text


def write_jsonl(data: Iterable[Any], file_path: str, mode: str = "w") -> None:
    """Write one JSON value a line, as `json.dumps` gives it.

    Plain files end in a newline and honour `mode`; compressed ones end without and are always replaced. Everything is
    serialised first: what cannot be leaves the file as it was.

    Args:
        data: any iterable of JSON values.
        file_path: local path, whose folder must exist, or URL of S3.
        mode: "w" replaces, "a" appends, "x" refuses an existing file.

    Raises:
        TypeError: an item that JSON has no form for.
        FileNotFoundError: the local folder is missing.
        FileExistsError: mode "x" and the file exists.
        ValueError: another mode.
    """
    if mode not in ("w", "a", "x"):
        raise ValueError(f"mode must be 'w', 'a' or 'x', got {mode!r}")
    lines = [json.dumps(item) for item in data]
    if is_compressed(file_path):
        content = "\n".join(lines).encode("ascii")
        compressed = zstd.compress(content) if file_path.endswith(ZSTD_SUFFIXES) else gzip.compress(content, mtime=0)
        _replace(file_path, compressed)
        return
    if mode == "x" and is_exists(file_path):
        raise FileExistsError(f"{file_path} exists")
    before = b""
    if mode == "a" and is_exists(file_path):
        with _open_read(file_path) as file:
            before = file.read()
    _replace(file_path, before + "".join(f"{line}\n" for line in lines).encode("ascii"))


def _replace(file_path: str, content: bytes) -> None:
    """Write a whole file under a temporary name beside it, then give it its own."""
    if is_s3(file_path):
        storage.write_bytes(file_path, content)
        return
    folder, name = os.path.split(file_path)
    temporary = os.path.join(folder, f"{storage.TEMPORARY_PREFIX}{uuid.uuid4().hex}-{name}"[:200])
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, file_path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
