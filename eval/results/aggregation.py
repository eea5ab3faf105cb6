"""CORE, EXTENDED and the other means over tasks.

Follows DCLM's aggregation: the centered accuracy of a task is 0 at its random baseline and 1 at perfection; every mean
is unweighted over tasks. The facts about the 53 tasks are in `eval_meta_data.csv`, the named lists in
`additional_aggregation.json`, both beside this file. Baselines come in two versions; v2 corrects twelve of them.
Departs from DCLM in that asking for v1 writes the versioned keys only and leaves all others at v2, and in that a mean
over no task is null instead of NaN.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from corpusmith.errors import InputError
from corpusmith.io import storage

Version = Literal["v1", "v2"]
CURRENT_VERSION: Version = "v2"
CORE_LIST = "low_variance_datasets"

META_DATA = str(Path(__file__).resolve().parents[1] / "eval_meta_data.csv")
ADDITIONAL_AGGREGATION = str(Path(__file__).resolve().parents[1] / "additional_aggregation.json")


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """What aggregation needs to know of a task; baselines in percent."""

    label: str
    category: str
    baseline_v1: float
    baseline_v2: float

    def centered(self, accuracy: float, version: Version) -> float:
        """Accuracy moved and scaled so that the random baseline is 0 and perfection 1."""
        baseline = (self.baseline_v1 if version == "v1" else self.baseline_v2) / 100
        return (accuracy - baseline) / (1 - baseline)


@dataclass(frozen=True, kw_only=True)
class AggregationFacts:
    """All tasks in order, and the named lists of labels (which may hold labels that are no task)."""

    tasks: tuple[TaskFacts, ...]
    lists: Mapping[str, tuple[str, ...]]


def load_facts(meta_data: str = META_DATA, additional_aggregation: str = ADDITIONAL_AGGREGATION) -> AggregationFacts:
    """Read the table of tasks and the lists.

    Raises:
        InputError: a column is missing, a baseline is no percentage below 100, or a list is malformed.
    """
    table = csv.DictReader(io.StringIO(storage.read_bytes(meta_data).decode("utf-8")))
    tasks = tuple(_task_facts(row, f"{meta_data}:{number}") for number, row in enumerate(table, start=2))
    lists = storage.read_json(additional_aggregation)
    if not isinstance(lists, dict) or not all(isinstance(labels, list) for labels in lists.values()):
        raise InputError(f"{additional_aggregation}: must be an object of lists of task labels")
    if CORE_LIST not in lists:
        raise InputError(f"{additional_aggregation}: lacks the list {CORE_LIST!r}, which defines CORE")
    return AggregationFacts(tasks=tasks, lists={name: tuple(labels) for name, labels in lists.items()})


def aggregate(
    icl: Mapping[str, float],
    versions: Sequence[Version] = ("v1", "v2"),
    facts: AggregationFacts | None = None,
) -> dict[str, Any]:
    """Everything that an evaluation JSON says beyond the accuracies themselves.

    `icl` maps labels to accuracies in 0..1; labels that are not among the tasks are ignored. Unversioned keys are
    computed with v2's baselines; `Core_<version>` and `Extended_<version>` for each of `versions`. Missing tasks turn
    CORE and EXTENDED into a string that names them.
    """
    facts = facts or load_facts()
    result: dict[str, Any] = {"missing tasks": str(_missing((task.label for task in facts.tasks), icl))}
    present = [task for task in facts.tasks if task.label in icl]
    centered = {task.label: task.centered(icl[task.label], CURRENT_VERSION) for task in present}
    categories = sorted({task.category for task in present})
    result["aggregated_task_categories_centered"] = {
        category: _mean([centered[task.label] for task in present if task.category == category])
        for category in categories
    }
    result["aggregated_centered_results"] = _mean(list(centered.values()))
    result["aggregated_results"] = _mean([icl[label] for label in centered])
    for name, labels in facts.lists.items():
        members = [label for label in labels if label in centered]
        result[name] = _mean([icl[label] for label in members])
        result[f"{name}_centered"] = _mean([centered[label] for label in members])
    for version in versions:
        result[f"Core_{version}"], result[f"Extended_{version}"] = core_and_extended(icl, version, facts)
    for name in ("Core", "Extended"):
        if f"{name}_{CURRENT_VERSION}" in result:
            result[name] = result[f"{name}_{CURRENT_VERSION}"]
    return result | {"eval_version": CURRENT_VERSION}


def reaggregate(
    document: Mapping[str, Any], version: Version = CURRENT_VERSION, facts: AggregationFacts | None = None
) -> dict[str, Any]:
    """An evaluation JSON with its aggregates computed again from its accuracies.

    v2 replaces them all, after an old file's unversioned `Core` and `Extended` have moved to `Core_v1` and
    `Extended_v1`; v1 writes those two keys only.

    Raises:
        InputError: the document holds no accuracies (`eval_metrics.icl`).
    """
    metrics = document.get("eval_metrics")
    icl = metrics.get("icl") if isinstance(metrics, Mapping) else None
    if not isinstance(icl, Mapping) or not all(isinstance(value, (int, float)) for value in icl.values()):
        raise InputError("not an evaluation JSON: eval_metrics.icl must map task labels to accuracies")
    if version == "v1":
        core, extended = core_and_extended(icl, "v1", facts)
        return dict(document) | {"Core_v1": core, "Extended_v1": extended}
    kept = dict(document)
    for name in ("Core", "Extended"):
        if name in kept:
            kept.setdefault(f"{name}_v1", kept[name])
    return kept | aggregate(icl, (CURRENT_VERSION,), facts)


def core_and_extended(
    icl: Mapping[str, float], version: Version = CURRENT_VERSION, facts: AggregationFacts | None = None
) -> tuple[float | str, float | str]:
    """CORE and EXTENDED as fractions, or strings that name the missing tasks."""
    facts = facts or load_facts()
    core_labels = facts.lists[CORE_LIST]
    core = [
        task.centered(icl[task.label], version)
        for task in facts.tasks
        if task.label in core_labels and task.label in icl
    ]
    extended = [task.centered(icl[task.label], version) for task in facts.tasks if task.label in icl]
    return (
        _mean_or_missing(core, _missing(core_labels, icl)),
        _mean_or_missing(extended, _missing((task.label for task in facts.tasks), icl)),
    )


def _mean_or_missing(values: list[float], missing: list[str]) -> float | str:
    """The mean, unless tasks are missing."""
    mean = _mean(values)
    return f"N/A due to missing tasks: {missing}" if missing or mean is None else mean


def _missing(labels: Iterable[str], icl: Mapping[str, float]) -> list[str]:
    """Labels without an accuracy, in order."""
    return [label for label in labels if label not in icl]


def _mean(values: Sequence[float]) -> float | None:
    """Plain mean, None of nothing."""
    return sum(values) / len(values) if values else None


def _task_facts(row: Mapping[str, str], where: str) -> TaskFacts:
    """One line of the table."""
    try:
        baselines = float(row["random_baseline_v1"]), float(row["random_baseline_v2"])
        label, category = row["label"], row["category"]
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{where}: needs label, category, random_baseline_v1, random_baseline_v2 ({error})") from error
    if not all(0 <= baseline < 100 for baseline in baselines):
        raise InputError(f"{where}: a random baseline must lie in [0, 100) percent, got {baselines}")
    return TaskFacts(label=label, category=category, baseline_v1=baselines[0], baseline_v2=baselines[1])
