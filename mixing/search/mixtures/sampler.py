"""Draws of mixtures: RegMix's start sampler, and Dirichlet draws around given mixtures.

The start sampler follows RegMix and CLIMB's recipe: the natural shares to a power below 1, a concentration drawn from
a log-spaced list, so that most draws are sparse. It departs from them in two points that change no distribution: it
draws as many as needed instead of a hundred times as many of which some are picked, and what rounding leaves over goes
to the largest weight. Caps reject draws, as published; where they would reject nearly all, the rest is projected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.space import Space

_MOST_BLOCKS = 60


def dirichlet(concentrations: F64, rng: Rng) -> F64:
    """A Dirichlet draw for each row of `concentrations` (n, k); 0 stands for a weight that is always 0.

    Works in logarithms, since concentrations far below 1 underflow otherwise.
    """
    shape = np.maximum(concentrations, 1e-12)
    logs = np.log(rng.standard_gamma(shape + 1.0)) + np.log(rng.random(shape.shape)) / shape
    logs[concentrations <= 0] = -np.inf
    logs -= logs.max(axis=1, keepdims=True)
    weights = np.exp(logs)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """RegMix's start sampler.

    Args:
        temperature: the power of the natural shares.
        strength: least and greatest concentration of the fifteen.
    """

    temperature: float = 0.5
    strength: tuple[float, float] = (0.1, 5.0)
    levels: int = 15

    def center(self, space: Space) -> F64:
        """The tempered natural shares; shape (k,)."""
        shares = space.prior**self.temperature
        return np.asarray(shares / shares.sum(), dtype=np.float64)

    def draw(self, space: Space, count: int, rng: Rng) -> F64:
        """`count` different mixtures (count, k) on the grid and below the caps."""
        if space.pool is not None:
            return np.asarray(space.pool[rng.permutation(len(space.pool))[:count]], dtype=np.float64)
        center = self.center(space)
        levels = np.geomspace(*self.strength, self.levels)
        found = np.empty((0, len(space.names)))
        for block in range(_MOST_BLOCKS):
            strengths = levels[rng.integers(0, self.levels, size=2 * count + 16)]
            raw = dirichlet(strengths[:, None] * center, rng)
            if block < _MOST_BLOCKS // 2:
                raw = raw[np.all(raw <= space.caps, axis=1)]
            found = unique_rows(np.concatenate([found, space.snap(raw)])) if len(raw) else found
            if len(found) >= count:
                break
        return found[:count]


def unique_rows(weights: F64) -> F64:
    """The rows in order, each only where it comes first."""
    _, first = np.unique(np.rint(weights * 1e6).astype(np.int64), axis=0, return_index=True)
    return weights[np.sort(first)]


def around(space: Space, centers: F64, concentration: F64, rng: Rng) -> F64:
    """One Dirichlet draw around each center (n, k), which is first moved 5 % towards the natural shares."""
    moved = 0.95 * centers + 0.05 * space.prior
    return space.project(dirichlet(concentration[:, None] * moved, rng))
