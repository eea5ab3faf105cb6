"""The global order: position p of a run is the same sequence for any number of processes, readers and restarts.

Per pass over a source, its shards are permuted by the seed, and the sequences of each window of a few shards are
permuted among themselves: reads stay sequential, memory is bounded by two windows. Several sources are interleaved in
blocks whose quotas follow the weights. Batch s of a phase is positions s B to (s + 1) B; rank r takes the r-th of
`world_size` equal parts of it. Nothing but the position is needed to go on.

A sequence longer than needed starts at a token drawn from its position; a shorter one is padded, the padding no target.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpusmith.errors import InputError
from corpusmith.seeds import stable_hash
from training.data.batch import Batch, BatchSpec, SequenceOrigin, check_ids, fix_id, pad_batch
from training.data.masking import I64Array
from training.data.token_shards import TokenSequence, TokenShard, read_rows

MIX_BLOCK = 1024
_U16_VOCABULARY = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Consecutive positions of a source, `first` to `last` (exclusive), and the shards whose rows they permute."""

    first: int
    last: int
    number: int
    shards: tuple[TokenShard, ...]


class SourceOrder:
    """The order of the sequences of one source, over as many passes as are asked for.

    Args:
        shards: of the source, in the order of its index; empty ones don't matter.
        key: what makes this order differ from others (seed, phase, index of the source).
        window_shards: how many shards are shuffled together.
    """

    def __init__(self, shards: Sequence[TokenShard], key: tuple[int | str, ...], window_shards: int) -> None:
        self._shards, self._key, self._window_shards = list(shards), key, window_shards
        self.total = sum(shard.num_sequences for shard in shards)
        self._pass = functools.lru_cache(maxsize=2)(self._windows_of_pass)

    def _windows_of_pass(self, number: int) -> list[Window]:
        order = _generator("shards", *self._key, number).permutation(len(self._shards))
        windows: list[Window] = []
        first = number * self.total
        for start in range(0, len(order), self._window_shards):
            chosen = tuple(self._shards[index] for index in order[start : start + self._window_shards])
            last = first + sum(shard.num_sequences for shard in chosen)
            windows.append(Window(first=first, last=last, number=start // self._window_shards, shards=chosen))
            first = last
        return windows

    def window(self, position: int) -> Window:
        """The window that a position lies in."""
        windows = self._pass(position // self.total)
        return windows[bisect.bisect_right([window.last for window in windows], position)]

    def shards_before(self, position: int) -> int:
        """How many shards, counted over passes, were used up before the window of a position."""
        number = position // self.total
        return number * len(self._shards) + self.window(position).number * self._window_shards

    def rows(self, window: Window) -> I64Array:
        """The row of each position of a window, counted through its shards in order."""
        draws = _generator("rows", *self._key, window.first)
        return draws.permutation(window.last - window.first)


class Interleaving:
    """Which source each position reads from, and the how-manieth sequence of it.

    In each block of `MIX_BLOCK` positions every source has the quota that keeps it closest to its share of all
    positions so far; within the block they are spread evenly, by draws from the key.
    """

    def __init__(self, weights: Sequence[float], key: tuple[int | str, ...]) -> None:
        self._shares = np.asarray(weights, dtype=np.float64) / sum(weights)
        self._key = key
        self._before: list[I64Array] = [np.zeros(len(weights), dtype=np.int64)]  # of each block, and one beyond
        self._labels = functools.lru_cache(maxsize=64)(self._labels_of_block)

    def before(self, position: int) -> I64Array:
        """How many sequences each source has given before a position."""
        if len(self._shares) == 1:
            return np.array([position])
        block, offset = divmod(position, MIX_BLOCK)
        counts = self._counts(block).copy()
        if offset:
            counts += np.bincount(self._labels(block)[:offset], minlength=len(self._shares))
        return counts

    def sources(self, first: int, last: int) -> I64Array:
        """The source of each position from `first` to `last` (exclusive)."""
        if len(self._shares) == 1:
            return np.zeros(last - first, dtype=np.int64)
        blocks = range(first // MIX_BLOCK, -(-last // MIX_BLOCK))
        labels = np.concatenate([self._labels(block) for block in blocks])
        return labels[first - blocks.start * MIX_BLOCK :][: last - first]

    def positions(self, source: int, first: int, last: int) -> I64Array:
        """The positions at which sequences `first` to `last` (exclusive) of a source are read."""
        if len(self._shares) == 1:
            return np.arange(first, last)
        found: list[I64Array] = [np.zeros(0, dtype=np.int64)]
        while self._before[-1][source] <= first < last:
            self._counts(len(self._before))
        block = max(0, bisect.bisect_right(self._before, first, key=lambda counts: counts[source]) - 1)
        count = self._counts(block)[source]
        skip = first - count
        while count < last:
            in_block = np.flatnonzero(self._labels(block) == source) + block * MIX_BLOCK
            found.append(in_block)
            count += len(in_block)
            block += 1
        return np.concatenate(found)[skip : skip + last - first]

    def _counts(self, block: int) -> I64Array:
        """`before` at the start of a block."""
        while len(self._before) <= block:
            given = self._before[-1]
            missing = np.maximum(self._shares * MIX_BLOCK * len(self._before) - given, 0.0)
            quota = np.floor(missing * (MIX_BLOCK / missing.sum())).astype(np.int64)
            # what rounding down left over goes to those that it took most from
            most = np.argsort(quota - missing, kind="stable")[: MIX_BLOCK - quota.sum()]
            quota[most] += 1
            self._before.append(given + quota)
        return self._before[block]

    def _labels_of_block(self, block: int) -> I64Array:
        quota = self._counts(block + 1) - self._counts(block)
        draws = _generator("mixture", *self._key, block)
        # sequence k of n falls at random into the k-th of n equal parts, so that a part of a block has the shares too
        moments = np.concatenate([(np.arange(count) + draws.random(count)) / max(1, count) for count in quota])
        return np.repeat(np.arange(len(quota)), quota)[np.argsort(moments, kind="stable")]


def _generator(*key: int | str) -> np.random.Generator:
    return np.random.default_rng(stable_hash("global order", *key))


@dataclass(frozen=True, kw_only=True, slots=True)
class _LoadedSequence:
    """A sequence in memory, ids within the vocabulary."""

    ids: npt.NDArray[np.unsignedinteger]
    shard: str
    row: int
    domain: str


class GlobalReader:
    """Reads one rank's batches of a phase in the global order.

    Args:
        orders: of each source.
        interleaving: of the sources.
        domains: of the sequences of each source that name none themselves.
        spec: sizes, and which part of a batch this rank has.
        last_position: where the phase ends; nothing beyond it is read.
    """

    def __init__(
        self,
        orders: Sequence[SourceOrder],
        interleaving: Interleaving,
        domains: Sequence[str],
        spec: BatchSpec,
        last_position: int,
    ) -> None:
        self._orders, self._interleaving, self._domains = list(orders), interleaving, list(domains)
        self._spec, self._last = spec, last_position
        self._dtype = np.uint16 if spec.vocab_size <= _U16_VOCABULARY else np.uint32

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        """The batches of the steps `first_step` to `last_step` (exclusive), counted from the phase's start."""
        spec = self._spec
        whole = spec.batch_size * spec.world_size
        readers = ThreadPoolExecutor(max(1, spec.workers), thread_name_prefix="token-shards")
        try:
            windows = [_WindowCache(self, index, readers) for index in range(len(self._orders))]
            for step in range(first_step, last_step):
                begin = step * whole
                sources = self._interleaving.sources(begin, begin + whole)
                counts = self._interleaving.before(begin)
                yield self._batch(windows, sources, counts)
        finally:
            readers.shutdown(cancel_futures=True)

    def _batch(self, windows: list[_WindowCache], sources: I64Array, counts: I64Array) -> Batch:
        """This rank's part of a batch; `counts` is how many sequences each source gave before it."""
        spec = self._spec
        chunk = np.zeros((spec.batch_size, spec.seq_len + 1), dtype=np.int64)
        lengths, origins = np.zeros(spec.batch_size, dtype=np.int64), []
        of_rank = range(spec.rank * spec.batch_size, (spec.rank + 1) * spec.batch_size)
        ordinals = np.zeros(len(sources), dtype=np.int64)
        for source in range(len(windows)):
            of_source = sources == source
            ordinals[of_source] = counts[source] + np.arange(of_source.sum())
        for slot, index in enumerate(of_rank):
            source, ordinal = int(sources[index]), int(ordinals[index])
            row = windows[source].row(ordinal)
            start = self._start(source, ordinal, len(row.ids))
            kept = row.ids[start : start + spec.seq_len + 1]
            chunk[slot, : len(kept)] = kept
            lengths[slot] = len(kept)
            domain = row.domain or self._domains[source]
            origins.append(SequenceOrigin(shard=row.shard, row=row.row, start=start, source=source, domain=domain))
        return pad_batch(chunk, lengths, spec, origins)

    def _start(self, source: int, ordinal: int, length: int) -> int:
        """The first token to read of a sequence."""
        spare = length - self._spec.seq_len - 1
        return stable_hash("start", source, ordinal) % (spare + 1) if spare > 0 else 0

    def owned(self, source: int, window: Window) -> I64Array:
        """The offsets within a window of the sequences that this rank reads."""
        spec = self._spec
        positions = self._interleaving.positions(source, window.first, window.last)
        ranks = positions % (spec.batch_size * spec.world_size) // spec.batch_size
        return np.flatnonzero((ranks == spec.rank) & (positions < self._last))

    def order(self, source: int) -> SourceOrder:
        """The order of a source."""
        return self._orders[source]

    def read(self, shard: TokenShard, rows: I64Array) -> list[_LoadedSequence]:
        """These rows (ascending) of a shard."""
        found = [self._in_memory(shard, row) for row in read_rows(shard, rows)]
        if len(found) != len(rows):
            raise InputError(
                f"{shard.url} holds fewer than the {shard.num_sequences} sequences that its index promises; "
                "make the index again (tools/make_wds_manifest.py for a manifest.jsonl)"
            )
        return found

    def _in_memory(self, shard: TokenShard, row: TokenSequence) -> _LoadedSequence:
        vocabulary = self._spec.vocab_size
        ids = np.asarray(row.ids)
        if ids.dtype.kind not in "iu":
            ids = np.array([fix_id(token, vocabulary) for token in row.ids], dtype=np.int64)
        try:
            checked = check_ids(ids.astype(np.int64, copy=False), vocabulary)
        except InputError as error:
            raise InputError(f"{shard.url}: sequence {row.row}: {error}") from error
        return _LoadedSequence(ids=checked.astype(self._dtype), shard=shard.url, row=row.row, domain=row.domain)


class _WindowCache:
    """The window of one source that is being read, and the next one, which is being loaded."""

    def __init__(self, reader: GlobalReader, source: int, readers: ThreadPoolExecutor) -> None:
        self._reader, self._source, self._readers = reader, source, readers
        self._window: Window | None = None
        self._rows: dict[int, _LoadedSequence] = {}
        self._loading: tuple[Window, list[tuple[I64Array, Future[list[_LoadedSequence]]]]] | None = None

    def row(self, position: int) -> _LoadedSequence:
        """The sequence at a position of the source."""
        if self._window is None or not self._window.first <= position < self._window.last:
            self._enter(self._reader.order(self._source).window(position))
        assert self._window is not None
        return self._rows[position - self._window.first]

    def _enter(self, window: Window) -> None:
        """Make a window the current one, and begin to load the one after it."""
        loading = self._loading[1] if self._loading and self._loading[0] == window else self._load(window)
        self._rows = {
            int(offset): row
            for offsets, future in loading
            for offset, row in zip(offsets, future.result(), strict=True)
        }
        self._window = window
        next_window = self._reader.order(self._source).window(window.last)
        self._loading = (next_window, self._load(next_window))

    def _load(self, window: Window) -> list[tuple[I64Array, Future[list[_LoadedSequence]]]]:
        """For each shard: the offsets within the window of the rows that are read, in the order of the rows."""
        rows = self._reader.order(self._source).rows(window)
        offsets = self._reader.owned(self._source, window)
        wanted = rows[offsets]
        ordered = np.argsort(wanted)
        offsets, wanted = offsets[ordered], wanted[ordered]
        found: list[tuple[I64Array, Future[list[_LoadedSequence]]]] = []
        first = 0
        for shard in window.shards:
            here = slice(*np.searchsorted(wanted, (first, first + shard.num_sequences)))
            if here.start < here.stop:
                future = self._readers.submit(self._reader.read, shard, wanted[here] - first)
                found.append((offsets[here], future))
            first += shard.num_sequences
        return found
