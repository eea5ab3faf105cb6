"""Token shards as flat binary files, with the index of Megatron.

`NAME.bin` holds the ids of all rows one after the other, little-endian, uint16 or (for larger vocabularies) 32 bits:
what nanoGPT maps as `train.bin`; several of them concatenated are one again. `NAME.idx` is Megatron's index of it, so
the prefix NAME is a data set of Megatron's, a row being a document there. A `.bin` without an index, as nanoGPT's
`prepare.py` makes it, is a stream: it is cut into rows of the length that the reader is asked for.

The index, after Megatron-LM's `IndexedDataset`, little-endian: the magic `MMIDIDX\\0\\0`, uint64 version 1, uint8 dtype
code, uint64 number of rows, uint64 number of document marks, int32 lengths, int64 byte offsets, int64 document marks
(0, 1, …, rows).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from corpusmith.errors import InputError, ShardError
from corpusmith.io import storage
from corpusmith.io.tokens.rows import (
    ShardEntry,
    TokenRow,
    TokenRows,
    WrittenFile,
    entry_of,
    narrow,
    widen,
    write_pieces,
)

SUFFIX, INDEX_SUFFIX = ".bin", ".idx"
MAGIC = b"MMIDIDX\x00\x00"
INDEX_VERSION = 1
#: Megatron's codes of the dtypes that ids may have
DTYPE_CODES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}

_HEAD = struct.Struct("<QBQQ")


def write_bin_shard(stem: str, rows: TokenRows, dtype: np.dtype[Any]) -> list[WrittenFile]:
    """Write `stem.bin` and `stem.idx`, each atomically, the index last.

    Args:
        stem: URL of the files without their suffixes.
        rows: what to write.
        dtype: uint16 or uint32; ids of 32 bits are marked as Megatron's int32, as which it reads them.

    Raises:
        InputError: ids that do not fit.
    """
    code = 8 if dtype.itemsize == 2 else 4
    if code == 4 and rows.tokens_N.size and int(rows.tokens_N.max()) >= 1 << 31:
        raise InputError(f"{stem}{SUFFIX}: ids of 2**31 or more do not fit into Megatron's int32")
    data = narrow(rows.tokens_N, dtype, stem + SUFFIX)
    written = write_pieces(stem + SUFFIX, [data.tobytes()])
    count = len(rows)
    parts = [
        MAGIC + _HEAD.pack(INDEX_VERSION, code, count, count + 1),
        rows.lengths_S.astype("<i4").tobytes(),
        (rows.offsets_S1[:-1] * dtype.itemsize).astype("<i8").tobytes(),
        np.arange(count + 1, dtype="<i8").tobytes(),
    ]
    return [written, write_pieces(stem + INDEX_SUFFIX, parts)]


class BinIndex:
    """The index of one `.bin`: dtype, and length and byte offset of each row."""

    def __init__(self, url: str) -> None:
        """Read and check an index.

        Raises:
            ShardError: the file is no such index.
            InputError: it is missing.
        """
        data = storage.map_bytes(url)
        head = len(MAGIC) + _HEAD.size
        if len(data) < head or bytes(data[: len(MAGIC)]) != MAGIC:
            raise ShardError(url, 0, "not an index of Megatron's: the magic is another")
        version, code, rows, marks = _HEAD.unpack(data[len(MAGIC) : head])
        if version != INDEX_VERSION or code not in DTYPE_CODES:
            raise ShardError(url, len(MAGIC), f"version {version} and dtype code {code} of an index are unknown")
        if len(data) < head + 12 * rows + 8 * marks:
            raise ShardError(url, head, f"ends early: {rows} rows and {marks} document marks do not fit into it")
        self.dtype = np.dtype(DTYPE_CODES[code])
        self.lengths_S: npt.NDArray[np.int32] = np.frombuffer(data, dtype="<i4", count=rows, offset=head)
        self.offsets_S: npt.NDArray[np.int64] = np.frombuffer(data, dtype="<i8", count=rows, offset=head + 4 * rows)
        if rows and (self.lengths_S.min() < 0 or self.offsets_S.min() < 0):
            raise ShardError(url, head, "lengths and offsets must not be negative")


class BinTokens:
    """A folder of `.bin` files (or one such file), with or without their indexes."""

    format = "bin"

    def __init__(self, url: str, sequence_length: int | None = None, dtype: str = "uint16") -> None:
        """Open a folder of `.bin` files, or one such file.

        Args:
            url: the folder or file.
            sequence_length: for a `.bin` without index: row i is ids i * L to (i + 1) * L, and a last row that is not
                full is left out.
            dtype: the integers of one without index.

        Raises:
            InputError: there is no `.bin`, or the length is needed.
        """
        self.folder = storage.parent(url) if url.endswith(SUFFIX) else url
        infos = [storage.stat(url)] if url.endswith(SUFFIX) else storage.list_files(url, (SUFFIX,))
        if not infos:
            raise InputError(f"{url}: no {SUFFIX} file below it")
        self._length = sequence_length
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self.entries = [
            ShardEntry(shard=storage.relative(info.url, self.folder).removesuffix(SUFFIX), num_sequences=rows)
            for info, rows in ((info, self._count(info)) for info in infos)
        ]

    def _count(self, info: storage.FileInfo) -> int:
        index_url = info.url.removesuffix(SUFFIX) + INDEX_SUFFIX
        if storage.exists(index_url):
            return len(BinIndex(index_url).lengths_S)
        if self._length is None:
            raise InputError(f"{info.url}: has no index {storage.basename(index_url)}; say how long its rows are")
        return info.size // (self._length * self._dtype.itemsize)

    def read(self, shard: str, start: int = 0) -> Iterator[TokenRow]:
        """The rows of a file in order, from `start` on; a local file is mapped, not read."""
        rows = entry_of(self.entries, shard, self.folder).num_sequences
        stem = storage.join(self.folder, shard)
        data = storage.map_bytes(stem + SUFFIX)
        if storage.exists(stem + INDEX_SUFFIX):
            index = BinIndex(stem + INDEX_SUFFIX)
            dtype, lengths, offsets = index.dtype, index.lengths_S, index.offsets_S
        else:
            dtype = self._dtype
            lengths = np.full(rows, self._length, dtype=np.int32)
            offsets = np.arange(rows, dtype=np.int64) * int(self._length or 0) * dtype.itemsize
        for row in range(start, len(lengths)):
            length, offset = int(lengths[row]), int(offsets[row])
            if offset + length * dtype.itemsize > len(data):
                raise ShardError(stem + SUFFIX, offset, f"row {row} leaves the file of {len(data)} bytes")
            ids = np.frombuffer(data, dtype=dtype, count=length, offset=offset) if length else np.empty(0, dtype=dtype)
            yield TokenRow(tokens=widen(ids, stem + SUFFIX))
