"""Groups of units with one id: of each the best unit is chosen, first within a shard, then over all shards.

The choice is a sort: by id, then by selection value where there is one, then by (shard, page, unit). It depends on
neither the number of workers nor the order in which they end. The best unit of all is the best of its shard, so only
the best of each shard travels to its cell, with the number of its copies: a cell holds no more rows than ids times
shards, however often one unit stands in the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.pages.shards import Page, open_shard_writer
from corpusmith.io.spill import group_by_cell, read_spill_cell, write_spill
from corpusmith.run.ray.runner import Runner
from corpusmith.run.stage import Stage
from dedup.groups.layout import GroupsLayout, shard_names
from dedup.groups.selection import NUMBER_TAG

LISTED_MEMBERS_OF_A_GROUP = 10_000
BIGGEST = 10
SHARDS_OF_THE_BIGGEST = 4

U64Array = npt.NDArray[np.uint64]
U32Array = npt.NDArray[np.uint32]
I64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitRows:
    """Units in the order (shard, page, unit), as arrays of shape (rows,).

    `copies`: for how many units of its shard a row stands. `rank` orders units by selection value, smallest kept;
    `is_number` tells the type of that value. Both are None without selection.
    """

    id_high: U64Array
    id_low: U64Array
    shard: U32Array
    page: U32Array
    unit: U32Array
    copies: I64Array
    rank: I64Array | None = None
    is_number: BoolArray | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Grouping:
    """Rows by group: `order` lists rows group by group, each group's best row first; group g begins at `starts[g]`.

    `clash`: two rows of one group whose selection values are a number and a string, if there are any.
    """

    order: I64Array
    starts: I64Array
    clash: tuple[int, int] | None

    @property
    def best(self) -> I64Array:
        """The best row of each group."""
        return self.order[self.starts]

    @property
    def group_of(self) -> I64Array:
        """The group of each place in `order`."""
        marks = np.zeros(len(self.order), dtype=np.int64)
        marks[self.starts[1:]] = 1
        return np.cumsum(marks)

    def sums(self, values: I64Array) -> I64Array:
        """The sum of a value of the rows of each group."""
        if len(self.starts) == 0:
            return np.zeros(0, dtype=np.int64)
        return np.asarray(np.add.reduceat(values[self.order], self.starts))


def group(rows: UnitRows) -> Grouping:
    """Group rows by id and order each group by rank and position."""
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
    return Grouping(order=order, starts=np.flatnonzero(is_first), clash=clash)


def _refuse_clash(rows: UnitRows, clash: tuple[int, int] | None, names: list[str]) -> None:
    """Raise InputError where the selection values of one group are numbers and strings."""
    if clash is None:
        return
    number, string = sorted(clash, key=lambda row: not (rows.is_number is not None and rows.is_number[row]))
    raise InputError(
        f"two pages of equal content cannot be compared: the selection value is a number in "
        f"{names[rows.shard[number]]} (page {rows.page[number]}) and a string in "
        f"{names[rows.shard[string]]} (page {rows.page[string]}); make it one type in all pages"
    )


def _selection_columns(selection: Any, reverse: bool) -> tuple[I64Array, BoolArray]:
    rank = pc.rank(selection, tiebreaker="dense").to_numpy().astype(np.int64)
    is_number = pc.equal(pc.binary_slice(selection, 0, 1), pa.scalar(NUMBER_TAG, pa.large_binary()))
    return (-rank if reverse else rank), np.asarray(is_number)


# --- within a shard ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardUnits:
    """The units of a shard in their order, as arrays of shape (units,).

    `selection`: their order keys (large_binary), None without selection; `cargo`: bytes that the best unit of a group
    hands to all others of it (large_binary), None for none.
    """

    id_high: U64Array
    id_low: U64Array
    page: U32Array
    unit: U32Array
    selection: Any | None = None
    cargo: Any | None = None


def spill_units(layout: GroupsLayout, number: int, units: ShardUnits, reverse: bool) -> None:
    """Write the best unit of each id in a shard by cell, and those that it beats."""
    rank = is_number = None
    if units.selection is not None:
        rank, is_number = _selection_columns(units.selection, reverse)
    count = len(units.page)
    rows = UnitRows(
        id_high=units.id_high,
        id_low=units.id_low,
        shard=np.full(count, number, dtype=np.uint32),
        page=units.page,
        unit=units.unit,
        copies=np.ones(count, dtype=np.int64),
        rank=rank,
        is_number=is_number,
    )
    found = group(rows)
    _refuse_clash(rows, found.clash, shard_names(layout))
    _write_own_losers(layout.own_losers_url(number), rows, found)
    best, copies = found.best, found.sums(rows.copies)
    in_order = np.argsort(best, kind="stable")
    best, copies = best[in_order], copies[in_order]
    columns: dict[str, Any] = {
        "id_high": units.id_high[best],
        "id_low": units.id_low[best],
        "page": units.page[best],
        "unit": units.unit[best],
        "copies": copies.astype(np.uint32),
    }
    for name, column in (("selection", units.selection), ("cargo", units.cargo)):
        if column is not None:
            columns[name] = column.take(pa.array(best))
    cells = ((units.id_high[best] >> np.uint64(32)) * np.uint64(layout.cells)) >> np.uint64(32)
    grouped = group_by_cell(pa.record_batch(columns), pa.array(cells.astype(np.int64)), layout.cells)
    write_spill(layout.units_url(number), grouped)


def _write_own_losers(url: str, rows: UnitRows, found: Grouping) -> None:
    is_loser = np.ones(len(found.order), dtype=np.bool_)
    is_loser[found.starts] = False
    losers, winners = found.order[is_loser], found.best[found.group_of[is_loser]]
    in_order = np.argsort(losers)
    losers, winners = losers[in_order], winners[in_order]
    batch = pa.record_batch(
        {
            "page": rows.page[losers],
            "unit": rows.unit[losers],
            "best_page": rows.page[winners],
            "best_unit": rows.unit[winners],
        }
    )
    write_spill(url, [batch])


# --- over all shards --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupCellTask:
    """A cell whose groups are to be resolved."""

    layout: GroupsLayout
    cell: int
    reverse: bool


def _read_cell(task: GroupCellTask, shards: int) -> tuple[UnitRows, Any | None]:
    """The rows of a cell, and their cargo."""
    batches = [read_spill_cell(task.layout.units_url(number), task.cell) for number in range(shards)]
    table = pa.Table.from_batches(batches)
    rank = is_number = None
    if "selection" in table.column_names:
        rank, is_number = _selection_columns(table.column("selection"), task.reverse)
    rows = UnitRows(
        id_high=table.column("id_high").to_numpy(),
        id_low=table.column("id_low").to_numpy(),
        shard=np.repeat(np.arange(shards, dtype=np.uint32), [batch.num_rows for batch in batches]),
        page=table.column("page").to_numpy(),
        unit=table.column("unit").to_numpy(),
        copies=table.column("copies").to_numpy().astype(np.int64),
        rank=rank,
        is_number=is_number,
    )
    return rows, table.column("cargo") if "cargo" in table.column_names else None


def resolve_cell(task: GroupCellTask) -> None:
    """Write the groups of a cell of two or more units, the biggest of them apart, and by shard what was decided.

    Raises InputError where the selection values of one group are numbers and strings.
    """
    names = shard_names(task.layout)
    rows, cargo = _read_cell(task, len(names))
    found = group(rows)
    _refuse_clash(rows, found.clash, names)
    sizes = found.sums(rows.copies)
    counted = [number for number in _by_position(found.best) if sizes[number] > 1]
    with open_shard_writer(task.layout.groups_url(task.cell)) as writer:
        for number in counted:
            writer.write(_group_line(rows, found, number, int(sizes[number]), names))
    _write_biggest(task, rows, found, sizes)
    _write_verdicts(task, rows, cargo, found, sizes, len(names))


def _by_position(best: I64Array) -> Iterator[int]:
    yield from np.argsort(best, kind="stable").tolist()


def _members(found: Grouping, number: int) -> I64Array:
    """The rows of a group in the order (shard, page, unit)."""
    end = found.starts[number + 1] if number + 1 < len(found.starts) else len(found.order)
    return np.sort(found.order[found.starts[number] : end])


def group_name(shard: str, page: int, unit: int) -> str:
    """The name of a group: the place of the unit that is kept, the unit left out where it is the first."""
    return f"{shard}#{page}" + (f"#{unit}" if unit else "")


def _group_line(rows: UnitRows, found: Grouping, number: int, size: int, names: list[str]) -> Page:
    kept = int(found.order[found.starts[number]])
    members = _members(found, number)[:LISTED_MEMBERS_OF_A_GROUP]
    shard, page, unit = names[rows.shard[kept]], int(rows.page[kept]), int(rows.unit[kept])
    return {
        "group": group_name(shard, page, unit),
        "size": size,
        "kept": {"shard": shard, "page": page, "unit": unit},
        "shards": {names[rows.shard[row]]: int(rows.copies[row]) for row in members.tolist()},
    }


def _write_biggest(task: GroupCellTask, rows: UnitRows, found: Grouping, sizes: I64Array) -> None:
    best = found.best
    order = np.lexsort((best, -sizes))[:BIGGEST]
    biggest = [
        {
            "size": int(sizes[number]),
            "kept": [int(rows.shard[best[number]]), int(rows.page[best[number]]), int(rows.unit[best[number]])],
            "shards": rows.shard[_members(found, number)][:SHARDS_OF_THE_BIGGEST].tolist(),
        }
        for number in order.tolist()
        if sizes[number] > 1
    ]
    storage.write_json(task.layout.biggest_url(task.cell), biggest)


def _write_verdicts(
    task: GroupCellTask, rows: UnitRows, cargo: Any | None, found: Grouping, sizes: I64Array, shards: int
) -> None:
    """By shard, each row of a group of two or more units: the unit that is kept, the group's size, the kept's cargo."""
    group_of = found.group_of
    counted = sizes[group_of] > 1
    members, kept = found.order[counted], found.best[group_of[counted]]
    size = sizes[group_of[counted]]
    in_order = np.argsort(members)
    members, kept, size = members[in_order], kept[in_order], size[in_order]
    columns: dict[str, Any] = {
        "page": rows.page[members],
        "unit": rows.unit[members],
        "kept_shard": rows.shard[kept],
        "kept_page": rows.page[kept],
        "kept_unit": rows.unit[kept],
        "size": size,
    }
    if cargo is not None:
        columns["cargo"] = cargo.take(pa.array(kept)).combine_chunks()
    batch = pa.record_batch(columns)
    write_spill(task.layout.verdicts_url(task.cell), group_by_cell(batch, pa.array(rows.shard[members]), shards))


# --- as a phase of a stage ----------------------------------------------------------------------------------------


def missing_cells(layout: GroupsLayout, existing: set[str]) -> list[int]:
    """The cells of which a file is missing among the existing ones."""
    return [
        cell
        for cell in range(layout.cells)
        if not {layout.verdicts_url(cell), layout.groups_url(cell), layout.biggest_url(cell)} <= existing
    ]


def has_units(layout: GroupsLayout, existing: set[str], shard: int) -> bool:
    """Whether the units of a shard are spilled already."""
    return {layout.units_url(shard), layout.own_losers_url(shard)} <= existing


def resolve_cells(stage: Stage, runner: Runner, layout: GroupsLayout, cells: list[int], reverse: bool) -> list[str]:
    """Resolve the groups of some cells; a line for each that failed."""
    tasks = {f"cell-{cell:05d}": GroupCellTask(layout=layout, cell=cell, reverse=reverse) for cell in cells}
    return stage.run_units(runner, resolve_cell, tasks, label=f"{stage.place.name}: compare", unit="cells")
