"""Before a Bloom-filter dedup runs: which filter it begins with, how large it is, and what it will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backports import zstd

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.pages.shards import ZSTD_LEVEL, ShardRef, read_records
from corpusmith.run.fingerprint import digest, inputs_identity
from corpusmith.steps.global_steps import Needs
from dedup.bff.blocks import BLOCK_NGRAMS, NgramBlockBuilder
from dedup.bff.bloom.filter import FilterHeader, FilterShape, read_filter_header, shape_for
from dedup.bff.bloom.shared_memory import room_for
from dedup.bff.config import BffConfig
from dedup.bff.hash import text_of
from dedup.bff.layout import cut_rounds

SAMPLED_SHARDS = 32
SAMPLED_BYTES = 1 << 20
SAMPLE_MARGIN = 1.5
LEAST_NGRAMS = 1000
PLAIN = ".jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterOrigin:
    """What a filter begins with.

    `header`: of the filter file, None for an empty filter; `parent`: its checksum; `made_from`: what a file saved by
    this step says that it was made from; `is_own`: the file that stands is this step's own result, saved before.
    """

    header: FilterHeader | None
    parent: str | None
    made_from: str
    is_own: bool


def find_origin(config: BffConfig, inputs: Sequence[ShardRef]) -> FilterOrigin:
    """The filter to begin with; a file that this very step saved stands for the one that it was made from.

    InputError where the file was made with other parameters, or is damaged.
    """

    def made_from(parent: str | None) -> str:
        return digest([inputs_identity(inputs), config.deciding(), config.hashing(), parent])

    path = config.bloom_filter_file
    if path is None or not storage.exists(path):
        if config.no_update_bloom_filter:
            raise InputError(
                f"{path}: no such filter file, and with no_update_bloom_filter nothing else to check against"
            )
        return FilterOrigin(header=None, parent=None, made_from=made_from(None), is_own=False)
    header = read_filter_header(path)
    check_header(header, config, path)
    if header.made_from == made_from(header.parent) and not config.no_update_bloom_filter:
        return FilterOrigin(
            header=header if header.parent else None, parent=header.parent, made_from=header.made_from, is_own=True
        )
    return FilterOrigin(header=header, parent=header.checksum, made_from=made_from(header.checksum), is_own=False)


def check_header(header: FilterHeader, config: BffConfig, path: str) -> None:
    """Raise InputError, naming the parameter, where a filter file does not fit what is asked for."""
    asked = {
        "what was inserted": (header.unit, config.unit),
        "the hashes": (header.hashing, config.hashing()),
        "fp_rate": (header.rate, config.fp_rate),
    }
    if config.unit == "ngram":
        asked["max_ngram_size"] = (header.ngram, config.max_ngram_size)
    if config.expected_ngram_count is not None:
        asked["expected_ngram_count"] = (header.ngrams, config.expected_ngram_count)
    if config.num_hashers:
        asked["num_hashers"] = (header.hashes, config.num_hashers)
    for name, (there, wanted) in asked.items():
        if there != wanted:
            raise InputError(
                f"{path}: this filter was made with another value of {name}: {there} there, {wanted} asked for; "
                "give the same, or another bloom_filter_file"
            )


def estimate_ngrams(config: BffConfig, inputs: Sequence[ShardRef]) -> int:
    """About how many n-grams the input has, from the beginnings of some of its shards."""
    step = -(-len(inputs) // SAMPLED_SHARDS)
    ngrams = size = 0
    for shard in inputs[::step]:
        builder, raw, whole = NgramBlockBuilder(config), bytearray(), True
        for record in read_records(shard.url):
            raw += record.raw + b"\n"
            if (text := text_of(record, config.content_key)) is not None:
                builder.add(text)
            if len(raw) >= SAMPLED_BYTES:
                whole = False
                break
        ngrams += len(builder.take().hashes)
        stored = len(raw) if shard.name.endswith(PLAIN) else len(zstd.compress(bytes(raw), ZSTD_LEVEL))
        size += shard.bytes if whole else stored
    total = sum(shard.bytes for shard in inputs)
    return int(ngrams * total / max(1, size))


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterPlan:
    """A filter as it will be: its size, the n-grams that it is made for and those already in it."""

    shape: FilterShape
    ngrams: int
    inserted: int
    is_estimate: bool

    def is_overfilled(self, new_ngrams: int, rate: float) -> bool:
        """Whether so many more n-grams than those already in it take the filter beyond the rate."""
        return self.shape.rate(self.inserted + new_ngrams) > rate


def plan_filter(
    config: BffConfig, inputs: Sequence[ShardRef], origin: FilterOrigin, estimated: int | None = None
) -> FilterPlan:
    """The filter of a step: the file's, or one sized by the expected count, given or estimated.

    `estimated`: n-grams of the input, where they were estimated already.
    """
    if origin.header is not None:
        header = origin.header
        return FilterPlan(
            shape=header.shape,
            ngrams=header.ngrams,
            inserted=header.before if origin.is_own else header.inserted,
            is_estimate=False,
        )
    ngrams = config.expected_ngram_count
    if ngrams is None:
        estimated = estimate_ngrams(config, inputs) if estimated is None else estimated
        ngrams = max(LEAST_NGRAMS, int(SAMPLE_MARGIN * estimated))
    shape = shape_for(ngrams, config.fp_rate, config.num_hashers)
    return FilterPlan(shape=shape, ngrams=ngrams, inserted=0, is_estimate=config.expected_ngram_count is None)


# --- what it takes --------------------------------------------------------------------------------------------

# Measured on the sample pages with two workers (benchmarks/dedup.py --only scale; libraries that processes share count
# once): what a worker has to itself, what it holds of the block that it works on, and the driver with Ray's processes.
WORKER_BYTES = 130 << 20
BLOCK_BYTES = 24 * BLOCK_NGRAMS
RAY_BYTES = 460 << 20
HASH_BYTES = 8
MARK_BITS = 1
SHARES_OF_PAGES = 0.25  # what pages/ and decisions/ take beside the hashes


def snapshot_interval(filter_bytes: int, round_bytes: int) -> int:
    """Rounds between two snapshots: about as many bytes of hashes are kept as the filter has."""
    return max(2, filter_bytes // (4 * round_bytes))


def scratch_bytes(plan: FilterPlan, config: BffConfig, inputs: Sequence[ShardRef], ngrams: int) -> int:
    """Scratch that a step uses at most, for about so many n-grams of input."""
    rounds = cut_rounds(inputs, config.round_bytes)
    total = sum(shard.bytes for shard in inputs)
    largest = max(sum(shard.bytes for shard in inputs[first:last]) for first, last in rounds)
    interval = snapshot_interval(plan.shape.bytes, config.round_bytes)
    # hashes of the rounds since the last snapshot, of the one that is resolved and of the next
    kept = min(total, largest * (min(interval, len(rounds)) + 2))
    per_byte = ngrams / max(1, total)
    snapshots = (2 if len(rounds) > interval else 0) * plan.shape.bytes + (plan.shape.bytes if config.saves else 0)
    hashes = kept * per_byte * (HASH_BYTES + MARK_BITS / 8)
    return int(hashes + total * per_byte * SHARES_OF_PAGES) + snapshots


def plan_needs(config: BffConfig, sampled: Sequence[ShardRef], inputs: Sequence[ShardRef], workers: int) -> Needs:
    """What the step takes on one node: the filter, its expected rate, memory and disk."""
    stored, read = sum(shard.bytes for shard in inputs), sum(shard.bytes for shard in sampled)
    ngrams = estimate_ngrams(config, sampled) * stored // max(1, read)
    plan = plan_filter(config, inputs, find_origin(config, inputs), ngrams)
    scratch, shared = scratch_bytes(plan, config, inputs, ngrams), plan.shape.bytes
    beside = RAY_BYTES + workers * (WORKER_BYTES + BLOCK_BYTES)
    lines = [
        f"input:   {len(inputs):,} shards, {stored:,} bytes, about {ngrams:,} n-grams, in "
        f"{len(cut_rounds(inputs, config.round_bytes)):,} rounds",
        describe(plan, config, 1),
        f"memory:  {shared + beside:,} bytes: filter {shared:,} (in {room_for(shared)}), {workers} workers and Ray "
        f"{beside:,}",
        f"disk:    {scratch:,} bytes of scratch while it runs, up to {stored:,} for the result",
    ]
    return Needs(lines=lines, worker_memory=WORKER_BYTES + BLOCK_BYTES, shared_memory=shared, scratch=scratch)


def describe(plan: FilterPlan, config: BffConfig, parts: int) -> str:
    """One line about the filter, said before anything runs."""
    shape = plan.shape
    rate = shape.rate(plan.ngrams)
    what = "texts" if config.unit == "text" else "n-grams"
    held = f", {plan.inserted:,} in it already" if plan.inserted else ""
    return (
        f"BFF {config.remove_type}: filter of {shape.bytes:,} bytes ({shape.hashes} hashes"
        f"{f', {parts} parts' if parts > 1 else ''}) for {plan.ngrams:,} {what}"
        f"{' (estimated)' if plan.is_estimate else ''}{held}; expected false-positive rate {rate:.3g}"
    )
