"""Blocks of n-grams: the n-gram hashes of consecutive pages of a shard, and what was decided about them.

A block holds whole pages and some `BLOCK_NGRAMS` n-grams, so memory grows neither with a shard nor with the data set.
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
from dedup.bff import resolve_kernels
from dedup.bff.bloom.filter import FilterShape
from dedup.bff.config import BffConfig
from dedup.bff.hash_kernels import hash_page
from dedup.bff.resolve_kernels import Decisions

BLOCK_NGRAMS = 1 << 20

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class NgramBlock:
    """N-gram hashes (U64), tokens of each paragraph (I32) and paragraphs of each page (I32), in input order."""

    hashes: U64Array
    tokens: I32Array
    pages: I32Array


class NgramBlockBuilder:
    """Collects the n-grams of pages; `take` gives what was collected and begins anew."""

    def __init__(self, config: BffConfig) -> None:
        self._rules = config.rules
        self._hashes = np.empty(BLOCK_NGRAMS, dtype=np.uint64)
        self._tokens = np.empty(1 << 16, dtype=np.int32)
        self._pages: list[int] = []
        self._at = self._paragraph = 0

    @property
    def is_full(self) -> bool:
        """Whether the block has its size."""
        return self._at >= BLOCK_NGRAMS

    def __len__(self) -> int:
        return len(self._pages)

    def add(self, text: str) -> None:
        """Add a page's text."""
        seen = TextView(text)
        bounds = seen.word_bounds
        self._hashes = _with_room(self._hashes, self._at, 2 * len(bounds) + 1)
        self._tokens = _with_room(self._tokens, self._paragraph, len(bounds) + 2)
        before = self._paragraph
        self._at, self._paragraph = hash_page(
            *(seen.points, character_table(), bounds, self._rules),
            *(self._hashes, self._at, self._tokens, self._paragraph),
        )
        self._pages.append(self._paragraph - before)

    def take(self) -> NgramBlock:
        """The block; the builder is empty afterwards."""
        block = NgramBlock(
            hashes=self._hashes[: self._at].copy(),
            tokens=self._tokens[: self._paragraph].copy(),
            pages=np.array(self._pages, dtype=np.int32),
        )
        self._pages, self._at, self._paragraph = [], 0, 0
        if len(self._hashes) > 4 * BLOCK_NGRAMS:  # after a huge page
            self._hashes = np.empty(BLOCK_NGRAMS, dtype=np.uint64)
        return block


def _with_room(buffer: np.ndarray, used: int, more: int) -> np.ndarray:
    """The buffer, or a larger one with the same beginning, with room for `more` after the `used` first."""
    if used + more <= len(buffer):
        return buffer
    larger = np.empty(max(2 * len(buffer), used + more), dtype=buffer.dtype)
    larger[:used] = buffer[:used]
    return larger


def resolve_in_order(
    block: NgramBlock, config: BffConfig, words: U64Array, shape: FilterShape
) -> tuple[Decisions, int]:
    """Decide about a block and insert what is kept, unit by unit, as one sequential pass does.

    Returns:
        The decisions, and how many of the inserted n-grams set a bit.
    """
    decided = _undecided(block, len(block.hashes), config)
    new_ngrams = resolve_kernels.resolve_in_order(
        words, np.uint64(shape.blocks), shape.hashes, block.hashes, block.tokens, block.pages, config.rules, decided
    )
    return _trimmed(decided), int(new_ngrams)


def resolve_contained(block: NgramBlock, config: BffConfig, contained: U8Array) -> Decisions:
    """Decide about a block (its hashes are not looked at) from which of its n-grams are contained (U8)."""
    decided = _undecided(block, len(contained), config)
    resolve_kernels.resolve_contained(contained, block.tokens, block.pages, config.rules, decided)
    return _trimmed(decided)


def _undecided(block: NgramBlock, ngrams: int, config: BffConfig) -> Decisions:
    """Room for what is decided about a block."""
    pages = len(block.pages)
    return Decisions(
        inserts=np.zeros(ngrams, dtype=np.uint8),
        removed=np.zeros(len(block.tokens), dtype=np.uint8),
        documents=np.zeros(pages, dtype=np.uint8),
        counts=np.zeros(pages, dtype=np.int32),
        intervals=np.zeros(2 * (ngrams // config.max_ngram_size + 2 * pages), dtype=np.int32),
        interval_counts=np.zeros(pages, dtype=np.int32),
    )


def _trimmed(decided: Decisions) -> Decisions:
    """The decisions without the room that no interval took."""
    return decided._replace(intervals=decided.intervals[: 2 * int(decided.interval_counts.sum())].copy())


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
        with contextlib.ExitStack() as opened:
            self._file = opened.enter_context(storage.open_read(url))
            self._reader = pa.ipc.open_file(self._file)
            opened.pop_all()

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
