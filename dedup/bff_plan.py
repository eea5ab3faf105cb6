"""Before a Bloom-filter dedup runs: which filter it begins with, how large it is, and what it will take."""

from __future__ import annotations

from dataclasses import dataclass

from backports import zstd

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.shards import ZSTD_LEVEL, ShardRef, read_records
from corpusmith.run.fingerprint import digest, inputs_identity
from dedup.bff_config import BffConfig
from dedup.bff_hash import text_of
from dedup.bff_pieces import PIECE_NGRAMS, PieceBuilder
from dedup.bloom import FilterHeader, FilterShape, read_filter_header, shape_for

VERSION = 1
SAMPLED_SHARDS = 16
SAMPLED_BYTES = 1 << 20
SAMPLE_MARGIN = 1.15
LEAST_NGRAMS = 1000
PLAIN = ".jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What a filter begins with.

    `header`: of the filter file, None for an empty filter; `parent`: its checksum; `made_from`: what a file saved by
    this step says that it was made from; `is_own`: the file that stands is this step's own result, saved before.
    """

    header: FilterHeader | None
    parent: str | None
    made_from: str
    is_own: bool


def find_origin(config: BffConfig, inputs: list[ShardRef]) -> Origin:
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
        return Origin(header=None, parent=None, made_from=made_from(None), is_own=False)
    header = read_filter_header(path)
    check_header(header, config, path)
    if header.made_from == made_from(header.parent) and not config.no_update_bloom_filter:
        return Origin(
            header=header if header.parent else None, parent=header.parent, made_from=header.made_from, is_own=True
        )
    return Origin(header=header, parent=header.checksum, made_from=made_from(header.checksum), is_own=False)


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


def estimate_ngrams(config: BffConfig, inputs: list[ShardRef]) -> int:
    """About how many n-grams the input has, from the beginnings of some of its shards; no fewer than LEAST_NGRAMS."""
    step = -(-len(inputs) // SAMPLED_SHARDS)
    ngrams = size = 0
    for shard in inputs[::step]:
        builder, raw, whole = PieceBuilder(config), bytearray(), True
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
    return max(LEAST_NGRAMS, int(SAMPLE_MARGIN * ngrams * total / max(1, size)))


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterPlan:
    """A filter as it will be: its size, the n-grams that it is made for and those already in it."""

    shape: FilterShape
    ngrams: int
    inserted: int
    is_estimate: bool

    def is_overfilled(self, fresh: int, rate: float) -> bool:
        """Whether so many more n-grams than those already in it take the filter beyond the rate."""
        return self.shape.rate(self.inserted + fresh) > rate


def plan_filter(config: BffConfig, inputs: list[ShardRef], origin: Origin) -> FilterPlan:
    """The filter of a step: the file's, or one sized by the expected count, given or estimated."""
    if origin.header is not None:
        header = origin.header
        inserted = header.before if origin.is_own else header.inserted
        return FilterPlan(shape=header.shape, ngrams=header.ngrams, inserted=inserted, is_estimate=False)
    given = config.expected_ngram_count
    ngrams = given if given is not None else estimate_ngrams(config, inputs)
    shape = shape_for(ngrams, config.fp_rate, config.num_hashers)
    return FilterPlan(shape=shape, ngrams=ngrams, inserted=0, is_estimate=given is None)


# --- what it takes --------------------------------------------------------------------------------------------

# Measured on pages of the sample data: a worker with its libraries and kernels, what it holds of a piece while it
# hashes, settles or writes, and Ray's own processes with the driver.
WORKER_BYTES = 210 << 20
PIECE_BYTES = 24 * PIECE_NGRAMS
RAY_BYTES = 700 << 20
NGRAMS_PER_STORED_BYTE = 0.75
INTERVALS_PER_BYTE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What a step takes, in bytes: memory of the filter, of all else with so many workers, and scratch on disk."""

    filter_memory: int
    worker_memory: int
    scratch: int

    @property
    def memory(self) -> int:
        """All memory."""
        return self.filter_memory + self.worker_memory


def plan_needs(plan: FilterPlan, workers: int, largest_round: int, snapshot_rounds: int, *, saves: bool) -> Needs:
    """What a step takes; `largest_round`: stored bytes of a round's shards, `snapshot_rounds`: between snapshots."""
    spill = int(largest_round * NGRAMS_PER_STORED_BYTE * 8)
    snapshots = 2 * plan.shape.bytes if saves or snapshot_rounds else 0
    return Needs(
        filter_memory=plan.shape.bytes,
        worker_memory=RAY_BYTES + workers * (WORKER_BYTES + PIECE_BYTES),
        scratch=spill * (snapshot_rounds + 2) + snapshots,
    )
