"""Phase 2 of the Bloom-filter dedup where the filter is split: each part in a task of its own, on the node of its part.

A part goes through the round's n-grams of its range of hashes in input order: it notes which are contained, then
inserts those that are marked for now, and at the end takes its insertions back. From what all parts found the pages are
decided, which marks n-grams anew. This repeats until no mark changes. Whether an n-gram is contained depends on marks
of earlier units only, so the first unit is right after the first pass, each pass makes at least one more right, and
where nothing changes all are as in one sequential pass. Text that repeats in few places needs two or three passes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import orjson

from corpusmith.text.kernels import U32Array, U64Array
from dedup.bff.blocks import ArraysReader, ArraysWriter, NgramBlock, open_arrays_writer, resolve_contained
from dedup.bff.bloom.kernels import check_and_insert, undo
from dedup.bff.hash import split, write_inserts
from dedup.bff.layout import BffLayout, round_shards
from dedup.bff.resolve import DECISION_TYPES, kernel_shape, open_part, write_decisions

FIRST_BATCHES = b"first_batches"
_NO_HASHES = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, kw_only=True, slots=True)
class PassTask:
    """One pass of a part over a round; `snapshot` as in `open_part`."""

    layout: BffLayout
    part: int
    number: int
    snapshot: int

    def run(self) -> int:
        """Write what is contained; returns how many of the marked n-grams set a bit."""
        layout, shards = self.layout, round_shards(self.layout, self.number)
        metadata = {FIRST_BATCHES: orjson.dumps(self._first_batches(shards))}
        with open_part(layout, self.part, self.number, self.snapshot) as shared:
            shared.begin()
            with open_arrays_writer(layout.contained_url(self.part), {"contained": "u1"}, metadata) as writer:
                insertions = [bits for shard in shards for bits in self._pass_over(shard, shared.words, writer)]
            self._take_back(shards, shared.words, insertions)
            shared.commit(0 if layout.config.no_update_bloom_filter else self.number)
        return sum(int(np.count_nonzero(newly_set_bits)) for newly_set_bits in insertions)

    def _pass_over(self, shard: int, words: U64Array, writer: ArraysWriter) -> Iterator[U32Array]:
        """Write what is contained of a shard and insert what is marked; for each batch the newly set bits."""
        layout = self.layout
        with ArraysReader(layout.ngrams_url(shard)) as ngrams, ArraysReader(layout.inserts_url(shard)) as inserts:
            for batch in range(self.part, len(ngrams), layout.parts):
                arrays = ngrams[batch]
                hashes, units = arrays["hashes"], arrays["units"]
                marked = np.unpackbits(inserts[batch]["inserts"], count=len(hashes))
                contained = np.zeros(len(hashes), dtype=np.uint8)
                newly_set_bits = np.zeros(len(hashes), dtype=np.uint32)
                shape = kernel_shape(layout, self.part)
                check_and_insert(words, hashes, units, marked, *shape, contained, newly_set_bits)
                writer.write(contained=np.packbits(contained))
                yield newly_set_bits

    def _first_batches(self, shards: range) -> list[int]:
        """The number of each shard's first batch among those that the pass writes."""
        firsts = [0]
        for shard in shards:
            with ArraysReader(self.layout.ngrams_url(shard)) as ngrams:
                firsts.append(firsts[-1] + len(ngrams) // self.layout.parts)
        return firsts

    def _take_back(self, shards: range, words: U64Array, insertions: list[U32Array]) -> None:
        layout, number = self.layout, 0
        for shard in shards:
            with ArraysReader(layout.ngrams_url(shard)) as ngrams:
                for batch in range(self.part, len(ngrams), layout.parts):
                    undo(words, ngrams[batch]["hashes"], *kernel_shape(layout, self.part), insertions[number])
                    number += 1


@dataclass(frozen=True, kw_only=True, slots=True)
class DecideTask:
    """A shard whose pages are decided from what all parts contain."""

    layout: BffLayout
    number: int
    shard: int

    def run(self) -> bool:
        """Write decisions and marks; returns whether a mark changed."""
        layout = self.layout
        position = self.shard - round_shards(layout, self.number).start
        changed = False
        with (
            contextlib.ExitStack() as readers,
            ArraysReader(layout.pages_url(self.shard)) as pages,
            ArraysReader(layout.inserts_url(self.shard)) as before,
            open_arrays_writer(layout.decisions_url(self.shard), DECISION_TYPES) as decisions,
            open_arrays_writer(layout.inserts_url(self.shard), {"inserts": "u1"}) as inserts,
        ):
            urls = [layout.contained_url(part) for part in range(layout.parts)]
            found = [readers.enter_context(ArraysReader(url)) for url in urls]
            first = orjson.loads(found[0].metadata[FIRST_BATCHES])[position]
            for number in range(len(pages)):
                arrays = pages[number]
                parts = arrays["parts"]
                contained = np.zeros(len(parts), dtype=np.uint8)
                marked = np.zeros(len(parts), dtype=np.uint8)
                for part, chosen in enumerate(split(parts, layout.parts)):
                    count = len(contained[chosen])
                    contained[chosen] = np.unpackbits(found[part][first + number]["contained"], count=count)
                    marked[chosen] = np.unpackbits(before[number * layout.parts + part]["inserts"], count=count)
                block = NgramBlock(hashes=_NO_HASHES, tokens=arrays["tokens"], pages=arrays["pages"])
                decided = resolve_contained(block, layout.config, contained)
                changed = changed or not np.array_equal(decided.inserts, marked)
                write_decisions(decisions, decided)
                write_inserts(inserts, decided.inserts, parts, layout)
        return changed
