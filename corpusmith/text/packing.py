"""Pack token lists into rows of bounded length: concatenated, a document each, or best-fit.

`concat` follows open_lm's tokenize_shuffle: the documents of one file stand one after another, each followed by the
end-of-text token; the stream is cut into rows of L tokens, and the last one is filled up with the pad token. It departs
from the Rust twin (tokshuf-rs), which adds a row of nothing but padding where the stream ends exactly on a cut.
`document` gives each document rows of its own, without padding. `best_fit` follows Ding et al., "Fewer Truncations
Improve Language Modeling" (2024): only documents longer than L are cut; the pieces of a window of documents go,
longest first, each into the fullest row that still has room (best-fit decreasing), and rows are filled up with padding.

Documents never cross files, and no boundary between them is kept but the end-of-text token. A `Grouped` packer keeps
documents of different domains in different rows.

What stands where is told by pieces: a piece is a run of tokens of one document in one row; the pieces of a document in
order are the document and its end-of-text token. A document is counted in the row that holds its end, so the documents
of all rows of a file add up to the documents of the file.

Legend: S rows, L tokens in a row (the sequence length of training plus one), N tokens of all rows, P pieces.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from corpusmith.errors import InputError

U32Array = npt.NDArray[np.uint32]
I64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Documents = Sequence[Sequence[int] | U32Array]


MODES = ("concat", "document", "best_fit")
WINDOW_TOKENS = 1 << 22
_PACK_TOKENS = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Pieces:
    """P pieces in order of row and place in it.

    `document_P` numbers documents in the order of `add`, from 0; `start_P` is the place in the document, `row_P` the
    row and `offset_P` the place in that; `is_end_P` marks the piece that holds the document's end-of-text token.
    """

    document_P: I64Array
    start_P: I64Array
    row_P: I64Array
    offset_P: I64Array
    length_P: I64Array
    is_end_P: BoolArray

    def __len__(self) -> int:
        return len(self.document_P)

    def take(self, chosen: npt.NDArray[np.bool_] | slice) -> Pieces:
        """Some of the pieces."""
        return Pieces(
            document_P=self.document_P[chosen],
            start_P=self.start_P[chosen],
            row_P=self.row_P[chosen],
            offset_P=self.offset_P[chosen],
            length_P=self.length_P[chosen],
            is_end_P=self.is_end_P[chosen],
        )

    @classmethod
    def none(cls) -> Pieces:
        """No pieces."""
        empty = np.empty(0, dtype=np.int64)
        return cls(
            document_P=empty, start_P=empty, row_P=empty, offset_P=empty, length_P=empty, is_end_P=empty.astype(bool)
        )

    @classmethod
    def join(cls, parts: Sequence[Pieces]) -> Pieces:
        """Several lists of pieces as one."""
        if not parts:
            return cls.none()
        return cls(
            document_P=np.concatenate([part.document_P for part in parts]),
            start_P=np.concatenate([part.start_P for part in parts]),
            row_P=np.concatenate([part.row_P for part in parts]),
            offset_P=np.concatenate([part.offset_P for part in parts]),
            length_P=np.concatenate([part.length_P for part in parts]),
            is_end_P=np.concatenate([part.is_end_P for part in parts]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """S rows as one flat array, and the pieces in them; row s is `tokens_N[offsets_S1[s]:offsets_S1[s + 1]]`."""

    tokens_N: U32Array
    offsets_S1: I64Array
    pieces: Pieces

    def __len__(self) -> int:
        return len(self.offsets_S1) - 1

    @property
    def documents_S(self) -> U32Array:
        """How many documents end in each row."""
        ends = self.pieces.row_P[self.pieces.is_end_P]
        return np.bincount(ends, minlength=len(self)).astype(np.uint32)

    def rows(self) -> Iterator[U32Array]:
        """The rows one by one."""
        for start, end in zip(self.offsets_S1[:-1], self.offsets_S1[1:], strict=True):
            yield self.tokens_N[start:end]

    @classmethod
    def join(cls, parts: Sequence[Packed]) -> Packed:
        """The rows of several, one after the other."""
        if len(parts) == 1:
            return parts[0]
        first_rows = np.cumsum([0, *map(len, parts)])
        first_tokens = np.cumsum([0, *(part.tokens_N.size for part in parts)])
        shifted = [
            replace(part.pieces, row_P=part.pieces.row_P + first)
            for part, first in zip(parts, first_rows[:-1], strict=True)
        ]
        offsets = [part.offsets_S1[:-1] + first for part, first in zip(parts, first_tokens[:-1], strict=True)]
        return cls(
            tokens_N=np.concatenate([np.empty(0, dtype=np.uint32), *(part.tokens_N for part in parts)]),
            offsets_S1=np.concatenate([*offsets, first_tokens[-1:]]).astype(np.int64),
            pieces=Pieces.join(shifted),
        )


def _square(tokens_N: U32Array, length: int, pieces: Pieces) -> Packed:
    rows = tokens_N.size // length
    return Packed(tokens_N=tokens_N, offsets_S1=np.arange(rows + 1, dtype=np.int64) * length, pieces=pieces)


class Packer(Protocol):
    """Takes the documents of one file in order and gives the rows that are complete.

    How the documents are spread over calls of `add` changes neither rows nor pieces.
    """

    def add(self, documents: Documents) -> Packed:
        """Append documents; returns the rows that are complete now, maybe none."""

    def finish(self) -> Packed:
        """The last rows, which may hold padding."""


def make_packer(mode: str, *, sequence_length: int, eot_id: int, pad_id: int) -> Packer:
    """The packer of a mode of `MODES`.

    Raises:
        InputError: another mode, a sequence length below 2, or ids beyond 32 bits.
    """
    if mode == "concat":
        return ConcatPacker(sequence_length=sequence_length, eot_id=eot_id, pad_id=pad_id)
    if mode == "document":
        return DocumentPacker(sequence_length=sequence_length, eot_id=eot_id, pad_id=pad_id)
    if mode == "best_fit":
        return BestFitPacker(sequence_length=sequence_length, eot_id=eot_id, pad_id=pad_id)
    raise InputError(f"unknown packing {mode!r}; it must be one of {', '.join(MODES)}")


class _Stream:
    """What all packers share: the checked parameters, and documents as one stream with their end tokens."""

    def __init__(self, *, sequence_length: int, eot_id: int, pad_id: int) -> None:
        """Check and hold the parameters.

        Args:
            sequence_length: L, at least 2.
            eot_id: the token that ends each document.
            pad_id: what fills up the last rows.

        Raises:
            InputError: a length below 2, or ids beyond 32 bits.
        """
        if sequence_length < 2:
            raise InputError(f"a sequence must hold at least 2 tokens, got {sequence_length}")
        for name, token in (("end-of-text", eot_id), ("pad", pad_id)):
            if not 0 <= token < 1 << 32:
                raise InputError(f"the {name} id must lie in [0, 2**32), got {token}")
        self.length = sequence_length
        self.pad_id = pad_id
        self._eot = np.array([eot_id], dtype=np.uint32)
        self.documents = 0

    def _take(self, documents: Documents, before: Sequence[U32Array] = ()) -> tuple[U32Array, I64Array]:
        """(stream of `before` and the documents with their end tokens, where each document ends in it)."""
        parts: list[U32Array] = list(before)
        lengths = []
        for document in documents:
            parts += [np.asarray(document, dtype=np.uint32), self._eot]
            lengths.append(len(document) + 1)
        self.documents += len(lengths)
        stream = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint32)
        return stream, np.cumsum(lengths, dtype=np.int64) + sum(part.size for part in before)


def _cut_pieces(starts: I64Array, ends: I64Array, first_document: int, length: int) -> Pieces:
    """The pieces of documents at [starts, ends) of a stream that is cut every `length` tokens."""
    first_row, last_row = starts // length, (ends - 1) // length
    counts = last_row - first_row + 1
    which = np.repeat(np.arange(len(starts)), counts)
    row_P = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first_row[which]
    start_P = np.maximum(starts[which], row_P * length)
    end_P = np.minimum(ends[which], (row_P + 1) * length)
    return Pieces(
        document_P=which.astype(np.int64) + first_document,
        start_P=start_P - starts[which],
        row_P=row_P.astype(np.int64),
        offset_P=start_P - row_P * length,
        length_P=end_P - start_P,
        is_end_P=end_P == ends[which],
    )


class ConcatPacker(_Stream):
    """The token stream of one file, cut as it grows; keeps at most L tokens between calls."""

    def __init__(self, *, sequence_length: int, eot_id: int, pad_id: int) -> None:
        super().__init__(sequence_length=sequence_length, eot_id=eot_id, pad_id=pad_id)
        self._rest = np.empty(0, dtype=np.uint32)
        self._rest_pieces = Pieces.none()

    def add(self, documents: Documents) -> Packed:
        """Append documents; returns the rows that are complete now, maybe none."""
        first = self.documents
        rest = self._rest.size
        stream, ends = self._take(documents, [self._rest])
        starts = np.concatenate([[rest], ends[:-1]]).astype(np.int64) if ends.size else ends
        pieces = Pieces.join([self._rest_pieces, _cut_pieces(starts, ends, first, self.length)])
        # a stream that ends exactly on a cut keeps its last row, as upstream does: only *more than* L emits
        complete = max(0, stream.size - 1) // self.length
        cut = complete * self.length
        is_complete = pieces.row_P < complete
        held = pieces.take(~is_complete)
        self._rest = stream[cut:].copy()
        self._rest_pieces = replace(held, row_P=held.row_P - complete)
        return _square(stream[:cut], self.length, pieces.take(is_complete))

    def finish(self) -> Packed:
        """The rest, filled up with the pad token: one row, or none where nothing is left."""
        rest, pieces = self._rest, self._rest_pieces
        self._rest, self._rest_pieces = np.empty(0, dtype=np.uint32), Pieces.none()
        if not rest.size:
            return _square(rest, self.length, pieces)
        padding = np.full(self.length - rest.size, self.pad_id, dtype=np.uint32)
        return _square(np.concatenate([rest, padding]), self.length, pieces)


class DocumentPacker(_Stream):
    """Each document and its end-of-text token in rows of its own; one longer than L tokens takes several."""

    def add(self, documents: Documents) -> Packed:
        """The rows of these documents."""
        first = self.documents
        stream, ends = self._take(documents)
        lengths = np.diff(ends, prepend=0)
        counts = -(-lengths // self.length)
        which = np.repeat(np.arange(len(ends)), counts)
        number_in_document = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        row_starts = (ends - lengths)[which] + number_in_document * self.length
        offsets_S1 = np.concatenate([row_starts, [stream.size]]).astype(np.int64)
        pieces = Pieces(
            document_P=which.astype(np.int64) + first,
            start_P=number_in_document * self.length,
            row_P=np.arange(len(which), dtype=np.int64),
            offset_P=np.zeros(len(which), dtype=np.int64),
            length_P=np.diff(offsets_S1),
            is_end_P=number_in_document == counts[which] - 1,
        )
        return Packed(tokens_N=stream, offsets_S1=offsets_S1, pieces=pieces)

    def finish(self) -> Packed:
        """Nothing: no row is held back."""
        return Packed(
            tokens_N=np.empty(0, dtype=np.uint32), offsets_S1=np.zeros(1, dtype=np.int64), pieces=Pieces.none()
        )


class BestFitPacker(_Stream):
    """Best-fit decreasing over windows of about four million tokens (16 MiB)."""

    def __init__(self, *, sequence_length: int, eot_id: int, pad_id: int, window_tokens: int = WINDOW_TOKENS) -> None:
        super().__init__(sequence_length=sequence_length, eot_id=eot_id, pad_id=pad_id)
        self._window_tokens = window_tokens
        self._held: list[Sequence[int] | U32Array] = []
        self._held_tokens = 0

    def add(self, documents: Documents) -> Packed:
        """Append documents; returns the rows of each window that is full now."""
        packed = []
        for document in documents:
            self._held.append(document)
            self._held_tokens += len(document) + 1
            if self._held_tokens >= self._window_tokens:
                packed.append(self._pack())
        return Packed.join(packed) if packed else _square(np.empty(0, dtype=np.uint32), self.length, Pieces.none())

    def finish(self) -> Packed:
        """The rows of the last window."""
        return self._pack()

    def _pack(self) -> Packed:
        first = self.documents
        stream, ends = self._take(self._held)
        self._held, self._held_tokens = [], 0
        lengths = np.diff(ends, prepend=0)
        # the pieces of each document: full rows and a rest, in order
        counts = -(-lengths // self.length)
        which = np.repeat(np.arange(len(ends)), counts)
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = (ends - lengths)[which] + number * self.length
        sizes = np.minimum(ends[which] - starts, self.length)
        row_P, offset_P, rows = best_fit_decreasing(sizes, self.length)
        tokens_SL = np.full((rows, self.length), self.pad_id, dtype=np.uint32)
        for row, offset, start, size in zip(
            row_P.tolist(), offset_P.tolist(), starts.tolist(), sizes.tolist(), strict=True
        ):
            tokens_SL[row, offset : offset + size] = stream[start : start + size]
        pieces = Pieces(
            document_P=which.astype(np.int64) + first,
            start_P=number * self.length,
            row_P=row_P,
            offset_P=offset_P,
            length_P=sizes,
            is_end_P=number == counts[which] - 1,
        )
        order = np.lexsort((pieces.offset_P, pieces.row_P))
        return _square(tokens_SL.reshape(-1), self.length, pieces.take(order))  # type: ignore[arg-type]


def best_fit_decreasing(sizes_P: I64Array, capacity: int) -> tuple[I64Array, I64Array, int]:
    """Put pieces into bins of `capacity` tokens, longest first, each into the fullest bin that has room.

    Ties go to the piece that comes first, and to the bin that reached its room last.

    Args:
        sizes_P: tokens of each piece, 1 to `capacity`.
        capacity: tokens of a bin.

    Returns:
        The bin of each piece, its place there, and the number of bins, which are numbered in the order in which they
        were opened.
    """
    bin_P, offset_P = np.empty_like(sizes_P), np.empty_like(sizes_P)
    rooms: list[int] = []  # in order, each once: the amounts of room that some bin has
    bins_of_room: dict[int, list[int]] = {}
    bins = 0
    order = np.argsort(-sizes_P, kind="stable")
    for piece, size in zip(order.tolist(), sizes_P[order].tolist(), strict=True):
        place = bisect.bisect_left(rooms, size)
        if place == len(rooms):
            number, room, bins = bins, capacity, bins + 1
        else:
            room = rooms[place]
            number = bins_of_room[room].pop()
            if not bins_of_room[room]:
                del rooms[place]
        bin_P[piece], offset_P[piece] = number, capacity - room
        left = room - size
        if left > 0:
            if not bins_of_room.setdefault(left, []):
                bisect.insort(rooms, left)
            bins_of_room[left].append(number)
    return bin_P, offset_P, bins


class Grouped:
    """A packer for each group of documents, so that no row holds documents of two (a domain, a cluster, a language)."""

    def __init__(self, mode: str, *, sequence_length: int, eot_id: int, pad_id: int) -> None:
        """See `make_packer`."""
        self._mode = mode
        self._parameters = {"sequence_length": sequence_length, "eot_id": eot_id, "pad_id": pad_id}
        self._packers: dict[str, Packer] = {}
        # by group, the numbers of its documents from number `_first` of the group on; those that ended are dropped
        self._numbers: dict[str, list[int]] = {}
        self._first: dict[str, int] = {}
        self._documents = 0

    def add(self, documents: Documents, groups: Sequence[str]) -> tuple[Packed, list[str]]:
        """Append documents with the group of each; returns the rows that are complete now, and the group of each."""
        members: dict[str, list[Sequence[int] | U32Array]] = {}
        for document, group in zip(documents, groups, strict=True):
            members.setdefault(group, []).append(document)
            self._numbers.setdefault(group, []).append(self._documents)
            self._documents += 1
        return self._join({group: self._packer(group).add(each) for group, each in members.items()})

    def finish(self) -> tuple[Packed, list[str]]:
        """The last rows of each group, in the order in which the groups were first met, and the group of each row."""
        return self._join({group: packer.finish() for group, packer in self._packers.items()})

    def _packer(self, group: str) -> Packer:
        if group not in self._packers:
            self._packers[group] = make_packer(self._mode, **self._parameters)
        return self._packers[group]

    def _join(self, found: dict[str, Packed]) -> tuple[Packed, list[str]]:
        parts = []
        for group, packed in found.items():
            own, first = self._numbers[group], self._first.setdefault(group, 0)
            pieces = packed.pieces
            numbers = np.array(own, dtype=np.int64)[pieces.document_P - first]
            parts.append(replace(packed, pieces=replace(pieces, document_P=numbers)))
            if pieces.is_end_P.any():
                ended = int(pieces.document_P[pieces.is_end_P].max()) + 1  # and so have all before it
                del own[: ended - first]
                self._first[group] = ended
        rows = [group for group, packed in found.items() for _ in range(len(packed))]
        empty = Packed(tokens_N=np.empty(0, np.uint32), offsets_S1=np.zeros(1, np.int64), pieces=Pieces.none())
        return Packed.join(parts or [empty]), rows


def pack(
    documents: Iterable[Sequence[int] | U32Array], *, sequence_length: int, eot_id: int, pad_id: int
) -> Iterator[U32Array]:
    """Yield the sequences of one file by `concat`, each an array of `sequence_length` token ids.

    Streams: memory holds about a million tokens, or the longest document.
    """
    packer = ConcatPacker(sequence_length=sequence_length, eot_id=eot_id, pad_id=pad_id)
    batch: list[Sequence[int] | U32Array] = []
    tokens = 0
    for document in documents:
        batch.append(document)
        tokens += len(document) + 1
        if tokens >= _PACK_TOKENS:
            yield from packer.add(batch).rows()
            batch, tokens = [], 0
    yield from packer.add(batch).rows()
    yield from packer.finish().rows()
