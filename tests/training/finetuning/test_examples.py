"""The prompt, and sequences by hand."""

from typing import Any

import numpy as np
import pytest

from tests.training.finetuning.making import MARK, PAD
from training.data.masking import TargetMask, mask_targets
from training.finetuning.examples import SequenceSpec, encode_example, format_prompt


def test_the_prompt_is_the_guides() -> None:
    assert format_prompt("Add 2 and 3.") == (
        "Below is an instruction that describes a task.\n"
        "\n"
        "Write a response that appropriately completes the request.\n"
        "\n"
        "### Instruction:\n"
        "Add 2 and 3.\n"
        "\n"
        "### Response:"
    )


@pytest.mark.parametrize(
    ("prompt", "response", "expected"),
    [
        ([1, 2], [3], ([1, 2, 500, 3, 0], False)),
        ([1, 2], [3, 4, 5], ([1, 2, 500, 3, 4, 5], True)),  # the end-of-text is cut
        ([1, 2, 3, 4], [5, 6], ([1, 2, 3, 4, 500, 5], True)),
        ([1, 2, 3, 4, 5], [6], None),  # no place is left after the mark
    ],
)
def test_sequences_by_hand(prompt: Any, response: Any, expected: Any) -> None:
    spec = SequenceSpec(seq_len=5, mask_left=MARK, mask_individual=PAD)
    found = encode_example(np.array(prompt), np.array(response), 0, spec)
    assert (None if found is None else (found.ids.tolist(), found.is_truncated)) == expected


def test_the_mask_of_the_guide_leaves_response_and_end_of_text_to_learn() -> None:
    row = np.array([[1, 2, MARK, 3, 4, 0, PAD, PAD]])
    x, y = mask_targets(row[:, :-1], row[:, 1:], TargetMask(left=MARK, individual=PAD, squash=True))
    assert x.tolist() == [[1, 2, 3, 4, 0, PAD, PAD]]
    assert y.tolist() == [[-100, 3, 4, 0, -100, -100, -100]]
