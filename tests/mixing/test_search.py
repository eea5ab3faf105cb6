"""A search is a function of its configuration and its runs: no order, no death, no number of workers changes it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.errors import ChangedError, InputError, RunFailed
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from mixing.search.config import SearchConfig
from mixing.search.mixtures.runs import Objective
from mixing.search.mixtures.space import make_space
from mixing.search.run_folder import Evaluator, RayEvaluator, run_search
from mixing.search.search import Proposal, Result, Search
from mixing.search.strategies.base import fresh
from mixing.search.strategies.registry import STRATEGIES, make_strategy
from tests.mixing.conftest import PlainEvaluator, make_search, plain_score, result_of, small_space

QUICK = ("climb", "climb-oneshot", "random", "olmix", "uniform", "natural")
IDENTITY = SearchConfig(seed=1).identity()


def run_to_end(search: Search, order: np.random.Generator | None = None) -> list[list[Proposal]]:
    asked = []
    while proposals := search.ask():
        asked.append(proposals)
        results = [result_of(proposal) for proposal in proposals]
        for place in np.arange(len(results)) if order is None else order.permutation(len(results)):
            search.tell([results[place]])
    return asked


def files_of(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_search(make_search(), PlainEvaluator(), str(folder), IDENTITY)
    return files_of(folder)


@pytest.mark.parametrize("strategy", QUICK)
@pytest.mark.parametrize("seed", [1, 2])
def test_results_in_any_order_give_the_same_proposals_and_answer(strategy: str, seed: int) -> None:
    first, second = make_search(strategy), make_search(strategy)
    assert run_to_end(first) == run_to_end(second, np.random.default_rng(seed))
    assert np.array_equal(first.answer().weights, second.answer().weights)


@pytest.mark.all
@pytest.mark.parametrize("strategy", ["climb-robust", "climb-paper", "regmix", "regmix-tuned"])
def test_results_in_any_order_give_the_same_answer_of_tree_searches(strategy: str) -> None:
    pytest.importorskip("lightgbm")
    first, second = make_search(strategy, rounds=(40, 8)), make_search(strategy, rounds=(40, 8))
    assert run_to_end(first) == run_to_end(second, np.random.default_rng(1))
    assert np.array_equal(first.answer().weights, second.answer().weights)


@pytest.mark.parametrize("dies_after", range(21))
def test_a_search_killed_after_any_result_ends_with_the_same_bytes(
    dies_after: int, undisturbed: dict[str, bytes], tmp_path: pathlib.Path
) -> None:
    dying = PlainEvaluator(order=np.random.default_rng(dies_after).permutation(20).tolist(), dies_after=dies_after)
    if dies_after < 20:
        with pytest.raises(KeyboardInterrupt):
            run_search(make_search(), dying, str(tmp_path), IDENTITY)
    second = PlainEvaluator(order=list(range(20))[::-1])
    run_search(make_search(), second, str(tmp_path), IDENTITY)
    assert files_of(tmp_path) == undisturbed
    assert not set(dying.measured) & set(second.measured)
    assert len(dying.measured) + len(second.measured) == 20


def score_on_ray(weights: Mapping[str, float]) -> dict[str, float]:
    return {"score": plain_score(dict(weights))}


@pytest.mark.all
@pytest.mark.ray
@pytest.mark.parametrize("workers", [1, 4])
def test_one_and_four_workers_give_the_same_bytes(
    workers: int, undisturbed: dict[str, bytes], tmp_path: pathlib.Path
) -> None:
    with Runner(Execution(cpus=workers)) as runner:
        run_search(make_search(), RayEvaluator(score_on_ray, runner), str(tmp_path), IDENTITY)
    assert files_of(tmp_path) == undisturbed


def test_rounds_that_are_added_later_continue_as_if_they_had_been_there(tmp_path: pathlib.Path) -> None:
    for rounds in ((16, 8, 4), (16, 8, 4, 14)):
        run_search(make_search(rounds=rounds), PlainEvaluator(), str(tmp_path / "extended"), IDENTITY)
    run_search(make_search(rounds=(16, 8, 4, 14)), PlainEvaluator(), str(tmp_path / "whole"), IDENTITY)
    assert files_of(tmp_path / "extended") == files_of(tmp_path / "whole")


def test_a_folder_of_another_search_is_refused_by_the_key_that_changed(tmp_path: pathlib.Path) -> None:
    run_search(make_search(rounds=(12,)), PlainEvaluator(), str(tmp_path), IDENTITY)
    with pytest.raises(ChangedError, match=r"config\.parallel was 4 and is now 2"):
        run_search(make_search(), PlainEvaluator(), str(tmp_path), SearchConfig(seed=1, parallel=2).identity())


@given(scale=st.sampled_from([0.01, 1.0, 250.0]), shift=st.sampled_from([0.0, 7.0, -40.0]))
@settings(max_examples=4, deadline=None)
def test_fractions_points_and_shifted_scores_lead_to_the_same_answer(scale: float, shift: float) -> None:
    plain, other = make_search(), make_search()
    run_to_end(plain)
    while proposals := other.ask():
        other.tell(
            [
                Result(id=each.id, scores={"score": scale * plain_score(dict(each.weights)) + shift})
                for each in proposals
            ]
        )
    assert np.array_equal(plain.runs.weights, other.runs.weights)
    assert np.array_equal(plain.answer().weights, other.answer().weights)


def test_losses_lead_where_negated_gains_lead() -> None:
    plain = make_search()
    run_to_end(plain)
    losses = Search(make_strategy("climb"), small_space(), Objective(better="lower"), rounds=(12, 4, 4), seed=1)
    while proposals := losses.ask():
        losses.tell([Result(id=each.id, scores={"score": -plain_score(dict(each.weights))}) for each in proposals])
    assert np.array_equal(plain.answer().weights, losses.answer().weights)


@pytest.mark.parametrize("strategy", QUICK)
def test_proposals_and_answers_keep_the_caps_and_no_mixture_is_measured_twice(strategy: str) -> None:
    shares = {"tiny": 1.0, "a": 33.0, "b": 33.0, "c": 33.0, "d": 10.0, "e": 10.0}
    space = make_space(shares, {"tiny": 0.04, "a": 0.5, "b": 0.5, "c": 0.3, "d": 0.2, "e": 0.2})
    search = Search(make_strategy(strategy), space, Objective(), rounds=(16, 8, 8), seed=3)
    while proposals := search.ask():
        assert all(space.allows(np.array(list(each.weights.values()))) for each in proposals)
        # the scarce group is worth most, so every search wants more of it than there is
        search.tell(
            [Result(id=each.id, scores={"score": 10 * each.weights["tiny"] + each.weights["c"]}) for each in proposals]
        )
    answer = search.answer().weights
    assert space.allows(answer)
    assert answer[0] <= 0.04
    assert len(set(search.runs.ids)) == len(search.runs)


def test_a_proposal_may_exhaust_a_small_space(space: object) -> None:
    pair = make_space({"a": 1.0, "b": 1.0}, grid=0.01)
    search = Search(make_strategy("random"), pair, Objective(), rounds=(200,), seed=0)
    proposals = search.ask()
    assert 50 < len(proposals) <= 101
    assert len(fresh(pair, np.array([[0.5, 0.5], [0.5, 0.5]]), search.runs, 2)) == 1


# --- what goes wrong -------------------------------------------------------------------------------------------------


class Failing(PlainEvaluator):
    def __init__(self, failures: int, score: float | None = None) -> None:
        super().__init__()
        self.failures, self.score = failures, score

    def evaluate(self, proposals: Sequence[Proposal]) -> Iterator[Result]:
        for place, proposal in enumerate(proposals):
            if place < self.failures and proposal.round == 0:
                scores = None if self.score is None else {"score": self.score}
                yield Result(id=proposal.id, scores=scores, error="out of memory" if scores is None else None)
            else:
                yield result_of(proposal)


def test_a_tenth_of_a_round_may_fail_and_is_recorded(tmp_path: pathlib.Path) -> None:
    evaluator: Evaluator = Failing(1, score=float("nan"))
    search = make_search()
    run_search(search, evaluator, str(tmp_path), IDENTITY)
    assert len(search.runs) == 19
    assert list(search.failed.values()) == ["the score 'score' is nan"]


def test_more_failures_end_the_search_with_what_the_first_said(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunFailed, match=r"2 of 12 runs of round 1 failed.*out of memory"):
        run_search(make_search(), Failing(2), str(tmp_path), IDENTITY)


def test_a_constant_score_names_the_metric(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="the score 'score' is the same, 5, in all 12 runs"):
        run_search(make_search(), Failing(12, score=5.0), str(tmp_path), IDENTITY)


def test_results_of_nothing_that_was_asked_or_without_a_task_are_refused() -> None:
    search = make_search()
    with pytest.raises(InputError, match="belongs to no mixture that was asked for"):
        search.tell([Result(id="0" * 16, scores={"score": 1.0})])
    with pytest.raises(InputError, match="lacks the score 'score'"):
        search.tell([Result(id=search.ask()[0].id, scores={"loss": 1.0})])


def test_too_few_runs_are_refused_by_every_strategy_that_learns() -> None:
    for name in STRATEGIES:
        if name in ("uniform", "natural", "random", "mixmin"):
            continue
        search = make_search(name, rounds=(7,))
        search.tell([result_of(proposal) for proposal in search.ask()])
        with pytest.raises(InputError, match="too few"):
            search.answer()
