"""Phases 1 and 2 of exact dedup: spill the ids of all units by cell, and choose in each group the one to keep.

The choice is a sort: by id, then by selection value where there is one, then by (shard, page, unit). It depends on
neither the number of workers nor the order in which they end.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from corpusmith.errors import InputError
from corpusmith.io.shards import Page, ShardRef, open_shard_writer, read_records
from corpusmith.io.spill import group_by_cell, read_spill_cell, write_spill
from dedup.content_units import NUMBER_TAG
from dedup.exact_config import ExactConfig, Layout, shard_names

VERSION = 1
SHOWN_OF_A_GROUP = 10_000

U64Array = npt.NDArray[np.uint64]
U32Array = npt.NDArray[np.uint32]
I64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


# --- phase 1: the ids of a shard's units ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class HashTask:
    """A shard whose unit ids are to be spilled; `number` is its place among the shards."""

    layout: Layout
    config: ExactConfig
    shard: ShardRef
    number: int


def hash_shard(task: HashTask) -> None:
    """Spill (id_high, id_low, page, unit [, selection]) of a shard's units by cell, in their order."""
    reader = task.config.unit_reader()
    ids, pages, units = bytearray(), array("I"), array("I")
    selections: list[bytes] = []
    for record in read_records(task.shard.url):
        found = "unreadable" if record.page is None else reader.read(record.page)
        if isinstance(found, str):
            continue
        count = len(found.ids)
        ids += b"".join(found.ids)
        pages.extend([record.index] * count)
        units.extend(range(count))
        if reader.selection_key is not None:
            selections.extend([found.selection] * count)
    halves = np.frombuffer(bytes(ids), dtype=">u8").reshape(-1, 2).astype(np.uint64)
    columns: dict[str, Any] = {
        "id_high": halves[:, 0],
        "id_low": halves[:, 1],
        "page": np.array(pages, dtype=np.uint32),
        "unit": np.array(units, dtype=np.uint32),
    }
    if reader.selection_key is not None:
        columns["selection"] = pa.array(selections, pa.large_binary())
    cells = ((halves[:, 0] >> np.uint64(32)) * np.uint64(task.layout.cells)) >> np.uint64(32)
    batch = pa.record_batch(columns)
    grouped = group_by_cell(batch, pa.array(cells.astype(np.int64)), task.layout.cells)
    write_spill(task.layout.units_url(task.number), grouped)


# --- phase 2: the groups of a cell ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class CellTask:
    """A cell whose groups are to be settled."""

    layout: Layout
    cell: int
    reverse: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitRows:
    """The units of a cell in the order (shard, page, unit), as arrays of shape (rows,).

    `rank` orders units by selection value, smallest kept; `is_number` tells the type of that value. Both are None
    without selection.
    """

    id_high: U64Array
    id_low: U64Array
    shard: U32Array
    page: U32Array
    unit: U32Array
    rank: I64Array | None = None
    is_number: BoolArray | None = None


def settle(rows: UnitRows) -> tuple[I64Array, I64Array, tuple[int, int] | None]:
    """Choose the unit to keep in each group of equal ids.

    Returns the rows that lose, for each of them the row that is kept in its stead (both by group, then by rank and
    position), and two rows of one group whose selection values are a number and a string, if there are any.
    """
    keys = (rows.id_low, rows.id_high)
    order = np.lexsort(keys if rows.rank is None else (rows.rank, *keys))  # stable: ties stay in their order
    high, low = rows.id_high[order], rows.id_low[order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    clash = None
    if rows.is_number is not None:
        is_number = rows.is_number[order]
        clashes = np.flatnonzero(~is_first[1:] & (is_number[1:] != is_number[:-1]))
        if len(clashes):
            clash = int(order[clashes[0]]), int(order[clashes[0] + 1])
    lost = np.flatnonzero(~is_first)
    kept = np.flatnonzero(is_first)[np.cumsum(is_first)[lost] - 1]
    return order[lost], order[kept], clash


def _read_cell(task: CellTask, shards: int) -> UnitRows:
    batches = [read_spill_cell(task.layout.units_url(number), task.cell) for number in range(shards)]
    table = pa.Table.from_batches(batches)
    lengths = [batch.num_rows for batch in batches]
    rank = is_number = None
    if "selection" in table.column_names:
        selection = table.column("selection")
        rank = pc.rank(selection, tiebreaker="dense").to_numpy().astype(np.int64)
        rank = -rank if task.reverse else rank
        is_number = np.asarray(pc.equal(pc.binary_slice(selection, 0, 1), pa.scalar(NUMBER_TAG, pa.large_binary())))
    return UnitRows(
        id_high=table.column("id_high").to_numpy(),
        id_low=table.column("id_low").to_numpy(),
        shard=np.repeat(np.arange(shards, dtype=np.uint32), lengths),
        page=table.column("page").to_numpy(),
        unit=table.column("unit").to_numpy(),
        rank=rank,
        is_number=is_number,
    )


def settle_cell(task: CellTask) -> None:
    """Write the groups of a cell and, by shard, the units that lose (page, unit, and the page that is kept).

    Raises InputError where the selection values of one group are numbers and strings.
    """
    names = shard_names(task.layout)
    rows = _read_cell(task, len(names))
    lost, kept, clash = settle(rows)
    if clash is not None:
        number, string = sorted(clash, key=lambda row: not (rows.is_number is not None and rows.is_number[row]))
        raise InputError(
            f"two pages of equal content cannot be compared: the selection value is a number in "
            f"{names[rows.shard[number]]} (page {rows.page[number]}) and a string in "
            f"{names[rows.shard[string]]} (page {rows.page[string]}); make it one type in all pages"
        )
    with open_shard_writer(task.layout.groups_url(task.cell)) as writer:
        for group in _groups(rows, lost, kept, names):
            writer.write(group)
    order = np.lexsort((rows.unit[lost], rows.page[lost], rows.shard[lost]))
    lost, kept = lost[order], kept[order]
    batch = pa.record_batch(
        {
            "page": rows.page[lost],
            "unit": rows.unit[lost],
            "kept_shard": rows.shard[kept],
            "kept_page": rows.page[kept],
        }
    )
    write_spill(task.layout.lost_url(task.cell), group_by_cell(batch, pa.array(rows.shard[lost]), len(names)))


def _groups(rows: UnitRows, lost: I64Array, kept: I64Array, names: list[str]) -> Iterator[Page]:
    """A line for each group of two or more; of a huge group only the first units that were removed."""

    def place(row: int) -> dict[str, Any]:
        return {"shard": names[rows.shard[row]], "page": int(rows.page[row]), "unit": int(rows.unit[row])}

    starts, ends = np.flatnonzero(np.diff(kept, prepend=-1)), np.flatnonzero(np.diff(kept, append=-1)) + 1
    for start, end in zip(starts, ends, strict=True):
        removed = np.sort(lost[start:end])  # rows stand in the order (shard, page, unit)
        yield {
            "kept": place(int(kept[start])),
            "removed": [place(int(row)) for row in removed[:SHOWN_OF_A_GROUP]],
            "removed_units": len(removed),
        }
