"""CLIMB's search as published (`paper`) and in the form of the specification (`robust`).

Both measure in rounds, learn from all runs so far, and choose the next round from predicted candidates. `paper`: one
LightGBM, 100,000 candidates of the natural shares, a random pick among the best, the best prediction is the answer;
departs from the recipe in that targets are standardised and caps hold. `robust`: an average of bagged trees and a
Gaussian process, candidates around what did well, a pick that keeps apart, the mean of the best 32 as answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.candidates import best_rows, candidates, most_promising, prior_draws, refine
from mixing.search.mixtures.runs import Runs
from mixing.search.mixtures.sampler import Sampler
from mixing.search.mixtures.space import Space
from mixing.search.predictors.base import Average, ObjectiveModel, Predictor, fit_objective
from mixing.search.predictors.gaussian_process import GaussianProcess, KernelParameters
from mixing.search.predictors.trees import BaggedTrees, SplitTrees, check_not_constant
from mixing.search.strategies.base import Answer, fresh

SHARES = (4, 2, 1)
_APART = 0.15
_LEAST_POOL = 128


def split_budget(budget: int, shares: tuple[int, ...] = SHARES) -> tuple[int, ...]:
    """A budget as rounds of these shares: 112 as 64, 32, 16; what rounding leaves goes to the first."""
    rounds = [budget * share // sum(shares) for share in shares]
    rounds[0] += budget - sum(rounds)
    return tuple(count for count in rounds if count)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClimbPaper:
    """The published procedure.

    Args:
        draws: candidates per round.
        answer_from: `predicted`, as published, or the best `measured`.
    """

    sampler: Sampler = field(default_factory=Sampler)
    predictor: Predictor = field(default_factory=SplitTrees)
    draws: int = 100_000
    shares: tuple[int, ...] = SHARES

    def rounds(self, budget: int, parallel: int) -> tuple[int, ...]:
        """4:2:1."""
        return split_budget(budget, self.shares)

    def ask(self, space: Space, runs: Runs, count: int, rng: Rng) -> F64:
        """The start sampler's, later a random pick among the best predicted."""
        if not len(runs):
            return self.sampler.draw(space, count, rng)
        pool, _ = self._predicted(space, runs, rng)
        best = fresh(space, pool, runs, max(count * count, _LEAST_POOL))
        return best[np.sort(rng.permutation(len(best))[:count])]

    def answer(self, space: Space, runs: Runs, rng: Rng) -> Answer:
        """The best predicted."""
        pool, model = self._predicted(space, runs, rng)
        return Answer(weights=pool[0], model=model)

    def _predicted(self, space: Space, runs: Runs, rng: Rng) -> tuple[F64, ObjectiveModel]:
        """Candidates, best predicted first."""
        model = fit_objective(self.predictor, runs, int(rng.integers(1 << 31)))
        pool = prior_draws(space, self.draws, rng)
        order = best_rows(check_not_constant(model.predict(pool)), 4 * _LEAST_POOL * _LEAST_POOL)
        return space.snap(pool[order]) if space.pool is None else pool[order], model


def plain_process() -> GaussianProcess:
    """RBF and a linear part on √α, with priors so wide that the likelihood decides."""
    medians = KernelParameters(scale=1.0, length=0.7, linear=0.3, noise=0.3)
    return GaussianProcess(kernel="rbf", power=0.5, medians=medians, widths=(2.0, 2.0, 2.0, 2.0))


def robust_predictor() -> Predictor:
    """Eight bagged LightGBMs and a Gaussian process, half each."""
    return Average(parts=(BaggedTrees(), plain_process()))


@dataclass(frozen=True, kw_only=True, slots=True)
class ClimbRobust:
    """The procedure of the specification; with another predictor and one round also the one-shot forms."""

    sampler: Sampler = field(default_factory=Sampler)
    predictor: Predictor = field(default_factory=robust_predictor)
    shares: tuple[int, ...] = SHARES

    def rounds(self, budget: int, parallel: int) -> tuple[int, ...]:
        """4:2:1."""
        return split_budget(budget, self.shares)

    def ask(self, space: Space, runs: Runs, count: int, rng: Rng) -> F64:
        """The start sampler's, later the best predicted that keep apart."""
        if not len(runs):
            return self.sampler.draw(space, count, rng)
        model = fit_objective(self.predictor, runs, int(rng.integers(1 << 31)))
        good = most_promising(runs.weights, model.predict)
        found = candidates(space, self.sampler, good, 6000, rng)
        if space.pool is None:
            found = np.concatenate([refine(space, found, model.predict, rng), found])
        found = found[best_rows(model.predict(found), max(4 * count * count, 4 * _LEAST_POOL))]
        pool = fresh(space, found if space.pool is not None else space.snap(found), runs, max(count**2, _LEAST_POOL))
        return _apart(pool, count, rng)

    def answer(self, space: Space, runs: Runs, rng: Rng) -> Answer:
        """The mean of the best 32 after refinement; of a pool the best row."""
        model = fit_objective(self.predictor, runs, int(rng.integers(1 << 31)))
        good = most_promising(runs.weights, model.predict)
        found = candidates(space, self.sampler, good, 12_000, rng)
        best = refine(space, np.concatenate([found, runs.weights]), model.predict, rng)
        if space.pool is not None:
            return Answer(weights=best[0], model=model)
        return Answer(weights=space.snap(best.mean(axis=0))[0], model=model)


def _apart(pool: F64, count: int, rng: Rng) -> F64:
    """`count` rows in order of the pool that lie at an L1 distance above 0.15 from each other, then random ones."""
    taken: list[int] = []
    for row in range(len(pool)):
        if len(taken) == count:
            break
        if not taken or float(np.abs(pool[taken] - pool[row]).sum(axis=1).min()) > _APART:
            taken.append(row)
    rest = np.setdiff1d(np.arange(len(pool)), taken)
    taken += [int(row) for row in rng.permutation(rest)[: count - len(taken)]]
    return pool[taken]
