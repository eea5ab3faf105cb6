"""Token shards as Parquet, in the form of ClimbMix: a row per sequence or document with its ids and their number.

Columns `tokens` (list of int64) and `token_count` (int64); beside them `source` (text) and `pages` (list of text)
where a row's provenance was asked for. The released ClimbMix and ClimbLab files also have `cluster_id`, and some lack
`token_count`: both are read, any integer type is taken, and a count that is there is held against its list.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpusmith.errors import InputError, ShardError
from corpusmith.io import storage
from corpusmith.io.tokens.rows import ShardEntry, TokenRow, TokenRows, WrittenFile, entry_of, widen

SUFFIX = ".parquet"
TOKENS, COUNT = "tokens", "token_count"
#: read where `tokens` is lacking (Hugging Face's name)
OTHER_TOKENS = "input_ids"

_ROWS_OF_GROUP = 1024
_ZSTD_LEVEL = 1
_BATCH_ROWS = 256


def write_parquet_shard(url: str, rows: TokenRows) -> WrittenFile:
    """Write one Parquet file atomically; equal rows give equal bytes (for one version of pyarrow)."""
    import xxhash

    offsets = pa.array(rows.offsets_S1.astype(np.int32))
    if rows.offsets_S1[-1] > np.iinfo(np.int32).max:
        raise InputError(f"{url}: {rows.offsets_S1[-1]} tokens are too many for one shard; put fewer rows into one")
    tokens = pa.ListArray.from_arrays(offsets, pa.array(rows.tokens_N.astype(np.int64)))
    columns = {TOKENS: tokens, COUNT: pa.array(rows.lengths_S)}
    if rows.metas is not None:
        columns["source"] = pa.array([meta["source"] for meta in rows.metas], pa.string())
        columns["pages"] = pa.array([meta["pages"] for meta in rows.metas], pa.list_(pa.string()))
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        row_group_size=_ROWS_OF_GROUP,
        write_statistics=False,
    )
    data = sink.getvalue()
    with storage.atomic_write(url) as file:
        file.write(memoryview(data))
    return WrittenFile(url=url, bytes=data.size, checksum=f"xxh3_128:{xxhash.xxh3_128_hexdigest(memoryview(data))}")


class ParquetTokens:
    """A folder of Parquet files of token ids; the shards are the files below it, in order of name."""

    format = "parquet"

    def __init__(self, folder: str) -> None:
        """Read the footer of each file below a folder.

        Raises:
            InputError: there is no file, or one without token ids.
            ShardError: a file is damaged.
        """
        self.folder = folder
        self.entries: list[ShardEntry] = []
        for info in storage.list_files(folder, (SUFFIX,)):
            name = storage.relative(info.url, folder).removesuffix(SUFFIX)
            with _open(info.url) as file:
                _tokens_column(file, info.url)
                self.entries.append(ShardEntry(shard=name, num_sequences=file.metadata.num_rows))
        if not self.entries:
            raise InputError(f"{folder}: no {SUFFIX} file below it")

    def read(self, shard: str, start: int = 0) -> Iterator[TokenRow]:
        """The rows of a file in order, from `start` on; row groups before it are not read."""
        entry_of(self.entries, shard, self.folder)
        url = storage.join(self.folder, shard + SUFFIX)
        with _open(url) as file:
            column = _tokens_column(file, url)
            first, groups = 0, []
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if first + rows > start:
                    groups.append(group)
                else:
                    first += rows
            try:
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=groups):
                    for row in _rows(batch, column, url, first):
                        if first >= start:
                            yield row
                        first += 1
            except (pa.ArrowException, OSError) as error:
                raise ShardError(url, first, f"row {first}: {error}") from error


def _rows(batch: pa.RecordBatch, column: str, url: str, first: int) -> Iterator[TokenRow]:
    lists = batch.column(column)
    if lists.null_count or lists.flatten().null_count:
        raise ShardError(url, first, f"the column {column!r} has empty cells")
    offsets = lists.offsets.to_numpy()
    tokens = widen(lists.values.to_numpy(), url)
    others = [name for name in batch.schema.names if name not in (column, COUNT)]
    metas = batch.select(others).to_pylist() if others else [{}] * batch.num_rows
    counts = batch.column(COUNT).to_pylist() if COUNT in batch.schema.names else None
    for row in range(batch.num_rows):
        ids = tokens[offsets[row] : offsets[row + 1]]
        if counts is not None and counts[row] != len(ids):
            raise ShardError(
                url, first + row, f"row {first + row}: {COUNT} is {counts[row]}, but it has {len(ids)} ids"
            )
        yield TokenRow(tokens=ids, meta=metas[row])


@contextlib.contextmanager
def _open(url: str) -> Iterator[pq.ParquetFile]:
    handle: BinaryIO = storage.open_read(url)
    with handle:
        try:
            file = pq.ParquetFile(handle)
        except (pa.ArrowException, OSError) as error:
            raise ShardError(url, 0, f"not a Parquet file: {error}") from error
        yield file


def _tokens_column(file: pq.ParquetFile, url: str) -> str:
    schema: Any = file.schema_arrow
    for name in (TOKENS, OTHER_TOKENS):
        if name in schema.names:
            kind = schema.field(name).type
            if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_integer(kind.value_type):
                raise InputError(f"{url}: the column {name!r} must hold lists of integers, not {kind}")
            return name
    raise InputError(f"{url}: has no column {TOKENS!r} of token ids (columns: {', '.join(schema.names)})")
