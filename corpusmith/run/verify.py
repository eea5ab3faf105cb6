"""Read files back and hold them against what the records say of them: size, checksum, number of records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, cast

import xxhash

from corpusmith.errors import CorpusmithError
from corpusmith.io import storage
from corpusmith.io.compression import Content, Damage
from corpusmith.io.pages.shards import file_checksum, read_records

LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.zstd")
TABLES = (".parquet",)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileCheck:
    """A file of a shard's and what should be found in it; what is None is not looked at.

    `records` is not looked at in files that are no page shards: what counts there is the business of their stage.
    """

    shard: str
    url: str
    bytes: int | None = None
    checksum: str | None = None
    records: int | None = None


class _HashingReader:
    """A file that hashes what is read from it in order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hasher = xxhash.xxh3_128()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hasher.update(data)
        return data

    def close(self) -> None:
        self._file.close()


def check_files(checks: Iterable[FileCheck]) -> list[str]:
    """A line for each file that does not hold; names shard and file."""
    wrong = []
    for check in checks:
        try:
            problem = _problem(check)
        except CorpusmithError as error:
            problem = str(error)
        if problem is not None:
            wrong.append(f"shard {check.shard}: {problem}")
    return wrong


def _problem(check: FileCheck) -> str | None:
    url = check.url
    if check.bytes is not None and (found := storage.stat(url).size) != check.bytes:
        return f"{url} has {found} bytes instead of {check.bytes}"
    checksum, records = _read_back(url, count=check.records is not None)
    if check.checksum is not None and checksum != check.checksum:
        return f"{url} has another checksum"
    if check.records is not None and records not in (None, check.records):
        return f"{url} holds {records} records instead of {check.records}"
    return None


def _read_back(url: str, *, count: bool) -> tuple[str, int | None]:
    """The checksum of a file, and the number of records in it where that is asked for and the file is a page shard."""
    if count and url.endswith(LINES):
        return _hash_and_count_lines(url)
    records = sum(1 for _ in read_records(url)) if count and url.endswith(TABLES) else None
    return file_checksum(url), records


def _hash_and_count_lines(url: str) -> tuple[str, int]:
    """Checksum and number of lines, read once. Lines are counted by their ends: our writer ends each."""
    opened: list[_HashingReader] = []

    def open_hashed() -> BinaryIO:
        if opened:
            return storage.open_read(url)  # a damaged part is read again
        opened.append(_HashingReader(storage.open_read(url)))
        return cast(BinaryIO, opened[0])

    lines = 0
    with Content(open_hashed) as content:
        for piece in content.pieces():
            if not isinstance(piece, Damage):
                lines += piece.count(b"\n")
    return f"xxh3_128:{opened[0].hasher.hexdigest()}", lines
