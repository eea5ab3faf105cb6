"""What the Bloom-filter dedup is asked for: DCLM's flags of `bff`, under their names."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from corpusmith.errors import FieldError, did_you_mean
from corpusmith.run.fingerprint import Tree
from corpusmith.text.segmentation.view import UNICODE_VERSION
from dedup.bff import units
from dedup.bff.bloom.filter import RATE_BOUNDS
from dedup.bff.bloom.kernels import MAX_HASHES

#: Stands in filter files: raised when the same text sets other bits, so that no older filter is read.
HASH_FAMILY = "corpusmith-1.1"

MODES = {
    "paragraph": units.PARAGRAPH,
    "document": units.DOCUMENT,
    "both": units.BOTH,
    "naive-both": units.NAIVE_BOTH,
    "old-both": units.OLD_BOTH,
    "substring": units.SUBSTRING,
    "exact": units.EXACT,
}
CONTAINED_BEFORE = "bff_contained_ngram_count_before_dedupe"
CONTAINED = "bff_contained_ngram_count"
SPANS = "bff_duplicate_spans"
DOCUMENT = "bff_duplicate_document"
EXACT = "bff_exact_duplicate"
_WITHOUT_EFFECT = ("round_bytes", "filter_part_bytes", "bloom_filter_file", "no_save_bloom_filter")


@dataclass(frozen=True, kw_only=True, slots=True)
class BffConfig:
    """What the Bloom-filter dedup compares, and what becomes of duplicates.

    `remove_type`: paragraph, document, both, naive-both, old-both, substring or exact. `min_ngram_size`: shorter units
    stay and are never inserted; `max_ngram_size`: tokens of an n-gram; `filtering_threshold`: share of n-grams found
    above which a unit goes; `substr_seqlen`: shortest run of tokens that substring mode removes. `fp_rate`: share of
    new n-grams that the filter may take for known ones; `expected_ngram_count`: distinct n-grams that it is sized for
    (None: estimated from the input); `num_hashers`: bits of an n-gram (0: the best). `annotate`: mark duplicates and
    remove nothing. `bloom_filter_file`: loaded if it exists, saved at the end; `no_update_bloom_filter`: check only,
    insert and save nothing; `no_save_bloom_filter`: don't save it.

    Without effect on the result: `round_bytes`, input bytes (as stored) between two commits of the filter;
    `filter_part_bytes`: a larger filter is split into parts of about this size, each worked on by a task of its own, on
    different nodes as far as there are several (default: 90 % of the memory of the smallest node).
    """

    content_key: str = "text"
    remove_type: str = "paragraph"
    min_ngram_size: int = 20
    max_ngram_size: int = 20
    filtering_threshold: float = 0.8
    substr_seqlen: int = 50
    fp_rate: float = 0.01
    expected_ngram_count: int | None = None
    num_hashers: int = 0
    annotate: bool = False
    bloom_filter_file: str | None = None
    no_update_bloom_filter: bool = False
    no_save_bloom_filter: bool = False
    round_bytes: int = 256 << 20
    filter_part_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.remove_type not in MODES:
            known = ", ".join(MODES)
            hint = did_you_mean(self.remove_type, MODES)
            raise FieldError("remove_type", f"unknown mode {self.remove_type!r}{hint} (known: {known})")
        if not 1 <= self.min_ngram_size <= self.max_ngram_size <= 1 << 20:
            got = f"{self.min_ngram_size} and {self.max_ngram_size}"
            raise FieldError("min_ngram_size", f"with max_ngram_size it must satisfy 1 <= min <= max, got {got}")
        if not (math.isfinite(self.filtering_threshold) and 0 <= self.filtering_threshold <= 1):
            raise FieldError("filtering_threshold", f"must lie in [0, 1], got {self.filtering_threshold}")
        if not RATE_BOUNDS[0] <= self.fp_rate <= RATE_BOUNDS[1]:
            raise FieldError("fp_rate", f"must lie in [{RATE_BOUNDS[0]:g}, {RATE_BOUNDS[1]:g}], got {self.fp_rate}")
        if not 0 <= self.num_hashers <= MAX_HASHES:
            raise FieldError("num_hashers", f"must lie in [0, {MAX_HASHES}], got {self.num_hashers}")
        for key in ("expected_ngram_count", "substr_seqlen", "round_bytes", "filter_part_bytes"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise FieldError(key, f"must be at least 1, got {value}")
        if self.no_update_bloom_filter and self.bloom_filter_file is None:
            raise FieldError("no_update_bloom_filter", "give bloom_filter_file, or nothing is there to check against")

    @property
    def mode(self) -> int:
        """The mode as the kernels number it."""
        return MODES[self.remove_type]

    @property
    def rules(self) -> units.Rules:
        """What is asked for, as the kernels take it."""
        return units.Rules(
            mode=self.mode,
            shortest=self.min_ngram_size,
            longest=self.max_ngram_size,
            threshold=float(self.filtering_threshold),
            shortest_removed=self.substr_seqlen,
            update=not self.no_update_bloom_filter,
        )

    @property
    def unit(self) -> str:
        """What is inserted into the filter."""
        return "text" if self.remove_type == "exact" else "ngram"

    @property
    def saves(self) -> bool:
        """Whether the filter is written at the end."""
        return self.bloom_filter_file is not None and not (self.no_save_bloom_filter or self.no_update_bloom_filter)

    def deciding(self) -> Tree:
        """The arguments that decide the result."""
        arguments = {key: value for key, value in asdict(self).items() if key not in _WITHOUT_EFFECT}
        return {**arguments, "saves_filter": self.saves}

    def hashing(self) -> dict[str, str]:
        """What turns a text into hashes; filters are shared only where it is equal."""
        return {
            "family": HASH_FAMILY,
            "unicode": UNICODE_VERSION,
        }
