"""A search: it asks for runs, is told results in any order, and answers. Its state is the table of runs.

What is asked in a round depends on the configuration, the seed and the runs of the rounds before it alone; the order in
which a round's results arrive means nothing, since they are put in order of proposal once all are there. So a search
that was killed is continued by telling it what was found, and a search to which rounds are added goes on where it
ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from corpusmith.errors import InputError, RunFailed
from corpusmith.seeds import stable_hash
from mixing.search.mixtures.arrays import F64
from mixing.search.mixtures.one_thread import one_thread
from mixing.search.mixtures.runs import Objective, Runs
from mixing.search.mixtures.space import Space, mixture_id
from mixing.search.strategies.base import Answer, Strategy

LEAST_SUCCESS = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A mixture to measure: its identity, its round (from 0), its weights by group."""

    id: str
    round: int
    weights: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of a proposal: a score for each task, or an error."""

    id: str
    scores: Mapping[str, float] | None = None
    error: str | None = None


class Search:
    """One search.

    Args:
        strategy: decides what to ask and what to answer.
        rounds: how many runs each round has, as `strategy.rounds` gives them.
        seed: of all draws.
    """

    def __init__(
        self, strategy: Strategy, space: Space, objective: Objective, *, rounds: Sequence[int], seed: int
    ) -> None:
        self.strategy, self.space, self.rounds, self.seed = strategy, space, tuple(rounds), seed
        self.runs = Runs.none(space.names, objective)
        self.failed: dict[str, str] = {}
        self.closed = 0
        self._open: list[Proposal] | None = None
        self._results: dict[str, Result] = {}

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will be asked for."""
        return self.closed >= len(self.rounds)

    def ask(self) -> list[Proposal]:
        """What is still to be measured in this round; nothing once the search is finished."""
        return [proposal for proposal in self.proposals() if proposal.id not in self._results]

    def proposals(self) -> list[Proposal]:
        """All of this round, results or not. A round for which the strategy has nothing ends the search."""
        if self._open is None and not self.is_finished:
            rng = np.random.default_rng(stable_hash("ask", self.seed, self.closed))
            with one_thread():
                weights = self.strategy.ask(self.space, self.runs, self.rounds[self.closed], rng)
            self._open = [
                Proposal(id=mixture_id(self.space.names, row), round=self.closed, weights=self.space.as_dict(row))
                for row in weights
            ]
            if not self._open:
                self.closed = len(self.rounds)
        return self._open or []

    def tell(self, results: Sequence[Result]) -> None:
        """Take results of this round, in any order; the round is closed once all are there.

        Raises:
            InputError: a result of nothing that was asked, or one that lacks a task.
            RunFailed: more than a tenth of the round failed.
        """
        asked = {proposal.id for proposal in self.proposals()}
        for result in results:
            if result.id not in asked:
                raise InputError(f"the result {result.id!r} belongs to no mixture that was asked for in this round")
            self._results[result.id] = checked(result, self.runs.objective)
        if asked and asked == set(self._results):
            self._close()

    def _close(self) -> None:
        proposals = self.proposals()
        good = [proposal for proposal in proposals if self._results[proposal.id].error is None]
        errors = {key: result.error for key, result in self._results.items() if result.error is not None}
        if len(good) < LEAST_SUCCESS * len(proposals):
            raise RunFailed(
                f"{len(errors)} of {len(proposals)} runs of round {self.closed + 1} failed, so it is not used; the "
                f"first said: {next(iter(errors.values()))}"
            )
        weights = np.array([list(proposal.weights.values()) for proposal in good])
        tasks = self.runs.objective.tasks
        found = [self._results[proposal.id].scores or {} for proposal in good]
        scores = np.array([[float(each[task]) for task in tasks] for each in found])
        self.runs = self.runs.plus(weights, scores, self.closed)
        self.failed |= errors
        self.closed += 1
        self._open, self._results = None, {}

    def answer(self) -> Answer:
        """The strategy's answer from the finished rounds."""
        rng = np.random.default_rng(stable_hash("answer", self.seed, self.closed))
        with one_thread():
            return self.strategy.answer(self.space, self.runs, rng)


def checked(result: Result, objective: Objective) -> Result:
    """The result; one without scores, or with a score that is no number, is a failed one.

    Raises:
        InputError: it lacks a task.
    """
    if result.error is not None or result.scores is None:
        return Result(id=result.id, error=result.error or "no scores")
    missing = [task for task in objective.tasks if task not in result.scores]
    if missing:
        raise InputError(f"the result of mixture {result.id} lacks the score {missing[0]!r}")
    wrong = [task for task in objective.tasks if not np.isfinite(result.scores[task])]
    if wrong:
        return Result(id=result.id, error=f"the score {wrong[0]!r} is {result.scores[wrong[0]]}")
    return result


def weights_of(proposals: Sequence[Proposal]) -> F64:
    """Weights (n, k) in the order of the space."""
    return np.array([list(proposal.weights.values()) for proposal in proposals])
