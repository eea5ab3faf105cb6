"""Mixtures worth a look, and their improvement by small random moves: what CLIMB's robust mode searches with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.sampler import Sampler, around, dirichlet
from mixing.search.mixtures.space import Space

_CENTERS = 16
_CONCENTRATION = (20.0, 400.0)


def prior_draws(space: Space, count: int, rng: Rng) -> F64:
    """Draws from Dirichlet(natural shares), below the caps; a pool gives its rows instead."""
    if space.pool is not None:
        return space.pool
    return space.project(dirichlet(np.tile(space.prior, (count, 1)), rng))


def candidates(space: Space, sampler: Sampler, good: F64, count: int, rng: Rng) -> F64:
    """A quarter from the start sampler, a quarter from the natural shares, half around the rows of `good`."""
    if space.pool is not None:
        return space.pool
    quarter = count // 4
    low, high = np.log(_CONCENTRATION)
    concentration = np.exp(rng.uniform(low, high, count - 2 * quarter))
    centers = good[rng.integers(0, len(good), len(concentration))]
    start = sampler.draw(space, quarter, rng)
    return np.concatenate([start, prior_draws(space, quarter, rng), around(space, centers, concentration, rng)])


def best_rows(values: F64, count: int) -> list[int]:
    """The rows of the greatest values, best first, ties by row."""
    return [int(row) for row in np.argsort(-values, kind="stable")[:count]]


def most_promising(weights: F64, predict: Callable[[F64], F64], count: int = _CENTERS) -> F64:
    """The rows with the best prediction."""
    return weights[best_rows(predict(weights), count)]


def refine(space: Space, start: F64, predict: Callable[[F64], F64], rng: Rng, *, rounds: int = 6) -> F64:
    """The best 32 mixtures after rounds of 2,000 Dirichlet moves around the best, ever smaller; best first."""
    values = predict(start)
    order = best_rows(values, 32)
    kept, values = start[order], values[order]
    if space.pool is not None:
        return kept
    for step in range(rounds):
        centers = kept[rng.integers(0, len(kept), 2000)]
        moved = space.project(dirichlet(50.0 * 2.0**step * centers, rng))
        kept, values = np.concatenate([kept, moved]), np.concatenate([values, predict(moved)])
        order = best_rows(values, 32)
        kept, values = kept[order], values[order]
    return kept
