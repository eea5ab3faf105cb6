"""Olmix: a log-linear law for each task, and the mixture that is best under them, exactly.

The proposal minimises Σ_j w_j·exp(t_j·α) + λ·KL(α‖p) over mixtures below the caps. That is convex, and SLSQP finds it
without a modelling library.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize

from corpusmith.errors import InputError
from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.runs import Runs
from mixing.search.mixtures.sampler import Sampler
from mixing.search.mixtures.space import Space
from mixing.search.predictors.base import ObjectiveModel, Predictor, fit_objective
from mixing.search.predictors.laws import FittedLaw, LogLinearLaw
from mixing.search.strategies.base import Answer, fresh

_SMALLEST = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Olmix:
    """One round, one law per task, an exact proposal.

    Args:
        strength: λ, how strongly the answer is held to the natural shares, in deviations of the objective.
    """

    sampler: Sampler = field(default_factory=Sampler)
    predictor: Predictor = field(default_factory=LogLinearLaw)
    strength: float = 0.05

    def rounds(self, budget: int, parallel: int) -> tuple[int, ...]:
        """One."""
        return (budget,)

    def ask(self, space: Space, runs: Runs, count: int, rng: Rng) -> F64:
        """Draws of the start sampler."""
        return fresh(space, self.sampler.draw(space, count + len(runs), rng), runs, count)

    def answer(self, space: Space, runs: Runs, rng: Rng) -> Answer:
        """The mixture that the laws call best; of a pool the best row.

        Raises:
            InputError: fewer runs than groups, from which no law can be fitted.
        """
        if len(runs) < len(space.names):
            raise InputError(f"{len(runs)} runs are too few for a law over {len(space.names)} groups: measure more")
        model = fit_objective(self.predictor, runs, int(rng.integers(1 << 31)))
        if space.pool is not None:
            return Answer(weights=space.pool[int(np.argmax(model.predict(space.pool)))], model=model)
        return Answer(weights=space.snap(propose(space, model, self.strength))[0], model=model)


def propose(space: Space, model: ObjectiveModel, strength: float) -> F64:
    """The mixture of least predicted loss plus `strength` × KL from the natural shares; shape (k,)."""
    laws = [law for law in model.fitted if isinstance(law, FittedLaw)]

    def loss(weights: F64) -> tuple[float, F64]:
        safe = np.maximum(weights, _SMALLEST)
        ratio = np.log(safe / space.prior)
        value, gradient = strength * float(safe @ ratio), strength * (ratio + 1.0)
        for factor, law in zip(model.factors, laws, strict=True):
            height = factor * float(np.exp(law.log_height + safe @ law.slopes))
            value, gradient = value + height, gradient + height * law.slopes
        return value, gradient

    found = minimize(
        loss,
        space.project(space.prior)[0],
        jac=True,
        method="SLSQP",
        options={"maxiter": 300, "ftol": 1e-9},
        bounds=[(0.0, cap) for cap in np.minimum(space.caps, 1.0)],
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1.0, "jac": np.ones_like},
    )
    return np.asarray(space.project(np.asarray(found.x))[0], dtype=np.float64)
