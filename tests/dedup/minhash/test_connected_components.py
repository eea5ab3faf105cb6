"""Components by union-find and by stars over parts equal those found by the plainest means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.minhash.connected_components import Edges, contract, join, large_star, part_of, small_star, unique

PAIRS = st.lists(
    st.tuples(st.integers(0, 25), st.integers(0, 25)).filter(lambda pair: pair[0] != pair[1]).map(sorted), max_size=40
)


def edges_of(pairs: list[list[int]]) -> Edges:
    array = np.array(pairs, dtype=np.uint64).reshape(-1, 2)
    return Edges(array[:, 1].copy(), array[:, 0].copy())


def plain_components(pairs: list[list[int]]) -> dict[int, int]:
    """The smallest page of each page's component, for pages other than that."""
    smallest = {page: page for pair in pairs for page in pair}
    for _ in smallest:
        for a, b in pairs:
            smallest[a] = smallest[b] = min(smallest[a], smallest[b])
    return {page: root for page, root in smallest.items() if page != root}


def stars_of(edges: Edges) -> dict[int, int]:
    stars = dict(zip(edges.larger.tolist(), edges.smaller.tolist(), strict=True))
    assert len(stars) == len(edges.larger)
    return stars


def by_stars(edges: Edges, parts: int) -> tuple[Edges, int]:
    """Alternate large and small stars, each page looked at in its own part only, until nothing changes."""
    for rounds in range(1, 50):
        changes = 0
        halves = []
        for part in range(parts):
            mine = part_of(edges.larger, parts) == part, part_of(edges.smaller, parts) == part
            around = join(
                [
                    Edges(edges.larger[mine[0]], edges.smaller[mine[0]]),
                    Edges(edges.smaller[mine[1]], edges.larger[mine[1]]),
                ]
            )
            found, changed = large_star(around)
            halves.append(found)
            changes += changed
        edges = unique(join(halves))
        halves = []
        for part in range(parts):
            mine_now = part_of(edges.larger, parts) == part
            found, changed = small_star(Edges(edges.larger[mine_now], edges.smaller[mine_now]))
            halves.append(found)
            changes += changed
        edges = unique(join(halves))
        if not changes:
            return edges, rounds
    raise AssertionError("no end after 50 rounds")


@given(PAIRS)
@settings(deadline=None)
def test_contracted_edges_are_stars_of_the_components(pairs: list[list[int]]) -> None:
    assert stars_of(contract(edges_of(pairs))) == plain_components(pairs)


@given(PAIRS, st.integers(1, 5))
@settings(deadline=None)
def test_stars_over_parts_end_with_the_components(pairs: list[list[int]], parts: int) -> None:
    edges, _ = by_stars(unique(edges_of(pairs)), parts)
    assert stars_of(edges) == plain_components(pairs)


@pytest.mark.parametrize("length", [2, 100, 5000])
def test_a_chain_takes_rounds_by_the_logarithm_of_its_length(length: int) -> None:
    order = np.random.default_rng(0).permutation(length).astype(np.uint64)
    edges = Edges(np.maximum(order[1:], order[:-1]), np.minimum(order[1:], order[:-1]))
    found, rounds = by_stars(edges, 3)
    assert stars_of(found) == dict.fromkeys(range(1, length), 0)
    assert rounds <= 2 + np.log2(length)
