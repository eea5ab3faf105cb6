"""Validation: the loss of a model on tokenized data, and the unigram loss that it must beat.

Follows OpenLM's loss (mean over batches of the mean over tokens, weighted by sequences; no z-loss) and its record.
Departs from it in sharing the batches out over the ranks, and in a further number: `unigram_loss`, the cross entropy of
the same targets under the add-one-smoothed unigram distribution of the training tokens.

Shape suffixes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from corpusmith import expdb
from corpusmith.errors import InputError
from corpusmith.io import storage, wds
from training.distributed import Ranks, sum_over_ranks
from training.loader import BatchSpec, make_batch, read_sequences, shard_url
from training.masking import IGNORED
from training.recipe import autocast, token_losses

#: Training tokens that the unigram distribution is counted on, at most.
UNIGRAM_TOKENS = 1 << 24
NOT_ASKED = -1.0

F64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenShards:
    """Tokenized data: the path that was given, its shards in order, the members' data key."""

    path: str
    urls: list[str]
    data_key: str


def find_token_shards(path: str, data_key: str | None = None) -> TokenShards:
    """Resolve a data set's reference (`.json`), a manifest (`.jsonl`) or a single shard (`.tar`).

    `data_key` by default is what the reference says, else `json.gz`.

    Raises:
        InputError: another kind of file, a missing one, or one without shards.
    """
    if path.endswith(".tar"):
        storage.stat(path)
        return TokenShards(path=path, urls=[path], data_key=data_key or "json.gz")
    manifest = path
    if path.endswith(".json"):
        reference = expdb.load_dataset(path)
        if not reference.tokenized or not reference.manifest_url:
            raise InputError(f"{path} is not the reference of a tokenized data set with a manifest")
        manifest, data_key = reference.manifest_url, data_key or reference.data_key
    elif not path.endswith(".jsonl"):
        raise InputError(f"{path}: expected a tokenized data set's reference (.json), a manifest.jsonl or a .tar")
    urls = [shard_url(storage.parent(manifest), entry.shard) for entry in wds.read_manifest(manifest)]
    if not urls:
        raise InputError(f"{manifest}: the manifest names no shard")
    return TokenShards(path=path, urls=urls, data_key=data_key or "json.gz")


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationLoss:
    """What a pass over validation data found; `target_counts` has one number per id of the vocabulary."""

    loss: float
    sequences: int
    target_counts: F64Array
    batches: int
    data_seconds: float
    total_seconds: float

    @property
    def tokens(self) -> int:
        """Targets that were not ignored."""
        return int(self.target_counts.sum())


def validation_loss(
    model: nn.Module, shards: TokenShards, spec: BatchSpec, *, precision: str, ranks: Ranks
) -> ValidationLoss:
    """The model's loss on all full-length sequences, in nats per token; the model is left in eval mode.

    Batch i is done by rank i modulo the number of ranks.

    Raises:
        InputError: there is no sequence of more than `seq_len` tokens.
    """
    model.eval()
    started = time.perf_counter()
    totals = np.zeros(4)  # loss times sequences, sequences, batches, seconds spent reading
    counts = np.zeros(spec.vocab_size)
    batches = itertools.islice(_batches(shards, spec), ranks.rank, None, ranks.world_size)
    while True:
        asked = time.perf_counter()
        rows = next(batches, None)
        totals[3] += time.perf_counter() - asked
        if rows is None:
            break
        x_BT, y_BT = make_batch(rows, spec)
        kept = y_BT[y_BT != IGNORED]
        counts += np.bincount(kept, minlength=spec.vocab_size)
        with torch.inference_mode(), autocast(precision, ranks.device):
            logits_BTV = model(torch.from_numpy(x_BT).to(ranks.device))[0]
            summed = token_losses(logits_BTV, torch.from_numpy(y_BT).to(ranks.device)).sum().item()
        totals[:3] += summed / max(1, kept.size) * len(rows), len(rows), 1
    both = sum_over_ranks(torch.from_numpy(np.concatenate([totals, counts])), ranks).cpu().numpy()
    totals, counts = both[:4], both[4:]
    if not totals[1]:
        raise InputError(f"{shards.path}: no sequence of more than {spec.seq_len} tokens to validate on")
    return ValidationLoss(
        loss=float(totals[0] / totals[1]),
        sequences=int(totals[1]),
        target_counts=counts,
        batches=int(totals[2]),
        data_seconds=float(totals[3]) / ranks.world_size,
        total_seconds=time.perf_counter() - started,
    )


def _batches(shards: TokenShards, spec: BatchSpec) -> Iterator[list[list[int]]]:
    """Sequences in groups of the batch size, the last group smaller."""
    sequences = read_sequences(shards.urls, spec)
    while rows := list(itertools.islice(sequences, spec.batch_size)):
        yield rows


def result_object(
    found: ValidationLoss, shards: TokenShards, *, model: str, ranks: Ranks, train_tokens: int
) -> dict[str, Any]:
    """The object of `results.jsonl`; `samples_per_second` are tokens per second, as OpenLM has it."""
    batches = max(1, found.batches)
    rate = found.tokens / max(found.total_seconds, 1e-9)
    return {
        "loss": found.loss,
        "data_time": found.data_seconds * ranks.world_size / batches,
        "batch_time": found.total_seconds * ranks.world_size / batches,
        "samples_per_second": rate,
        "samples_per_second_per_gpu": rate / ranks.world_size,
        "loss_sequences_lower_95": NOT_ASKED,
        "loss_sequences_upper_95": NOT_ASKED,
        "loss_tokens_lower_95": NOT_ASKED,
        "loss_tokens_upper_95": NOT_ASKED,
        "sequences": found.sequences,
        "tokens": found.tokens,
        "train_tokens": train_tokens,
        "checkpoint_path": None,
        "val_data": [shards.path],
        "model": model,
    }


def count_training_tokens(sequences: Iterable[Sequence[int]], vocab_size: int, limit: int = UNIGRAM_TOKENS) -> F64Array:
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
