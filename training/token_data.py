"""Token data sets as the loader sees them: an index of shards with their numbers of sequences, and a reader per format.

A data set is named by the URL of its index. A format is a pair of functions in `FORMATS`: one lists the shards, one
reads chosen rows of a shard in order. Everything above this module is the same for all formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from corpusmith import expdb
from corpusmith.errors import InputError
from corpusmith.io import storage, wds
from training.batch import NO_DOMAIN, Ids
from training.masking import I64Array

DEFAULT_KEY = "json.gz"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenShard:
    """A shard: its URL, how many sequences its index promises, its format, and the data key of webdataset members."""

    url: str
    num_sequences: int
    format: str = "wds"
    data_key: str = DEFAULT_KEY

    @property
    def name(self) -> str:
        """The file's name up to the first dot."""
        return storage.basename(self.url).partition(".")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRow:
    """A sequence of a shard: its place, its token ids as they stand, and its domain where it names one."""

    row: int
    ids: Ids
    domain: str = NO_DOMAIN


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenShards:
    """A data set: the path that was given, and its shards in the order of its index."""

    path: str
    shards: list[TokenShard]

    @property
    def num_sequences(self) -> int:
        """Sequences of all shards."""
        return sum(shard.num_sequences for shard in self.shards)


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How a format is listed and read.

    `list_shards(url, data_key)` gives the shards of an index; `read_rows(shard, rows)` the sequences at these rows
    (ascending), or all for None.
    """

    list_shards: Callable[[str, str], list[TokenShard]]
    read_rows: Callable[[TokenShard, I64Array | None], Iterator[TokenRow]]


def find_token_shards(path: str, data_key: str | None = None) -> TokenShards:
    """Resolve a data set's reference (`.json`), or the index of one of `FORMATS`.

    `data_key` by default is what the reference says, else `json.gz`.

    Raises:
        InputError: another kind of file, a missing one, or one without shards.
    """
    index = path
    if path.endswith(".json") and storage.basename(path) != "index.json":
        reference = expdb.load_dataset(path)
        if not reference.tokenized or not reference.manifest_url:
            raise InputError(f"{path} is not the reference of a tokenized data set with a manifest")
        index, data_key = reference.manifest_url, data_key or reference.data_key
    shards = FORMATS[format_of(index)].list_shards(index, data_key or DEFAULT_KEY)
    if not shards:
        raise InputError(f"{index}: the index names no shard")
    return TokenShards(path=path, shards=shards)


def format_of(index: str) -> str:
    """The format of an index, by its name.

    Raises:
        InputError: none of ours.
    """
    if index.endswith((".jsonl", ".tar")):
        return "wds"
    raise InputError(f"{index}: expected a tokenized data set's reference (.json), a manifest.jsonl or a .tar")


def read_rows(shard: TokenShard, rows: I64Array | None = None) -> Iterator[TokenRow]:
    """The sequences of a shard at these rows (ascending), or all.

    Raises:
        ShardError: the shard is damaged.
        InputError: it is missing, or has fewer rows than asked for.
    """
    return FORMATS[shard.format].read_rows(shard, rows)


def shard_url(folder: str, shard: str) -> str:
    """The tar file of a manifest's shard name."""
    return storage.join(folder, f"{shard}.tar")


def _list_wds(url: str, data_key: str) -> list[TokenShard]:
    """The tars of a manifest, or a single tar."""
    if url.endswith(".tar"):
        return [TokenShard(url=url, num_sequences=wds.count_members(url), data_key=data_key)]
    return [
        TokenShard(
            url=shard_url(storage.parent(url), entry.shard), num_sequences=entry.num_sequences, data_key=data_key
        )
        for entry in wds.read_manifest(url)
    ]


def _read_wds(shard: TokenShard, rows: I64Array | None) -> Iterator[TokenRow]:
    wanted: Any = None if rows is None else set(rows.tolist())
    for row, ids in enumerate(wds.read_wds_shard(shard.url, data_key=shard.data_key)):
        if wanted is None or row in wanted:
            yield TokenRow(row=row, ids=ids)


FORMATS: dict[str, Format] = {"wds": Format(list_shards=_list_wds, read_rows=_read_wds)}


def all_rows(shard: TokenShard) -> I64Array:
    """The rows that a shard's index promises."""
    return np.arange(shard.num_sequences)
