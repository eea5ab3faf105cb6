"""Batches: sequences of token ids become inputs and targets, with the origin of each sequence.

Follows OpenLM's reading of token ids. Departs from it in that ids beyond the vocabulary are refused; and in sequences
that are shorter than the model's: where they are not skipped, they are padded and the padding is no target.

Shape suffixes: B batch, T tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpusmith.errors import InputError
from training.data.masking import IGNORED, I64Array, TargetMask, mask_targets

Ids = Sequence[int] | npt.NDArray[np.integer]

#: Domain of a sequence whose shard names none.
NO_DOMAIN = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceOrigin:
    """Where a sequence comes from: shard (its URL), row within it, first token read, source (index) and domain."""

    shard: str
    row: int
    start: int = 0
    source: int = 0
    domain: str = NO_DOMAIN

    def __str__(self) -> str:
        return f"{self.shard}#{self.row}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one rank trains on in one step: inputs and targets (B, T), and the origin of each of the B sequences."""

    x_BT: I64Array
    y_BT: I64Array
    origins: tuple[SequenceOrigin, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSpec:
    """How the sequences of one rank become batches.

    `batch_size` counts sequences of this rank. `data_key` is the extension of a webdataset's members, None what its
    reference says. `rank`, `world_size` and `workers` decide which sequences this rank reads.
    """

    seq_len: int
    vocab_size: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    workers: int = 1
    data_key: str = "json.gz"
    mask: TargetMask | None = None


def make_batch(
    rows: Sequence[Ids],
    spec: BatchSpec,
    draws: random.Random | None = None,
    origins: Sequence[SequenceOrigin] = (),
) -> Batch:
    """Inputs and targets from sequences of equal length; negative ids become `id mod vocab_size`.

    Args:
        rows: token ids of each sequence, at least `seq_len + 1`.
        spec: sizes, vocabulary and mask.
        draws: where the sequences are longer, gives the one start for the batch; without it the start is 0.
        origins: of the sequences.

    Raises:
        InputError: sequences of unequal length, or an id beyond the vocabulary.
    """
    length = len(rows[0])
    if any(len(row) != length for row in rows):
        raise InputError(f"sequences of one batch differ in length: {sorted({len(row) for row in rows})} tokens")
    chunk = to_ids(rows, spec.vocab_size)
    start = draws.randrange(length - spec.seq_len) if draws is not None and length > spec.seq_len + 1 else 0
    x_BT, y_BT = chunk[:, start : start + spec.seq_len], chunk[:, start + 1 : start + spec.seq_len + 1]
    return _masked(x_BT, y_BT, spec, origins)


def pad_batch(chunk_BT: I64Array, lengths_B: I64Array, spec: BatchSpec, origins: Sequence[SequenceOrigin]) -> Batch:
    """Inputs and targets of padded sequences.

    What follows a sequence is no target; as an input it is id 0, which no earlier position sees.

    Args:
        chunk_BT: (B, seq_len + 1), each sequence in the first columns of its row.
        lengths_B: tokens of each sequence.
        spec: vocabulary and mask.
        origins: of the sequences.
    """
    x_BT, y_BT = chunk_BT[:, :-1], chunk_BT[:, 1:]
    padding_BT = np.arange(1, chunk_BT.shape[1])[None] >= lengths_B[:, None]
    if padding_BT.any():
        y_BT = np.where(padding_BT, IGNORED, y_BT)
    return _masked(x_BT, y_BT, spec, origins)


def _masked(x_BT: I64Array, y_BT: I64Array, spec: BatchSpec, origins: Sequence[SequenceOrigin]) -> Batch:
    if spec.mask is not None:
        x_BT, y_BT = mask_targets(x_BT, y_BT, _mask_in_vocabulary(spec.mask, spec.vocab_size))
    return Batch(x_BT=x_BT, y_BT=y_BT, origins=tuple(origins))


def to_ids(rows: Sequence[Ids], vocab_size: int) -> I64Array:
    """Token ids with OpenLM's fix-up: below 0 is taken modulo the vocabulary, what is no integer becomes 0."""
    try:
        chunk = np.asarray(rows)
    except ValueError:
        chunk = np.asarray(None)
    if chunk.ndim != 2 or chunk.dtype.kind not in "iu":
        chunk = np.array([[fix_id(token, vocab_size) for token in row] for row in rows], dtype=np.int64)
    return check_ids(chunk.astype(np.int64, copy=False), vocab_size)


def check_ids(ids: I64Array, vocab_size: int) -> I64Array:
    """Ids below 0 modulo the vocabulary; InputError for one beyond it."""
    if ids.size and ids.min() < 0:
        ids = np.where(ids < 0, ids % vocab_size, ids)
    if ids.size and ids.max() >= vocab_size:
        raise InputError(
            f"token id {ids.max()} is beyond the model's vocabulary of {vocab_size}; "
            "was the data set made with another tokenizer?"
        )
    return ids


def fix_id(token: object, vocab_size: int) -> int:
    """One token as OpenLM reads it."""
    if not isinstance(token, int | np.integer):
        return 0
    return int(token) % vocab_size if token < 0 else int(token)


def _mask_in_vocabulary(mask: TargetMask, vocab_size: int) -> TargetMask:
    """The mask's ids after the same fix-up as the tokens."""
    left = None if mask.left is None else fix_id(mask.left, vocab_size)
    individual = None if mask.individual is None else fix_id(mask.individual, vocab_size)
    return TargetMask(left=left, individual=individual, squash=mask.squash)
