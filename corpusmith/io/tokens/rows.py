"""Rows of token ids as the writers and readers of every token format exchange them.

Legend: S rows (sequences, or documents where one is a sample), N tokens of all rows together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xxhash

from corpusmith.errors import InputError
from corpusmith.io import storage

U32Array = npt.NDArray[np.uint32]
I64Array = npt.NDArray[np.int64]


DTYPES = ("auto", "uint16", "uint32")
_UINT16_IDS = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardEntry:
    """A shard of a tokenized data set: its name within the data set, and how many rows it holds."""

    shard: str
    num_sequences: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRow:
    """One row as a reader gives it: its ids, shape (length,), and what else the format holds of it.

    Ids are uint32. Only a webdataset may hold negative ones (OpenLM takes them modulo the vocabulary): then int64.
    """

    tokens: npt.NDArray[Any]
    meta: dict[str, Any] = field(default_factory=dict)


class TokenShards(Protocol):
    """A tokenized data set, whatever its format; `corpusmith.io.tokens.shards.open_token_shards` opens one."""

    @property
    def format(self) -> str:
        """`wds`, `mds`, `parquet` or `bin`."""

    @property
    def folder(self) -> str:
        """Where the shards lie; their names are relative to it."""

    @property
    def entries(self) -> list[ShardEntry]:
        """The shards in their order."""

    def read(self, shard: str, start: int = 0) -> Iterator[TokenRow]:
        """The rows of a shard in order, from row `start` on.

        Raises:
            InputError: there is no such shard.
            ShardError: it is damaged.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRows:
    """S rows, of equal lengths or not, as one flat array; row s is `tokens_N[offsets_S1[s]:offsets_S1[s + 1]]`.

    `names`: a name for each row, unique in the data set; `metas`: what else is to be kept of each row (plain JSON
    objects with the keys `source` and `pages`).
    """

    tokens_N: U32Array
    offsets_S1: I64Array
    names: Sequence[str] | None = None
    metas: Sequence[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.offsets_S1) - 1

    def rows(self) -> Iterator[U32Array]:
        """The rows one by one."""
        for start, end in zip(self.offsets_S1[:-1], self.offsets_S1[1:], strict=True):
            yield self.tokens_N[start:end]

    @property
    def lengths_S(self) -> I64Array:
        """Tokens of each row."""
        return np.diff(self.offsets_S1)

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | U32Array], **more: Any) -> TokenRows:
        """Rows from lists or arrays."""
        arrays = [np.asarray(row, dtype=np.uint32) for row in rows]
        offsets_S1 = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        tokens_N = np.concatenate(arrays) if arrays else np.empty(0, dtype=np.uint32)
        return cls(tokens_N=tokens_N, offsets_S1=offsets_S1, **more)

    def plain(self) -> TokenRows:
        """The same rows without names and metas."""
        return replace(self, names=None, metas=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenFile:
    """A file that a writer made: its URL, bytes, and checksum (`xxh3_128:<hex>`)."""

    url: str
    bytes: int
    checksum: str


def write_pieces(url: str, pieces: Iterable[bytes | memoryview]) -> WrittenFile:
    """Write a file atomically from its parts in order, hashing them on the way."""
    hasher = xxhash.xxh3_128()
    size = 0
    with storage.atomic_write(url) as file:
        for piece in pieces:
            file.write(piece)
            hasher.update(piece)
            size += len(piece)
    return WrittenFile(url=url, bytes=size, checksum=f"xxh3_128:{hasher.hexdigest()}")


def storage_dtype(dtype: str, num_ids: int) -> np.dtype[Any]:
    """The integers that ids below `num_ids` are stored as; `auto` takes 16 bits where they suffice.

    Raises:
        InputError: another dtype than those of `DTYPES`, or the ids don't fit.
    """
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; it must be one of {', '.join(DTYPES)}")
    if dtype == "auto":
        return np.dtype(np.uint16 if num_ids <= _UINT16_IDS else np.uint32)
    if dtype == "uint16" and num_ids > _UINT16_IDS:
        raise InputError(
            f"ids up to {num_ids - 1} do not fit into 16 bits (65535 at most); use --dtype uint32, or auto, or a "
            "smaller vocabulary"
        )
    return np.dtype(dtype)


def narrow(tokens_N: U32Array, dtype: np.dtype[Any], url: str) -> npt.NDArray[Any]:
    """The ids as little-endian `dtype`; InputError where one does not fit."""
    little = dtype.newbyteorder("<")
    if dtype.itemsize < tokens_N.dtype.itemsize and tokens_N.size:
        largest = int(tokens_N.max())
        if largest > np.iinfo(dtype).max:
            raise InputError(f"{url}: the id {largest} does not fit into {8 * dtype.itemsize} bits")
    return tokens_N.astype(little, copy=False)


def widen(values: npt.NDArray[Any], where: str) -> U32Array:
    """Ids of any integer type as uint32; InputError where one lies outside [0, 2**32) or is no integer."""
    if values.dtype.kind not in "iu":
        raise InputError(f"{where}: token ids must be integers, not {values.dtype}")
    if values.size and (int(values.min()) < 0 or int(values.max()) >= 1 << 32):
        raise InputError(f"{where}: token ids must lie in [0, 2**32)")
    return values.astype(np.uint32, copy=False)


def entry_of(entries: Sequence[ShardEntry], shard: str, where: str) -> ShardEntry:
    """The entry of a shard's name; InputError where there is none."""
    found = next((entry for entry in entries if entry.shard == shard), None)
    if found is None:
        raise InputError(f"{where}: has no shard {shard!r}")
    return found
