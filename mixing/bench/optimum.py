"""The best mixture of a surface: many gradient climbs in softmax coordinates, then some more below the caps."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from corpusmith.seeds import stable_hash
from mixing.bench.surfaces import Surface
from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.one_thread import one_thread
from mixing.search.mixtures.sampler import Sampler, dirichlet

_RANDOM, _STARTS, _CAPPED = 40_000, 60, 12


def best_score(surface: Surface) -> float:
    """The greatest score of a mixture below the caps that is found."""
    return float(surface.score(best_mixture(surface))[0])


def best_mixture(surface: Surface) -> F64:
    """The best mixture that is found; shape (1, k)."""
    rng = np.random.default_rng(stable_hash("optimum", surface.family, surface.seed))
    with one_thread():
        return _best_mixture(surface, rng)


def _best_mixture(surface: Surface, rng: Rng) -> F64:
    space = surface.space
    half = _RANDOM // 2
    random = np.concatenate(
        [Sampler().draw(space, half, rng), space.project(dirichlet(np.ones((half, len(space.names))), rng))]
    )
    starts = random[np.argsort(-surface.score(random), kind="stable")[:_STARTS]]
    climbed = space.project(np.stack([_climb(surface, start) for start in starts]))
    climbed = climbed[np.argsort(-surface.score(climbed), kind="stable")[:_CAPPED]]
    finished = space.project(np.stack([_climb_below_caps(surface, start) for start in climbed]))
    found = np.concatenate([starts, climbed, finished])
    return found[[int(np.argmax(surface.score(found)))]]


def _climb(surface: Surface, start: F64) -> F64:
    def loss(logits: F64) -> tuple[float, F64]:
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        value, gradient = surface.score_and_gradient(weights)
        return -value, -weights * (gradient - weights @ gradient)

    found = minimize(loss, np.log(np.maximum(start, 1e-4)), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    weights = np.exp(found.x - found.x.max())
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _climb_below_caps(surface: Surface, start: F64) -> F64:
    def loss(weights: F64) -> tuple[float, F64]:
        value, gradient = surface.score_and_gradient(np.maximum(weights, 0.0))
        return -value, -gradient

    found = minimize(
        loss,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, cap) for cap in np.minimum(surface.space.caps, 1.0)],
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1.0, "jac": np.ones_like},
        options={"maxiter": 100},
    )
    return np.asarray(found.x, dtype=np.float64)
