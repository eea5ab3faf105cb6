"""The build log: which page went to which sequence, and which sequence to which shard and place.

Below the folder of its stage (`run/NAME/stages/NN-…/log/`), as Parquet:

    00-tokenize: <page shard>.pages.parquet   a row per document in order: `index` (of the record in its shard), `page`
                 <page shard>.pieces.parquet  a row per piece: `document` (row of the file before), `start` (in the
                                              document), `position` (sequence of this shard), `offset`, `length`
    last stage:  <partition>.parquet               a row per sequence: `shard`, `row` (in it), `source` (page shard),
                                              `position`, `copy`

A sequence is named by page shard, position and copy in both. `ray_processing.tokens.trace` joins them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpusmith.io import storage
from corpusmith.io.pages.shards import Page
from corpusmith.run.stage import StagePlace
from corpusmith.text.packing import Pieces

PAGES_SUFFIX, PIECES_SUFFIX, PARTITION_SUFFIX = ".pages.parquet", ".pieces.parquet", ".parquet"
MAX_PAGE_NAME = 1024
#: the stages that write it
TOKENIZE, SHUFFLE = "tokenize", "shuffle"

PAGES_SCHEMA = pa.schema([("index", pa.int64()), ("page", pa.string())])
PIECES_SCHEMA = pa.schema(
    [(name, pa.int64()) for name in ("document", "start", "position", "offset", "length")] + [("end", pa.bool_())]
)
_FLUSH_ROWS = 1 << 16


def log_folder(stage_folder: str) -> str:
    """Where a stage's part of the log lies."""
    return storage.join(stage_folder, "log")


def page_name(page: Page) -> str:
    """What a page is called: its `id`, its record id in the WARC, or its URL; empty where it has none of them."""
    metadata = page.get("metadata")
    inner = metadata if isinstance(metadata, dict) else {}
    for value in (page.get("id"), inner.get("WARC-Record-ID"), page.get("url")):
        if isinstance(value, str | int) and value != "":
            return str(value)[:MAX_PAGE_NAME].encode("utf-8", "replace").decode()
    return ""


class _Writer:
    """A Parquet file that grows by rows and appears as a whole."""

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self._schema = schema
        self._held: list[pa.RecordBatch] = []
        self._writer = pq.ParquetWriter(file, schema, compression="zstd", compression_level=1)

    def write(self, columns: list[Any]) -> None:
        self._held.append(
            pa.RecordBatch.from_arrays(
                [pa.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)], schema=self._schema
            )
        )
        if sum(batch.num_rows for batch in self._held) >= _FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._held))
            self._held = []

    def close(self) -> None:
        self.flush()
        self._writer.close()


class PageLog:
    """The log of one page shard, written while it is tokenized; use as a context manager."""

    def __init__(self, place: StagePlace, shard: str) -> None:
        self._stem = storage.join(log_folder(place.folder), shard)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> PageLog:
        self._pages = self._stack.enter_context(self._open(PAGES_SUFFIX, PAGES_SCHEMA))
        self._pieces = self._stack.enter_context(self._open(PIECES_SUFFIX, PIECES_SCHEMA))
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._stack.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def _open(self, suffix: str, schema: pa.Schema) -> Iterator[_Writer]:
        with storage.atomic_write(self._stem + suffix) as file:
            writer = _Writer(file, schema)
            yield writer
            writer.close()

    def add_pages(self, indexes: list[int], names: list[str]) -> None:
        """The next documents of the shard, in the order in which they are packed."""
        self._pages.write([indexes, names])

    def add_pieces(self, pieces: Pieces, first_position: int) -> None:
        """The pieces of the next rows; `first_position` is the position of row 0."""
        self._pieces.write(
            [
                pieces.document_P,
                pieces.start_P,
                pieces.row_P + first_position,
                pieces.offset_P,
                pieces.length_P,
                pieces.is_end_P,
            ]
        )


def write_partition_log(url: str, shards: list[str], counts: list[int], sources: list[str], rows: pa.Table) -> None:
    """Write the log of a partition.

    Args:
        url: where it goes.
        shards: the token shards of the partition, in order.
        counts: how many rows went to each.
        sources: the page shard of each row.
        rows: their positions and copies.
    """
    row_numbers = np.concatenate([np.arange(count) for count in counts]) if counts else np.empty(0, dtype=np.int64)
    table = pa.table(
        {
            "shard": pa.array(np.repeat(np.array(shards, dtype=object), counts), pa.string()).dictionary_encode(),
            "row": pa.array(row_numbers, pa.int64()),
            "source": pa.array(sources, pa.string()).dictionary_encode(),
            "position": rows.column("position"),
            "copy": rows.column("copy"),
        }
    )
    with storage.atomic_write(url) as file:
        pq.write_table(table, file, compression="zstd", compression_level=1)
