"""How sure an evaluation is: bootstrap intervals of accuracies, CORE and EXTENDED, and paired comparison of two models.

The rows of each task are resampled with replacement, within each category. Since a row is right or wrong, the number of
right rows in a resample is a binomial draw, and for a pair of models the three counts (only the first right, only the
second, no difference) are a multinomial one: the bootstrap is drawn exactly, without touching rows again. Two models
are compared on the same rows, which removes the difficulty of rows from the difference; beside the interval stands the
exact sign test over the rows on which they differ (McNemar's test).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpusmith.errors import InputError
from corpusmith.seeds import stable_hash
from eval.results.aggregation import CORE_LIST, CURRENT_VERSION, AggregationFacts, load_facts
from eval.results.items import ItemResult, TaskResult

F64Array = npt.NDArray[np.float64]

RESAMPLES = 10_000
CONFIDENCE = 0.95
CORE, EXTENDED = "Core", "Extended"
#: rows beyond which the sign test uses the normal approximation
_EXACT_ROWS = 20_000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value in 0..1 (or a difference of two) with its interval; `p_value` of a difference of one task."""

    value: float
    low: float
    high: float
    p_value: float | None = None


def intervals(
    results: Mapping[str, TaskResult],
    facts: AggregationFacts | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> dict[str, Estimate]:
    """Accuracy of each task with its interval, then CORE and EXTENDED where all their tasks are there."""
    draws = {label: _accuracy_draws(result, resamples, _generator(seed, label)) for label, result in results.items()}
    values = {label: result.accuracy for label, result in results.items()}
    return _estimates(values, draws, facts or load_facts(), confidence, {})


def compare(
    first: Mapping[str, TaskResult],
    second: Mapping[str, TaskResult],
    facts: AggregationFacts | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> dict[str, Estimate]:
    """First minus second for each task that both have, then for CORE and EXTENDED where all their tasks are there.

    Raises:
        InputError: they have no task in common, or a task has other rows.
    """
    labels = [label for label in first if label in second]
    if not labels:
        raise InputError("the two evaluations have no task in common")
    values, draws, p_values = {}, {}, {}
    for label in labels:
        counts = _paired_counts(label, first[label], second[label])
        values[label] = first[label].accuracy - second[label].accuracy
        draws[label] = _difference_draws(counts, resamples, _generator(seed, label))
        p_values[label] = sign_test(int(counts[:, 0].sum()), int(counts[:, 1].sum()))
    return _estimates(values, draws, facts or load_facts(), confidence, p_values, difference=True)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p-value of that many wins and losses under even odds; exact up to 20,000 rows."""
    total = wins + losses
    if total == 0:
        return 1.0
    fewer = min(wins, losses)
    if total > _EXACT_ROWS:
        distance = (abs(wins - losses) - 1) / math.sqrt(total)
        return min(1.0, math.erfc(max(distance, 0.0) / math.sqrt(2)))
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) - total * math.log(2)
        for k in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def _generator(seed: int, label: str) -> np.random.Generator:
    """Draws of a task that do not depend on which others there are."""
    return np.random.default_rng(stable_hash("bootstrap", seed, label))


def _accuracy_draws(result: TaskResult, resamples: int, generator: np.random.Generator) -> F64Array:
    """Accuracies of resamples, (resamples,)."""
    parts = _parts(result.items)
    shares = [generator.binomial(len(part), sum(part) / len(part), resamples) / len(part) for part in parts]
    return np.asarray(np.mean(shares, axis=0), dtype=np.float64)


def _parts(items: Sequence[ItemResult]) -> list[list[bool]]:
    """Which rows are right, per category."""
    parts: dict[str | None, list[bool]] = {}
    for item in items:
        parts.setdefault(item.category, []).append(item.correct)
    return list(parts.values())


def _paired_counts(label: str, first: TaskResult, second: TaskResult) -> npt.NDArray[np.int64]:
    """Rows that only the first has right, only the second, and others, per category, (categories, 3)."""
    other = {(item.category, item.row): item.correct for item in second.items}
    if {(item.category, item.row) for item in first.items} != set(other):
        raise InputError(
            f"task {label}: the evaluations have other rows ({len(first.items)} and {len(second.items)}); were they "
            "made from the same data?"
        )
    counts: dict[str | None, list[int]] = {}
    for item in first.items:
        theirs = other[item.category, item.row]
        place = 2 if item.correct == theirs else 0 if item.correct else 1
        counts.setdefault(item.category, [0, 0, 0])[place] += 1
    return np.array(list(counts.values()), dtype=np.int64)


def _difference_draws(counts: npt.NDArray[np.int64], resamples: int, generator: np.random.Generator) -> F64Array:
    """Differences of accuracy of paired resamples, (resamples,)."""
    differences = []
    for row in counts:
        total = int(row.sum())
        drawn = generator.multinomial(total, row / total, resamples)
        differences.append((drawn[:, 0] - drawn[:, 1]) / total)
    return np.asarray(np.mean(differences, axis=0), dtype=np.float64)


def _estimates(
    values: Mapping[str, float],
    draws: Mapping[str, F64Array],
    facts: AggregationFacts,
    confidence: float,
    p_values: Mapping[str, float],
    difference: bool = False,
) -> dict[str, Estimate]:
    """Intervals of the tasks and of the two aggregates."""
    if not 0 < confidence < 1:
        raise InputError(f"the confidence must lie between 0 and 1, got {confidence}")
    tail = 50 * (1 - confidence)

    def estimate(value: float, sample: F64Array, p_value: float | None = None) -> Estimate:
        low, high = np.percentile(sample, [tail, 100 - tail])
        return Estimate(value=value, low=float(low), high=float(high), p_value=p_value)

    found = {label: estimate(values[label], draws[label], p_values.get(label)) for label in values}
    members: dict[str, Callable[[str], bool]] = {
        CORE: lambda label: label in facts.lists[CORE_LIST],
        EXTENDED: lambda label: True,
    }
    for name, is_member in members.items():
        tasks = [task for task in facts.tasks if is_member(task.label)]
        if all(task.label in values for task in tasks):
            # a centered accuracy is linear in the accuracy; of a difference only the slope stays
            slopes = {
                task.label: task.centered(1.0, CURRENT_VERSION) - task.centered(0.0, CURRENT_VERSION) for task in tasks
            }
            shifts = {task.label: 0.0 if difference else task.centered(0.0, CURRENT_VERSION) for task in tasks}
            centered = [shifts[label] + slope * values[label] for label, slope in slopes.items()]
            sample = np.mean([shifts[label] + slope * draws[label] for label, slope in slopes.items()], axis=0)
            found[name] = estimate(sum(centered) / len(centered), sample)
    return found
