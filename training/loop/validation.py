"""Validation: the loss of a model on tokenized data, by domain too, and the unigram loss that it must beat.

Follows OpenLM's loss (mean over batches of the mean over tokens, weighted by sequences; no z-loss), its bootstrap
intervals and its record. Departs from it in sharing the batches out over the ranks, and in further numbers:
`loss_by_domain` where sequences name one, and `unigram_loss`, the cross entropy of the same targets under the
add-one-smoothed unigram distribution of the training tokens.

Shape suffixes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from corpusmith.errors import InputError
from training.data.batch import Batch, BatchSpec, Ids, make_batch
from training.data.masking import IGNORED
from training.data.openlm_order import read_sequences
from training.data.token_shards import TokenDataset
from training.loop.metrics import DomainTotals, add_domain_loss, sum_domains
from training.optimization.losses import token_losses
from training.optimization.recipe import autocast
from training.state.ranks import Ranks, gather_json, sum_over_ranks

#: Training tokens that the unigram distribution is counted on, at most.
UNIGRAM_TOKENS = 1 << 24
NOT_ASKED = -1.0
_RESAMPLES_AT_ONCE = 1 << 22
#: Columns of the sums: loss times sequences, sequences, batches, seconds of reading.
_LOSS, _SEQUENCES, _BATCHES, _READING = range(4)
_NUM_COLUMNS = 4

F64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Intervals:
    """Which bootstrap intervals are asked for: `resamples` of at most `max_population` values each (None: all)."""

    sequences: bool = False
    tokens: bool = False
    resamples: int = 10000
    max_population: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationLoss:
    """What a pass over validation data found; `target_counts` has one number per id of the vocabulary."""

    loss: float
    sequences: int
    target_counts: F64Array
    batches: int
    data_seconds: float
    total_seconds: float
    by_domain: dict[str, float] = field(default_factory=dict)
    sequence_losses: F64Array = field(default_factory=lambda: np.zeros(0))
    token_losses: F64Array = field(default_factory=lambda: np.zeros(0))

    @property
    def tokens(self) -> int:
        """Targets that were not ignored."""
        return int(self.target_counts.sum())


class _ValidationSums:
    """Sums over the batches of one rank."""

    def __init__(self, vocab_size: int, intervals: Intervals) -> None:
        self._intervals = intervals
        self.columns = np.zeros(_NUM_COLUMNS)
        self.counts = np.zeros(vocab_size)
        self.domains: DomainTotals = {}
        self.sequence_losses: list[float] = []
        self.token_losses: list[float] = []

    def add(self, batch: Batch, losses_BT: F64Array) -> None:
        """Take in a batch and the cross entropy of each of its tokens (0 where ignored)."""
        kept_BT = batch.y_BT != IGNORED
        kept = int(kept_BT.sum())
        self.counts += np.bincount(batch.y_BT[kept_BT], minlength=len(self.counts))
        self.columns[_LOSS] += losses_BT.sum() / max(1, kept) * len(losses_BT)
        self.columns[_SEQUENCES] += len(losses_BT)
        self.columns[_BATCHES] += 1
        sums_B, tokens_B = losses_BT.sum(axis=1), kept_BT.sum(axis=1)
        for origin, total, tokens in zip(batch.origins, sums_B.tolist(), tokens_B.tolist(), strict=True):
            if origin.domain:
                add_domain_loss(self.domains, origin.domain, total, tokens)
        if self._intervals.sequences:
            self.sequence_losses += (sums_B / np.maximum(tokens_B, 1)).tolist()
        if self._intervals.tokens:
            self.token_losses += losses_BT[kept_BT].tolist()


def validation_loss(
    model: nn.Module,
    dataset: TokenDataset,
    spec: BatchSpec,
    *,
    precision: str,
    ranks: Ranks,
    num_sequences: int | None = None,
    intervals: Intervals | None = None,
) -> ValidationLoss:
    """The model's loss on all full-length sequences, in nats per token; the model is left in eval mode.

    Batch i is done by rank i modulo the number of ranks.

    Args:
        model: called with ids (B, T); the first thing it gives are logits (B, T, V).
        dataset: the validation set.
        spec: sizes of batches.
        precision: name of `--precision`.
        ranks: this process among its peers; all call it.
        num_sequences: stop after so many, rounded up to whole batches.
        intervals: keep the single losses that these need.

    Raises:
        InputError: there is no sequence of more than `seq_len` tokens.
    """
    model.eval()
    started = time.perf_counter()
    sums = _ValidationSums(spec.vocab_size, intervals or Intervals())
    limit = None if num_sequences is None else -(-num_sequences // spec.batch_size)
    batches = itertools.islice(_batches(dataset, spec), limit)
    # sharded models gather their weights together, so every rank takes every turn, with or without a batch of its own
    for turn in _turns(batches, ranks, sums):
        batch = turn[min(ranks.rank, len(turn) - 1)]
        x_BT, y_BT = (
            torch.from_numpy(np.ascontiguousarray(part)).to(ranks.device) for part in (batch.x_BT, batch.y_BT)
        )
        with torch.no_grad(), autocast(precision, ranks.device):
            losses_BT = token_losses(model(x_BT)[0], y_BT).double().cpu().numpy()
        if ranks.rank < len(turn):
            sums.add(batch, losses_BT)
    return _summary(sums, dataset, spec, ranks, started)


def _turns(batches: Iterator[Batch], ranks: Ranks, sums: _ValidationSums) -> Iterator[tuple[Batch, ...]]:
    """Batches in groups of one per rank, the last group smaller; `sums` gets the time of reading."""
    while True:
        asked = time.perf_counter()
        turn = tuple(itertools.islice(batches, ranks.world_size))
        sums.columns[_READING] += time.perf_counter() - asked
        if not turn:
            return
        yield turn


def _summary(
    sums: _ValidationSums, dataset: TokenDataset, spec: BatchSpec, ranks: Ranks, started: float
) -> ValidationLoss:
    """The sums of all ranks together."""
    both = sum_over_ranks(torch.from_numpy(np.concatenate([sums.columns, sums.counts])), ranks).cpu().numpy()
    columns, counts = both[:_NUM_COLUMNS], both[_NUM_COLUMNS:]
    if not columns[_SEQUENCES]:
        raise InputError(f"{dataset.path}: no sequence of more than {spec.seq_len} tokens to validate on")
    gathered = gather_json([sums.domains, sums.sequence_losses, sums.token_losses], ranks)
    domains = sum_domains(of_rank for of_rank, _, _ in gathered)
    return ValidationLoss(
        loss=float(columns[_LOSS] / columns[_SEQUENCES]),
        sequences=int(columns[_SEQUENCES]),
        target_counts=counts,
        batches=int(columns[_BATCHES]),
        data_seconds=float(columns[_READING]) / ranks.world_size,
        total_seconds=time.perf_counter() - started,
        by_domain={name: loss / tokens for name, (loss, tokens) in sorted(domains.items()) if tokens},
        sequence_losses=np.array([loss for _, losses, _ in gathered for loss in losses]),
        token_losses=np.array([loss for _, _, losses in gathered for loss in losses]),
    )


def _batches(dataset: TokenDataset, spec: BatchSpec) -> Iterator[Batch]:
    """Batches in order, the last one smaller."""
    sequences = read_sequences(dataset.shards, spec)
    while pairs := list(itertools.islice(sequences, spec.batch_size)):
        yield make_batch([ids for _, ids in pairs], spec, origins=[origin for origin, _ in pairs])


def bootstrap_interval(values: F64Array, intervals: Intervals, seed: int = 0) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of the means of resamples.

    Args:
        values: losses to draw from, with replacement.
        intervals: number and largest size of the resamples.
        seed: of the draws.
    """
    draws = np.random.default_rng(seed)
    size = len(values) if intervals.max_population is None else min(len(values), intervals.max_population)
    means: list[F64Array] = []
    at_once = max(1, _RESAMPLES_AT_ONCE // size)
    for start in range(0, intervals.resamples, at_once):
        count = min(at_once, intervals.resamples - start)
        means.append(values[draws.integers(0, len(values), (count, size))].mean(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def result_object(
    found: ValidationLoss,
    dataset: TokenDataset,
    *,
    model: str,
    ranks: Ranks,
    train_tokens: int | None,
    checkpoint: str | None = None,
    intervals: Intervals | None = None,
) -> dict[str, Any]:
    """The object of `results.jsonl`; `samples_per_second` are tokens per second, as OpenLM has it.

    Args:
        found: of `dataset`.
        dataset: the validation set.
        model: the name of its config.
        ranks: that validated together.
        train_tokens: what the model was trained on; None leaves the key out.
        checkpoint: URL of the model's weights, where they were not just trained.
        intervals: which to compute; -1 stands where one was not asked for.
    """
    batches = max(1, found.batches)
    rate = found.tokens / max(found.total_seconds, 1e-9)
    asked = intervals or Intervals()
    unknown = (NOT_ASKED, NOT_ASKED)
    by_sequence = bootstrap_interval(found.sequence_losses, asked) if asked.sequences else unknown
    by_token = bootstrap_interval(found.token_losses, asked) if asked.tokens else unknown
    result: dict[str, Any] = {
        "loss": found.loss,
        "data_time": found.data_seconds * ranks.world_size / batches,
        "batch_time": found.total_seconds * ranks.world_size / batches,
        "samples_per_second": rate,
        "samples_per_second_per_gpu": rate / ranks.world_size,
        "loss_sequences_lower_95": by_sequence[0],
        "loss_sequences_upper_95": by_sequence[1],
        "loss_tokens_lower_95": by_token[0],
        "loss_tokens_upper_95": by_token[1],
        "sequences": found.sequences,
        "tokens": found.tokens,
    }
    if train_tokens is not None:
        result["train_tokens"] = train_tokens
    result |= {"checkpoint_path": checkpoint, "val_data": [dataset.path], "model": model}
    if found.by_domain:
        result["loss_by_domain"] = found.by_domain
    return result


def count_training_tokens(sequences: Iterable[Ids], vocab_size: int, limit: int = UNIGRAM_TOKENS) -> F64Array:
    """How often each id occurs in the first `limit` tokens (whole sequences), shape (V,)."""
    counts = np.zeros(vocab_size)
    seen = 0
    for sequence in sequences:
        ids = np.asarray(sequence, dtype=np.int64) % vocab_size
        counts += np.bincount(ids, minlength=vocab_size)
        seen += len(ids)
        if seen >= limit:
            break
    return counts


def unigram_loss(target_counts: F64Array, training_counts: F64Array) -> float:
    """Cross entropy of the targets, nats per token, under the add-one-smoothed unigram distribution of training."""
    smoothed = training_counts + 1
    return float(-(target_counts * np.log(smoothed / smoothed.sum())).sum() / target_counts.sum())
