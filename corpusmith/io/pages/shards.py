"""Page shards: JSON lines (plain, gzip, zstd), Parquet and Arrow files behind one reader and one writer.

The reader streams, goes on through all frames or members, and yields what it cannot read as a Record with an error
and the bytes, so that nothing is lost silently: a bad line is one such record, the lost rest of a damaged file
another. The writer is atomic and returns size, count and checksum.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

import orjson
import xxhash
from backports import zstd

from corpusmith.errors import InputError, ShardError
from corpusmith.io import storage
from corpusmith.io.compression import Content, Damage
from corpusmith.io.position import reporting

Page = dict[str, Any]

TABLE_SUFFIXES = (".parquet", ".arrow")
SHARD_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.zstd", *TABLE_SUFFIXES)
MAX_LINE_BYTES = 256 << 20
MAX_RATIO = 2000
KEPT_OF_OVERLONG_LINE = 4096
ZSTD_LEVEL = 3
GZIP_LEVEL = 1
WRITE_BYTES = 1 << 20

# how Parquet files, Arrow files and Arrow streams begin
TABLE_MAGICS = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")

_BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Record:
    """One record of a shard as it stands there.

    `index` counts records from 0, `offset` is the byte where it starts in the uncompressed content, `raw` the line
    without its line end; in Parquet and Arrow files `offset` is the row's number and `raw` the row as JSON. Either
    `page` or `error` is set.
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
            value = json.loads(line.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as second:
            return f"not JSON: {second}"
    return value if isinstance(value, dict) else f"not a JSON object but {type(value).__name__}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class _LineCutter:
    """Cut pieces into lines of at most MAX_LINE_BYTES; a longer one keeps its head only."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.length = 0

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
        return self._take(line_end=0) if self.length else None

    def _hold(self, part: bytes) -> None:
        self.length += len(part)
        if self.length <= MAX_LINE_BYTES:
            self._parts.append(part)
        elif sum(map(len, self._parts)) > KEPT_OF_OVERLONG_LINE:
            self._parts = [b"".join(self._parts)[:KEPT_OF_OVERLONG_LINE]]

    def _take(self, line_end: int) -> tuple[bytes, int]:
        line, length = b"".join(self._parts), self.length + line_end
        self._parts, self.length = [], 0
        return line, length


class _LineReader:
    """Makes records of the lines of a shard; counts and offsets go on over what is lost."""

    def __init__(self) -> None:
        self.lines = _LineCutter()
        self._index = self._offset = self._page_end = 0

    @property
    def without_page(self) -> int:
        """Bytes of content since the end of the last page."""
        return self._offset + self.lines.length - self._page_end

    def record(self, line: bytes, length: int) -> Record | None:
        """The record of a line; None for a blank one."""
        start = self._offset
        self._offset = start + length
        if start == 0 and line.startswith(_BOM):
            line = line[len(_BOM) :]
        line = line.removesuffix(b"\r")
        if length - 1 > MAX_LINE_BYTES:
            parsed: Page | str = f"line of {length} bytes is longer than {MAX_LINE_BYTES}"
        elif not line or line.isspace():
            return None
        else:
            parsed = _parse(line)
        index = self._index
        self._index = index + 1
        if isinstance(parsed, str):
            return Record(index, start, line, None, parsed)
        self._page_end = self._offset
        return Record(index, start, line, parsed, None)

    def lose(self, reason: str) -> Iterator[Record]:
        """What is held, as a page where it is one; then the record of what is lost, which has the held bytes if not."""
        start, raw = self._offset, b""
        if (last := self.lines.finish()) is not None and (found := self.record(*last)) is not None:
            if found.page is not None:
                yield found
            else:
                raw = found.raw
                self._index -= 1
        yield Record(self._index, start if raw else self._offset, raw, None, reason)
        self._index += 1

    def join(self, lost: Record, fragment: Record) -> None:
        """Give the first line after a gap, which is no page, to the record of what was lost in the gap."""
        lost.raw = b"\n".join(filter(None, (lost.raw, fragment.raw)))
        self._index -= 1


def _read_lines(content: Content) -> Iterator[Record]:
    reader = _LineReader()
    lost: Record | None = None
    for piece in content.pieces():
        if isinstance(piece, Damage):
            if lost is not None:
                yield lost
            after = "nothing after it can be read" if piece.resumed is None else f"read on at byte {piece.resumed}"
            *whole, lost = reader.lose(f"{piece.reason}; {after}")
            yield from whole
            continue
        for line, length in reader.lines.feed(piece):
            if (found := reader.record(line, length)) is None:
                continue
            if lost is not None:
                if found.page is None:
                    reader.join(lost, found)
                    found, lost = lost, None
                else:
                    yield lost
                    lost = None
            yield found
        if reader.without_page > MAX_LINE_BYTES and reader.without_page > MAX_RATIO * content.consumed:
            yield from filter(None, (lost,))
            yield from reader.lose(
                f"given up: {reader.without_page} bytes without a page come out of {content.consumed} bytes of the file"
            )
            return
    last = reader.lines.finish()
    rest = reader.record(*last) if last is not None else None
    if lost is not None and rest is not None and rest.page is None:
        reader.join(lost, rest)
        rest = None
    yield from filter(None, (lost, rest))


@reporting
def read_records(url: str) -> Iterator[Record]:
    """All records of a shard in order, good and bad; blank lines are none.

    A part of it that cannot be read is one Record with an error: the rest of a file, what lies before the next
    compressed frame that decodes, or the rest of a Parquet row group. Offsets count what was decoded.

    Raises:
        InputError: there is no such file.
    """
    with Content(lambda: storage.open_read(url)) as content:
        if _is_table(content.head, url):
            yield from _read_table(url, content.head)
        else:
            yield from _read_lines(content)


def _is_table(head: bytes, url: str) -> bool:
    return url.endswith(TABLE_SUFFIXES) or head.startswith(TABLE_MAGICS)


def _read_table(url: str, head: bytes) -> Iterator[Record]:
    from corpusmith.io.pages.parquet import read_rows

    with contextlib.ExitStack() as files:
        file = files.enter_context(storage.open_read(url))
        try:
            file.seek(0, os.SEEK_END)
        except io.UnsupportedOperation:
            # a server that gives neither ranges nor a size: these formats are read from their end
            copy = files.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, copy, WRITE_BYTES)
            file = cast(BinaryIO, copy)
        for index, row in enumerate(read_rows(file, head)):
            if len(row.raw) > MAX_LINE_BYTES:
                error = f"row of {len(row.raw)} bytes as JSON is longer than {MAX_LINE_BYTES}"
                yield Record(index, row.number, row.raw[:KEPT_OF_OVERLONG_LINE], None, error)
            else:
                yield Record(index, row.number, row.raw, row.page, row.error)


def read_shard(url: str) -> Iterator[Page]:
    """The pages of a shard.

    Raises:
        InputError: there is no such file.
        ShardError: at the first record that is no page.
    """
    for record in read_records(url):
        if record.page is None:
            raise ShardError(url, record.offset, record.error or "unreadable")
        yield record.page


def dump_page(page: Page) -> bytes:
    """A page as one line of JSON without its line end; `json` writes what orjson refuses (lone surrogates, big ints).

    Raises:
        TypeError: the page holds what JSON cannot.
    """
    try:
        return orjson.dumps(page, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return json.dumps(page, allow_nan=False).encode()


class _Sink(Protocol):
    def write(self, data: bytes) -> Any: ...


class _HashingWriter:
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

    closed = False

    def flush(self) -> None:
        """Asked for by gzip and pyarrow; the file is flushed when it is complete."""

    def close(self) -> None:
        """Asked for by pyarrow; the file is closed by those who opened it."""

    def tell(self) -> int:
        return self.bytes

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
        """Add a page; TypeError or ValueError, with nothing added, where the format cannot hold it."""
        self.write_line(dump_page(page))

    def write_line(self, line: bytes) -> None:
        """Add a page that is a line of JSON already; ValueError, with nothing added, where it fits no column."""
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
def _compressor(file: _HashingWriter, name: str) -> Iterator[_Sink]:
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
def _line_writer(file: _HashingWriter, url: str) -> Iterator[ShardWriter]:
    with _compressor(file, url) as sink:
        writer = ShardWriter(sink)
        yield writer
        writer.flush()


class _TableShardWriter(ShardWriter):
    """Holds pages as lines until the schema of all is known."""

    def __init__(self, spool: _Sink, admit: Callable[[bytes], None]) -> None:
        super().__init__(spool)
        self._admit = admit

    def write_line(self, line: bytes) -> None:
        self._admit(line)
        super().write_line(line)


@contextlib.contextmanager
def _table_writer(file: _HashingWriter, url: str) -> Iterator[ShardWriter]:
    from corpusmith.io.pages.parquet_writer import TableSchema, write_table

    schema = TableSchema()
    with tempfile.TemporaryFile() as held:
        with zstd.ZstdFile(held, "wb", level=1) as spool:
            writer = _TableShardWriter(spool, schema.admit)
            yield writer
            writer.flush()
        held.seek(0)
        with zstd.ZstdFile(held, "rb") as lines:
            write_table(file, url, schema, lines if writer.records else ())


@contextlib.contextmanager
def open_shard_writer(url: str) -> Iterator[ShardWriter]:
    """A writer for the shard at `url`, in the format that its name says; the shard appears whole or not at all.

    Parquet and Arrow files are written when the block ends; until then their pages wait in a temporary file.
    """
    with storage.atomic_write(url) as file:
        hashed = _HashingWriter(file)
        with (_table_writer if url.endswith(TABLE_SUFFIXES) else _line_writer)(hashed, url) as writer:
            yield writer
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
    """All page shards below a folder, sorted by name.

    Paths that hold `/stats/` or `global_stats.jsonl` are bookkeeping of DCLM's layout and no shards; neither are
    Arrow files that a saved Hugging Face data set does not name.

    Raises:
        InputError: there is no such folder, or no shard in it.
    """
    if not storage.is_dir(root):
        raise InputError(f"{root}: no such folder; give the folder that holds the page shards")
    files = storage.list_files(root, SHARD_SUFFIXES)
    if any(info.url.endswith(".arrow") for info in files):
        from corpusmith.io.pages.parquet import without_derived

        files = without_derived(files)
    shards = [
        ShardRef(
            name=storage.relative(info.url, root), url=info.url, identity=f"{info.size}:{info.etag}", bytes=info.size
        )
        for info in files
        if "/stats/" not in info.url and not info.url.endswith("global_stats.jsonl")
    ]
    if not shards:
        raise InputError(f"{root}: no page shards; their names end in {', '.join(SHARD_SUFFIXES)}")
    return shards
