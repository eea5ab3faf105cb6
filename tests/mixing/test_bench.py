"""The bench itself: surfaces with a known optimum, statistics, and RegMix's real runs."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from mixing.bench.bench import Values, paired_rows, rows_of, run_bench
from mixing.bench.optimum import best_mixture
from mixing.bench.pile import pile_surface
from mixing.bench.regmix_tables import PILE_CC, make_pool, read_tables
from mixing.bench.statistics import compare, summarise
from mixing.bench.surfaces import make_surface
from mixing.search.claims import spearman
from mixing.search.mixtures.arrays import F64
from mixing.search.mixtures.runs import Objective, Runs
from mixing.search.mixtures.sampler import Sampler, dirichlet
from mixing.search.mixtures.space import Space, make_space
from mixing.search.predictors.base import fit_objective, standardise
from mixing.search.predictors.laws import FittedLaw, LogLinearLaw
from mixing.search.strategies.climb import robust_predictor, split_budget
from mixing.search.strategies.doremi import group_dro
from mixing.search.strategies.mixmin import ensemble_weights
from mixing.search.strategies.olmix import Olmix, propose
from mixing.search.strategies.regmix import RegMix, literal_trees
from mixing.search.strategies.thompson import Thompson, cover


@pytest.mark.parametrize("family", ["law", "skills"])
def test_a_surface_is_scaled_as_said_and_its_gradient_is_its_slope(family: str) -> None:
    surface = make_surface(family, 3)
    scores = surface.score(Sampler().draw(surface.space, 4000, np.random.default_rng(9)))
    assert scores.mean() == pytest.approx(60.0, abs=0.1)
    assert scores.std() == pytest.approx(0.8, abs=0.05)
    value, gradient = surface.score_and_gradient(surface.space.prior)
    for index in (0, 10, 20):
        moved = surface.space.prior + 1e-6 * np.eye(21)[index]
        assert (surface.score_and_gradient(moved)[0] - value) / 1e-6 == pytest.approx(gradient[index], abs=1e-3)


@pytest.mark.parametrize("family", ["law", pytest.param("skills", marks=pytest.mark.all)])
def test_no_mixture_that_is_found_otherwise_beats_the_optimum(family: str) -> None:
    surface = make_surface(family, 1)
    best = best_mixture(surface)
    assert surface.space.allows(best)
    rng = np.random.default_rng(0)
    near = surface.space.project(dirichlet(np.tile(200.0 * best + 0.02, (4000, 1)), rng))
    far = Sampler().draw(surface.space, 4000, rng)
    assert surface.score(np.concatenate([near, far])).max() <= surface.score(best)[0] + 1e-3


def test_noise_is_drawn_once_per_evaluation() -> None:
    surface = make_surface("law", 0)
    same = np.tile(surface.space.prior, (4000, 1))
    assert surface.measure(same, np.random.default_rng(0)).std() == pytest.approx(0.25, abs=0.02)


def test_intervals_and_paired_differences_are_those_of_the_values() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(1.0, 0.5, 400)
    summary = summarise(first)
    assert summary.high - summary.low == pytest.approx(2 * 1.96 * first.std() / 20, rel=0.1)
    paired = compare(first + 0.1, first)
    assert paired.mean == pytest.approx(0.1)
    assert paired.wins == 1.0
    assert paired.low == pytest.approx(0.1)
    assert compare(first, first).p_value == 1.0


def test_rows_name_family_method_and_seeds_and_pools_have_one_for_the_best_measured() -> None:
    found = {"pool-cc": {"climb": Values(value=[1.0, 3.0], measured=[1.0, 1.0], seconds=[0.1, 0.1])}}
    rows = rows_of(found, "0:2")
    assert [(row["method"], row["mean"]) for row in rows] == [("climb", 2.0), ("climb (measured)", 1.0)]
    assert paired_rows(found) == []


def test_budgets_split_and_the_default_follows_what_runs_at_once() -> None:
    assert split_budget(112) == (64, 32, 16)
    assert split_budget(112, (6, 1)) == (96, 16)
    assert Thompson().rounds(112, 8) == (24, *[8] * 11)
    assert Thompson().rounds(112, 64) == (64, 48)
    assert Thompson().rounds(28, 8) == (14, 8, 6)
    assert sum(Thompson().rounds(112, 5)) == 112


@pytest.mark.parametrize("family", ["skills", pytest.param("law", marks=pytest.mark.all)])
def test_the_default_beats_random_search_on_a_surface(family: str) -> None:
    found = run_bench([family], ["climb", "random"], [5], 64, tables="", folder=".")[family]
    assert found["climb"].value[0] > found["random"].value[0]
    assert found["climb"].value[0] > 0.6
    assert found["climb"].spearman[0] > 0.7


# --- rivals with a planted truth -------------------------------------------------------------------------------------


def test_the_first_round_covers_the_space_better_than_draws_do() -> None:
    space = make_surface("law", 2).space
    rng = np.random.default_rng(0)
    covered, drawn = cover(space, Sampler(), 24, rng), Sampler().draw(space, 24, rng)
    # most groups come near their cap in some mixture of the cover
    assert np.median(covered.max(axis=0) / space.caps) > 0.8 > np.median(drawn.max(axis=0) / space.caps)
    assert space.allows(covered)


def test_mixmin_finds_the_ensemble_that_explains_the_examples() -> None:
    # examples of two kinds, each explained by one group; a third group explains nothing
    likelihoods = np.log(np.array([[0.9, 0.9, 0.9, 0.1], [0.1, 0.1, 0.1, 0.9], [0.01, 0.01, 0.01, 0.01]]))
    weights = ensemble_weights(likelihoods, np.full(4, 0.25))
    # with chances 0.9 and 0.1 the maximum of 0.75·log(0.1 + 0.8a) + 0.25·log(0.9 − 0.8a) lies at a = 0.8125
    assert weights == pytest.approx([0.8125, 0.1875, 0.0], abs=0.02)


def test_doremi_favours_the_group_that_lags_behind_its_reference() -> None:
    def losses(weights: F64) -> F64:
        return 2.0 - np.array([0.2, 1.0, 1.0]) * np.sqrt(weights)

    weights = group_dro(losses, np.array([0.8, 0.1, 0.1]))
    assert weights.argmax() == 0
    assert weights.sum() == pytest.approx(1.0)


def test_olmix_proposes_the_exact_minimum_of_its_law_and_penalty() -> None:
    space = make_space({"a": 1.0, "b": 1.0, "c": 2.0}, {"a": 0.6, "b": 1.0, "c": 1.0})
    runs = planted_law(space)
    model = fit_objective(LogLinearLaw(starts=30, polished=3), runs, 0)
    proposed = propose(space, model, 0.05)
    (law,) = model.fitted
    assert isinstance(law, FittedLaw)
    grid = np.array([[a, b, 1 - a - b] for a in np.arange(0, 0.6, 0.02) for b in np.arange(0, 1 - a, 0.02)])
    penalty = (np.maximum(grid, 1e-9) * np.log(np.maximum(grid, 1e-9) / space.prior)).sum(axis=1)
    losses = np.exp(law.log_height + grid @ law.slopes) + 0.05 * penalty
    assert proposed == pytest.approx(grid[losses.argmin()], abs=0.03)


def planted_law(space: Space) -> Runs:
    weights = Sampler().draw(space, 60, np.random.default_rng(0))
    scores = -np.exp(0.2 + weights @ np.array([-2.0, -1.0, 0.5]))
    return Runs.none(space.names, Objective()).plus(weights, scores[:, None], 0)


def test_olmix_refuses_fewer_runs_than_groups() -> None:
    space = make_surface("law", 0).space
    runs = Runs.none(space.names, Objective()).plus(np.eye(21)[:12], np.arange(12.0)[:, None], 0)
    with pytest.raises(Exception, match="12 runs are too few for a law over 21 groups"):
        Olmix().answer(space, runs, np.random.default_rng(0))


# --- RegMix's released runs ----------------------------------------------------------------------------------------


@pytest.fixture
def regmix(shared_data: pathlib.Path) -> str:
    folder = shared_data / "mixing_data" / "regmix"
    if not folder.is_dir():
        pytest.skip(f"no tables of RegMix at {folder}")
    return str(folder)


def test_the_tables_are_joined_by_index_and_normalised(regmix: str) -> None:
    tables = read_tables(regmix)
    assert tables.weights.shape == (768, 17)
    assert tables.at_1m.shape == (768, 13)
    assert np.abs(tables.weights.sum(axis=1) - 1).max() < 1e-12
    shared = tables.at_1m[-256:, tables.losses.index(PILE_CC)]
    assert spearman(shared, tables.at_60m[:, tables.losses.index(PILE_CC)]) == pytest.approx(0.994, abs=0.002)


def test_a_search_of_a_pool_names_one_of_its_rows_and_never_asks_twice(regmix: str) -> None:
    found = run_bench(["pool-cc"], ["climb", "random"], [0, 1], 56, tables=regmix, folder=".")["pool-cc"]
    assert all(value >= 1 and value == int(value) for value in found["climb"].value)
    assert np.mean(found["climb"].measured) <= np.mean(found["random"].value)


@pytest.mark.all
@pytest.mark.parametrize(("family", "least"), [("pool-cc", 0.97), ("pool-mean", 0.91)])
def test_the_robust_predictor_orders_unseen_runs_from_112(regmix: str, family: str, least: float) -> None:
    pytest.importorskip("lightgbm")
    pool = make_pool(read_tables(regmix), family)
    assert pool.space.pool is not None
    objective = Objective(better="lower")
    found = []
    for seed in range(5):
        rows = np.random.default_rng(seed).permutation(512)[:112]
        runs = Runs.none(pool.space.names, objective).plus(pool.space.pool[rows], pool.truth[rows, None], 0)
        predicted = fit_objective(robust_predictor(), runs, seed).predict(pool.space.pool[512:])
        found.append(spearman(predicted, -pool.truth[512:]))
    assert np.mean(found) >= least


@pytest.mark.all
def test_regmix_on_its_own_runs_finds_what_its_paper_reports(regmix: str) -> None:
    pytest.importorskip("lightgbm")
    tables = read_tables(regmix)
    pool = make_pool(tables, "pool-cc")
    space = make_space(dict(zip(tables.groups, pool.space.prior, strict=True)))
    runs = Runs.none(tables.groups, Objective(better="lower")).plus(tables.weights[:512], pool.truth[:512, None], 0)
    _, scale = standardise(runs.totals, PILE_CC)
    check = (tables.weights[512:], (-pool.truth[512:] - scale.mean) / scale.deviation)
    strategy = RegMix(predictor=literal_trees(check))
    answer = strategy.answer(space, runs, np.random.default_rng(0))
    assert answer.model is not None
    assert spearman(answer.model.predict(tables.weights[512:]), -pool.truth[512:]) >= 0.985
    pile_cc = next(index for index, name in enumerate(tables.groups) if name.endswith("pile_cc"))
    assert 0.85 <= answer.weights[pile_cc] <= 0.93


def test_the_stand_in_for_the_pile_follows_its_runs_and_its_gradient_is_its_slope(regmix: str) -> None:
    pytest.importorskip("sklearn")
    surface, tables = pile_surface(regmix, 0), read_tables(regmix)
    assert spearman(surface.score(tables.weights), -tables.at_1m[:, tables.losses.index(PILE_CC)]) > 0.98
    assert 0.01 < surface.noise < 0.3
    value, gradient = surface.score_and_gradient(surface.space.prior)
    for index in (0, 8, 16):
        moved = surface.space.prior + 1e-6 * np.eye(17)[index]
        assert (surface.score_and_gradient(moved)[0] - value) / 1e-6 == pytest.approx(gradient[index], abs=1e-2)
