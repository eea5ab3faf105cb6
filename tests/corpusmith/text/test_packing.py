"""Packing: open_lm's rule with the vectors measured on it; documents alone; best fit; groups; pieces that add up."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.errors import InputError
from corpusmith.text.packing import (
    MODES,
    BestFitPacker,
    Grouped,
    Packed,
    best_fit_decreasing,
    make_packer,
    pack,
)

EOT, PAD = 0, 12

documents_lists = st.lists(st.lists(st.integers(1, 11), max_size=20), max_size=12)


def packed(documents: list[list[int]], length: int = 4) -> list[list[int]]:
    return [sequence.tolist() for sequence in pack(documents, sequence_length=length, eot_id=EOT, pad_id=PAD)]


def by_mode(mode: str, documents: list[list[int]], length: int, batch: int = 100) -> Packed:
    packer = make_packer(mode, sequence_length=length, eot_id=EOT, pad_id=PAD)
    found = [packer.add(documents[start : start + batch]) for start in range(0, len(documents), batch)]
    return Packed.join([*found, packer.finish()])


def rebuilt(result: Packed, documents: int) -> list[list[int]]:
    """The documents with their end tokens, put together from the pieces in order."""
    pieces = result.pieces
    found: list[list[int]] = [[] for _ in range(documents)]
    ended = [0] * documents
    for number in np.lexsort((pieces.start_P, pieces.document_P)):
        document, row = int(pieces.document_P[number]), int(pieces.row_P[number])
        start = int(result.offsets_S1[row] + pieces.offset_P[number])
        assert pieces.start_P[number] == len(found[document])
        found[document] += result.tokens_N[start : start + int(pieces.length_P[number])].tolist()
        ended[document] += int(pieces.is_end_P[number])
    assert ended == [1] * documents
    return found


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


@settings(deadline=None)
@given(documents_lists, st.integers(2, 9))
def test_packing_equals_the_plain_rule(documents: list[list[int]], length: int) -> None:
    assert packed(documents, length) == plain_pack(documents, length)


@settings(deadline=None)
@given(documents_lists, st.integers(2, 9), st.integers(1, 5))
def test_batches_do_not_change_the_sequences(documents: list[list[int]], length: int, batch: int) -> None:
    result = by_mode("concat", documents, length, batch)
    assert [row.tolist() for row in result.rows()] == plain_pack(documents, length)
    assert result.documents_S.tolist() == plain_ends(documents, length)


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None)
@given(documents=documents_lists, length=st.integers(2, 9), batch=st.integers(1, 5))
def test_pieces_put_together_are_the_documents(mode: str, documents: list[list[int]], length: int, batch: int) -> None:
    result = by_mode(mode, documents, length, batch)
    assert rebuilt(result, len(documents)) == [[*document, EOT] for document in documents]
    covered = np.zeros(result.tokens_N.size, dtype=int)
    for row, offset, size in zip(result.pieces.row_P, result.pieces.offset_P, result.pieces.length_P, strict=True):
        covered[result.offsets_S1[row] + offset : result.offsets_S1[row] + offset + size] += 1
    # every token but padding stands in exactly one piece
    assert (covered <= 1).all()
    assert (result.tokens_N[covered == 0] == PAD).all()
    assert int(result.documents_S.sum()) == len(documents)


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None)
@given(documents=documents_lists, length=st.integers(2, 9), batch=st.integers(1, 5))
def test_how_documents_are_handed_over_changes_nothing(
    mode: str, documents: list[list[int]], length: int, batch: int
) -> None:
    one, other = by_mode(mode, documents, length), by_mode(mode, documents, length, batch)
    assert one.tokens_N.tolist() == other.tokens_N.tolist()
    assert one.offsets_S1.tolist() == other.offsets_S1.tolist()
    for name in ("document_P", "start_P", "row_P", "offset_P", "length_P", "is_end_P"):
        assert getattr(one.pieces, name).tolist() == getattr(other.pieces, name).tolist()


def test_a_document_alone_has_rows_of_its_own_without_padding() -> None:
    result = by_mode("document", [[1, 2], [], [1, 2, 3, 4, 5]], 4)
    assert [row.tolist() for row in result.rows()] == [[1, 2, 0], [0], [1, 2, 3, 4], [5, 0]]


def test_best_fit_cuts_only_what_is_too_long() -> None:
    # with their ends: 3, 2, 6 (a full row of 4 and 2), 4 tokens
    result = by_mode("best_fit", [[1, 1], [2], [3, 3, 3, 3, 3], [4, 4, 4]], 4)
    assert [row.tolist() for row in result.rows()] == [[3, 3, 3, 3], [4, 4, 4, 0], [1, 1, 0, 12], [2, 0, 3, 0]]


def plain_best_fit(sizes: list[int], capacity: int) -> list[int]:
    """The bin of each piece, by looking at every bin."""
    rooms: list[int] = []
    touched: list[int] = []
    bins = [0] * len(sizes)
    clock = itertools.count()
    for piece in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        fitting = [number for number, room in enumerate(rooms) if room >= sizes[piece]]
        if fitting:
            number = min(fitting, key=lambda each: (rooms[each], -touched[each]))
        else:
            number = len(rooms)
            rooms.append(capacity)
            touched.append(0)
        bins[piece] = number
        rooms[number] -= sizes[piece]
        touched[number] = next(clock)
    return bins


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), max_size=40))
def test_best_fit_equals_its_plain_twin(sizes: list[int]) -> None:
    bins, offsets, count = best_fit_decreasing(np.array(sizes, dtype=np.int64), 9)
    assert bins.tolist() == plain_best_fit(sizes, 9)
    assert count == len(set(bins.tolist()))
    held = [sorted((o, s) for b, o, s in zip(bins, offsets, sizes, strict=True) if b == n) for n in range(count)]
    for pieces in held:
        assert [offset for offset, _ in pieces] == [sum(size for _, size in pieces[:n]) for n in range(len(pieces))]
        assert sum(size for _, size in pieces) <= 9


def test_best_fit_wastes_little_where_documents_are_short() -> None:
    draws = np.random.default_rng(3)
    documents = [[1] * int(size) for size in draws.integers(1, 1000, 3000)]
    result = by_mode("best_fit", documents, 2049)
    padding = float((result.tokens_N == PAD).mean())
    assert padding < 0.005


def test_windows_bound_what_best_fit_holds() -> None:
    packer = BestFitPacker(sequence_length=8, eot_id=EOT, pad_id=PAD, window_tokens=16)
    sizes = [len(packer.add([[1] * 5])) for _ in range(9)]
    assert sizes == [0, 0, 3, 0, 0, 3, 0, 0, 3]
    assert len(packer.finish()) == 0


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None)
@given(documents=documents_lists, length=st.integers(2, 9), data=st.data())
def test_no_row_holds_documents_of_two_groups_and_each_group_packs_as_if_alone(
    mode: str, documents: list[list[int]], length: int, data: st.DataObject
) -> None:
    groups = data.draw(st.lists(st.sampled_from("abc"), min_size=len(documents), max_size=len(documents)))
    batch = data.draw(st.integers(1, 5))
    packer = Grouped(mode, sequence_length=length, eot_id=EOT, pad_id=PAD)
    parts: list[tuple[Packed, list[str]]] = []
    for start in range(0, len(documents), batch):
        parts.append(packer.add(documents[start : start + batch], groups[start : start + batch]))
    parts.append(packer.finish())
    result = Packed.join([part for part, _ in parts])
    row_groups = [group for _, rows in parts for group in rows]
    assert len(row_groups) == len(result)
    for row, document in zip(result.pieces.row_P, result.pieces.document_P, strict=True):
        assert row_groups[row] == groups[document]
    assert rebuilt(result, len(documents)) == [[*document, EOT] for document in documents]
    for group in set(groups):
        alone = by_mode(mode, [d for d, g in zip(documents, groups, strict=True) if g == group], length)
        mine = [row.tolist() for row, g in zip(result.rows(), row_groups, strict=True) if g == group]
        assert mine == [row.tolist() for row in alone.rows()]


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


@pytest.mark.parametrize("bad", [{"sequence_length": 1}, {"eot_id": -1}, {"pad_id": 1 << 32}, {"mode": "fit"}])
def test_nonsense_is_refused(bad: dict[str, Any]) -> None:
    values: dict[str, Any] = {"mode": "concat", "sequence_length": 4, "eot_id": 0, "pad_id": 1}
    with pytest.raises(InputError):
        make_packer(**(values | bad))
