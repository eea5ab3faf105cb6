"""The default: Thompson sampling by functions drawn from a Gaussian process, each climbed to its top.

Each proposal is the best mixture of one function that agrees with the runs so far; where they leave open which mixture
is best, the functions differ and so do the proposals. So a batch explores in proportion to what is not known, and many
narrow rounds are better than few wide ones: the number of rounds follows from how many proxies the configuration says
run at once. The first round covers the space: of many draws of the start sampler those are taken one by one about
which the process, as it stands before any run, knows least. The answer is the top of the posterior
mean less its deviation: of mixtures that look equally good the one that is better known. A search of its own knows its
top well, so there it changes little; in a table that was measured elsewhere the top of the mean often lies where no run
is near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from corpusmith.errors import InputError
from mixing.search.mixtures.arrays import F64, I64, Rng
from mixing.search.mixtures.candidates import best_rows, candidates, most_promising
from mixing.search.mixtures.runs import Runs
from mixing.search.mixtures.sampler import Sampler
from mixing.search.mixtures.space import Space
from mixing.search.predictors.base import ObjectiveModel, Predictor, fit_objective
from mixing.search.predictors.gaussian_process import (
    FittedProcess,
    Functions,
    GaussianProcess,
    KernelParameters,
    climb,
    covariance_between,
)
from mixing.search.strategies.base import Answer, fresh, keys

FIRST_ROUND = 24
PARALLEL = 4
_STARTS_PER_DRAW, _STARTS_OF_ANSWER = 4, 16
_CANDIDATES, _CANDIDATES_OF_ANSWER = 1000, 3000
_COVER_DRAWS = 1500
_REAL = 0.5
#: rougher functions than those searched with, so that no group is left out of the first round
_COVER_KERNEL = KernelParameters(scale=1.0, length=1.0, linear=0.3, noise=0.25)


def default_process() -> GaussianProcess:
    """The process that searches best on the bench."""
    return GaussianProcess(kernel="matern", power=0.75, linear_power=1.0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SummedFunctions:
    """The objective's functions: for each task its own, times its factor."""

    parts: Sequence[Functions]
    factors: F64

    def values(self, roots: F64) -> F64:
        """Shape (m, j)."""
        return np.asarray(
            sum(factor * part.values(roots) for factor, part in zip(self.factors, self.parts, strict=True))
        )

    def value_and_gradient(self, roots: F64, which: I64) -> tuple[F64, F64]:
        """Shapes (m,) and (m, k)."""
        found = [part.value_and_gradient(roots, which) for part in self.parts]
        values = sum(factor * value for factor, (value, _) in zip(self.factors, found, strict=True))
        gradients = sum(factor * gradient for factor, (_, gradient) in zip(self.factors, found, strict=True))
        return np.asarray(values), np.asarray(gradients)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CautiousMean:
    """The posterior mean of the objective less `caution` deviations, as one function."""

    processes: Sequence[FittedProcess]
    factors: F64
    caution: float

    def values(self, weights: F64) -> F64:
        """At mixtures (m, k); shape (m,)."""
        return self.value_and_gradient(np.sqrt(weights), np.zeros(len(weights), dtype=np.int64))[0]

    def value_and_gradient(self, roots: F64, which: I64) -> tuple[F64, F64]:
        """At √α (m, k), and the gradient; shapes (m,) and (m, k)."""
        means = SummedFunctions(parts=[each.mean_function() for each in self.processes], factors=self.factors)
        value, gradient = means.value_and_gradient(roots, which)
        found = [each.variance_and_gradient(roots) for each in self.processes]
        variance = np.asarray(sum(factor**2 * part for factor, (part, _) in zip(self.factors, found, strict=True)))
        slope = np.asarray(sum(factor**2 * part for factor, (_, part) in zip(self.factors, found, strict=True)))
        deviation = np.sqrt(variance)
        return value - self.caution * deviation, gradient - self.caution * slope / (2.0 * deviation[:, None])


@dataclass(frozen=True, kw_only=True, slots=True)
class Thompson:
    """Thompson sampling on the simplex.

    Args:
        allocation: runs of each round; None: a first round, then rounds of as many as run at once.
        one_shot: spend the whole budget in the first round.
        caution: how many deviations the answer's prediction is lowered by.
    """

    sampler: Sampler = field(default_factory=Sampler)
    predictor: Predictor = field(default_factory=default_process)
    allocation: tuple[int, ...] | None = None
    one_shot: bool = False
    caution: float = 1.0

    def rounds(self, budget: int, parallel: int) -> tuple[int, ...]:
        """24 (or one batch, if that is larger, or a half of a small budget), then batches of `parallel`."""
        if self.one_shot:
            return (budget,)
        if self.allocation is not None:
            return self.allocation
        first = min(budget, max(min(FIRST_ROUND, budget // 2), parallel))
        rest, last = divmod(budget - first, parallel)
        return (first, *[parallel] * rest, *([last] if last else []))

    def ask(self, space: Space, runs: Runs, count: int, rng: Rng) -> F64:
        """A cover of the space, later the tops of functions drawn from the posterior."""
        if not len(runs):
            return cover(space, self.sampler, count, rng)
        model = self._model(runs, rng)
        functions = SummedFunctions(parts=[each.draw(count, rng) for each in _processes(model)], factors=model.factors)
        good = most_promising(runs.weights, model.predict)
        found = candidates(space, self.sampler, good, _CANDIDATES, rng)
        if space.pool is not None:
            return _tops_of_pool(space, functions, runs, count)
        found = np.concatenate([found, runs.weights])
        values = functions.values(np.sqrt(found))
        starts = np.concatenate([best_rows(column, _STARTS_PER_DRAW) for column in values.T])
        which = np.repeat(np.arange(count), _STARTS_PER_DRAW)
        roots, tops = climb(functions, space, np.sqrt(found[starts]), which)
        best = tops.reshape(count, _STARTS_PER_DRAW).argmax(axis=1) + _STARTS_PER_DRAW * np.arange(count)
        others = np.concatenate([roots[np.argsort(-tops, kind="stable")] ** 2, found])
        return fresh(space, space.snap(np.concatenate([roots[best] ** 2, others])), runs, count)

    def answer(self, space: Space, runs: Runs, rng: Rng) -> Answer:
        """The top of the cautious mean; of a pool the best row."""
        model = self._model(runs, rng)
        cautious = CautiousMean(processes=_processes(model), factors=model.factors, caution=self.caution)
        if space.pool is not None:
            return Answer(weights=_best_of_pool(space.pool, cautious.values(space.pool), model, runs), model=model)
        good = most_promising(runs.weights, model.predict)
        found = np.concatenate([candidates(space, self.sampler, good, _CANDIDATES_OF_ANSWER, rng), runs.weights])
        starts = best_rows(cautious.values(found), _STARTS_OF_ANSWER)
        which = np.zeros(len(starts), dtype=np.int64)
        roots, tops = climb(cautious, space, np.sqrt(found[starts]), which, steps=60)
        return Answer(weights=space.snap(roots[int(np.argmax(tops))] ** 2)[0], model=model)

    def _model(self, runs: Runs, rng: Rng) -> ObjectiveModel:
        return fit_objective(self.predictor, runs, int(rng.integers(1 << 31)))


def _processes(model: ObjectiveModel) -> list[FittedProcess]:
    processes = [each for each in model.fitted if isinstance(each, FittedProcess)]
    if len(processes) != len(model.fitted):
        raise InputError("Thompson sampling needs a Gaussian process as predictor")
    return processes


def _tops_of_pool(space: Space, functions: SummedFunctions, runs: Runs, count: int) -> F64:
    """For each function the best row of the pool that is neither measured nor taken by a function before it."""
    assert space.pool is not None
    values = functions.values(np.sqrt(space.pool))
    chosen = np.empty((0, len(space.names)))
    for column in values.T:
        ordered = fresh(space, space.pool[best_rows(column, len(column))], runs, len(chosen) + 1)
        taken = {row.tobytes() for row in chosen}
        chosen = np.concatenate([chosen, [row for row in ordered if row.tobytes() not in taken][:1]])
    return chosen[:count]


def _best_of_pool(pool: F64, values: F64, model: ObjectiveModel, runs: Runs) -> F64:
    """The best predicted row; a measured one is taken to be half of what it measured above its prediction.

    Without repeats nobody can tell noise from what is rough about a measured mixture. In a pool that matters: its best
    rows are among the measured ones, and smoothing alone would rank them by their neighbours.
    """
    values = values.copy()
    places = {key: place for place, key in enumerate(keys(pool))}
    measured = [places[key] for key in keys(runs.weights)]
    values[measured] += _REAL * ((runs.totals - model.mean) / model.deviation - values[measured])
    return np.asarray(pool[int(np.argmax(values))], dtype=np.float64)


def cover(space: Space, sampler: Sampler, count: int, rng: Rng) -> F64:
    """`count` draws of the sampler that leave a process least in doubt, chosen one by one."""
    drawn = sampler.draw(space, max(_COVER_DRAWS, 2 * count), rng)
    covariance = covariance_between(default_process(), _COVER_KERNEL, drawn, drawn)
    doubt = np.diag(covariance).copy()
    known = np.empty((0, len(drawn)))
    chosen: list[int] = []
    for _ in range(min(count, len(drawn))):
        pick = int(np.argmax(doubt))
        chosen.append(pick)
        row = (covariance[pick] - known[:, pick] @ known) / np.sqrt(doubt[pick] + 0.1)
        known = np.concatenate([known, row[None]])
        doubt = doubt - row * row
        doubt[chosen] = -1.0
    return np.asarray(drawn[chosen], dtype=np.float64)
