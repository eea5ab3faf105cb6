"""Pieces of the input: the n-gram hashes of consecutive pages of a shard, and what was decided about them.

A piece holds whole pages and some `PIECE_NGRAMS` n-grams, so memory grows neither with a shard nor with the data set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpusmith.io import storage
from corpusmith.text.kernels import I32Array, U8Array, U64Array
from corpusmith.text.segmentation.character_table import character_table
from corpusmith.text.segmentation.view import TextView
from dedup.bff.bloom.filter import FilterShape
from dedup.bff.config import BffConfig
from dedup.bff.kernels import hash_page, settle_piece

PIECE_NGRAMS = 1 << 20

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """N-gram hashes (U64), tokens of each paragraph (I32) and paragraphs of each page (I32), in input order."""

    hashes: U64Array
    tokens: I32Array
    pages: I32Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Decisions:
    """What becomes of a piece: see `bff_kernels.settle_piece` for the arrays.

    `inserts` is by n-gram (U8, 0 or 1); `fresh`: how many inserted n-grams set a bit.
    """

    removed: U8Array
    documents: U8Array
    counts: I32Array
    intervals: I32Array
    interval_counts: I32Array
    inserts: U8Array
    fresh: int


class PieceBuilder:
    """Collects the n-grams of pages; `take` gives what was collected and begins anew."""

    def __init__(self, config: BffConfig) -> None:
        self._config = config
        self._hashes = np.empty(PIECE_NGRAMS, dtype=np.uint64)
        self._tokens = np.empty(1 << 16, dtype=np.int32)
        self._pages: list[int] = []
        self._at = self._paragraph = 0

    @property
    def is_full(self) -> bool:
        """Whether the piece has its size."""
        return self._at >= PIECE_NGRAMS

    def __len__(self) -> int:
        return len(self._pages)

    def add(self, text: str) -> None:
        """Add a page's text."""
        seen = TextView(text)
        bounds = seen.word_bounds
        self._hashes = _with_room(self._hashes, self._at, 2 * len(bounds) + 1)
        self._tokens = _with_room(self._tokens, self._paragraph, len(bounds) + 2)
        before = self._paragraph
        config = self._config
        self._at, self._paragraph = hash_page(
            *(seen.points, character_table(), bounds, config.mode, config.min_ngram_size, config.max_ngram_size),
            *(self._hashes, self._at, self._tokens, self._paragraph),
        )
        self._pages.append(self._paragraph - before)

    def take(self) -> Piece:
        """The piece; the builder is empty afterwards."""
        piece = Piece(
            hashes=self._hashes[: self._at].copy(),
            tokens=self._tokens[: self._paragraph].copy(),
            pages=np.array(self._pages, dtype=np.int32),
        )
        self._pages, self._at, self._paragraph = [], 0, 0
        if len(self._hashes) > 4 * PIECE_NGRAMS:  # after a huge page
            self._hashes = np.empty(PIECE_NGRAMS, dtype=np.uint64)
        return piece


def _with_room(buffer: np.ndarray, used: int, more: int) -> np.ndarray:
    """The buffer, or a larger one with the same beginning, with room for `more` after the `used` first."""
    if used + more <= len(buffer):
        return buffer
    larger = np.empty(max(2 * len(buffer), used + more), dtype=buffer.dtype)
    larger[:used] = buffer[:used]
    return larger


_NO_WORDS = np.zeros(1, dtype=np.uint64)
_NO_HASHES = np.zeros(0, dtype=np.uint64)


def settle_in_order(piece: Piece, config: BffConfig, words: U64Array, shape: FilterShape) -> Decisions:
    """Decide about a piece and insert what is kept, unit by unit, as one sequential pass does."""
    return _settle(piece, config, words, shape, None)


def decide(piece: Piece, config: BffConfig, contained: U8Array) -> Decisions:
    """Decide about a piece (its hashes are not looked at) from which of its n-grams are contained (U8)."""
    return _settle(piece, config, _NO_WORDS, FilterShape(blocks=1, hashes=1), contained)


def _settle(
    piece: Piece, config: BffConfig, words: U64Array, shape: FilterShape, contained: U8Array | None
) -> Decisions:
    ngrams = len(piece.hashes) if contained is None else len(contained)
    pages, paragraphs = len(piece.pages), len(piece.tokens)
    decisions = Decisions(
        removed=np.zeros(paragraphs, dtype=np.uint8),
        documents=np.zeros(pages, dtype=np.uint8),
        counts=np.zeros(pages, dtype=np.int32),
        intervals=np.zeros(2 * (ngrams // config.max_ngram_size + 2 * pages), dtype=np.int32),
        interval_counts=np.zeros(pages, dtype=np.int32),
        inserts=np.zeros(ngrams, dtype=np.uint8),
        fresh=0,
    )
    fresh = settle_piece(
        words,
        np.uint64(shape.blocks),
        shape.hashes,
        piece.hashes if contained is None else _NO_HASHES,
        piece.tokens,
        piece.pages,
        config.mode,
        config.min_ngram_size,
        config.max_ngram_size,
        config.filtering_threshold,
        config.substr_seqlen,
        not config.no_update_bloom_filter,
        contained is None,
        np.zeros(ngrams, dtype=np.uint8) if contained is None else contained,
        decisions.inserts,
        decisions.removed,
        decisions.documents,
        decisions.counts,
        decisions.intervals,
        decisions.interval_counts,
    )
    used = 2 * int(decisions.interval_counts.sum())
    return Decisions(
        removed=decisions.removed,
        documents=decisions.documents,
        counts=decisions.counts,
        intervals=decisions.intervals[:used].copy(),
        interval_counts=decisions.interval_counts,
        inserts=decisions.inserts,
        fresh=int(fresh),
    )


# --- files of arrays ------------------------------------------------------------------------------------------


class ArraysWriter:
    """Writes batches of named arrays, of any lengths, to one Arrow file."""

    def __init__(self, writer: pa.ipc.RecordBatchFileWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema

    def write(self, **arrays: np.ndarray) -> None:
        """Add a batch."""
        columns = []
        for field in self._schema:
            values = np.ascontiguousarray(arrays[field.name])
            offsets = pa.array([0, len(values)], pa.int64())
            columns.append(pa.LargeListArray.from_arrays(offsets, pa.array(values)))
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))


@contextlib.contextmanager
def open_arrays_writer(
    url: str, types: dict[str, str], metadata: dict[bytes, bytes] | None = None
) -> Iterator[ArraysWriter]:
    """A writer of batches whose columns have these numpy types; the file appears whole or not at all."""
    fields = [(name, pa.large_list(pa.from_numpy_dtype(np.dtype(kind)))) for name, kind in types.items()]
    schema = pa.schema(fields, metadata=metadata)
    with storage.atomic_write(url) as file, pa.ipc.new_file(file, schema) as writer:
        yield ArraysWriter(writer, schema)


class ArraysReader:
    """The batches of an Arrow file, by number; use as a context manager."""

    def __init__(self, url: str) -> None:
        self._file = storage.open_read(url)
        self._reader = pa.ipc.open_file(self._file)

    def __enter__(self) -> ArraysReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return int(self._reader.num_record_batches)

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """What the writer noted."""
        return dict(self._reader.schema.metadata or {})

    def __getitem__(self, number: int) -> Arrays:
        if not 0 <= number < len(self):
            raise IndexError(number)
        batch = self._reader.get_batch(number)
        return {
            field.name: column.values.to_numpy(zero_copy_only=True)
            for field, column in zip(batch.schema, batch.columns, strict=True)
        }
