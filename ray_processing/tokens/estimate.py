"""`corpusmith tokenize --plan`: what a run would read, hold and write, before anything starts.

Token counts come from a sample: the first records of some shards are tokenized, and their tokens per byte of the shard
taken for all. The bound that sizes the partitions, on the safe side for web text, is shown beside it.
"""

from __future__ import annotations

import itertools
import os
import shutil

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef
from corpusmith.run.ray.execution import Execution
from ray_processing.tokens.config import EXPANSION, MIB, TOKEN_BYTES, token_bytes
from ray_processing.tokens.stages import TokenRun
from ray_processing.tokens.tokenize import encode_contents, read_documents

SAMPLE_SHARDS = 4
SAMPLE_RECORDS = 200
#: bytes on disk per token, about (webdataset: gzipped JSON in a tar; parquet: dictionary and zstd)
_FORMAT_BYTES = {"wds": 2.6, "parquet": 2.2}
#: a task of phase 1 holds a spill file, Arrow's copy of it and the tokenizer
_PHASE_1_BYTES = 3 * 128 * MIB + 300 * MIB
#: bytes of pages per byte of their shard (JSON and compression), to see how far a sample reaches
_UNPACKED = {suffix: 1.0 if factor < 2 else 3.0 for suffix, factor in EXPANSION.items()}


def estimate_tokens(tokens: TokenRun, shards: list[ShardRef]) -> int:
    """About how many tokens the shards hold, from a sample of some of them."""
    step = max(1, len(shards) // SAMPLE_SHARDS)
    sampled_bytes = sampled_tokens = 0.0
    for shard in shards[::step][:SAMPLE_SHARDS]:
        read = found = 0
        for record, content in itertools.islice(read_documents(shard, tokens.config.content_key), SAMPLE_RECORDS):
            read += len(record.raw) + 1
            if content is not None:
                found += len(encode_contents(tokens.tokenizer, [content])[0]) + 1
        unpacked = next(factor for suffix, factor in _UNPACKED.items() if shard.name.endswith(suffix))
        sampled_bytes += min(shard.bytes, read / unpacked)
        sampled_tokens += found
    total = sum(shard.bytes for shard in shards)
    return int(sampled_tokens * total / sampled_bytes) if sampled_bytes else 0


def estimate_lines(tokens: TokenRun, execution: Execution) -> list[str]:
    """Return the plan for the terminal.

    Raises:
        InputError: the disk surely has no room for it.
    """
    shards = tokens.run.plan.inputs
    config = tokens.config
    count = estimate_tokens(tokens, shards)
    bound = sum(map(token_bytes, shards))
    spill = count * TOKEN_BYTES
    per_token = _FORMAT_BYTES.get(config.format_name, config.storage_dtype.itemsize)
    output = int(count * per_token)
    mixing = tokens.mixture is not None
    disk = spill * (2 if mixing else 1) + output
    cpus = execution.cpus or os.cpu_count() or 1
    partition, partitions = config.partition_bytes, tokens.partitions.count
    task = max(_PHASE_1_BYTES, 3 * partition + 300 * MIB)
    lines = [
        "plan (nothing was started)",
        f"  reads:   {len(shards)} shards, {_size(sum(shard.bytes for shard in shards))}",
        f"  tokens:  about {count:,} by a sample (bound for the partitions: {bound // TOKEN_BYTES:,})",
        f"  stages:  tokenize ({len(shards)} tasks){', mix' if mixing else ''}, shuffle ({partitions} partitions)",
        f"  disk:    about {_size(spill * (2 if mixing else 1))} of spill files below {tokens.run.place.root}, removed "
        f"at the end, and {_size(output)} of {config.format_name} shards",
        f"  memory:  at most about {_size(task)} for each of {cpus} tasks at a time; a partition holds "
        f"{_size(partition)} of tokens",
    ]
    if tokens.source_of_shard is not None:
        names = sorted(set(tokens.source_of_shard.values()))
        counted = {name: sum(1 for each in tokens.source_of_shard.values() if each == name) for name in names}
        lines.append(f"  sources: {', '.join(f'{name} {number}' for name, number in counted.items())} shards")
    free = _free(tokens.run.place.root)
    if free is not None:
        lines.append(f"  free:    {_size(free)} on that disk")
        if disk > free:
            raise InputError("\n".join(lines) + f"\nthe disk has room for {_size(free)}, the run takes {_size(disk)}")
    return lines


def _free(url: str) -> int | None:
    """Free bytes of the local disk that a folder is, or will be, on."""
    if "://" in url:
        return None
    while not storage.is_dir(url):
        url = storage.parent(url)
    return shutil.disk_usage(url).free


def _size(amount: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
