"""Out-of-core exchange between two phases of Ray tasks.

A task of the first phase writes its rows grouped by cell into one Arrow file with exactly one record batch per cell;
a task of the second phase reads its cell out of all these files. Arrow's footer is the offset index, so a cell is
read as one range. No file per (task, cell), nothing appended: every task may run twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from corpusmith.io import storage

COUNTS_KEY = b"rows_per_cell"
CELLS_KEY = b"cells"
SOURCE_KEY = b"source"


def write_spill(url: str, cells: Sequence[pa.RecordBatch], source: str = "") -> None:
    """Write one record batch per cell (all of one schema; empty ones too) atomically; `source` names their origin."""
    counts = ",".join(str(batch.num_rows) for batch in cells).encode()
    metadata = {COUNTS_KEY: counts, SOURCE_KEY: source.encode("utf-8", "surrogatepass")}
    schema = cells[0].schema.with_metadata(metadata)
    with storage.atomic_write(url) as file, pa.ipc.new_file(file, schema) as writer:
        for batch in cells:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))


@contextlib.contextmanager
def open_spill(url: str, schema: pa.Schema, cells: int) -> Iterator[Callable[[pa.RecordBatch, pa.Array], None]]:
    """A function that adds rows and the cell of each; for what is too large to be grouped at once.

    The file has one record batch per cell and call, and appears whole when the block ends.
    """
    schema = schema.with_metadata({CELLS_KEY: str(cells).encode()})
    with storage.atomic_write(url) as file, pa.ipc.new_file(file, schema) as writer:
        written = False

        def add(batch: pa.RecordBatch, numbers: pa.Array) -> None:
            nonlocal written
            written = True
            for part in group_by_cell(batch, numbers, cells):
                writer.write_batch(part.replace_schema_metadata(schema.metadata))

        yield add
        if not written:
            add(pa.RecordBatch.from_pylist([], schema=schema), pa.array([], pa.int64()))


def group_by_cell(batch: pa.RecordBatch, cells: pa.Array, count: int) -> list[pa.RecordBatch]:
    """Cut a batch into one batch per cell, rows in their order; `cells` holds each row's cell in [0, count)."""
    import numpy as np

    numbers = np.asarray(cells)
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=count))
    ordered = batch.take(pa.array(order))
    return [
        ordered.slice(int(end - length), int(length))
        for end, length in zip(ends, np.diff(ends, prepend=0), strict=True)
    ]


def read_spill_cell(url: str, cell: int) -> pa.RecordBatch:
    """The rows of one cell, in the order in which they were written."""
    with storage.open_read(url) as file, pa.ipc.open_file(file) as reader:
        batches = reader.num_record_batches
        cells = int(reader.schema.metadata.get(CELLS_KEY, batches))
        if batches == cells:
            return reader.get_batch(cell)
        return pa.concat_batches([reader.get_batch(index) for index in range(cell, batches, cells)])


def spill_source(batch: pa.RecordBatch) -> str:
    """The origin of a batch that `read_spill_cell` gave."""
    return bytes(batch.schema.metadata[SOURCE_KEY]).decode("utf-8", "surrogatepass")


def spill_rows(url: str) -> list[int]:
    """The number of rows of each cell."""
    with storage.open_read(url) as file, pa.ipc.open_file(file) as reader:
        return [int(count) for count in reader.schema.metadata[COUNTS_KEY].split(b",")]
