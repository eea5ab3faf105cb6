"""The rows of token ids between the stages of `corpusmith tokenize`: as Arrow batches, and spilled by partition.

A row has its position in its source shard, the number of its copy, its tokens, the number of documents that end in it
and, where provenance is kept, its source and the ids of its pages. Its sort key is a seeded stable hash of (source
shard, position, copy); a partition is a range of keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from corpusmith.io import storage
from corpusmith.io.pages.shards import file_checksum
from corpusmith.io.spill import group_by_cell, spill_source, write_spill
from corpusmith.io.tokens.rows import TokenRows
from corpusmith.run.stage import OutputFile, StagePlace
from corpusmith.seeds import stable_hash
from corpusmith.text.packing import Packed
from ray_processing.tokens.config import TOKEN_BYTES

U64Array = npt.NDArray[np.uint64]
I64Array = npt.NDArray[np.int64]

_KEYS = 1 << 64


def partition_of(key: int, partitions: int) -> int:
    """The partition of a 64-bit key: `partitions` equal ranges of keys, in order."""
    return key * partitions // _KEYS


def to_batch(
    packed: Packed,
    first_position: int,
    sources: Sequence[str] | None = None,
    pages: Sequence[Sequence[str]] | None = None,
) -> pa.RecordBatch:
    """Return rows as a batch, one copy each.

    Args:
        packed: the rows.
        first_position: of the first row in its source shard.
        sources: what each row comes from, and
        pages: the ids of its pages; both or neither.
    """
    rows = len(packed)
    # as bytes: Arrow moves those ten times as fast as lists of integers
    offsets = pa.py_buffer((packed.offsets_S1 * TOKEN_BYTES).astype(np.int64))
    content = pa.py_buffer(np.ascontiguousarray(packed.tokens_N, dtype=np.uint32))
    tokens = pa.LargeBinaryArray.from_buffers(pa.large_binary(), rows, [None, offsets, content])
    columns = {
        "position": pa.array(np.arange(first_position, first_position + rows, dtype=np.int64)),
        "copy": pa.array(np.zeros(rows, dtype=np.int32)),
        "tokens": tokens,
        "documents": pa.array(packed.documents_S),
    }
    if sources is not None and pages is not None:
        columns["source"] = pa.array(sources, pa.string())
        columns["pages"] = pa.array(pages, pa.list_(pa.string()))
    return pa.RecordBatch.from_pydict(columns)


def with_copies(batch: pa.RecordBatch, copies_S: I64Array) -> pa.RecordBatch:
    """Row s of a batch of first copies `copies_S[s]` times, copies numbered from 0."""
    if (copies_S == 1).all():
        return batch
    rows = np.repeat(np.arange(batch.num_rows), copies_S)
    numbers = np.arange(len(rows)) - np.repeat(np.cumsum(copies_S) - copies_S, copies_S)
    taken = batch.take(pa.array(rows))
    return taken.set_column(taken.schema.get_field_index("copy"), "copy", pa.array(numbers.astype(np.int32)))


def documents_in(batch: pa.RecordBatch | pa.Table) -> int:
    """Documents that end in the rows of a batch."""
    return int(batch.column("documents").to_numpy().sum(dtype=np.int64))


def tokens_in(batch: pa.RecordBatch | pa.Table) -> int:
    """Tokens in the rows of a batch."""
    return int(row_lengths(batch).sum())


def row_lengths(batch: pa.RecordBatch | pa.Table) -> I64Array:
    """Tokens in each row of a batch."""
    return np.asarray(pc.binary_length(batch.column("tokens")), dtype=np.int64) // TOKEN_BYTES


def to_token_rows(table: pa.Table, shards: Sequence[str]) -> TokenRows:
    """Rows of a table as the writers of shards take them; `shards` holds the source shard of each row."""
    batch = table.combine_chunks().to_batches()[0]
    tokens = batch.column("tokens")
    _, offsets, content = tokens.buffers()
    offsets_S1 = np.frombuffer(offsets, dtype=np.int64)[tokens.offset :][: batch.num_rows + 1]
    tokens_N = np.frombuffer(content, dtype=np.uint8)[offsets_S1[0] : offsets_S1[-1]].view(np.uint32)
    positions, copies = batch.column("position").to_pylist(), batch.column("copy").to_pylist()
    metas = None
    if "source" in batch.schema.names:
        metas = batch.select(["source", "pages"]).to_pylist()
    return TokenRows(
        tokens_N=tokens_N,
        offsets_S1=(offsets_S1 - offsets_S1[0]) // TOKEN_BYTES,
        names=[row_name(*row) for row in zip(shards, positions, copies, strict=True)],
        metas=metas,
    )


def row_name(shard: str, position: int, copy: int) -> str:
    """The name of a sequence, unique in a data set: `SHARD#POSITION`, further copies `SHARD#POSITION@COPY`."""
    return f"{shard}#{position}" + (f"@{copy}" if copy else "")


class Spiller:
    """Collects the rows of one source shard and writes them, grouped by partition, to spill files of bounded size."""

    def __init__(
        self,
        place: StagePlace,
        *,
        unit: str,
        source: str,
        seed: int,
        partitions: int,
        fixed_partition: int | None,
        limit: int,
    ) -> None:
        """Open no file yet.

        Args:
            place: of the stage that writes them.
            unit: names the files.
            source: the shard that the rows come from.
            seed: of their keys.
            partitions: how many there are.
            fixed_partition: all rows go there, in the order of their positions; None where keys decide both.
            limit: bytes of rows that are held before a file is written.
        """
        self._place = place
        self._unit = unit
        self._source = source
        self._seed = seed
        self._partitions = partitions
        self._fixed_partition = fixed_partition
        self._limit = limit
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = 0
        self._files: list[OutputFile] = []
        self.rows = 0
        self.tokens = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next rows of the shard."""
        if batch.num_rows:
            self._held.append(batch)
            self._held_bytes += batch.nbytes
        if self._held_bytes >= self._limit:
            self._spill()

    def finish(self) -> list[OutputFile]:
        """Write what is held; returns the spill files in order, `records` counting documents."""
        if self._held:
            self._spill()
        return self._files

    def _spill(self) -> None:
        batch = pa.Table.from_batches(self._held).combine_chunks().to_batches()[0]
        self._held, self._held_bytes = [], 0
        keys, partitions = self._keys_and_partitions(batch)
        keyed = pa.RecordBatch.from_arrays([pa.array(keys), *batch.columns], ["key", *batch.schema.names])
        name = f"{self._unit}/{len(self._files):06d}.arrow"
        url = self._place.output_url(name)
        write_spill(url, group_by_cell(keyed, pa.array(partitions), self._partitions), self._source)
        self._files.append(
            OutputFile(
                name=name, bytes=storage.stat(url).size, checksum=file_checksum(url), records=documents_in(batch)
            )
        )
        self.rows += batch.num_rows
        self.tokens += tokens_in(batch)

    def _keys_and_partitions(self, batch: pa.RecordBatch) -> tuple[U64Array, I64Array]:
        positions = batch.column("position").to_pylist()
        if self._fixed_partition is not None:
            return np.array(positions, dtype=np.uint64), np.full(len(positions), self._fixed_partition, dtype=np.int64)
        copies = batch.column("copy").to_pylist()
        keys = [stable_hash(self._seed, self._source, *row) for row in zip(positions, copies, strict=True)]
        return np.array(keys, dtype=np.uint64), np.array(
            [partition_of(key, self._partitions) for key in keys], dtype=np.int64
        )


def keyed_rows(batches: Iterator[pa.RecordBatch]) -> tuple[pa.Table, list[str]]:
    """Batches read from spill files as one table, and the source shard of each row."""
    held = list(batches)
    shards = [shard for batch in held for shard in [spill_source(batch)] * batch.num_rows]
    plain = [batch.replace_schema_metadata(None) for batch in held]
    return pa.Table.from_batches(plain).combine_chunks(), shards
