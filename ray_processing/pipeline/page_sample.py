"""A seeded sample of the pages of a data set, written as shards, for forecasts.

Of every so many records of a shard one is drawn, so that each part of each shard is in the sample; where the input is
large, some of its shards are drawn first. The draw depends on seed, shard and place alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from corpusmith.errors import InputError
from corpusmith.io.pages.shards import ShardRef, open_shard_writer, read_records
from corpusmith.seeds import stable_hash

# More of the input than this is not read for a sample.
MAX_READ_BYTES = 2 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledShard:
    """A shard of the input that was read, and the shard of the records drawn from it.

    `records` and `content_bytes`: of all its records; `sampled` and `sampled_bytes`: of those drawn;
    `longest_bytes`: of its longest record.
    """

    source: ShardRef
    shard: ShardRef
    records: int
    content_bytes: int
    sampled: int
    sampled_bytes: int
    longest_bytes: int


def choose_shards(shards: Sequence[ShardRef], seed: int, budget: int = MAX_READ_BYTES) -> list[ShardRef]:
    """Return all shards, or as many drawn ones as fit the budget of bytes (at least two, where there are two)."""
    if sum(shard.bytes for shard in shards) <= budget:
        return list(shards)
    drawn = sorted(shards, key=lambda shard: stable_hash("plan shard", seed, shard.name))
    chosen: list[ShardRef] = []
    total = 0
    for shard in drawn:
        if len(chosen) >= 2 and total + shard.bytes > budget:
            break
        chosen.append(shard)
        total += shard.bytes
    return sorted(chosen, key=lambda shard: shard.name)


def is_drawn(shard: str, index: int, seed: int, block: int) -> bool:
    """Whether a record is in the sample: one of each `block` that follow each other in a shard is.

    A short last block yields one as often as its length asks for.

    Args:
        shard: the name of its shard.
        index: its place there, from 0.
        seed: of the sample.
        block: how many records one is drawn of.
    """
    return stable_hash("plan", seed, shard, index // block) % block == index % block


def sample_shard(shard: ShardRef, folder: str, seed: int, block: int) -> SampledShard:
    """Write the records drawn from a shard below the folder, as they stand, unreadable ones too."""
    url = os.path.join(folder, f"{shard.name.replace('/', '__')}.jsonl.zst")
    read = content = sampled = sampled_bytes = longest = 0
    with open_shard_writer(url) as writer:
        for record in read_records(shard.url):
            size = len(record.raw)
            read += 1
            content += size
            longest = max(longest, size)
            if is_drawn(shard.name, record.index, seed, block):
                writer.write_line(record.raw.replace(b"\n", b" ") or b"?")
                sampled += 1
                sampled_bytes += size
    drawn = ShardRef(name=os.path.basename(url), url=url, identity="sample", bytes=writer.bytes)
    return SampledShard(
        source=shard,
        shard=drawn,
        records=read,
        content_bytes=content,
        sampled=sampled,
        sampled_bytes=sampled_bytes,
        longest_bytes=longest,
    )


def draw_sample(shards: Sequence[ShardRef], folder: str, seed: int, fraction: float) -> list[SampledShard]:
    """Write a sample of the shards.

    Args:
        shards: the input.
        folder: an empty local folder for the sample.
        seed: what draws it.
        fraction: the share of the records to draw.

    Raises:
        InputError: a fraction outside (0, 1], or nothing was drawn.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"--plan-fraction must lie in (0, 1], got {fraction}")
    block = max(1, round(1 / fraction))
    sampled = [sample_shard(shard, folder, seed, block) for shard in choose_shards(shards, seed)]
    if not sum(shard.sampled for shard in sampled):
        raise InputError("no page was drawn for the forecast; give a larger --plan-fraction")
    return sampled
