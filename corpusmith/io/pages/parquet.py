"""Read pages from the rows of Parquet and Arrow files, as a stream.

Follows the Hugging Face layouts on disk: `*.parquet` anywhere below a folder, and the Arrow files of `save_to_disk`.
A page must be JSON, so times and decimals read as text, durations as integers of their unit, NaN and infinities as
null, maps as objects, binary values as the UTF-8 text that they are (other bytes set the row aside). Rows have all
columns: keys that a page lacks are null.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.storage import FileInfo

PARQUET_MAGIC = b"PAR1"
ARROW_FILE_MAGIC = b"ARROW1"
ARROW_STREAM_MAGIC = b"\xff\xff\xff\xff"
ROWS_AT_ONCE = 64
BUFFER_BYTES = 1 << 20

_DAMAGE: tuple[Any, ...] = (pa.ArrowException, OSError, ValueError, EOFError, OverflowError)


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row as JSON with its number in the file; either `page` or `error` is set, a lost part has empty `raw`."""

    number: int
    raw: bytes
    page: dict[str, Any] | None
    error: str | None


class _Bounded:
    """A file for pyarrow: damaged lengths ask for no more memory than the file has bytes."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self.seek, self.tell = file.seek, file.tell
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))

    def close(self) -> None:
        """The file is closed by those who opened it."""


def read_rows(file: BinaryIO, head: bytes) -> Iterator[TableRow]:
    """All rows of a seekable file that starts with `head`; whatever is lost is a TableRow with an error.

    Memory holds one batch of rows and a buffer per column (Arrow: one of the file's batches), not the file.
    """
    # a Python file as such: given a path, pyarrow would read around our storage
    source = pa.PythonFile(_Bounded(file), mode="r")
    if head.startswith(PARQUET_MAGIC):
        yield from _parquet_rows(source)
    elif head.startswith(ARROW_FILE_MAGIC):
        yield from _arrow_file_rows(source)
    elif head.startswith(ARROW_STREAM_MAGIC):
        yield from _batches_rows(_stream(source))
    else:
        yield TableRow(0, b"", None, "neither a Parquet nor an Arrow file")


def _reason(error: BaseException) -> str:
    """What a library says about damage, in one line; errors of the machine are no damage and go on."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    return " ".join(str(error).split())[:300] or type(error).__name__


def _parquet_rows(file: pa.NativeFile) -> Iterator[TableRow]:
    try:
        table = pq.ParquetFile(file, page_checksum_verification=True, buffer_size=BUFFER_BYTES, pre_buffer=False)
        sizes = [table.metadata.row_group(group).num_rows for group in range(table.metadata.num_row_groups)]
        columns = len(table.schema_arrow)
    except _DAMAGE as error:
        yield TableRow(0, b"", None, f"damaged Parquet file: {_reason(error)}")
        return
    if not columns and sum(sizes):
        yield TableRow(0, b"", None, f"Parquet file of {sum(sizes)} rows without a column")
        return
    first = 0
    for group, rows in enumerate(sizes):
        number = first
        try:
            for batch in table.iter_batches(ROWS_AT_ONCE, row_groups=[group], use_threads=False):
                yield from _rows(batch, number)
                number += batch.num_rows
        except _DAMAGE as error:
            lost = f"rows {number} to {first + rows - 1}"
            yield TableRow(number, b"", None, f"damaged Parquet row group {group}, {lost} are lost: {_reason(error)}")
        first += rows


def _stream(file: pa.NativeFile) -> Iterator[pa.RecordBatch | str]:
    """The batches of an Arrow stream; a string says why one is lost. Two in a row that cannot be read end it."""
    try:
        stream = pa.ipc.open_stream(file)
    except _DAMAGE as error:
        yield f"damaged Arrow file: {_reason(error)}"
        return
    sound = True
    while True:
        try:
            batch = stream.read_next_batch()
        except StopIteration:
            return
        except _DAMAGE as error:
            if not sound:
                return
            sound = False
            yield f"damaged Arrow batch before byte {file.tell()} of the file: {_reason(error)}"
        else:
            sound = True
            yield batch


def _arrow_file_rows(file: pa.NativeFile) -> Iterator[TableRow]:
    try:
        table = pa.ipc.open_file(file)
    except _DAMAGE as error:
        # without its footer an Arrow file still is a stream after eight bytes of magic
        reason = f"damaged Arrow file: {_reason(error)}"
        file.seek(8)
        number = 0
        for row in _batches_rows(found for found in _stream(file) if not isinstance(found, str)):
            number = row.number + 1
            yield row
        yield TableRow(number, b"", None, reason)
        return

    def batches() -> Iterator[pa.RecordBatch | str]:
        for index in range(table.num_record_batches):
            try:
                yield table.get_batch(index)
            except _DAMAGE as error:
                yield f"damaged Arrow batch {index}: {_reason(error)}"

    yield from _batches_rows(batches())


def _batches_rows(batches: Iterable[pa.RecordBatch | str]) -> Iterator[TableRow]:
    """The rows of Arrow batches, each checked first: nothing in an Arrow file vouches for its offsets."""
    number = 0
    for batch in batches:
        if isinstance(batch, str):
            yield TableRow(number, b"", None, batch)
            continue
        done = 0
        try:
            _validate(batch)
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                yield from _rows(batch.slice(start, ROWS_AT_ONCE), number + start)
                done = start + ROWS_AT_ONCE
        except _DAMAGE as error:
            lost = f"rows {number + done} to {number + batch.num_rows - 1}"
            yield TableRow(number + done, b"", None, f"damaged Arrow batch, {lost} are lost: {_reason(error)}")
        number += batch.num_rows


def _validate(batch: pa.RecordBatch) -> None:
    """Raise unless the batch can be read safely; text that is not UTF-8 is no reason, its row alone is set aside."""
    for column in batch.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
                raise
            column.cast(_readable(column.type, text_as_bytes=True)).validate(full=True)


def _readable(kind: pa.DataType, text_as_bytes: bool) -> pa.DataType:
    """The type to read a column as, so that its values are what JSON has."""
    if isinstance(kind, pa.BaseExtensionType):
        return _readable(kind.storage_type, text_as_bytes)
    if pa.types.is_map(kind):
        return pa.map_(_readable(kind.key_type, text_as_bytes), _readable(kind.item_type, text_as_bytes))
    if pa.types.is_struct(kind):
        return pa.struct([child.with_type(_readable(child.type, text_as_bytes)) for child in kind])
    if pa.types.is_dictionary(kind):
        return _readable(kind.value_type, text_as_bytes)
    for is_list, make in ((pa.types.is_large_list, pa.large_list), (pa.types.is_list, pa.list_)):
        if is_list(kind):
            return make(kind.value_field.with_type(_readable(kind.value_type, text_as_bytes)))
    if pa.types.is_duration(kind):
        return pa.int64()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind) or pa.types.is_decimal(kind):
        return pa.string()
    if text_as_bytes and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return pa.binary() if pa.types.is_string(kind) else pa.large_binary()
    return kind


def _cast(batch: pa.RecordBatch, text_as_bytes: bool = False) -> pa.RecordBatch:
    columns = []
    for column in batch.columns:
        kind = _readable(column.type, text_as_bytes)
        columns.append(column if kind.equals(column.type) else column.cast(kind))
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _all_json(kind: pa.DataType) -> bool:
    """Whether every value of a type is JSON as Python gives it."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _all_json(kind.value_type)
    if pa.types.is_struct(kind):
        return all(_all_json(child.type) for child in kind)
    plain = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)
    return any(test(kind) for test in plain)


def _rows(batch: pa.RecordBatch, number: int) -> Iterator[TableRow]:
    cast = _cast(batch)
    try:
        pages = cast.to_pylist(maps_as_pydicts="lossy")
    except UnicodeDecodeError:
        cast = _cast(batch, text_as_bytes=True)
        pages = cast.to_pylist(maps_as_pydicts="lossy")
    other = [column.name for column in cast.schema if not _all_json(column.type)]
    for offset, page in enumerate(pages):
        wrong: list[str] = []
        for name in other:
            page[name] = _jsonable(page[name], name, wrong)
        yield _row(number + offset, page, wrong)


def _row(number: int, page: dict[str, Any], wrong: list[str]) -> TableRow:
    if wrong:
        raw = json.dumps(page, ensure_ascii=False, default=repr).encode("utf-8", "surrogateescape")
        return TableRow(number, raw, None, f"column {wrong[0]} holds bytes that are not UTF-8")
    try:
        return TableRow(number, orjson.dumps(page), page, None)
    except TypeError as error:
        return TableRow(number, json.dumps(page, default=repr).encode(), None, f"a value that JSON lacks: {error}")


def _jsonable(value: Any, name: str, wrong: list[str]) -> Any:
    """A value as JSON has it; a column with bytes that are not UTF-8 is added to `wrong`."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            wrong.append(name)
            return value.decode("utf-8", "surrogateescape")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else str(_jsonable(key, name, wrong)): _jsonable(child, name, wrong)
            for key, child in value.items()
        }
    return [_jsonable(child, name, wrong) for child in value] if isinstance(value, list) else value


def without_derived(files: list[FileInfo]) -> list[FileInfo]:
    """The files without the Arrow files that are no part of a Hugging Face data set.

    Where `state.json` stands beside them it names the data files; elsewhere files called `cache-*` are left out.

    Raises:
        InputError: a data set saved with an index mapping, whose rows do not stand in the files as they count.
    """
    named: dict[str, set[str] | None] = {}
    for folder in {storage.parent(info.url) for info in files if info.url.endswith(".arrow")}:
        named[folder] = _named_files(storage.join(folder, "state.json"))

    def is_data(info: FileInfo) -> bool:
        name, names = storage.basename(info.url), named.get(storage.parent(info.url))
        if not name.endswith(".arrow"):
            return True
        return name in names if names is not None else not name.startswith("cache-")

    return [info for info in files if is_data(info)]


def _named_files(state_url: str) -> set[str] | None:
    if not storage.exists(state_url):
        return None
    state = storage.read_json(state_url)
    rows = state.get("_data_files") if isinstance(state, dict) else None
    if not isinstance(rows, list):
        return None
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise InputError(f"{state_url}: the data set has an index mapping; save it again after flatten_indices()")
    return {str(row.get("filename")) for row in rows if isinstance(row, dict)}
