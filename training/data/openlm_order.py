"""OpenLM's order of the data: which shards make an epoch, and how they are dealt out to ranks and readers.

Follows OpenLM's sampling without replacement: shards of an index in (seeded) order, split round-robin over ranks,
then over workers; each worker forms its own batches; an "epoch" is the data between two checkpoints, not a pass.
Departs from it in that workers are streams of one process, read in turn in the order in which a multi-process loader
would deliver them: reading token shards costs little beside a training step. Random starts in sequences that are
longer than needed are drawn from (seed, epoch, rank), so that a resumed run reads what an undisturbed one reads.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.run.progress import say
from corpusmith.seeds import stable_hash
from training.data.batch import Batch, BatchSpec, Ids, SequenceOrigin, make_batch
from training.data.token_shards import TokenShard, read_rows

PASS_ATTEMPTS = 3


class DataExhausted(InputError):
    """An epoch asks for more sequences than the manifest has left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSelection:
    """The shards of one epoch per source, in order, and the position in each source where the next epoch starts."""

    entries: list[list[TokenShard]]
    next_shards: list[int]

    @property
    def shards(self) -> list[list[str]]:
        """The names of the shards."""
        return [[entry.name for entry in entries] for entries in self.entries]

    @property
    def num_sequences(self) -> list[int]:
        """Sequences in the shards of each source, as the manifest has them."""
        return [sum(entry.num_sequences for entry in entries) for entries in self.entries]


def select_shards(
    manifests: Sequence[Sequence[TokenShard]],
    num_sequences: int,
    starts: Sequence[int],
    *,
    workers: int,
    world_size: int,
    seed: int | None,
    weights: Sequence[float] | None = None,
    multiple_passes: bool = False,
) -> ShardSelection:
    """Choose the shards of one epoch.

    Args:
        manifests: entries of each source in the order of its file.
        num_sequences: sequences that the epoch should have; it may get fewer, because each source keeps a multiple
            of `workers * world_size` shards.
        starts: position in each source; with `multiple_passes` it counts on over passes.
        workers: loader workers of each rank (0 counts as 1).
        seed: shuffles the shards; pass p over the data uses `seed + p`. None keeps the order of the manifest.
        weights: share of each source; equal by default.
        multiple_passes: start another pass where one runs out, leaving the remainder of the old one unread.

    Raises:
        DataExhausted: a source runs out.
        InputError: sources stand in different passes.
    """
    weights = weights or [1.0] * len(manifests)
    streams = max(1, workers) * world_size
    if not multiple_passes:
        return _select_in_pass(manifests, num_sequences, starts, streams, seed, weights)
    passes = {start // len(manifest) for start, manifest in zip(starts, manifests, strict=True) if manifest}
    if len(passes) != 1:
        raise InputError(f"the sources stand in different passes over their data: {sorted(passes)}")
    current = passes.pop()
    local = [start % len(manifest) for start, manifest in zip(starts, manifests, strict=True)]
    for attempt in range(PASS_ATTEMPTS):
        try:
            pass_seed = None if seed is None else seed + current
            chosen = _select_in_pass(manifests, num_sequences, local, streams, pass_seed, weights)
        except DataExhausted:
            if attempt == PASS_ATTEMPTS - 1:
                raise
            current, local = current + 1, [0] * len(manifests)
            continue
        shifted = [n + current * len(manifest) for n, manifest in zip(chosen.next_shards, manifests, strict=True)]
        return ShardSelection(entries=chosen.entries, next_shards=shifted)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _select_in_pass(
    manifests: Sequence[Sequence[TokenShard]],
    num_sequences: int,
    starts: Sequence[int],
    streams: int,
    seed: int | None,
    weights: Sequence[float],
) -> ShardSelection:
    """`select_shards` within one pass; `streams` is workers times ranks."""
    ordered = [_shuffled(manifest, seed) for manifest in manifests]
    needed = [math.ceil(weight * num_sequences / sum(weights)) for weight in weights]
    taken: list[list[TokenShard]] = [[] for _ in manifests]
    while any(
        len(entries) < streams or sum(entry.num_sequences for entry in entries) < need
        for entries, need in zip(taken, needed, strict=True)
    ):
        for entries, order, start in zip(taken, ordered, starts, strict=True):
            position = start + len(entries)
            if position >= len(order):
                raise DataExhausted(
                    f"an epoch needs {max(needed)} sequences and at least {streams} shards from shard {start} on, but "
                    f"the manifest has {len(order)} shards with {sum(e.num_sequences for e in order)} sequences; use "
                    "--multiple-data-passes, fewer tokens, fewer --workers, or smaller shards"
                )
            entries.append(order[position])
    kept = [entries[: len(entries) // streams * streams] for entries in taken]
    return ShardSelection(
        entries=kept,
        next_shards=[start + len(entries) for start, entries in zip(starts, kept, strict=True)],
    )


def _shuffled(manifest: Sequence[TokenShard], seed: int | None) -> list[TokenShard]:
    """The entries in the order that the seed gives."""
    order = list(range(len(manifest)))
    if seed is not None:
        np.random.default_rng(seed).shuffle(order)
    return [manifest[index] for index in order]


def batches_per_worker(num_sequences: int, spec: BatchSpec) -> int:
    """Full batches that each worker may yield.

    Raises:
        InputError: not even one.
    """
    streams = spec.world_size * max(1, spec.workers)
    count = num_sequences // (spec.batch_size * streams)
    if count == 0:
        raise InputError(
            f"an epoch of {num_sequences} sequences has no full batch of {spec.batch_size} sequences for each of "
            f"{streams} readers; use a smaller --global-bs, fewer --workers, or fewer --num-checkpoints"
        )
    return count


def nominal_steps(selection: ShardSelection, spec: BatchSpec) -> int:
    """Steps of the epoch if all its shards were equally long."""
    return sum(batches_per_worker(count, spec) * max(1, spec.workers) for count in selection.num_sequences)


def possible_steps(selection: ShardSelection, spec: BatchSpec) -> int:
    """Steps for which every rank has a batch, by the manifest's counts: a short shard holds all ranks up.

    Raises:
        InputError: not even one.
    """
    steps = min(_rank_batches(selection, spec, rank) for rank in range(spec.world_size))
    if steps == 0:
        raise InputError(
            f"a rank has no full batch of {spec.batch_size} sequences in its shards of this epoch; use more and "
            "equally long shards, a smaller --global-bs, or fewer --num-checkpoints"
        )
    return steps


def _rank_batches(selection: ShardSelection, spec: BatchSpec, rank: int) -> int:
    """Batches that one rank gets in the epoch, all sources together."""
    total = 0
    workers = max(1, spec.workers)
    for entries, count in zip(selection.entries, selection.num_sequences, strict=True):
        limit = batches_per_worker(count, spec)
        of_rank = entries[rank :: spec.world_size]
        for worker in range(workers):
            sequences = sum(entry.num_sequences for entry in of_rank[worker::workers])
            total += min(limit, sequences // spec.batch_size)
    return total


def epoch_batches(
    selection: ShardSelection,
    spec: BatchSpec,
    *,
    seed: int,
    epoch: int,
    weights: Sequence[float] | None = None,
    domains: Sequence[str] | None = None,
) -> Iterator[Batch]:
    """The batches of one rank in one epoch.

    Args:
        seed, epoch: decide the random starts and the order in which sources are mixed.
        domains: of the sequences of each source that name none themselves.
    """
    draws = random.Random(stable_hash("training batches", seed, epoch, spec.rank))
    names = list(domains or [""] * len(selection.entries))
    sources = [
        _source_batches(_SourceLabel(index, domain), shards, batches_per_worker(count, spec), spec, draws)
        for index, (domain, shards, count) in enumerate(
            zip(names, selection.entries, selection.num_sequences, strict=True)
        )
    ]
    return sources[0] if len(sources) == 1 else _mixed(sources, list(weights or [1.0] * len(sources)), draws)


@dataclass(frozen=True, slots=True)
class _SourceLabel:
    """Index of a source, and the domain of its sequences that name none."""

    index: int
    domain: str


def _mixed(sources: list[Iterator[Batch]], weights: list[float], draws: random.Random) -> Iterator[Batch]:
    """Batches of several sources at random by weight, until all are exhausted."""
    while sources:
        index = draws.choices(range(len(sources)), weights)[0]
        batch = next(sources[index], None)
        if batch is None:
            del sources[index], weights[index]
        else:
            yield batch


def _source_batches(
    source: _SourceLabel, shards: Sequence[TokenShard], limit: int, spec: BatchSpec, draws: random.Random
) -> Iterator[Batch]:
    """The batches of one source: one from each worker in turn, until all workers are done."""
    of_rank = list(shards)[spec.rank :: spec.world_size]
    workers = max(1, spec.workers)
    streams = [_worker_batches(source, of_rank[worker::workers], limit, spec, draws) for worker in range(workers)]
    while streams:
        alive = []
        for stream in streams:
            batch = next(stream, None)
            if batch is not None:
                alive.append(stream)
                yield batch
        streams = alive


def _worker_batches(
    source: _SourceLabel, shards: Sequence[TokenShard], limit: int, spec: BatchSpec, draws: random.Random
) -> Iterator[Batch]:
    """At most `limit` full batches from these shards in order."""
    rows: list[Ids] = []
    origins: list[SequenceOrigin] = []
    made = 0
    for origin, ids in read_sequences(shards, spec, source.index, source.domain):
        rows.append(ids)
        origins.append(origin)
        if len(rows) == spec.batch_size:
            if made == limit:
                return
            yield make_batch(rows, spec, draws, origins)
            rows, origins, made = [], [], made + 1


def read_sequences(
    shards: Sequence[TokenShard], spec: BatchSpec, source: int = 0, domain: str = ""
) -> Iterator[tuple[SequenceOrigin, Ids]]:
    """The sequences of these shards in order; those that are too short are skipped, and their number is reported.

    Args:
        shards: to read from.
        spec: sequences have more than its `seq_len` tokens.
        source: index of the source, for the origins.
        domain: of sequences that name none themselves.
    """
    for shard in shards:
        skipped = 0
        for row in read_rows(shard):
            if len(row.ids) > spec.seq_len:
                yield SequenceOrigin(shard=shard.url, row=row.row, source=source, domain=row.domain or domain), row.ids
            else:
                skipped += 1
        if skipped:
            say(f"{shard.url}: skipped {skipped} sequences of at most {spec.seq_len} tokens")


def shard_expression(shards: Sequence[TokenShard]) -> str:
    """`folder/{a,b}.tar`, or `folder/a.tar` for one shard, as OpenLM notes the shards of an epoch."""
    names = [shard.name for shard in shards]
    joined = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
    suffix = storage.basename(shards[0].url)[len(names[0]) :]
    return storage.join(storage.parent(shards[0].url), f"{joined}{suffix}")
