"""Aggregators turn the values that a step left in its pages into one dict of the step's stats row.

Follows DCLM; departs from it in giving plain ints and floats, where numpy's scalars could not be written as JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

LabelT = TypeVar("LabelT")
PERCENTILES = {"median": 50, "p25": 25, "p75": 75, "p90": 90, "p95": 95, "p99": 99}


def percentiles(values: list[Any]) -> dict[str, Any]:
    """Return min, max, median, p25, p75, p90, p95, p99 and mean; percentiles are values of the list, not between two.

    Raises:
        TypeError: not a list.
        IndexError: an empty list.
    """
    if not isinstance(values, list):
        raise TypeError("Values must be a list.")
    if not values:
        raise IndexError("percentiles of an empty list")
    numbers = np.asarray(values)
    summary: dict[str, Any] = {"min": numbers.min().item(), "max": numbers.max().item()}
    for name, percent in PERCENTILES.items():
        summary[name] = np.percentile(numbers, percent, method="nearest").item()
    summary["mean"] = float(numbers.mean())
    return summary


def histogram(values: Sequence[Any]) -> dict[Any, int]:
    """Count strings by value, or numbers in ten equal bins by their left edge (the last bin is closed).

    Raises:
        IndexError: no values.
    """
    if isinstance(values[0], str):
        return Counter(values)
    counts, edges = np.histogram(np.asarray(values, dtype=np.float64), bins=10)
    return {float(edge): int(count) for edge, count in zip(edges[:-1], counts, strict=True)}


def threshold_transform(
    weighted_values: Mapping[LabelT, float], threshold: float, default: str = "unknown"
) -> LabelT | str:
    """Return the key of the largest weight, the first of equals.

    Args:
        weighted_values: weights by key.
        threshold: the least weight that counts.
        default: what is returned where none counts.
    """
    best: LabelT | str = default
    best_weight: float | None = None
    for key, weight in weighted_values.items():
        if weight >= threshold and (best_weight is None or weight > best_weight):
            best, best_weight = key, weight
    return best
