"""Phase 2 of the Bloom-filter dedup: a round decided in input order, and the filter replayed to where it was.

A round's decisions and marks are written first, then its commit, and only then does the shared memory say that it holds
the round. So whatever died, the filter is filled again from the last snapshot and the marks of the rounds after it, and
a task that runs twice never meets its own n-grams.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from corpusmith.io import storage
from dedup.bff.blocks import ArraysReader, ArraysWriter, NgramBlock, open_arrays_writer, resolve_in_order
from dedup.bff.bloom.filter import (
    FilterHeader,
    load_filter_words,
    read_words,
    save_filter,
    words_checksum,
    write_words,
)
from dedup.bff.bloom.kernels import count_set_bits, insert_marked
from dedup.bff.bloom.shared_memory import SharedFilter, open_shared, remove_shared
from dedup.bff.layout import BffLayout, round_shards
from dedup.bff.resolve_kernels import Decisions

DECISION_TYPES = {"removed": "u1", "documents": "u1", "counts": "i4", "intervals": "i4", "interval_counts": "i4"}


@contextlib.contextmanager
def open_part(layout: BffLayout, part: int, rounds: int, snapshot: int) -> Iterator[SharedFilter]:
    """A part of the filter that holds exactly the first `rounds` rounds; `snapshot`: those in the last snapshot."""
    if layout.config.no_update_bloom_filter:
        rounds = snapshot = 0
    with open_shared(layout.shared_name(part), layout.identity, layout.part_words(part)) as shared:
        replay_to(layout, part, shared, rounds, snapshot)
        yield shared


def replay_to(layout: BffLayout, part: int, shared: SharedFilter, rounds: int, snapshot: int) -> None:
    """Insert the rounds that are missing, from the last snapshot on where it is not known what the memory holds."""
    held = shared.rounds
    if held == rounds:
        return
    shared.begin()
    if not 0 <= held < rounds:
        _load(layout, part, shared, snapshot)
        held = snapshot
    for number in range(held, rounds):
        for shard in round_shards(layout, number):
            _insert_shard(layout, part, shared, shard)
    shared.commit(rounds)


def _load(layout: BffLayout, part: int, shared: SharedFilter, snapshot: int) -> None:
    if snapshot:
        url = layout.snapshot_url(snapshot, part)
        with storage.open_read(url) as file:
            read_words(file, shared.words, url)
    elif layout.source is not None:
        load_filter_words(layout.source, shared.words, layout.first_block(part))
    elif not shared.is_new:
        shared.words[:] = 0


def _insert_shard(layout: BffLayout, part: int, shared: SharedFilter, shard: int) -> None:
    with ArraysReader(layout.ngrams_url(shard)) as ngrams, ArraysReader(layout.inserts_url(shard)) as inserts:
        for batch in range(part, len(ngrams), layout.parts):
            hashes = ngrams[batch]["hashes"]
            marked = np.unpackbits(inserts[batch]["inserts"], count=len(hashes))
            insert_marked(shared.words, hashes, marked, *kernel_shape(layout, part))


def kernel_shape(layout: BffLayout, part: int) -> tuple[int, np.uint64, int]:
    """What kernels of the filter take besides words and hashes: k, all blocks, the part's first block."""
    return layout.shape.hashes, np.uint64(layout.shape.blocks), layout.first_block(part)


def write_snapshot(layout: BffLayout, part: int, shared: SharedFilter, rounds: int) -> None:
    """Keep a part of the filter as it is after so many rounds."""
    with storage.atomic_write(layout.snapshot_url(rounds, part)) as file:
        write_words(file, shared.words)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolveTask:
    """A round to be decided by one task that has the whole filter; `snapshot` as in `open_part`.

    `takes_snapshot`: keep the filter as it is afterwards.
    """

    layout: BffLayout
    number: int
    snapshot: int
    takes_snapshot: bool

    def run(self) -> None:
        """Write the decisions of the round's shards, commit the round, then the filter."""
        layout, after = self.layout, self.number + 1
        if storage.exists(layout.commit_url(self.number)):
            with open_part(layout, 0, after, self.snapshot) as shared:
                self._keep(shared)
            return
        with open_part(layout, 0, self.number, self.snapshot) as shared:
            shared.begin()
            figures = {"fresh": 0, "ngrams": 0}
            for shard in round_shards(layout, self.number):
                self._resolve(shard, shared, figures)
            storage.write_json(layout.commit_url(self.number), figures)
            shared.commit(0 if layout.config.no_update_bloom_filter else after)
            self._keep(shared)

    def _keep(self, shared: SharedFilter) -> None:
        if self.takes_snapshot:
            write_snapshot(self.layout, 0, shared, self.number + 1)
            storage.write_json(self.layout.snapshot_done_url(self.number + 1), {})

    def _resolve(self, shard: int, shared: SharedFilter, figures: dict[str, int]) -> None:
        layout = self.layout
        with (
            ArraysReader(layout.ngrams_url(shard)) as ngrams,
            ArraysReader(layout.pages_url(shard)) as pages,
            open_arrays_writer(layout.decisions_url(shard), DECISION_TYPES) as decisions,
            open_arrays_writer(layout.inserts_url(shard), {"inserts": "u1"}) as inserts,
        ):
            for number in range(len(pages)):
                structure, hashes = pages[number], ngrams[number]["hashes"]
                block = NgramBlock(hashes=hashes, tokens=structure["tokens"], pages=structure["pages"])
                decided, new_ngrams = resolve_in_order(block, layout.config, shared.words, layout.shape)
                write_decisions(decisions, decided)
                inserts.write(inserts=np.packbits(decided.inserts))
                figures["fresh"] += new_ngrams
                figures["ngrams"] += len(block.hashes)


def write_decisions(writer: ArraysWriter, decided: Decisions) -> None:
    """Write what phase 3 needs of a block."""
    writer.write(**{name: getattr(decided, name) for name in DECISION_TYPES})


# --- the filter after the last round --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class PartTask:
    """Replays a part of the filter to `rounds` and counts its set bits; keeps it where asked to."""

    layout: BffLayout
    part: int
    rounds: int
    snapshot: int
    takes_snapshot: bool = False

    def run(self) -> int:
        """The number of set bits."""
        with open_part(self.layout, self.part, self.rounds, self.snapshot) as shared:
            if self.takes_snapshot:
                write_snapshot(self.layout, self.part, shared, self.rounds)
            return int(count_set_bits(shared.words))


@dataclass(frozen=True, kw_only=True, slots=True)
class SaveTask:
    """Writes the filter file from the snapshot of all parts after the last round; `header` lacks the checksum."""

    layout: BffLayout
    path: str
    header: dict[str, Any]
    rounds: int

    def run(self) -> None:
        """Read the snapshot twice: for the checksum, which stands in front, and for the words."""
        urls = [self.layout.snapshot_url(self.rounds, part) for part in range(self.layout.parts)]
        save_filter(self.path, FilterHeader(**self.header, checksum=words_checksum(urls)), urls)


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgetTask:
    """Gives back the memory of parts on the node where it runs."""

    layout: BffLayout

    def run(self) -> None:
        """Remove the parts that lie here."""
        for part in range(self.layout.parts):
            remove_shared(self.layout.shared_name(part))
