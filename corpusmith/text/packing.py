"""Pack token lists into sequences of one length.

Follows open_lm's tokenize_shuffle: the documents of one file stand one after another, each followed by the end-of-text
token; the stream is cut into sequences of L tokens, and the last one is filled up with the pad token. Documents never
cross files, no boundary between documents is kept but the end-of-text token. It departs from the Rust twin
(tokshuf-rs), which adds a sequence of nothing but padding where the stream ends exactly on a cut.

A document is counted in the sequence that holds its end-of-text token, and nowhere else, so the documents of all
sequences of a file add up to the documents of the file.

Legend: S sequences, L tokens in a sequence (the sequence length of training plus one).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from corpusmith.errors import InputError

U32Array = npt.NDArray[np.uint32]

VERSION = 1

_PACK_TOKENS = 1 << 20


class Sequences(NamedTuple):
    """Packed sequences, shape (S, L), and how many documents end in each, shape (S,)."""

    tokens_SL: U32Array
    documents_S: U32Array


class Packer:
    """The token stream of one file, cut as it grows; keeps at most L tokens between calls.

    How the documents are spread over calls of `add` does not change the sequences.
    """

    def __init__(self, *, sequence_length: int, eot_id: int, pad_id: int) -> None:
        """`sequence_length` is L, at least 2; the ids must fit 32 bits. Raises InputError otherwise."""
        if sequence_length < 2:
            raise InputError(f"a sequence must hold at least 2 tokens, got {sequence_length}")
        for name, token in (("end-of-text", eot_id), ("pad", pad_id)):
            if not 0 <= token < 1 << 32:
                raise InputError(f"the {name} id must lie in [0, 2**32), got {token}")
        self._sequence_length = sequence_length
        self._pad_id = pad_id
        self._eot = np.array([eot_id], dtype=np.uint32)
        self._rest = np.empty(0, dtype=np.uint32)
        self._documents_in_rest = 0

    def add(self, documents: Iterable[Sequence[int] | U32Array]) -> Sequences:
        """Append documents; returns the sequences that are complete now, maybe none."""
        pieces = [self._rest]
        ends = []
        position = self._rest.size
        for document in documents:
            pieces += [np.asarray(document, dtype=np.uint32), self._eot]
            position += len(document) + 1
            ends.append(position - 1)
        stream = np.concatenate(pieces)
        # a stream that ends exactly on a cut keeps its last sequence, as upstream does: only *more than* L emits
        complete = max(0, stream.size - 1) // self._sequence_length
        cut = complete * self._sequence_length
        sequence_of_end = np.array(ends, dtype=np.int64) // self._sequence_length
        documents_S = np.bincount(sequence_of_end, minlength=complete + 1).astype(np.uint32)
        # the rest of the call before lies wholly in the first sequence of this one
        documents_S[0] += self._documents_in_rest
        self._rest, self._documents_in_rest = stream[cut:].copy(), int(documents_S[complete])
        return Sequences(stream[:cut].reshape(complete, self._sequence_length), documents_S[:complete])

    def finish(self) -> Sequences:
        """The rest, filled up with the pad token: one sequence, or none where nothing is left."""
        rest, documents = self._rest, self._documents_in_rest
        self._rest, self._documents_in_rest = np.empty(0, dtype=np.uint32), 0
        if not rest.size:
            return Sequences(np.empty((0, self._sequence_length), dtype=np.uint32), np.empty(0, dtype=np.uint32))
        tokens_SL = np.full((1, self._sequence_length), self._pad_id, dtype=np.uint32)
        tokens_SL[0, : rest.size] = rest
        return Sequences(tokens_SL, np.array([documents], dtype=np.uint32))


def pack(
    documents: Iterable[Sequence[int] | U32Array], *, sequence_length: int, eot_id: int, pad_id: int
) -> Iterator[U32Array]:
    """Yield the sequences of one file, each an array of `sequence_length` token ids.

    Streams: memory holds about a million tokens, or the longest document.
    """
    packer = Packer(sequence_length=sequence_length, eot_id=eot_id, pad_id=pad_id)
    batch: list[Sequence[int] | U32Array] = []
    tokens = 0
    for document in documents:
        batch.append(document)
        tokens += len(document) + 1
        if tokens >= _PACK_TOKENS:
            yield from packer.add(batch).tokens_SL
            batch, tokens = [], 0
    yield from packer.add(batch).tokens_SL
    yield from packer.finish().tokens_SL
