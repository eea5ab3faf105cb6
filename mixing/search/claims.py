"""What may be said of an answer: its predicted score, and whether it is shown to be better than the natural shares.

The interval of (answer − natural) averages two models of the runs: the Gaussian process, and the model in which no
mixture is better than another and all differences are noise. They are weighed by the Bayesian information criterion.
Where the second cannot be ruled out, it puts a point of more than a fortieth at 0, so the lower end is at most 0; so a
null objective does not earn a claim by having been searched long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from mixing.search.mixtures.arrays import F64, Json
from mixing.search.mixtures.runs import Runs
from mixing.search.mixtures.space import Space
from mixing.search.predictors.base import ObjectiveModel, fit_objective
from mixing.search.predictors.gaussian_process import FittedProcess, GaussianProcess
from mixing.search.strategies.base import Answer
from mixing.search.strategies.thompson import default_process

_TAIL = 0.025
_EXTRA_PARAMETERS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """How much better one mixture is than another, in the objective's unit, higher better.

    `low` and `high` are the ends of the two-sided 95 % interval; `null` is the chance that no mixture is better than
    another.
    """

    value: float
    low: float
    high: float
    null: float

    @property
    def is_shown(self) -> bool:
        """Whether the lower end lies above 0."""
        return self.low > 0


def gain_over(runs: Runs, space: Space, weights: F64, other: F64, process: GaussianProcess | None = None) -> Gain:
    """How much better `weights` are than `other` (both (k,)), judged by the runs."""
    model = fit_objective(process or default_process(), runs, 0)
    pair = np.stack([weights, other])
    contrast = np.array([1.0, -1.0])
    value = float(contrast @ model.predict(pair))
    variance, log_odds = 0.0, 0.0
    for factor, fitted in zip(model.factors, model.fitted, strict=True):
        assert isinstance(fitted, FittedProcess)
        variance += factor**2 * float(contrast @ fitted.covariance(pair) @ contrast)
        log_odds = max(log_odds, _log_odds(fitted))
    null = float(1.0 / (1.0 + np.exp(np.clip(log_odds, -700.0, 700.0)))) if log_odds else 1.0
    deviation = float(np.sqrt(max(variance, 1e-12)))
    low, high = (_quantile(tail, value, deviation, null) for tail in (_TAIL, 1.0 - _TAIL))
    scale = model.deviation
    return Gain(value=scale * (1.0 - null) * value, low=scale * low, high=scale * high, null=null)


def _log_odds(fitted: FittedProcess) -> float:
    """Of the process against noise alone, by the Bayesian information criterion."""
    targets = fitted.targets
    size = len(targets)
    noise = -0.5 * size * float(np.log(2.0 * np.pi * targets.var()) + 1.0)
    return fitted.log_evidence - noise - 0.5 * _EXTRA_PARAMETERS * float(np.log(size))


def _quantile(tail: float, value: float, deviation: float, null: float) -> float:
    """A quantile of: 0 with the chance `null`, else normal."""
    below = (1.0 - null) * float(ndtr(-value / deviation))
    if below < tail <= below + null:
        return 0.0

    def excess(point: float) -> float:
        return (1.0 - null) * float(ndtr((point - value) / deviation)) + null * (point >= 0) - tail

    far = 10.0 * deviation + abs(value)
    if excess(-far) > 0 or excess(far) < 0:
        return 0.0
    return float(brentq(excess, -far, far, xtol=1e-9))


def predictions(runs: Runs, answer: Answer) -> Json:
    """What the answer's model says of it and of the best measured mixture, and a warning where that predicts higher."""
    assert answer.model is not None
    best = runs.weights[runs.best()]
    own, measured = answer.model.in_points(answer.model.predict(np.stack([answer.weights, best])))
    sign = runs.objective.sign
    document: Json = {"answer": round(sign * float(own), 6), "best_measured": round(sign * float(measured), 6)}
    if measured > own:
        document["warning"] = "the best measured mixture is predicted to be better than the answer: look at both"
    return document


def spearman(left: F64, right: F64) -> float:
    """Rank correlation; 0 where one side is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(side) for side in (left, right)]
    if min(float(np.ptp(side)) for side in ranks) == 0.0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def predictor_fit(model: ObjectiveModel, runs: Runs) -> Json:
    """How well held-out predictions order the runs: all of them, and the best quarter as measured."""
    measured = runs.totals
    top = np.argsort(-measured, kind="stable")[: max(4, len(measured) // 4)]
    return {
        "runs": len(measured),
        "spearman": round(spearman(model.held_out, measured), 4),
        "spearman_top_quarter": round(spearman(model.held_out[top], measured[top]), 4),
    }
