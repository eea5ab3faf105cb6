"""What a predictor is, and the objective's model: one predictor for each task, on standardised targets.

Targets are shifted and scaled to mean 0 and deviation 1 and rounded to a millionth, so that a score as a fraction, in
points, shifted or scaled gives the same model bit by bit. Rows in which nothing differs cannot be learned from: that
is an error, not a constant prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from corpusmith.errors import InputError
from corpusmith.seeds import stable_hash
from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.one_thread import one_thread
from mixing.search.mixtures.runs import Runs

LEAST_ROWS = 8
_DIGITS = 6


class Fitted(Protocol):
    """A predictor that has seen runs."""

    @property
    def held_out(self) -> F64:
        """A prediction of each training row made without it; shape (n,)."""
        ...

    def members(self, weights: F64) -> F64:
        """The predictions of each member for mixtures (m, k); shape (members, m). Their mean is the prediction."""
        ...


class Predictor(Protocol):
    """A way to learn scores from weights."""

    def fit(self, weights: F64, targets: F64, rng: Rng) -> Fitted:
        """Learn from mixtures (n, k) and standardised targets (n,), higher better."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How a task's gains were standardised."""

    mean: float
    deviation: float


def standardise(gains: F64, task: str) -> tuple[F64, Scale]:
    """Targets of mean 0 and deviation 1, and what brings them back.

    Raises:
        InputError: fewer than eight rows, or all gains equal; the message names the task.
    """
    if len(gains) < LEAST_ROWS:
        raise InputError(f"{len(gains)} runs are too few to learn {task!r} from: measure at least {LEAST_ROWS}")
    mean, deviation = float(gains.mean()), float(gains.std())
    if float(np.ptp(gains)) <= 1e-12 * max(1.0, float(np.abs(gains).max())):
        raise InputError(
            f"the score {task!r} is the same, {gains[0]:g}, in all {len(gains)} runs, so nothing can be learned from "
            "it: choose a metric that tells mixtures apart, or train the proxies longer"
        )
    return np.round((gains - mean) / deviation, _DIGITS), Scale(mean=mean, deviation=deviation)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ObjectiveModel:
    """The objective as predicted: for each task a fitted predictor and its scale.

    Values are in units of the objective's own standardisation: gains minus `mean`, divided by `deviation`.
    """

    fitted: Sequence[Fitted]
    factors: F64
    mean: float
    deviation: float

    def members(self, weights: F64) -> F64:
        """Predictions by member (members, m); tasks whose members differ in number give their means instead."""
        parts = [each.members(weights) for each in self.fitted]
        if len({len(part) for part in parts}) > 1:
            parts = [part.mean(axis=0, keepdims=True) for part in parts]
        return np.asarray(sum(factor * part for factor, part in zip(self.factors, parts, strict=True)))

    def predict(self, weights: F64) -> F64:
        """The prediction for mixtures (m, k); shape (m,)."""
        return np.asarray(self.members(weights).mean(axis=0), dtype=np.float64)

    def spread(self, weights: F64) -> F64:
        """The standard deviation between members; shape (m,)."""
        return np.asarray(self.members(weights).std(axis=0), dtype=np.float64)

    @property
    def held_out(self) -> F64:
        """A prediction of each run made without it; shape (n,)."""
        return np.asarray(sum(factor * each.held_out for factor, each in zip(self.factors, self.fitted, strict=True)))

    def in_points(self, values: F64) -> F64:
        """Predictions as gains in the objective's own unit."""
        return np.asarray(self.mean + self.deviation * values, dtype=np.float64)


def fit_objective(predictor: Predictor, runs: Runs, seed: int) -> ObjectiveModel:
    """One predictor per task, put together by the objective's weights.

    Raises:
        InputError: too few runs, or a task that is constant.
    """
    with one_thread():
        return _fit_objective(predictor, runs, seed)


def _fit_objective(predictor: Predictor, runs: Runs, seed: int) -> ObjectiveModel:
    objective = runs.objective
    total, scale = standardise(runs.totals, objective.name)
    if len(objective.tasks) == 1:
        rng = np.random.default_rng(stable_hash("fit", seed, objective.tasks[0], len(runs)))
        fitted = [predictor.fit(runs.weights, total, rng)]
        return ObjectiveModel(fitted=fitted, factors=np.ones(1), mean=scale.mean, deviation=scale.deviation)
    fits, factors = [], []
    for task, share, gains in zip(objective.tasks, objective.shares, runs.gains.T, strict=True):
        if share == 0:
            continue
        targets, own = standardise(gains, task)
        rng = np.random.default_rng(stable_hash("fit", seed, task, len(runs)))
        fits.append(predictor.fit(runs.weights, targets, rng))
        factors.append(share * own.deviation / scale.deviation)
    return ObjectiveModel(fitted=fits, factors=np.round(factors, _DIGITS), mean=scale.mean, deviation=scale.deviation)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _FittedAverage:
    parts: Sequence[Fitted]

    @property
    def held_out(self) -> F64:
        return np.asarray(np.mean([part.held_out for part in self.parts], axis=0), dtype=np.float64)

    def members(self, weights: F64) -> F64:
        return np.stack([part.members(weights).mean(axis=0) for part in self.parts])


@dataclass(frozen=True, kw_only=True, slots=True)
class Average:
    """Several predictors with equal weight; each is one member."""

    parts: Sequence[Predictor]

    def fit(self, weights: F64, targets: F64, rng: Rng) -> Fitted:
        """Fit all parts, one after the other from one stream of draws."""
        return _FittedAverage(parts=[part.fit(weights, targets, rng) for part in self.parts])
