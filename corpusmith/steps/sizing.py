"""How large a dedup will be: pages counted from a sample of the input.

The first mebibytes of some shards, spread over the input, are read before anything runs. From them come the number
of cells, which bounds the memory of a worker whatever the size of the data, and what `--plan` prints
(`corpusmith.steps.needs`). Both are the same whenever the input is.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson

from corpusmith.errors import CorpusmithError
from corpusmith.io import storage
from corpusmith.io.compression import Content, Damage
from corpusmith.io.pages.shards import TABLE_SUFFIXES, Page, ShardRef, read_records

SAMPLED_SHARDS = 8
SAMPLED_CONTENT_BYTES = 8 << 20
SAMPLED_ROWS = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Pages from some shards of an input, and how many bytes of the files they took."""

    pages: list[Page]
    bytes: int
    total_bytes: int
    largest_shard_bytes: int
    shards: int

    def scaled(self, amount: float) -> int:
        """What the whole input has of something of which the sample has `amount`."""
        return max(1, round(amount * self.total_bytes / max(self.bytes, 1)))

    def standing_for(self, shards: Sequence[ShardRef]) -> Sample:
        """The sample as one of other shards, of which the sizes are known."""
        sizes = [shard.bytes for shard in shards]
        return replace(self, total_bytes=sum(sizes), largest_shard_bytes=max(sizes, default=0), shards=len(sizes))

    def in_largest_shard(self, amount: float) -> int:
        """What the largest shard has of it."""
        return max(1, round(amount * self.largest_shard_bytes / max(self.bytes, 1)))


def spread(shards: Sequence[ShardRef]) -> Sequence[ShardRef]:
    """Some shards, spread over all."""
    return shards[:: max(1, len(shards) // SAMPLED_SHARDS)][:SAMPLED_SHARDS]


def take_sample(shards: Sequence[ShardRef]) -> Sample:
    """Sample an input."""
    return read_sample(spread(shards)).standing_for(shards)


def read_sample(shards: Sequence[ShardRef]) -> Sample:
    """The pages at the beginning of shards; what cannot be read is passed over, and reported by who does the work."""
    pages: list[Page] = []
    size = 0
    for shard in shards:
        try:
            found, taken = _sample_table(shard) if shard.url.endswith(TABLE_SUFFIXES) else _sample_lines(shard)
        except CorpusmithError:
            continue
        pages.extend(found)
        size += taken
    return Sample(
        pages=pages,
        bytes=size,
        total_bytes=sum(shard.bytes for shard in shards),
        largest_shard_bytes=max((shard.bytes for shard in shards), default=0),
        shards=len(shards),
    )


def _sample_lines(shard: ShardRef) -> tuple[list[Page], int]:
    held = bytearray()
    with Content(lambda: storage.open_read(shard.url)) as content:
        for piece in content.pieces():
            if not isinstance(piece, Damage):
                held += piece
            if len(held) >= SAMPLED_CONTENT_BYTES:
                break
        else:
            held += b"\n"
        taken = content.consumed
    pages = []
    for line in bytes(held).split(b"\n")[:-1]:
        try:
            page = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(page, dict):
            pages.append(page)
    return pages, taken


def _sample_table(shard: ShardRef) -> tuple[list[Page], int]:
    records = list(itertools.islice(read_records(shard.url), SAMPLED_ROWS))
    pages = [record.page for record in records if record.page is not None]
    if len(records) < SAMPLED_ROWS:
        return pages, shard.bytes
    rows = _parquet_rows(shard.url) if shard.url.endswith(".parquet") else None
    raw = sum(len(record.raw) for record in records)
    return pages, max(1, shard.bytes * len(records) // rows) if rows else min(raw, shard.bytes)


def _parquet_rows(url: str) -> int | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with storage.open_read(url) as file:
        try:
            return int(pq.ParquetFile(file).metadata.num_rows)
        except (pa.ArrowException, OSError, io.UnsupportedOperation):
            return None


def cells_for(rows: int, rows_per_cell: int) -> int:
    """How many cells of about so many rows."""
    return max(1, -(-rows // rows_per_cell))
