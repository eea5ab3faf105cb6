"""What a shard has of the groups: each of its units that belongs to one, whether it is kept, and the kept one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from corpusmith.io import storage
from corpusmith.io.spill import read_spill_cell
from dedup.groups.groups import group_name
from dedup.groups.layout import GroupsLayout, shard_names

U32Array = npt.NDArray[np.uint32]
I64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_UNIT_BITS = np.int64(32)


class Members:
    """The units of a shard that belong to groups, by (page, unit): arrays of shape (members,).

    `page`, `unit`; `kept_shard`, `kept_page`, `kept_unit`: the unit that is kept of its group; `size` of the group;
    `is_kept`: whether it is the unit itself; `cargo`: the kept unit's, None where none was handed on.
    """

    def __init__(self, layout: GroupsLayout, shard: int) -> None:
        decided = pa.Table.from_batches(
            [read_spill_cell(layout.verdicts_url(cell), shard) for cell in range(layout.cells)]
        )
        losers = read_spill_cell(layout.own_losers_url(shard), 0)
        decided_places = _places(decided.column("page"), decided.column("unit"))
        by_place = np.argsort(decided_places)
        beaten_by = _places(losers.column("best_page"), losers.column("best_unit"))
        verdict_of_loser = by_place[np.searchsorted(decided_places, beaten_by, sorter=by_place)]
        verdicts = np.concatenate((np.arange(len(decided_places)), verdict_of_loser))
        places = np.concatenate((decided_places, _places(losers.column("page"), losers.column("unit"))))
        order = np.argsort(places)
        places, verdicts = places[order], verdicts[order]
        self._shard = shard
        self.page: U32Array = (places >> _UNIT_BITS).astype(np.uint32)
        self.unit: U32Array = (places & np.int64(0xFFFFFFFF)).astype(np.uint32)
        self.kept_shard: U32Array = decided.column("kept_shard").to_numpy()[verdicts]
        self.kept_page: U32Array = decided.column("kept_page").to_numpy()[verdicts]
        self.kept_unit: U32Array = decided.column("kept_unit").to_numpy()[verdicts]
        self.size: I64Array = decided.column("size").to_numpy()[verdicts]
        kept_places = (self.kept_page.astype(np.int64) << _UNIT_BITS) | self.kept_unit.astype(np.int64)
        self.is_kept: BoolArray = (self.kept_shard == shard) & (kept_places == places)
        self.cargo: Any | None = (
            decided.column("cargo").take(pa.array(verdicts)) if "cargo" in decided.column_names else None
        )
        self._starts = np.searchsorted(self.page, np.arange(int(self.page[-1]) + 2 if len(self.page) else 1))

    @property
    def lost(self) -> int:
        """How many units the shard loses."""
        return int((~self.is_kept).sum())

    def of_page(self, page: int) -> range:
        """The members that stand in a page."""
        if page + 1 >= len(self._starts):
            return range(0)
        return range(int(self._starts[page]), int(self._starts[page + 1]))

    def lost_by_page(self, pages: int) -> I64Array:
        """How many units each page loses."""
        return np.bincount(self.page[~self.is_kept], minlength=pages)

    def group_name(self, member: int, names: list[str]) -> str:
        """The name of a member's group."""
        kept = names[self.kept_shard[member]]
        return group_name(kept, int(self.kept_page[member]), int(self.kept_unit[member]))

    def write(self, layout: GroupsLayout, similarity: npt.NDArray[np.float64] | None = None) -> None:
        """Write the members as a Parquet file: page, unit, kept, group, size, and the similarity to the kept unit."""
        names = shard_names(layout)
        kept = np.stack((self.kept_shard, self.kept_page, self.kept_unit), axis=1)
        groups, numbers = np.unique(kept, axis=0, return_inverse=True) if len(kept) else (kept, np.zeros(0, int))
        labels = [group_name(names[shard], page, unit) for shard, page, unit in groups.tolist()]
        columns: dict[str, Any] = {
            "page": self.page,
            "unit": self.unit,
            "kept": self.is_kept,
            "group": pa.DictionaryArray.from_arrays(
                pa.array(numbers.reshape(-1).astype(np.int32)), pa.array(labels, pa.string())
            ),
            "size": self.size,
        }
        if similarity is not None:
            columns["similarity"] = similarity.astype(np.float32)
        with storage.atomic_write(layout.members_url(names[self._shard])) as file:
            pq.write_table(pa.table(columns), file, compression="zstd")


def _places(page: Any, unit: Any) -> I64Array:
    """One number that orders units by (page, unit)."""
    pages, units = np.asarray(page).astype(np.int64), np.asarray(unit).astype(np.int64)
    return (pages << _UNIT_BITS) | units
