"""DoReMi in its table form: Group DRO on known losses of the groups, which never looks at the target's tasks.

The training form computes these losses by a proxy in training; here a function of the weights gives them. A round
takes the last weights as reference (the first: the natural shares), moves the proxy's weights towards groups that lose
against the reference, and gives the average over all steps. Up to five rounds, of which the one that measures best is
the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.runs import Runs
from mixing.search.mixtures.space import Space
from mixing.search.strategies.base import Answer

_STEPS, _RATE, _SMOOTHING = 200, 1.0, 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class DoReMi:
    """DoReMi on a function from weights (k,) to the groups' losses (k,)."""

    losses: Callable[[F64], F64]
    most_rounds: int = 5

    def rounds(self, budget: int, parallel: int) -> tuple[int, ...]:
        """One run each, five at most."""
        return (1,) * min(budget, self.most_rounds)

    def ask(self, space: Space, runs: Runs, count: int, rng: Rng) -> F64:
        """The weights of the next round; nothing once they no longer move."""
        reference = runs.weights[-1] if len(runs) else space.prior
        found = space.snap(group_dro(self.losses, reference))
        return found[:0] if len(runs) and float(np.abs(found[0] - runs.weights[-1]).max()) < 1e-3 else found

    def answer(self, space: Space, runs: Runs, rng: Rng) -> Answer:
        """The round that measured best."""
        return Answer(weights=runs.weights[runs.best()])


def group_dro(losses: Callable[[F64], F64], reference: F64) -> F64:
    """The average weights of Group DRO against a reference; the proxy at a step has seen the average so far."""
    goal = losses(reference)
    groups = len(reference)
    weights = np.full(groups, 1.0 / groups)
    total = np.zeros(groups)
    for step in range(_STEPS):
        total += weights
        excess = np.maximum(losses(total / (step + 1)) - goal, 0.0)
        logs = np.log(weights) + _RATE * excess
        weights = np.exp(logs - logs.max())
        weights = (1.0 - _SMOOTHING) * weights / weights.sum() + _SMOOTHING / groups
    return np.asarray(total / _STEPS, dtype=np.float64)
