"""Log-linear mixing laws: loss = c + exp(a + t·α), fitted by a Huber loss from many starts (Ye et al. 2024, Olmix).

Targets are standardised gains, higher better; the law is of their negative, with a floor `c` that is free: so the law
is the same up to shift and scale of the score, and exp(a + t·α) stays convex in α for Olmix's proposal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from mixing.search.mixtures.arrays import F64, I64, Rng
from mixing.search.predictors.base import Fitted

_HUBER = 0.5
_FOLDS = 8
_RIDGE = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedLaw:
    """A law: loss(α) = floor + exp(log_height + slopes·α), in standardised units."""

    floor: float
    log_height: float
    slopes: F64
    held_out: F64

    def members(self, weights: F64) -> F64:
        """Predicted gains; shape (1, m)."""
        return -(self.floor + np.exp(self.log_height + weights @ self.slopes))[None]


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLinearLaw:
    """Fits one law.

    Args:
        starts: random starts of the slopes, of which the `polished` best are descended from.
    """

    starts: int = 300
    polished: int = 8

    def fit(self, weights: F64, targets: F64, rng: Rng) -> Fitted:
        """Fit to all rows; held-out predictions come from eight folds, each descended from the full fit."""
        best = self._fit(weights, targets, self._starts(weights, targets, rng))
        held_out, fold = np.empty(len(targets)), _folds(len(targets), rng)
        for each in range(_FOLDS):
            out = fold == each
            if out.any():
                part = self._fit(weights[~out], targets[~out], best[None])
                held_out[out] = -(part[0] + np.exp(part[1] + weights[out] @ part[2:]))
        return FittedLaw(floor=float(best[0]), log_height=float(best[1]), slopes=best[2:], held_out=held_out)

    def _starts(self, weights: F64, targets: F64, rng: Rng) -> F64:
        """Parameters (starts, k + 2) to descend from."""
        heights = np.linspace(-2.0, 1.5, 10)[rng.integers(0, 10, self.starts)]
        slopes = -np.abs(rng.standard_normal((self.starts, weights.shape[1])))
        floors = float((-targets).min()) - rng.uniform(0.0, 2.0, self.starts)
        starts = np.column_stack([floors, heights, slopes])
        losses = np.array([_loss(start, weights, -targets)[0] for start in starts])
        return np.asarray(starts[np.argsort(losses, kind="stable")[: self.polished]], dtype=np.float64)

    def _fit(self, weights: F64, targets: F64, starts: F64) -> F64:
        found = [
            minimize(
                _loss,
                start,
                args=(weights, -targets),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": 200},
                bounds=[(None, None), (-6.0, 4.0), *[(-20.0, 20.0)] * weights.shape[1]],
            )
            for start in starts
        ]
        return np.asarray(min(found, key=lambda each: float(each.fun)).x, dtype=np.float64)


def _loss(parameters: F64, weights: F64, losses: F64) -> tuple[float, F64]:
    """Mean Huber loss with a small ridge on the slopes, and its gradient."""
    floor, log_height, slopes = parameters[0], parameters[1], parameters[2:]
    height = np.exp(np.minimum(log_height + weights @ slopes, 30.0))
    gap = floor + height - losses
    near = np.abs(gap) <= _HUBER
    value = np.where(near, 0.5 * gap**2, _HUBER * (np.abs(gap) - 0.5 * _HUBER)).mean()
    slope = np.clip(gap, -_HUBER, _HUBER) / len(losses)
    steep = slope * height
    gradient = np.concatenate([[slope.sum(), steep.sum()], weights.T @ steep + _RIDGE * slopes / len(slopes)])
    return float(value + 0.5 * _RIDGE * float(slopes @ slopes) / len(slopes)), gradient


def _folds(count: int, rng: Rng) -> I64:
    """A fold for each row, all of nearly equal size."""
    return np.asarray(rng.permutation(count) % _FOLDS, dtype=np.int64)
