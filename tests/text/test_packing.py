"""Packing: open_lm's rule, with the vectors measured on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.errors import InputError
from corpusmith.text.packing import Packer, pack

EOT, PAD = 0, 12

documents_lists = st.lists(st.lists(st.integers(1, 11), max_size=20), max_size=12)


def packed(documents: list[list[int]], length: int = 4) -> list[list[int]]:
    return [sequence.tolist() for sequence in pack(documents, sequence_length=length, eot_id=EOT, pad_id=PAD)]


@pytest.mark.parametrize(
    ("documents", "sequences"),
    [
        ([[1, 2, 3], [4, 5, 6], [7]], [[1, 2, 3, 0], [4, 5, 6, 0], [7, 0, 12, 12]]),
        ([[1, 2, 3, 4, 5, 6, 7, 8, 9]], [[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 12, 12]]),
        ([[]], [[0, 12, 12, 12]]),
        ([], []),
        ([[1, 2, 3]], [[1, 2, 3, 0]]),
        ([[1, 2, 3, 4, 5, 6, 7]], [[1, 2, 3, 4], [5, 6, 7, 0]]),
    ],
)
def test_sequences_are_those_of_open_lm(documents: list[list[int]], sequences: list[list[int]]) -> None:
    assert packed(documents) == sequences


def plain_pack(documents: list[list[int]], length: int) -> list[list[int]]:
    """The rule of the specification, word by word."""
    buffer: list[int] = []
    sequences = []
    for document in documents:
        buffer += [*document, EOT]
        while len(buffer) > length:
            sequences.append(buffer[:length])
            buffer = buffer[length:]
    if buffer:
        sequences.append(buffer + [PAD] * (length - len(buffer)))
    return sequences


def plain_ends(documents: list[list[int]], length: int) -> list[int]:
    """How many documents end in each sequence: where the end-of-text tokens stand."""
    return [sequence.count(EOT) for sequence in plain_pack(documents, length)]


@given(documents_lists, st.integers(2, 9))
def test_packing_equals_the_plain_rule(documents: list[list[int]], length: int) -> None:
    assert packed(documents, length) == plain_pack(documents, length)


@given(documents_lists, st.integers(2, 9), st.integers(1, 5))
def test_batches_do_not_change_the_sequences(documents: list[list[int]], length: int, batch: int) -> None:
    packer = Packer(sequence_length=length, eot_id=EOT, pad_id=PAD)
    found = [packer.add(documents[start : start + batch]) for start in range(0, len(documents), batch)]
    found.append(packer.finish())
    assert np.concatenate([part.tokens_SL for part in found]).tolist() == plain_pack(documents, length)
    assert np.concatenate([part.documents_S for part in found]).tolist() == plain_ends(documents, length)


def test_every_token_is_kept_once() -> None:
    documents = [list(range(1, 1 + size)) for size in (0, 1, 5, 31, 2)]
    stream = [token for sequence in packed(documents, 5) for token in sequence]
    while stream[-1] == PAD:
        stream.pop()
    assert stream == [token for document in documents for token in [*document, EOT]]


def test_arrays_pack_as_lists_do() -> None:
    arrays = [np.array([1, 2, 3], dtype=np.uint32), np.array([4], dtype=np.uint32)]
    found = list(pack(arrays, sequence_length=4, eot_id=EOT, pad_id=PAD))
    assert [sequence.tolist() for sequence in found] == [[1, 2, 3, 0], [4, 0, 12, 12]]
    assert {sequence.dtype for sequence in found} == {np.dtype(np.uint32)}


@pytest.mark.parametrize("bad", [{"sequence_length": 1}, {"eot_id": -1}, {"pad_id": 1 << 32}])
def test_nonsense_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InputError):
        Packer(**({"sequence_length": 4, "eot_id": 0, "pad_id": 1} | bad))
