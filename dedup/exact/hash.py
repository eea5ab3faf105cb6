"""Phase 1 of exact dedup: the ids of a shard's units."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpusmith.io.pages.shards import ShardRef, read_records
from dedup.exact.config import ExactConfig
from dedup.groups.groups import ShardUnits, spill_units
from dedup.groups.layout import GroupsLayout


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactHashTask:
    """A shard whose unit ids are to be spilled; `number` is its place among the shards."""

    layout: GroupsLayout
    config: ExactConfig
    shard: ShardRef
    number: int


def hash_shard(task: ExactHashTask) -> None:
    """Spill the best unit of each id in a shard by cell, and those that it beats."""
    reader = task.config.unit_reader()
    with_selection = task.config.selection_key is not None
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
        if with_selection:
            selections.extend([found.selection] * count)
    halves = np.frombuffer(bytes(ids), dtype=">u8").reshape(-1, 2).astype(np.uint64)
    shard_units = ShardUnits(
        id_high=halves[:, 0],
        id_low=halves[:, 1],
        page=np.array(pages, dtype=np.uint32),
        unit=np.array(units, dtype=np.uint32),
        selection=pa.array(selections, pa.large_binary()) if with_selection else None,
    )
    spill_units(task.layout, task.number, shard_units, task.config.selection_reverse)
