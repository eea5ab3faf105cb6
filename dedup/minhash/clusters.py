"""Phases 2 and 3 of MinHash dedup: pages that share a band are linked, and linked pages are clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from corpusmith.io import storage
from corpusmith.io.spill import group_by_cell, read_spill_cell, write_spill
from corpusmith.text.kernels import U64Array
from dedup.groups.groups import ShardUnits, spill_units
from dedup.groups.layout import shard_names
from dedup.minhash.config import MinhashConfig
from dedup.minhash.connected_components import Edges, contract, join, large_star, part_of, small_star, unique
from dedup.minhash.layout import MinhashLayout
from dedup.minhash.sign import read_pages

SHARD_BITS = np.uint64(32)
LOW_32 = np.uint64(0xFFFFFFFF)
EDGES_HELD = 4_000_000
CELL_FACTOR = np.uint64(0x9E3779B97F4A7C15)


# --- pages that share a band ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class BandTask:
    """A range of band keys in which pages with equal keys are to be linked."""

    layout: MinhashLayout
    cell: int


def read_band_cell(layout: MinhashLayout, cell: int) -> tuple[U64Array, U64Array]:
    """The band keys of a cell and the page of each, (U64, U64), by (shard, page)."""
    keys, pages = [], []
    for shard in range(len(shard_names(layout.groups))):
        batch = read_spill_cell(layout.bands_url(shard), cell)
        keys.append(batch.column("key").to_numpy())
        pages.append((np.uint64(shard) << SHARD_BITS) | batch.column("page").to_numpy().astype(np.uint64))
    return np.concatenate(keys), np.concatenate(pages)


def edges_of_bands(keys: U64Array, pages: U64Array) -> Edges:
    """Link each page to the first page with the same key; `pages` ascend within each key."""
    order = np.argsort(keys, kind="stable")
    keys, pages = keys[order], pages[order]
    starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] + np.uint64(1)))
    first = np.repeat(pages[starts], np.diff(starts, append=len(keys)))
    linked = first != pages
    return Edges(pages[linked], first[linked])


def link_cell(task: BandTask) -> None:
    """Write the links of a cell by part, contracted to stars."""
    edges = contract(edges_of_bands(*read_band_cell(task.layout, task.cell)))
    write_spill(task.layout.edges_url(task.cell), _by_both_ends(edges, task.layout.parts))


def _by_both_ends(edges: Edges, parts: int) -> list[pa.RecordBatch]:
    """The edges of each part: those of which an end lies in it."""
    of_larger, of_smaller = part_of(edges.larger, parts), part_of(edges.smaller, parts)
    again = of_larger != of_smaller
    both = join([edges, Edges(edges.larger[again], edges.smaller[again])])
    return group_by_cell(_batch(both), pa.array(np.concatenate((of_larger, of_smaller[again])).astype(np.int64)), parts)


def _batch(edges: Edges) -> pa.RecordBatch:
    return pa.record_batch({"larger": edges.larger, "smaller": edges.smaller})


def _edges(batch: Any) -> Edges:
    return Edges(batch.column("larger").to_numpy(), batch.column("smaller").to_numpy())


# --- clusters ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class StarTask:
    """A part of the pages in one half round of the star algorithm; even ones are large stars, odd ones small."""

    layout: MinhashLayout
    number: int
    part: int


def _sources(layout: MinhashLayout, number: int) -> list[str]:
    """The files that a half round reads."""
    if number == 0:
        return [layout.edges_url(cell) for cell in range(layout.band_cells)]
    return [layout.round_url(number - 1, part) for part in range(layout.parts)]


def _read_part(layout: MinhashLayout, number: int, part: int) -> Edges:
    return unique(join([_edges(read_spill_cell(url, part)) for url in _sources(layout, number)]))


def star(task: StarTask) -> None:
    """Do a half round in a part."""
    layout, parts = task.layout, task.layout.parts
    edges = _read_part(layout, task.number, task.part)
    if task.number % 2 == 0:
        mine = part_of(edges.larger, parts) == task.part, part_of(edges.smaller, parts) == task.part
        down = Edges(edges.larger[mine[0]], edges.smaller[mine[0]])
        up = Edges(edges.smaller[mine[1]], edges.larger[mine[1]])
        found, changed = large_star(join([down, up]))
        batches = group_by_cell(_batch(found), pa.array(part_of(found.larger, parts).astype(np.int64)), parts)
    else:
        found, changed = small_star(edges)
        batches = _by_both_ends(found, parts)
    write_spill(layout.round_url(task.number, task.part), batches)
    storage.write_json(layout.change_url(task.number, task.part), {"changed": changed})


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTask:
    """A part whose pages are to get their cluster's label; `half_rounds`: how many half rounds of stars were done."""

    layout: MinhashLayout
    part: int
    half_rounds: int


def label_part(task: LabelTask) -> None:
    """Write the pages of a part that belong to clusters, each with the first page of its cluster, by shard."""
    layout = task.layout
    if layout.parts == 1:
        stars = _contract_all(_sources(layout, 0))
    else:
        edges = _read_part(layout, task.half_rounds, task.part)
        mine = part_of(edges.larger, layout.parts) == task.part
        at_root = part_of(edges.smaller, layout.parts) == task.part
        roots = np.unique(edges.smaller[at_root])
        stars = join([Edges(edges.larger[mine], edges.smaller[mine]), Edges(roots, roots)])
    if layout.parts == 1:
        roots = np.unique(stars.smaller)
        stars = join([stars, Edges(roots, roots)])
    order = np.argsort(stars.larger)
    pages, roots = stars.larger[order], stars.smaller[order]
    batch = pa.record_batch({"page": (pages & LOW_32).astype(np.uint32), "root": roots})
    shards = pa.array((pages >> SHARD_BITS).astype(np.int64))
    write_spill(layout.labels_url(task.part), group_by_cell(batch, shards, len(shard_names(layout.groups))))


def _contract_all(urls: list[str]) -> Edges:
    """The stars of all edges; contracted as they are read, so that no more are held than there are pages in them."""
    held: list[Edges] = []
    for url in urls:
        held.append(_edges(read_spill_cell(url, 0)))
        if sum(len(edges.larger) for edges in held) > EDGES_HELD:
            held = [contract(join(held))]
    return contract(join(held))


# --- clusters as groups -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitsTask:
    """A shard whose pages in clusters become units of groups."""

    layout: MinhashLayout
    config: MinhashConfig
    number: int


def spill_clustered_pages(task: UnitsTask) -> None:
    """Make a unit of each page of a shard that belongs to a cluster; its cargo is its sketch."""
    layout = task.layout
    labels = pa.Table.from_batches(
        [read_spill_cell(layout.labels_url(part), task.number) for part in range(layout.parts)]
    )
    by_page = np.argsort(labels.column("page").to_numpy())
    pages = labels.column("page").to_numpy()[by_page]
    roots = labels.column("root").to_numpy()[by_page]
    signed = read_pages(layout, task.number)
    rows = pa.array(np.searchsorted(signed.column("page").to_numpy(), pages))
    units = ShardUnits(
        id_high=roots * CELL_FACTOR,
        id_low=roots,
        page=pages,
        unit=np.zeros(len(pages), dtype=np.uint32),
        selection=signed.column("selection").take(rows) if "selection" in signed.schema.names else None,
        cargo=signed.column("sketch").take(rows),
    )
    spill_units(layout.groups, task.number, units, task.config.selection_reverse)
