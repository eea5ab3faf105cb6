"""Page shards: JSON lines (plain, gzip, zstd) behind one reader and one writer.

The reader streams, goes on through all frames or members, and yields what it cannot read as a Record with an error
and the bytes, so that nothing is lost silently: a bad line is one such record, the lost rest of a damaged file
another. The writer is atomic and returns size, count and checksum.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

import orjson
import xxhash
from backports import zstd

from corpusmith.errors import InputError, ShardError
from corpusmith.io import storage
from corpusmith.io.compression import decompressed

Page = dict[str, Any]

VERSION = 1
SHARD_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.zstd")
MAX_LINE_BYTES = 256 << 20
KEPT_OF_OVERLONG_LINE = 4096
ZSTD_LEVEL = 3
GZIP_LEVEL = 1
WRITE_BYTES = 1 << 20

_BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Record:
    """One record of a shard as it stands there.

    `index` counts records from 0, `offset` is the byte where it starts in the uncompressed content, `raw` the line
    without its line end. Either `page` or `error` is set.
    """

    index: int
    offset: int
    raw: bytes
    page: Page | None
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRef:
    """A shard of a stage's input: name relative to its folder, URL, and what changes when its content does."""

    name: str
    url: str
    identity: str
    bytes: int


def _parse(line: bytes) -> Page | str:
    """The page of a line, or why there is none."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if b"\\ud" not in line.lower():
            return f"not JSON: {error}"
        try:
            value = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as second:
            return f"not JSON: {second}"
    return value if isinstance(value, dict) else f"not a JSON object but {type(value).__name__}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class _Lines:
    """Cut pieces into lines of at most MAX_LINE_BYTES; a longer one keeps its head only."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def feed(self, piece: bytes) -> Iterator[tuple[bytes, int]]:
        """Yield (line, its length in bytes with the line end) for each line that ends in this piece."""
        first, *rest = piece.split(b"\n")
        if not rest:
            self._hold(first)
            return
        self._hold(first)
        yield self._take(line_end=1)
        for line in rest[:-1]:
            yield line, len(line) + 1
        self._hold(rest[-1])

    def finish(self) -> tuple[bytes, int] | None:
        """The last line where the content ends without a line end."""
        return self._take(line_end=0) if self._length else None

    def _hold(self, part: bytes) -> None:
        self._length += len(part)
        if self._length <= MAX_LINE_BYTES:
            self._parts.append(part)
        elif sum(map(len, self._parts)) > KEPT_OF_OVERLONG_LINE:
            self._parts = [b"".join(self._parts)[:KEPT_OF_OVERLONG_LINE]]

    def _take(self, line_end: int) -> tuple[bytes, int]:
        line, length = b"".join(self._parts), self._length + line_end
        self._parts, self._length = [], 0
        return line, length


def read_records(url: str) -> Iterator[Record]:
    """All records of a shard in order, good and bad; blank lines are none.

    Raises InputError where there is no such file; damage inside comes as a last Record with an error.
    """
    lines = _Lines()
    index = offset = 0

    def record(line: bytes, length: int) -> Record | None:
        nonlocal index, offset
        start, offset = offset, offset + length
        if start == 0 and line.startswith(_BOM):
            line = line[len(_BOM) :]
        line = line.removesuffix(b"\r")
        if length - 1 > MAX_LINE_BYTES:
            parsed: Page | str = f"line of {length} bytes is longer than {MAX_LINE_BYTES}"
        elif not line or line.isspace():
            return None
        else:
            parsed = _parse(line)
        found = (
            Record(index, start, line, None, parsed)
            if isinstance(parsed, str)
            else Record(index, start, line, parsed, None)
        )
        index += 1
        return found

    with storage.open_read(url) as file:
        try:
            for piece in decompressed(file, url):
                for line, length in lines.feed(piece):
                    if (found := record(line, length)) is not None:
                        yield found
        except ShardError as error:
            rest = lines.finish()
            yield Record(index, offset, rest[0] if rest else b"", None, error.message)
            return
    if (last := lines.finish()) is not None and (found := record(*last)) is not None:
        yield found


def read_shard(url: str) -> Iterator[Page]:
    """The pages of a shard; raises ShardError at the first record that is none."""
    for record in read_records(url):
        if record.page is None:
            raise ShardError(url, record.offset, record.error or "unreadable")
        yield record.page


def dump_page(page: Page) -> bytes:
    """A page as one line of JSON without its line end; `json` writes what orjson refuses (lone surrogates, big ints).

    Raises TypeError for what JSON cannot hold.
    """
    try:
        return orjson.dumps(page, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return json.dumps(page, allow_nan=False).encode()


class _Sink(Protocol):
    def write(self, data: bytes) -> Any: ...


class _Hashed:
    """A file that counts and hashes what goes into it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hasher = xxhash.xxh3_128()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._hasher.update(data)
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Asked for by gzip; the file is flushed when it is complete."""

    @property
    def checksum(self) -> str:
        return f"xxh3_128:{self._hasher.hexdigest()}"


class ShardWriter:
    """Writes pages to one shard; `records`, `bytes` and `checksum` stand when the block has ended."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self._lines: list[bytes] = []
        self._held = 0
        self.records = 0
        self.bytes = 0
        self.checksum = ""

    def write(self, page: Page) -> None:
        """Add a page."""
        self.write_line(dump_page(page))

    def write_line(self, line: bytes) -> None:
        """Add a page that is a line of JSON already."""
        self._lines.append(line)
        self._held += len(line)
        self.records += 1
        if self._held >= WRITE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what is held to the compressor."""
        if self._lines:
            self._sink.write(b"\n".join(self._lines) + b"\n")
            self._lines, self._held = [], 0


@contextlib.contextmanager
def _compressor(file: _Hashed, name: str) -> Iterator[_Sink]:
    if name.endswith((".zst", ".zstd")):
        with zstd.ZstdFile(cast(BinaryIO, file), "wb", level=ZSTD_LEVEL) as sink:
            yield sink
    elif name.endswith(".gz"):
        # isal's deflate is faster but gives other bytes now and then for the same input
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=GZIP_LEVEL, mtime=0) as sink:
            yield sink
    else:
        yield file


@contextlib.contextmanager
def open_shard_writer(url: str) -> Iterator[ShardWriter]:
    """A writer for the shard at `url`, compressed as its name says; the shard appears whole or not at all."""
    with storage.atomic_write(url) as file:
        hashed = _Hashed(file)
        with _compressor(hashed, url) as sink:
            writer = ShardWriter(sink)
            yield writer
            writer.flush()
        writer.bytes, writer.checksum = hashed.bytes, hashed.checksum


def file_checksum(url: str) -> str:
    """The checksum of a file's bytes, as writers record it."""
    hasher = xxhash.xxh3_128()
    with storage.open_read(url) as file:
        while piece := file.read(WRITE_BYTES):
            hasher.update(piece)
    return f"xxh3_128:{hasher.hexdigest()}"


def shard_stem(name: str) -> str:
    """A shard's name up to `.jsonl` (`sub/a.jsonl.zst` gives `sub/a`); up to its last extension for other names."""
    head, separator, _ = name.partition(".jsonl")
    return head if separator else os.path.splitext(name)[0]


def list_shards(root: str) -> list[ShardRef]:
    """All page shards below a folder, sorted by name; InputError where there is no folder or no shard.

    Paths that hold `/stats/` or `global_stats.jsonl` are bookkeeping of DCLM's layout and no shards.
    """
    if not storage.is_dir(root):
        raise InputError(f"{root}: no such folder; give the folder that holds the page shards")
    shards = [
        ShardRef(
            name=storage.relative(info.url, root), url=info.url, identity=f"{info.size}:{info.etag}", bytes=info.size
        )
        for info in storage.list_files(root, SHARD_SUFFIXES)
        if "/stats/" not in info.url and not info.url.endswith("global_stats.jsonl")
    ]
    if not shards:
        raise InputError(f"{root}: no page shards; their names end in {', '.join(SHARD_SUFFIXES)}")
    return shards
