"""MixMin: one proxy for each group; the weights whose *ensemble* of proxies explains the target best.

The runs are the single groups, and each task's score is a log-likelihood of the target's examples (higher is better).
−Σ_n log Σ_i α_i·exp(L_in) is convex in α; exponentiated gradient steps minimise it. Exact for an ensemble, a bet for
one model that is trained on the mixture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corpusmith.errors import InputError
from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.runs import Runs
from mixing.search.mixtures.space import Space
from mixing.search.strategies.base import Answer

_STEPS, _RATE, _FLAT = 100, 1.0, 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class MixMin:
    """The cheapest search: as many runs as groups, which stand above the caps; its answer keeps them."""

    def rounds(self, budget: int, parallel: int) -> tuple[int, ...]:
        """One; `ask` gives one run for each group."""
        return (budget,)

    def ask(self, space: Space, runs: Runs, count: int, rng: Rng) -> F64:
        """Each group alone.

        Raises:
            InputError: the budget is smaller than the number of groups.
        """
        if count < len(space.names):
            raise InputError(f"MixMin needs a run for each of the {len(space.names)} groups, {count} are allowed")
        return np.eye(len(space.names))

    def answer(self, space: Space, runs: Runs, rng: Rng) -> Answer:
        """The ensemble's weights.

        Raises:
            InputError: a group was not measured alone.
        """
        alone = runs.weights.argmax(axis=1)[runs.weights.max(axis=1) > 1 - 1e-6]
        rows = np.flatnonzero(runs.weights.max(axis=1) > 1 - 1e-6)
        missing = sorted(set(range(len(space.names))) - set(alone.tolist()))
        if missing:
            raise InputError(f"MixMin needs a run of the group {space.names[missing[0]]!r} alone")
        likelihoods = np.empty((len(space.names), runs.gains.shape[1]))
        likelihoods[alone] = runs.gains[rows]
        return Answer(weights=space.snap(ensemble_weights(likelihoods, runs.objective.shares))[0])


def ensemble_weights(likelihoods: F64, shares: F64) -> F64:
    """Weights (k,) that maximise Σ_n shares_n·log Σ_i α_i·exp(likelihoods_in); likelihoods (k, n)."""
    chances = np.exp(likelihoods - likelihoods.max(axis=0))
    weights = np.full(len(chances), 1.0 / len(chances))
    for _ in range(_STEPS):
        gradient = -(chances / (weights @ chances)) @ shares
        if float(np.abs(gradient - weights @ gradient).max()) < _FLAT:
            break
        logs = np.log(np.maximum(weights, 1e-300)) - _RATE * gradient
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
    return np.asarray(weights, dtype=np.float64)
