"""What is claimed of an answer: an interval that a null objective rarely takes above 0, and a real gain does."""

from __future__ import annotations

import numpy as np
import pytest

from mixing.bench.surfaces import bench_space
from mixing.search.claims import Gain, gain_over, spearman
from mixing.search.mixtures.runs import Objective
from mixing.search.mixtures.space import Space
from mixing.search.search import Result, Search
from mixing.search.strategies.registry import make_strategy
from tests.mixing.conftest import plain_score, small_space


def searched(space: Space, seed: int, slope: float) -> Gain:
    """The claim of a search of 56 runs in which the first group is worth `slope` and all else is noise."""
    noise = np.random.default_rng(1000 + seed)
    search = Search(make_strategy("climb"), space, Objective(), rounds=(24, 8, 8, 8, 8), seed=seed)
    while proposals := search.ask():
        search.tell(
            [
                Result(id=each.id, scores={"score": slope * each.weights[space.names[0]] + noise.standard_normal()})
                for each in proposals
            ]
        )
    return gain_over(search.runs, space, search.answer().weights, space.project(space.prior)[0])


def null_space(seed: int) -> Space:
    sizes = np.exp(np.random.default_rng(seed).standard_normal(21))
    return bench_space(sizes / sizes.sum())


def test_a_null_objective_is_not_claimed_to_be_better_than_natural() -> None:
    claimed = [seed for seed in range(6) if searched(null_space(seed), seed, 0.0).is_shown]
    assert len(claimed) <= 1


@pytest.mark.all
def test_of_two_hundred_null_objectives_at_most_ten_are_claimed() -> None:
    claimed = [seed for seed in range(200) if searched(null_space(seed), seed, 0.0).is_shown]
    assert len(claimed) <= 10, claimed


def test_a_gain_of_several_deviations_is_claimed_and_lies_in_its_interval() -> None:
    space = small_space()
    shown = [searched(space, seed, 6.0) for seed in range(4)]
    assert all(gain.is_shown for gain in shown)
    truth = 6.0 * (0.8 - space.prior[0])
    assert sum(gain.low <= truth <= gain.high for gain in shown) >= 3


def test_the_lower_end_is_zero_while_no_difference_cannot_be_ruled_out() -> None:
    space = small_space()
    gain = searched(space, 5, 0.0)
    assert gain.null > 0.025
    assert gain.low <= 0.0 <= gain.high


def test_rank_correlation_is_that_of_ranks() -> None:
    values = np.array([plain_score(row) for row in np.eye(6)])
    assert spearman(values, np.exp(values / 10)) == pytest.approx(1.0)
    assert spearman(values, -values) == pytest.approx(-1.0)
    assert spearman(values, np.zeros(6)) == 0.0
