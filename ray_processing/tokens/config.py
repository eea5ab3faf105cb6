"""What decides the token shards of `corpusmith tokenize` apart from the pages, and their shuffle partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from corpusmith.errors import InputError
from corpusmith.io.pages.shards import ShardRef
from corpusmith.io.tokens.rows import DTYPES
from corpusmith.io.tokens.shards import FORMATS
from corpusmith.run.fingerprint import inputs_identity
from corpusmith.text.packing import MODES

MIB = 1 << 20
PARTITION_BYTES = 128 * MIB
SPILL_BYTES = 128 * MIB
TOKEN_BYTES = 4
#: bytes of tokens (4 each) that a byte of a shard makes, by its compression; on the safe side for web text
EXPANSION = {
    ".jsonl": 1.2,
    ".jsonl.gz": 3.5,
    ".jsonl.zst": 4.0,
    ".jsonl.zstd": 4.0,
    ".parquet": 4.0,
    ".arrow": 1.2,
    ".tar": 2.0,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenConfig:
    """What decides the token shards, apart from the pages.

    `tokenizer_url` and `tokenizer_hash` name the tokenizer's file and its content; `sequence_length` is L, training's
    sequence length + 1; `pack` is a mode of `corpusmith.text.packing`, `pack_by` the page's key (dotted) whose values
    are kept in different sequences; `format_name`, `dtype` and `with_source` say how shards are written; `frequencies`
    holds DCLM's copies per source. `partition_bytes` (of tokens, 4 bytes each) bounds what phase 2 holds at once,
    `spill_bytes` the size of a spill file (which changes no result).
    """

    tokenizer_url: str
    tokenizer_hash: str
    content_key: str = "text"
    sequence_length: int = 2049
    shard_sequences: int = 8192
    seed: int = 42
    shuffle: bool = True
    pack: str = "concat"
    pack_by: str | None = None
    format_name: str = "wds"
    dtype: str = "uint32"
    with_source: bool = False
    frequencies: Mapping[str, float] | None = None
    partition_bytes: int = PARTITION_BYTES
    spill_bytes: int = SPILL_BYTES

    def __post_init__(self) -> None:
        if self.sequence_length < 2:
            raise InputError(f"--seqlen must be at least 1, got {self.sequence_length - 1}")
        if self.shard_sequences < 1:
            raise InputError(f"--wds_chunk_size must be at least 1, got {self.shard_sequences}")
        if not self.content_key:
            raise InputError("--content_key must not be empty")
        if self.partition_bytes < 1:
            raise InputError(f"a partition must hold at least one byte, got {self.partition_bytes}")
        for flag, value, known in (("--pack", self.pack, MODES), ("--format", self.format_name, FORMATS)):
            if value not in known:
                raise InputError(f"{flag} must be one of {', '.join(known)}, got {value!r}")
        if self.dtype not in DTYPES:
            raise InputError(f"--dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.format_name == "bin" and self.with_source:
            raise InputError(
                "--with_source: a flat .bin holds token ids only; choose another --format, or ask `corpusmith trace`"
            )

    @property
    def storage_dtype(self) -> np.dtype[np.generic]:
        """The integers that ids are stored as."""
        return np.dtype(self.dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionPlan:
    """The number of partitions, and for `--no_shuffle` the partition of each source shard (by name)."""

    count: int
    of_source: dict[str, int] | None = None

    def units(self, spills: list[ShardRef]) -> dict[str, str]:
        """The units of phase 2, a partition each; all depend on all spill files."""
        every = inputs_identity(spills)
        return {f"{partition:06d}": every for partition in range(self.count)}


def token_bytes(shard: ShardRef) -> int:
    """Bytes of tokens that a page shard may make, on the safe side."""
    suffix = next(suffix for suffix in sorted(EXPANSION, key=len, reverse=True) if shard.name.endswith(suffix))
    return int(shard.bytes * EXPANSION[suffix])


def plan_partitions(
    shards: Sequence[ShardRef], config: TokenConfig, copies: Mapping[str, float] | None = None
) -> PartitionPlan:
    """Return partitions of about `config.partition_bytes`, by the bytes of the shards.

    Args:
        shards: the input, in order; where that order is kept, a partition is a run of whole shards.
        config: what decides the token shards.
        copies: how often the sequences of a shard (by name) are written, where that is not once.
    """
    sizes = [int(token_bytes(shard) * (1.0 if copies is None else copies[shard.name])) for shard in shards]
    if config.shuffle:
        return PartitionPlan(count=max(1, -(-sum(sizes) // config.partition_bytes)))
    of_source: dict[str, int] = {}
    partition = held = 0
    for shard, size in zip(shards, sizes, strict=True):
        if held and held + size > config.partition_bytes:
            partition, held = partition + 1, 0
        of_source[shard.name] = partition
        held += size
    return PartitionPlan(count=partition + 1, of_source=of_source)
