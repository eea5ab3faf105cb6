"""LightGBM on weights: RegMix's fit, CLIMB's recipe, and bags that stop on their out-of-bag rows.

LightGBM is optional (`pip install 'corpusmith[mix]'`); the default search does not need it. One thread, so that equal
seeds give equal trees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from corpusmith.errors import InputError, missing_package
from mixing.search.mixtures.arrays import F64, I64, Rng
from mixing.search.predictors.base import Fitted

_COMMON: dict[str, Any] = {
    "objective": "regression",
    "metric": "l2",
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
}
RECIPE = {"learning_rate": 0.01, "lambda_l1": 1.0, "lambda_l2": 1.0, "max_depth": 4, "min_data_in_leaf": 5}
BAGGED = {
    "learning_rate": 0.03,
    "lambda_l2": 1.0,
    "max_depth": 4,
    "num_leaves": 15,
    "min_data_in_leaf": 5,
    "feature_fraction": 0.8,
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _FittedTrees:
    boosters: tuple[Any, ...]
    held_out: F64

    def members(self, weights: F64) -> F64:
        return np.stack([np.asarray(booster.predict(weights, num_threads=1)) for booster in self.boosters])


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitTrees:
    """One LightGBM that stops early on a tenth of the rows, as RegMix and CLIMB's recipe do.

    Args:
        settings: LightGBM's parameters beside the common ones.
        patience: rounds without improvement after which it stops; at most the number of rows held out where
            `bounded` (CLIMB's recipe).
        check: rows to stop on instead of a tenth: weights and targets as `fit` takes them (RegMix's 256 further runs).
    """

    settings: Mapping[str, Any] = field(default_factory=lambda: dict(RECIPE))
    patience: int = 20
    bounded: bool = True
    trees: int = 1000
    check: tuple[F64, F64] | None = None

    def fit(self, weights: F64, targets: F64, rng: Rng) -> Fitted:
        """Shuffle, hold out a tenth, fit. `held_out` is known for those rows alone; for others it is the fit itself.

        Raises:
            InputError: the model came out constant.
        """
        order = rng.permutation(len(targets))
        held = order[: max(1, len(order) // 10)]
        kept = np.sort(order[max(1, len(order) // 10) :])
        check = (weights[held], targets[held])
        if self.check is not None:
            kept, check = np.arange(len(targets)), self.check
        patience = min(self.patience, len(check[1])) if self.bounded else self.patience
        settings = {**_COMMON, **self.settings, "seed": 42}
        booster = _train(settings, (weights[kept], targets[kept]), check, self.trees, patience)
        predicted = np.asarray(booster.predict(weights, num_threads=1))
        return _FittedTrees(boosters=(booster,), held_out=predicted)


@dataclass(frozen=True, kw_only=True, slots=True)
class BaggedTrees:
    """Several LightGBMs on bootstrap rows, each stopped on the rows that it did not draw."""

    settings: Mapping[str, Any] = field(default_factory=lambda: dict(BAGGED))
    bags: int = 8
    trees: int = 600
    patience: int = 20

    def fit(self, weights: F64, targets: F64, rng: Rng) -> Fitted:
        """Fit the bags; a row's held-out prediction is the mean of the bags that did not draw it."""
        boosters, sums, counts = [], np.zeros(len(targets)), np.zeros(len(targets))
        for _ in range(self.bags):
            rows = np.sort(rng.integers(0, len(targets), len(targets)))
            out = np.setdiff1d(np.arange(len(targets)), rows)
            if not len(out):
                continue
            settings = {**_COMMON, **self.settings, "seed": int(rng.integers(1 << 30))}
            check = (weights[out], targets[out])
            booster = _train(settings, (weights[rows], targets[rows]), check, self.trees, self.patience)
            sums[out] += np.asarray(booster.predict(weights[out], num_threads=1))
            counts[out] += 1
            boosters.append(booster)
        held_out = np.where(counts > 0, sums / np.maximum(counts, 1), float(targets.mean()))
        return _FittedTrees(boosters=tuple(boosters), held_out=held_out)


def _train(
    settings: Mapping[str, Any], rows: tuple[F64, F64], check: tuple[F64, F64], trees: int, patience: int
) -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise missing_package("lightgbm", "mix") from error
    options = {"feature_pre_filter": False, "verbosity": -1}
    train = lightgbm.Dataset(rows[0], label=rows[1], params=options)
    valid = lightgbm.Dataset(check[0], label=check[1], reference=train, params=options)
    stop = lightgbm.early_stopping(patience, verbose=False)
    return lightgbm.train(dict(settings), train, num_boost_round=trees, valid_sets=[valid], callbacks=[stop])


def check_not_constant(predictions: F64) -> F64:
    """The predictions, unless they are all the same.

    Raises:
        InputError: they are: the answer would be a matter of chance.
    """
    if float(np.ptp(predictions)) == 0.0:
        raise InputError(
            "the predictor gives the same score for every mixture, so it has learned nothing: measure more runs, or "
            "use a predictor that needs fewer (strategy: climb)"
        )
    return predictions


def distinct(predictions: F64) -> int:
    """How many different predictions there are (a tree model may know few)."""
    values: I64 = np.unique(np.round(predictions, 9), return_counts=True)[1].astype(np.int64)
    return len(values)
