"""Target masking of fine-tuning data: hide the prompt and the padding from the loss.

Follows OpenLM's `--target-mask-left`, `--target-mask-individual` and `--squash-mask-left` to the letter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpusmith.errors import InputError

IGNORED = -100

I64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetMask:
    """Which targets are ignored.

    `left`: everything up to the last occurrence of this id. `individual`: each occurrence of this id. `squash`: the
    `left` ids are cut out of inputs and targets, which are filled on the right with `individual`.
    """

    left: int | None = None
    individual: int | None = None
    squash: bool = False

    def __post_init__(self) -> None:
        if self.left is not None and self.left == self.individual:
            raise InputError(f"--target-mask-left and --target-mask-individual must differ, both are {self.left}")
        if self.squash and (self.left is None or self.individual is None):
            raise InputError("--squash-mask-left needs both --target-mask-left and --target-mask-individual")


def mask_targets(x_BT: I64Array, y_BT: I64Array, mask: TargetMask) -> tuple[I64Array, I64Array]:
    """Inputs and targets under `mask`; the arrays given are not changed.

    Args:
        x_BT, y_BT: inputs and targets, `chunk[:-1]` and `chunk[1:]` of each sequence.
        mask: ids already mapped into the vocabulary.

    Returns:
        Inputs and targets, ignored targets as -100.
    """
    x_BT, y_BT = x_BT.copy(), y_BT.copy()
    if mask.left is not None:
        for row in range(len(y_BT)):
            _mask_left(x_BT[row], y_BT[row], mask)
    if mask.individual is not None:
        y_BT[y_BT == mask.individual] = IGNORED
    return x_BT, y_BT


def _mask_left(x_T: I64Array, y_T: I64Array, mask: TargetMask) -> None:
    """Ignore the targets up to the last left id of one row, in place; squash where asked."""
    found = np.flatnonzero(y_T == mask.left)
    if found.size:
        prompt = y_T[: found[-1] + 1]
        prompt[prompt != mask.left if mask.squash else slice(None)] = IGNORED
    if mask.squash and mask.left is not None and mask.individual is not None:
        for row in (x_T, y_T):
            kept = row[row != mask.left]
            row[: len(kept)] = kept
            row[len(kept) :] = mask.individual
