"""The loader: one door to the batches of a run, in either order, read ahead of the steps that use them.

`openlm` deals shards out to readers and goes on at checkpoints only (`training.data.openlm_order`); `global`, the
default, gives every position one sequence, whatever the number of processes, and goes on at any step
(`training.data.global_order`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from corpusmith.errors import InputError
from corpusmith.seeds import stable_hash
from training.data.batch import Batch, BatchSpec
from training.data.global_order import GlobalReader, Interleaving, SourceOrder
from training.data.openlm_order import epoch_batches, nominal_steps, possible_steps, select_shards, shard_expression
from training.data.token_shards import TokenDataset, find_token_dataset
from training.plan.choices import GLOBAL_ORDER
from training.plan.config import TrainConfig
from training.plan.phase_plan import Phase
from training.state.ranks import Ranks


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """The data up to the next checkpoint.

    `steps` is for how many steps every rank should have a batch, `nominal_steps` for how many if all shards were
    equally long; `next_shards` the position in each source after it; `description` names its data; `fingerprint` is
    equal on all ranks. Where it is `even`, every rank has exactly `steps` batches, and nobody needs to ask.
    """

    batches: Iterator[Batch]
    steps: int
    nominal_steps: int
    next_shards: list[int]
    description: str
    fingerprint: int
    even: bool = False


class Loader(Protocol):
    """The data of a run."""

    def epoch(self, step: int, epoch: int, next_shards: Sequence[int]) -> Epoch:
        """The data from optimizer step `step` to the next checkpoint.

        `epoch` counts the checkpoints so far; `next_shards` is what the last one gave.
        """
        ...

    def identity(self) -> dict[str, Any]:
        """What decides the order of the data, as JSON; a run may go on only with the same."""
        ...


def make_loader(config: TrainConfig, ranks: Ranks) -> Loader:
    """The loader of a run; reads the indexes of all its data.

    Raises:
        InputError: data that is missing, or not enough of it.
    """
    if config.order == GLOBAL_ORDER:
        return GlobalLoader(config, ranks)
    return OpenlmLoader(config, ranks)


class OpenlmLoader:
    """Epochs of fresh shards, as OpenLM chooses them."""

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        self._config, self._world_size = config, ranks.world_size
        self._phase = config.plan.phases[0]
        self._spec = config.batch_spec(ranks)
        self._sources = find_sources(self._phase, self._spec)

    def epoch(self, step: int, epoch: int, next_shards: Sequence[int]) -> Epoch:
        """See `Loader.epoch`."""
        config, spec, phase = self._config, self._spec, self._phase
        weights = [source.weight for source in phase.data]
        chosen = select_shards(
            [source.shards for source in self._sources],
            config.sequences_per_epoch,
            list(next_shards) or [0] * len(self._sources),
            workers=config.workers,
            world_size=self._world_size,
            seed=config.seed,
            weights=weights,
            multiple_passes=phase.multiple_passes,
        )
        return Epoch(
            batches=epoch_batches(
                chosen,
                spec,
                seed=config.seed,
                epoch=epoch,
                weights=weights,
                domains=[source.domain for source in phase.data],
            ),
            steps=possible_steps(chosen, spec),
            nominal_steps=nominal_steps(chosen, spec),
            next_shards=chosen.next_shards,
            description=" ".join(shard_expression(entries) for entries in chosen.entries),
            fingerprint=stable_hash(repr(chosen)),
        )

    def identity(self) -> dict[str, Any]:
        """See `Loader.identity`."""
        return _identity(self._config, [self._sources])


class GlobalLoader:
    """Positions of the global order, phase by phase."""

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        self._config = config
        self._phases = [
            _GlobalPhase(config, ranks, phase, f"phase {index}") for index, phase in enumerate(config.plan.phases)
        ]

    def epoch(self, step: int, epoch: int, next_shards: Sequence[int]) -> Epoch:
        """See `Loader.epoch`."""
        index, start = self._config.plan.locate(step)
        return self._phases[index].until_checkpoint(step - start)

    def identity(self) -> dict[str, Any]:
        """See `Loader.identity`."""
        window = {"window_shards": self._config.window_shards}
        return _identity(self._config, [phase.sources for phase in self._phases]) | window


class _GlobalPhase:
    def __init__(self, config: TrainConfig, ranks: Ranks, phase: Phase, label: str) -> None:
        self._phase, self._spec = phase, config.batch_spec(ranks, phase)
        self.sources = sources = find_sources(phase, self._spec)
        self._orders = [
            SourceOrder(source.shards, (config.seed, label, index), config.window_shards)
            for index, source in enumerate(sources)
        ]
        self._interleaving = Interleaving([source.weight for source in phase.data], (config.seed, label))
        self._last = phase.steps * phase.global_batch_size
        _check_enough(phase, sources, self._orders, [int(n) for n in self._interleaving.before(self._last)])
        indexes = [(shard.url, shard.num_sequences) for source in sources for shard in source.shards]
        self._fingerprint = stable_hash(label, config.seed, config.window_shards, repr(indexes))

    def until_checkpoint(self, step: int) -> Epoch:
        """From step `step` of the phase to its next checkpoint."""
        phase = self._phase
        end = next(end for end in phase.checkpoint_steps() if end > step)
        reader = GlobalReader(
            self._orders, self._interleaving, [source.domain for source in phase.data], self._spec, self._last
        )
        first, last = step * phase.global_batch_size, end * phase.global_batch_size
        counts = self._interleaving.before(last)
        return Epoch(
            batches=reader.batches(step, end),
            steps=end - step,
            nominal_steps=end - step,
            next_shards=[order.shards_before(int(n)) for order, n in zip(self._orders, counts, strict=True)],
            description=f"{' '.join(source.url for source in phase.data)} positions {first} to {last}",
            fingerprint=stable_hash("epoch", self._fingerprint, first, last),
            even=True,
        )


def find_sources(phase: Phase, spec: BatchSpec) -> list[TokenDataset]:
    """The shards of each source of a phase.

    Raises:
        InputError: data that is missing.
    """
    return [
        find_token_dataset(source.url, source.data_key, seq_len=spec.seq_len, vocab_size=spec.vocab_size)
        for source in phase.data
    ]


def _identity(config: TrainConfig, sources: Sequence[Sequence[TokenDataset]]) -> dict[str, Any]:
    """Order, sizes, and for each source the number of its shards and sequences."""
    phases = [
        {
            "global_batch_size": phase.global_batch_size,
            "seq_len": phase.seq_len or config.model.seq_len,
            "weights": [source.weight for source in phase.data],
            "shards": [len(found.shards) for found in phase_sources],
            "sequences": [found.num_sequences for found in phase_sources],
        }
        for phase, phase_sources in zip(config.plan.phases, sources, strict=True)
    ]
    return {"order": config.order, "seed": config.seed, "phases": phases}


def _check_enough(
    phase: Phase, sources: Sequence[TokenDataset], orders: Sequence[SourceOrder], needed: Sequence[int]
) -> None:
    """Refuse a source that runs out before the phase ends, unless it may be read again."""
    for source, order, count in zip(sources, orders, needed, strict=True):
        if order.total == 0:
            raise InputError(f"{source.path}: its shards hold no sequences")
        if count > order.total and not phase.multiple_passes:
            raise InputError(
                f"{source.path} has {order.total} sequences, but the run needs {count} of it; use "
                "--multiple-data-passes, fewer tokens (--chinchilla-multiplier), or another weight"
            )


class ReadAhead:
    """An iterator whose items are made by a thread, at most `depth` ahead; errors come out where they would have.

    Use as a context manager: leaving it ends the thread.
    """

    _END = object()

    def __init__(self, batches: Iterator[Batch], depth: int) -> None:
        self._queue: queue.Queue[object] = queue.Queue(max(1, depth))
        self._stopped = threading.Event()
        self._batches = batches
        self._thread = threading.Thread(target=self._work, name="read-ahead", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for batch in self._batches:
                if not self._put(batch):
                    break
            else:
                self._put(self._END)
        except BaseException as error:  # noqa: BLE001  # the thread's boundary: handed to the reader, which raises it
            self._put(error)
        finally:
            close = getattr(self._batches, "close", None)
            if close is not None:
                close()

    def _put(self, item: object) -> bool:
        """Queue an item; False where nobody wants it any more."""
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def next(self) -> Batch | None:
        """The next batch, or None at the end."""
        item = self._queue.get()
        if item is self._END:
            self._queue.put(item)
            return None
        if isinstance(item, BaseException):
            raise item
        assert isinstance(item, Batch)
        return item

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join()
