"""Connected components of pairs of pages: union-find where they fit into one task, stars where they don't.

A page is a number (shard << 32 | page), so the order of the numbers is that of (shard, page); a component is named by
its smallest page. Edges are arrays (larger, smaller). Many parts: the alternating algorithm of Kiveris et al.,
"Connected Components in MapReduce and Beyond" (2014): *large-star* links every larger neighbour of a page to the
smallest page around it, *small-star* every smaller one; it ends, when nothing changes, with each page linked to the
smallest page of its component, in a number of rounds that grows with the logarithm of the pages. Edges never grow in
number, and every part is worked on by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from corpusmith.text.kernels import I32_IN, I32Array, U64Array, kernel


class Edges(NamedTuple):
    """Pairs of pages of one cluster: U64 of shape (edges,), `larger` > `smaller` each."""

    larger: U64Array
    smaller: U64Array


@kernel(I32_IN.dtype, I32_IN, I32_IN)
def component_roots(nodes: int, left: I32Array, right: I32Array) -> I32Array:
    """Return the smallest node of each node's component (I32, `nodes`), by union-find with halved paths."""
    parents = np.arange(nodes).astype(np.int32)
    for i in range(left.shape[0]):
        a, b = left[i], right[i]
        while parents[a] != a:
            parents[a] = parents[parents[a]]
            a = parents[a]
        while parents[b] != b:
            parents[b] = parents[parents[b]]
            b = parents[b]
        if a < b:
            parents[b] = a
        elif b < a:
            parents[a] = b
    for node in range(nodes):  # a parent is smaller than its node, so its root is known already
        parents[node] = parents[parents[node]]
    return parents


def contract(edges: Edges) -> Edges:
    """The stars with the same components: each page but the smallest linked to the smallest of its component."""
    count = len(edges.larger)
    pages, numbers = np.unique(np.concatenate(edges), return_inverse=True)
    ends: I32Array = numbers.astype(np.int32)
    roots = component_roots(len(pages), ends[:count], ends[count:])
    is_leaf = roots != np.arange(len(pages))
    return Edges(pages[is_leaf], pages[roots[is_leaf]])


def unique(edges: Edges) -> Edges:
    """The edges without repeats, by (larger, smaller)."""
    order = np.lexsort((edges.smaller, edges.larger))
    larger, smaller = edges.larger[order], edges.smaller[order]
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (larger[1:] != larger[:-1]) | (smaller[1:] != smaller[:-1])
    return Edges(larger[is_new], smaller[is_new])


def join(parts: list[Edges]) -> Edges:
    """All edges of some lists."""
    return Edges(
        np.concatenate([part.larger for part in parts] or [np.zeros(0, np.uint64)]),
        np.concatenate([part.smaller for part in parts] or [np.zeros(0, np.uint64)]),
    )


def large_star(around: Edges) -> tuple[Edges, int]:
    """Link the larger neighbours of each page to the smallest page around it; how many links changed.

    `around`: for each page of a part all its edges, as (page, neighbour) in whichever order of size, without repeats.
    """
    page, neighbour = around
    order = np.argsort(page, kind="stable")
    page, neighbour = page[order], neighbour[order]
    starts = np.flatnonzero(np.diff(page, prepend=page[:1] + np.uint64(1)))
    smallest = np.minimum(np.minimum.reduceat(neighbour, starts), page[starts]) if len(starts) else neighbour
    smallest = np.repeat(smallest, np.diff(starts, append=len(page)))
    is_larger = neighbour > page
    changed = int((smallest[is_larger] != page[is_larger]).sum())
    return Edges(neighbour[is_larger], smallest[is_larger]), changed


def small_star(edges: Edges) -> tuple[Edges, int]:
    """Link each page and its smaller neighbours to the smallest of these; how many links changed.

    `edges`: for each page of a part all edges to smaller pages, without repeats.
    """
    larger, smaller = unique(edges)
    starts = np.flatnonzero(np.diff(larger, prepend=larger[:1] + np.uint64(1)))
    if len(starts) == 0:
        return Edges(larger, smaller), 0
    smallest = smaller[starts]
    of_page = np.repeat(smallest, np.diff(starts, append=len(larger)))
    is_other = smaller != of_page
    found = join([Edges(larger[starts], smallest), Edges(smaller[is_other], of_page[is_other])])
    return unique(found), int(is_other.sum())


def part_of(pages: U64Array, parts: int) -> U64Array:
    """The part in which each page is worked on: a stable spread of the numbers over [0, parts)."""
    mixed = (pages ^ (pages >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(32)) * np.uint64(parts)) >> np.uint64(32)
