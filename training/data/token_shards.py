"""Token data sets as the loader sees them: a list of shards with their numbers of sequences, and one way to read rows.

The formats are those of `corpusmith.io.tokens.shards`: webdataset, MDS, Parquet and flat binary files, local or remote.
A data set is named by the URL of its reference, its index, its folder, or one `.tar` or `.bin`. Long shards of the
formats that can be entered anywhere are taken in parts, so that memory stays bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from corpusmith.errors import InputError
from corpusmith.expdb import references as expdb
from corpusmith.io import storage
from corpusmith.io.tokens import wds
from corpusmith.io.tokens.rows import TokenShards
from training.data.batch import NO_DOMAIN, Ids
from training.data.masking import I64Array

DEFAULT_KEY = "json.gz"
#: Sequences of a part of a long shard.
PART_SEQUENCES = 8192
_SUFFIXES = {"wds": ".tar", "mds": "", "parquet": ".parquet", "bin": ".bin"}
_UINT16_VOCABULARY = 1 << 16
_PIPE = "pipe:aws s3 cp "
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenShard:
    """A shard, or a part of a long one: its URL, and how many sequences it holds from `first_row` on.

    `data_key` is of webdataset members. `data` is the open data set of another format.
    """

    url: str
    num_sequences: int
    data_key: str = DEFAULT_KEY
    first_row: int = 0
    entry: str = ""
    data: TokenShards | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The file's name up to the first dot."""
        return storage.basename(self.url).partition(".")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenSequence:
    """A sequence of a shard: its row, its token ids as they stand, and its domain where it names one."""

    row: int
    ids: Ids
    domain: str = NO_DOMAIN


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenDataset:
    """A data set: the path that was given, and its shards in the order of its index."""

    path: str
    shards: list[TokenShard]

    @property
    def num_sequences(self) -> int:
        """Sequences of all shards."""
        return sum(shard.num_sequences for shard in self.shards)


def find_token_dataset(
    path: str, data_key: str | None = None, *, seq_len: int | None = None, vocab_size: int = _UINT16_VOCABULARY
) -> TokenDataset:
    """Find the shards of a data set's reference (`.json`), an index, a folder, a single `.bin`, or one or more `.tar`.

    Several tars are an expression as `expand_shards` reads it.

    Args:
        data_key: by default what the reference says, else `json.gz`.
        seq_len, vocab_size: of the model; a `.bin` without an index is read as rows of `seq_len + 1` ids, of 16 bits
            where the vocabulary fits into them, else of 32.

    Raises:
        InputError: nothing there that is a data set of token ids, or one without shards.
    """
    index = path
    if path.endswith(".json") and storage.basename(path) != "index.json":
        reference = expdb.load_dataset(path)
        if not reference.tokenized or not (reference.manifest_url or reference.dataset_url):
            raise InputError(f"{path} is not the reference of a tokenized data set with a manifest")
        index, data_key = str(reference.manifest_url or reference.dataset_url), data_key or reference.data_key
    key = data_key or DEFAULT_KEY
    if index.endswith((".jsonl", ".tar", ".tar -")):
        shards = [shard for url in expand_shards(index) for shard in _list_tars(url, key)]
    else:
        shards = _list(index, key, seq_len, vocab_size)
    if not shards:
        raise InputError(f"{index}: the index names no shard")
    return TokenDataset(path=path, shards=shards)


def expand_shards(expression: str) -> list[str]:
    """The URLs of OpenLM's expressions of shards: `d/{a,b}.tar`, `d/{000..010}.tar`, `pipe:aws s3 cp URL -`."""
    if expression.startswith(_PIPE):
        expression = expression[len(_PIPE) :].removesuffix(" -").strip()
    braces = _BRACES.search(expression)
    if braces is None:
        return [expression]
    names = braces[1].split(",")
    if bounds := _RANGE.fullmatch(braces[1]):
        first, last = int(bounds[1]), int(bounds[2])
        names = [f"{number:0{len(bounds[1])}d}" for number in range(first, last + 1)]
    head, tail = expression[: braces.start()], expression[braces.end() :]
    return [url for name in names for url in expand_shards(head + name + tail)]


def _list_tars(url: str, data_key: str) -> list[TokenShard]:
    """The tars of a manifest, whatever its name, or a single tar."""
    if url.endswith(".tar"):
        return [TokenShard(url=url, num_sequences=wds.count_members(url), data_key=data_key)]
    folder = storage.parent(url)
    return [
        TokenShard(url=storage.join(folder, f"{entry.shard}.tar"), num_sequences=entry.num_sequences, data_key=data_key)
        for entry in wds.read_manifest(url)
    ]


def _list(url: str, data_key: str, seq_len: int | None, vocab_size: int) -> list[TokenShard]:
    """The shards of a folder (or another index) in any format, long ones in parts."""
    from corpusmith.io.tokens.shards import open_token_shards

    dtype = "uint16" if vocab_size <= _UINT16_VOCABULARY else "uint32"
    length = None if seq_len is None else seq_len + 1
    data = open_token_shards(url, data_key=data_key, sequence_length=length, dtype=dtype)
    if data.format == "wds":
        return _list_tars(storage.join(_folder(url), wds.MANIFEST_NAME), data_key)
    return [
        TokenShard(
            url=storage.join(_folder(url), entry.shard + _SUFFIXES[data.format]),
            num_sequences=min(PART_SEQUENCES, entry.num_sequences - first),
            first_row=first,
            entry=entry.shard,
            data=data,
        )
        for entry in data.entries
        for first in range(0, entry.num_sequences, PART_SEQUENCES)
    ]


def _folder(url: str) -> str:
    """The folder of a data set that was named by itself, its index, or one file."""
    named_by_file = storage.basename(url) in (wds.MANIFEST_NAME, "index.json") or url.endswith(".bin")
    return storage.parent(url) if named_by_file else url.rstrip("/")


def read_rows(shard: TokenShard, rows: I64Array | None = None) -> Iterator[TokenSequence]:
    """The sequences of a shard at these rows (ascending, counted from `first_row`), or all.

    Raises:
        ShardError: the shard is damaged.
        InputError: it is missing.
    """
    if rows is not None and not len(rows):
        return
    last = shard.num_sequences - 1 if rows is None else int(rows[-1])
    wanted = None if rows is None else frozenset(rows.tolist())
    if shard.data is None:
        for row, ids, meta in wds.read_wds_rows(shard.url, shard.data_key, wanted):
            yield TokenSequence(row=row, ids=ids, domain=_domain(meta))
        return
    first = 0 if rows is None else int(rows[0])
    for row, found in enumerate(shard.data.read(shard.entry, shard.first_row + first), start=first):
        if row > last:
            return
        if wanted is None or row in wanted:
            yield TokenSequence(row=shard.first_row + row, ids=found.tokens, domain=_domain(found.meta))


def _domain(meta: dict[str, Any]) -> str:
    """What a row says of its domain, or else of its source."""
    value = meta.get("domain") or meta.get("source") or NO_DOMAIN
    return value if isinstance(value, str) else str(value)
