"""Means with bootstrap intervals over surfaces, and paired differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

from corpusmith.seeds import stable_hash
from mixing.search.mixtures.arrays import F64

RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Of one method's values over surfaces; `low` and `high` are the ends of the mean's 95 % interval."""

    mean: float
    low: float
    high: float
    median: float
    q10: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """Of the differences of two methods on the same surfaces; `wins`: how often the first is better."""

    mean: float
    low: float
    high: float
    wins: float
    p_value: float


def summarise(values: F64) -> Summary:
    """The summary of values (n,)."""
    low, high = bootstrap(values)
    return Summary(
        mean=float(values.mean()),
        low=low,
        high=high,
        median=float(np.median(values)),
        q10=float(np.quantile(values, 0.1)),
    )


def compare(first: F64, second: F64) -> Paired:
    """First minus second, pair by pair."""
    differences = first - second
    low, high = bootstrap(differences)
    p_value = float(wilcoxon(differences).pvalue) if bool(np.any(differences != 0)) else 1.0
    return Paired(
        mean=float(differences.mean()), low=low, high=high, wins=float((differences > 0).mean()), p_value=p_value
    )


def bootstrap(values: F64) -> tuple[float, float]:
    """The 95 % percentile interval of the mean; the same values give the same interval."""
    rng = np.random.default_rng(stable_hash("bootstrap", len(values)))
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
