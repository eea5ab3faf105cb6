"""What has been measured: the table of finished runs, which is the whole state of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from corpusmith.errors import InputError
from mixing.search.mixtures.arrays import F64, I64
from mixing.search.mixtures.space import mixture_id

Better = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What a search improves: the weighted mean of some tasks' scores.

    Args:
        tasks: names of the scores that each run reports.
        weights: the weight of each task (default: equal).
        better: whether `higher` scores (accuracies) or `lower` ones (losses) are better.
    """

    tasks: tuple[str, ...] = ("score",)
    weights: tuple[float, ...] | None = None
    better: Better = "higher"

    def __post_init__(self) -> None:
        if not self.tasks:
            raise InputError("an objective needs at least one task")
        if self.weights is not None and (
            len(self.weights) != len(self.tasks) or min(self.weights) < 0 or sum(self.weights) <= 0
        ):
            raise InputError("an objective's weights must be at least 0, not all 0, one for each task")

    @property
    def shares(self) -> F64:
        """The tasks' weights, adding up to 1; shape (t,)."""
        raw = np.ones(len(self.tasks)) if self.weights is None else np.array(self.weights, dtype=np.float64)
        return np.asarray(raw / raw.sum(), dtype=np.float64)

    @property
    def sign(self) -> float:
        """1 where higher is better, else -1."""
        return 1.0 if self.better == "higher" else -1.0

    @property
    def name(self) -> str:
        """What the objective is called in messages."""
        return self.tasks[0] if len(self.tasks) == 1 else f"mean of {', '.join(self.tasks)}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Runs:
    """Finished runs in order of round and proposal; n mixtures of k groups, t tasks.

    `scores` are as reported, `gains` the same with higher always better.
    """

    names: tuple[str, ...]
    objective: Objective
    weights: F64
    scores: F64
    rounds: I64

    @staticmethod
    def none(names: Sequence[str], objective: Objective) -> Runs:
        """No runs yet."""
        return Runs(
            names=tuple(names),
            objective=objective,
            weights=np.empty((0, len(names))),
            scores=np.empty((0, len(objective.tasks))),
            rounds=np.empty(0, dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.weights)

    def __post_init__(self) -> None:
        bad = np.argwhere(~np.isfinite(self.scores))
        if len(bad):
            row, task = int(bad[0][0]), self.objective.tasks[int(bad[0][1])]
            raise InputError(
                f"the score {task!r} of mixture {self.ids[row]} is {self.scores[row, int(bad[0][1])]}: leave runs that "
                "failed out of the table"
            )

    def plus(self, weights: F64, scores: F64, round_index: int) -> Runs:
        """With the runs of one more round; weights (n, k), scores (n, t)."""
        return Runs(
            names=self.names,
            objective=self.objective,
            weights=np.concatenate([self.weights, weights]),
            scores=np.concatenate([self.scores, np.reshape(scores, (len(weights), -1))]),
            rounds=np.concatenate([self.rounds, np.full(len(weights), round_index, dtype=np.int64)]),
        )

    @property
    def ids(self) -> list[str]:
        """The identity of each mixture."""
        return [mixture_id(self.names, row) for row in self.weights]

    @property
    def gains(self) -> F64:
        """Scores with higher better; shape (n, t)."""
        return np.asarray(self.objective.sign * self.scores, dtype=np.float64)

    @property
    def totals(self) -> F64:
        """The objective of each run, higher better; shape (n,)."""
        return np.asarray(self.gains @ self.objective.shares, dtype=np.float64)

    def best(self) -> int:
        """The row with the best objective, the first of equals."""
        return int(np.argmax(self.totals))
