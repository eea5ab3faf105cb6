"""The measured fixture of section 7: sequence length 5, left id 9, padding id 8, -100 written as `_`."""

from typing import Any

import numpy as np
import pytest

from corpusmith.errors import InputError
from training.data.masking import TargetMask, mask_targets

ROWS = [
    ("11 12 9 13 14 15", "_ _ 13 14 15", "12 9 13 14 15", "_ _ 13 14 15", "11 12 13 14 8", "_ 13 14 15 _"),
    ("11 9 12 8 8 8", "_ 12 8 8 8", "9 12 _ _ _", "_ 12 _ _ _", "11 12 8 8 8", "12 _ _ _ _"),
    ("9 11 12 13 14 8", "11 12 13 14 8", "11 12 13 14 _", "11 12 13 14 _", "11 12 13 14 8", "11 12 13 14 _"),
    ("11 12 13 14 15 16", "12 13 14 15 16", "12 13 14 15 16", "12 13 14 15 16", "11 12 13 14 15", "12 13 14 15 16"),
    ("11 9 12 9 13 14", "_ _ _ 13 14", "9 12 9 13 14", "_ _ _ 13 14", "11 12 13 8 8", "_ 13 14 _ _"),
    ("11 12 13 14 15 9", "_ _ _ _ _", "12 13 14 15 9", "_ _ _ _ _", "11 12 13 14 15", "_ _ _ _ _"),
    ("11 9 8 12 13 9", "_ _ _ _ _", "9 _ 12 13 9", "_ _ _ _ _", "11 8 12 13 8", "_ _ _ _ _"),
]  # fmt: skip
MASKS = [
    TargetMask(left=9),
    TargetMask(individual=8),
    TargetMask(left=9, individual=8),
    TargetMask(left=9, individual=8, squash=True),
]


def ids(text: str) -> np.ndarray:
    return np.array([[-100 if word == "_" else int(word) for word in text.split()]])


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_masked_targets_are_the_measured_ones(row: Any) -> None:
    chunk = ids(row[0])
    x, y = chunk[:, :-1], chunk[:, 1:]
    for mask, expected in zip(MASKS, (row[1], row[2], row[3], row[5]), strict=True):
        masked_x, masked_y = mask_targets(x, y, mask)
        assert masked_y.tolist() == ids(expected).tolist()
        assert masked_x.tolist() == (ids(row[4]) if mask.squash else x).tolist()
    assert chunk.tolist() == ids(row[0]).tolist()


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="must differ"):
        TargetMask(left=9, individual=9)
    with pytest.raises(InputError, match="needs both"):
        TargetMask(left=9, squash=True)
