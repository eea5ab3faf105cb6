"""One way to tokenized data sets of all four formats: open a folder, see its shards, read their rows.

| format | shards | index of the folder | row |
|---|---|---|---|
| `wds` | `00000001.tar` | `manifest.jsonl` | member `<key>.json.gz`, a JSON list |
| `mds` | `shard.00000.mds` | `index.json` | sample with the column `input_ids` |
| `parquet` | `00000001.parquet` | none (each file's footer) | `tokens`, `token_count` |
| `bin` | `00000001.bin`, `.idx` | none (each file's `.idx`) | a range of the flat file |

    data = open_token_shards("tokenized/")
    for entry in data.entries:                        # ShardEntry(shard, num_sequences), in order
        for row in data.read(entry.shard, start=0):   # TokenRow(tokens: uint32 array, meta: dict)
            ...

Readers stream (`wds`, `parquet`) or map (`mds`, `bin`): memory does not grow with the data set. Equal rows written in
each format are read back as equal arrays. Nothing here loads torch, streaming or webdataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from corpusmith.errors import InputError, ShardError
from corpusmith.io import storage
from corpusmith.io.tokens import mds, wds
from corpusmith.io.tokens.flat_binary import INDEX_SUFFIX, BinTokens, write_bin_shard
from corpusmith.io.tokens.flat_binary import SUFFIX as BIN_SUFFIX
from corpusmith.io.tokens.parquet import SUFFIX as PARQUET_SUFFIX
from corpusmith.io.tokens.parquet import ParquetTokens, write_parquet_shard
from corpusmith.io.tokens.rows import ShardEntry, TokenRow, TokenRows, TokenShards, WrittenFile, entry_of, narrow, widen

FORMATS = ("wds", "mds", "parquet", "bin")
_SUFFIXES = {"wds": (".tar",), "mds": ("",), "parquet": (PARQUET_SUFFIX,), "bin": (BIN_SUFFIX, INDEX_SUFFIX)}
MDS_TOKENS = ("input_ids", "tokens")


class MdsTokens:
    """An MDS dataset whose samples hold token ids, as token shards of any format are read."""

    format = "mds"

    def __init__(self, folder: str) -> None:
        """Read the index of a folder.

        Raises:
            InputError: there is no index, or a shard has no array of integers under `input_ids`.
        """
        self.folder = folder
        self._shards = mds.read_index(folder)
        self.entries = [ShardEntry(shard=shard.name, num_sequences=shard.samples) for shard in self._shards]
        for shard in self._shards:
            self._column(shard)

    def _column(self, shard: mds.MdsShard) -> str:
        for name in MDS_TOKENS:
            if shard.columns.get(name, "").startswith("ndarray"):
                return name
        raise InputError(f"{shard.url}: has no column {MDS_TOKENS[0]!r} of token arrays (columns: {shard.columns})")

    def read(self, shard: str, start: int = 0) -> Iterator[TokenRow]:
        """The samples of a shard in order, from `start` on; a local raw shard is mapped, not read."""
        entry_of(self.entries, shard, self.folder)
        found = next(entry for entry in self._shards if entry.name == shard)
        column = self._column(found)
        for sample in mds.MdsReader(found).samples(start):
            tokens = sample.pop(column)
            if tokens.ndim != 1:
                raise ShardError(found.url, 0, f"the column {column!r} holds arrays of {tokens.ndim} axes, not of one")
            yield TokenRow(tokens=widen(tokens, found.url), meta=sample)


def open_token_shards(
    url: str, *, data_key: str = "json.gz", sequence_length: int | None = None, dtype: str = "uint16"
) -> TokenShards:
    """Open a tokenized data set by its folder, or by its `manifest.jsonl`, `index.json` or one `.bin` file.

    Args:
        url: local or remote; the format is told by what stands there.
        data_key: the members of a webdataset that hold tokens.
        sequence_length, dtype: rows and integers of a `.bin` without an index (nanoGPT's).

    Raises:
        InputError: nothing there that is a data set of token ids.
    """
    folder = url.rstrip("/") or "/"
    if storage.basename(folder) in (wds.MANIFEST_NAME, mds.INDEX_NAME):
        folder = storage.parent(folder)
    if folder.endswith(BIN_SUFFIX):
        return BinTokens(folder, sequence_length, dtype)
    if storage.exists(storage.join(folder, wds.MANIFEST_NAME)):
        return wds.WdsTokens(folder, data_key)
    if storage.exists(storage.join(folder, mds.INDEX_NAME)):
        return MdsTokens(folder)
    if storage.list_files(folder, (PARQUET_SUFFIX,)):
        return ParquetTokens(folder)
    if storage.list_files(folder, (BIN_SUFFIX,)):
        return BinTokens(folder, sequence_length, dtype)
    raise InputError(
        f"{url}: no token shards there (looked for {wds.MANIFEST_NAME}, {mds.INDEX_NAME}, *{PARQUET_SUFFIX}, "
        f"*{BIN_SUFFIX}); for tars without a manifest run tools/make_wds_manifest.py"
    )


def shard_stem(format_name: str, number: int) -> str:
    """The name of a shard by its number, counted from 1 in all formats (MDS itself counts from 0)."""
    return f"shard.{number - 1:05}.mds" if format_name == "mds" else wds.shard_name(number)


def shard_files(format_name: str, number: int) -> list[str]:
    """The names of the files of a shard."""
    stem = shard_stem(format_name, number)
    return [stem + suffix for suffix in _SUFFIXES[format_name]]


def write_token_shard(
    folder: str, number: int, rows: TokenRows, *, format_name: str, dtype: np.dtype[Any]
) -> tuple[list[WrittenFile], dict[str, Any] | None]:
    """Write one shard in a format; returns its files (the first holds the tokens) and its object of an MDS index."""
    stem = storage.join(folder, shard_stem(format_name, number))
    if format_name == "wds":
        return [wds.write_wds_shard(f"{stem}.tar", rows)], None
    if format_name == "parquet":
        return [write_parquet_shard(stem + PARQUET_SUFFIX, rows)], None
    if format_name == "bin":
        return write_bin_shard(stem, rows, dtype), None
    if format_name != "mds":
        raise InputError(f"unknown format {format_name!r}; it must be one of {', '.join(FORMATS)}")
    layout = mds_layout(dtype, with_meta=rows.metas is not None)
    encoder = mds.SampleEncoder(layout.columns)
    entry, written = mds.write_shard(folder, number - 1, layout, [encoder.encode(s) for s in _mds_samples(rows, dtype)])
    return [written], entry


def mds_layout(dtype: np.dtype[Any], *, with_meta: bool) -> mds.MdsLayout:
    """Columns `id` and `input_ids`, and `source` and `pages` where provenance is kept; shards of no fixed bytes."""
    columns = {"id": "str", "input_ids": f"ndarray:{dtype.name}"}
    return mds.MdsLayout(columns=columns | ({"source": "str", "pages": "json"} if with_meta else {}), size_limit=None)


def _mds_samples(rows: TokenRows, dtype: np.dtype[Any]) -> Iterator[dict[str, Any]]:
    tokens_N = narrow(rows.tokens_N, dtype, "an MDS shard")
    for index, (start, end) in enumerate(zip(rows.offsets_S1[:-1], rows.offsets_S1[1:], strict=True)):
        name = str(index) if rows.names is None else rows.names[index]
        meta = {} if rows.metas is None else rows.metas[index]
        yield {"id": name, "input_ids": tokens_N[start:end], **meta}
