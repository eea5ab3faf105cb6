"""How the tasks of a Bloom-filter dedup find each other's files; small and picklable.

scratch/<digest>/
  rounds.json          the shards of each round, by number: a round is a run of shards in input order
  ngrams/S.arrow       the n-gram hashes of shard S, a batch per block of n-grams and part of the filter
  pages/S.arrow        tokens and paragraphs of shard S, a batch per block
  inserts/S.arrow      which n-grams are inserted, as bits, in the order of ngrams/S
  decisions/S.arrow    what becomes of the pages of shard S, a batch per block
  rounds/R.json        round R is resolved: this is its commit
  snapshots/R/P.bin    part P of the filter after R rounds
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef
from dedup.bff.bloom.filter import FilterShape
from dedup.bff.bloom.kernels import BLOCK_WORDS
from dedup.bff.config import BffConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class BffLayout:
    """What every task knows.

    `shape`: the filter; `parts`: how many ranges of blocks it is split into; `name`, `identity`: of the shared memory;
    `source`: the filter file to begin with.
    """

    folder: str
    config: BffConfig
    shape: FilterShape
    parts: int
    name: str
    identity: str
    source: str | None

    def first_block(self, part: int) -> int:
        """Where a part begins; that of `parts` is the number of blocks."""
        return self.shape.blocks * part // self.parts

    def part_words(self, part: int) -> int:
        """Words of a part."""
        return (self.first_block(part + 1) - self.first_block(part)) * BLOCK_WORDS

    def shared_name(self, part: int) -> str:
        """The name of a part's shared memory."""
        return f"{self.name}-{part}"

    def ngrams_url(self, shard: int) -> str:
        """The hashes of a shard."""
        return storage.join(self.folder, "ngrams", f"{shard:08d}.arrow")

    def pages_url(self, shard: int) -> str:
        """Tokens and paragraphs of a shard."""
        return storage.join(self.folder, "pages", f"{shard:08d}.arrow")

    def inserts_url(self, shard: int) -> str:
        """What is inserted of a shard."""
        return storage.join(self.folder, "inserts", f"{shard:08d}.arrow")

    def decisions_url(self, shard: int) -> str:
        """What becomes of a shard's pages."""
        return storage.join(self.folder, "decisions", f"{shard:08d}.arrow")

    def contained_url(self, part: int) -> str:
        """What a part of the filter contains of a round, as bits."""
        return storage.join(self.folder, "contained", f"{part:05d}.arrow")

    def commit_url(self, number: int) -> str:
        """The commit of a round."""
        return storage.join(self.folder, "rounds", f"{number:08d}.json")

    def snapshot_url(self, rounds: int, part: int) -> str:
        """A part of the filter after so many rounds."""
        return storage.join(self.folder, "snapshots", f"{rounds:08d}", f"{part:05d}.bin")

    def snapshot_done_url(self, rounds: int) -> str:
        """Stands when all parts of a snapshot do."""
        return storage.join(self.folder, "snapshots", f"{rounds:08d}.json")

    @property
    def rounds_url(self) -> str:
        """The shards of each round."""
        return storage.join(self.folder, "rounds.json")


def cut_rounds(inputs: Sequence[ShardRef], round_bytes: int) -> list[tuple[int, int]]:
    """Runs of shards (first, after the last) in input order, each ended once it reaches `round_bytes`."""
    rounds: list[tuple[int, int]] = []
    begin = size = 0
    for number, shard in enumerate(inputs):
        size += shard.bytes
        if size >= round_bytes or number == len(inputs) - 1:
            rounds.append((begin, number + 1))
            begin, size = number + 1, 0
    return rounds


@functools.lru_cache(maxsize=4)
def _read_rounds(url: str) -> list[tuple[int, int]]:
    return [(first, last) for first, last in storage.read_json(url)]


def round_shards(layout: BffLayout, number: int) -> range:
    """The numbers of a round's shards; the table is read once per worker."""
    return range(*_read_rounds(layout.rounds_url)[number])
