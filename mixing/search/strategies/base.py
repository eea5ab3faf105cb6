"""The interface of all strategies, their answer, and the simplest of them: uniform, natural, random search.

A strategy is a pure function of the finished runs: it keeps nothing between calls, draws from the generator that it is
given, and so gives the same proposals however often it is asked. Your own goes in a module beside the YAML:

    class Halves:
        def rounds(self, budget, parallel): return (budget,)
        def ask(self, space, runs, count, rng): return Sampler().draw(space, count, rng)
        def answer(self, space, runs, rng): return Answer(weights=runs.weights[runs.best()])
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.runs import Runs
from mixing.search.mixtures.sampler import Sampler
from mixing.search.mixtures.space import Space
from mixing.search.predictors.base import ObjectiveModel


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answer:
    """The mixture that a strategy names, and the model that it was chosen by, where there is one."""

    weights: F64
    model: ObjectiveModel | None = None


class Strategy(Protocol):
    """What a search asks; see the module's head for an example."""

    def rounds(self, budget: int, parallel: int) -> tuple[int, ...]:
        """How many runs each round has, `parallel` of which run at once; they add up to at most the budget."""
        ...

    def ask(self, space: Space, runs: Runs, count: int, rng: Rng) -> F64:
        """At most `count` mixtures (count, k) to measure next, on the grid, below the caps, none measured before."""
        ...

    def answer(self, space: Space, runs: Runs, rng: Rng) -> Answer:
        """The mixture to use."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Uniform:
    """Equal weights, moved below the caps; needs no run."""

    def rounds(self, budget: int, parallel: int) -> tuple[int, ...]:
        """None."""
        return ()

    def ask(self, space: Space, runs: Runs, count: int, rng: Rng) -> F64:
        """Nothing."""
        return np.empty((0, len(space.names)))

    def answer(self, space: Space, runs: Runs, rng: Rng) -> Answer:
        """1 / k each."""
        return Answer(weights=space.snap(np.full((1, len(space.names)), 1.0 / len(space.names)))[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Natural:
    """The natural shares; needs no run."""

    def rounds(self, budget: int, parallel: int) -> tuple[int, ...]:
        """None."""
        return ()

    def ask(self, space: Space, runs: Runs, count: int, rng: Rng) -> F64:
        """Nothing."""
        return np.empty((0, len(space.names)))

    def answer(self, space: Space, runs: Runs, rng: Rng) -> Answer:
        """The natural shares, moved below the caps."""
        return Answer(weights=space.snap(space.prior)[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomSearch:
    """Draws of the start sampler; the best measured one is the answer."""

    sampler: Sampler = field(default_factory=Sampler)

    def rounds(self, budget: int, parallel: int) -> tuple[int, ...]:
        """One."""
        return (budget,)

    def ask(self, space: Space, runs: Runs, count: int, rng: Rng) -> F64:
        """Draws that were not measured before."""
        return fresh(space, self.sampler.draw(space, count + len(runs), rng), runs, count)

    def answer(self, space: Space, runs: Runs, rng: Rng) -> Answer:
        """The best measured mixture."""
        return Answer(weights=runs.weights[runs.best()])


def keys(weights: F64) -> list[bytes]:
    """A key for each row (n, k); equal for equal mixtures."""
    return [row.tobytes() for row in np.rint(np.atleast_2d(weights) * 1e6).astype(np.int64)]


def fresh(space: Space, weights: F64, runs: Runs, count: int) -> F64:
    """The first `count` rows that were not measured before, each once; of a pool only its own rows."""
    seen = set(keys(runs.weights)) if len(runs) else set()
    chosen = []
    for row, key in zip(weights, keys(weights), strict=True):
        if key not in seen:
            seen.add(key)
            chosen.append(row)
        if len(chosen) == count:
            break
    return np.array(chosen).reshape(-1, len(space.names))
