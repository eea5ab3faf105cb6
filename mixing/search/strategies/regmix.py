"""RegMix: one round of start-sampler draws, one LightGBM, the mean of the best 128 of 100,000 candidates.

`literal` has RegMix's own fit (no regularisation, patience 3 on a tenth of the runs); `tuned` has the fit of CLIMB's
recipe on a standardised target, which is the stronger rival.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.candidates import best_rows, prior_draws
from mixing.search.mixtures.runs import Runs
from mixing.search.mixtures.sampler import Sampler
from mixing.search.mixtures.space import Space
from mixing.search.predictors.base import Predictor, fit_objective
from mixing.search.predictors.trees import SplitTrees, check_not_constant
from mixing.search.strategies.base import Answer, fresh

LITERAL = {"learning_rate": 0.01}
_DRAWS, _AVERAGED = 100_000, 128


def literal_trees(check: tuple[F64, F64] | None = None) -> SplitTrees:
    """RegMix's own fit; `check` holds further runs to stop on (standardised like the targets)."""
    return SplitTrees(settings=LITERAL, patience=3, bounded=False, check=check)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegMix:
    """RegMix with a predictor: `literal_trees()`, or `SplitTrees()` for the tuned form."""

    sampler: Sampler = field(default_factory=Sampler)
    predictor: Predictor = field(default_factory=SplitTrees)

    def rounds(self, budget: int, parallel: int) -> tuple[int, ...]:
        """One."""
        return (budget,)

    def ask(self, space: Space, runs: Runs, count: int, rng: Rng) -> F64:
        """Draws of the start sampler."""
        return fresh(space, self.sampler.draw(space, count + len(runs), rng), runs, count)

    def answer(self, space: Space, runs: Runs, rng: Rng) -> Answer:
        """The mean of the best 128 predicted draws of the natural shares; of a pool the best row."""
        model = fit_objective(self.predictor, runs, int(rng.integers(1 << 31)))
        pool = prior_draws(space, _DRAWS, rng)
        predicted = check_not_constant(model.predict(pool))
        if space.pool is not None:
            return Answer(weights=pool[int(np.argmax(predicted))], model=model)
        best = pool[best_rows(predicted, _AVERAGED)]
        return Answer(weights=space.snap(best.mean(axis=0))[0], model=model)
