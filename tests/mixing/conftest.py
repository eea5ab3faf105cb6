"""Spaces, objectives and whole searches that the tests of mixing share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from mixing.search.mixtures.arrays import F64
from mixing.search.mixtures.runs import Objective
from mixing.search.mixtures.space import Space, make_space
from mixing.search.search import Proposal, Result, Search
from mixing.search.strategies.registry import make_strategy

GROUPS = 6


def plain_score(weights: dict[str, float] | F64) -> float:
    """A smooth objective of six groups with its optimum at 0.4, 0.3, 0.2, 0.1, 0, 0."""
    values = np.array(list(weights.values()) if isinstance(weights, dict) else weights)
    goal = np.array([0.4, 0.3, 0.2, 0.1, 0.0, 0.0])
    return float(60.0 - 20.0 * ((np.sqrt(values) - np.sqrt(goal)) ** 2).sum())


def result_of(proposal: Proposal) -> Result:
    return Result(id=proposal.id, scores={"score": plain_score(dict(proposal.weights))})


class PlainEvaluator:
    """Measures by `plain_score`, in a given order of the proposals, and dies after so many results."""

    def __init__(self, order: Sequence[int] | None = None, dies_after: int | None = None) -> None:
        self.order, self.dies_after = order, dies_after
        self.measured: list[str] = []

    def evaluate(self, proposals: Sequence[Proposal]) -> Iterator[Result]:
        order = range(len(proposals)) if self.order is None else np.argsort(np.array(self.order)[: len(proposals)])
        for place in order:
            if self.dies_after is not None and len(self.measured) == self.dies_after:
                raise KeyboardInterrupt
            self.measured.append(proposals[place].id)
            yield result_of(proposals[place])


def make_search(strategy: str = "climb", rounds: Sequence[int] = (12, 4, 4), seed: int = 1) -> Search:
    return Search(make_strategy(strategy), small_space(), Objective(), rounds=rounds, seed=seed)


def small_space() -> Space:
    shares = {"web": 30.0, "books": 20.0, "code": 20.0, "wiki": 15.0, "math": 10.0, "talk": 5.0}
    return make_space(shares, dict.fromkeys(shares, 0.8))


@pytest.fixture
def space() -> Space:
    return small_space()
