"""Predictors: what they learn does not depend on a score's unit, and what cannot be learned from is refused."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from corpusmith.errors import InputError
from mixing.search.mixtures.arrays import F64
from mixing.search.mixtures.runs import Objective, Runs
from mixing.search.mixtures.sampler import Sampler
from mixing.search.mixtures.space import Space
from mixing.search.predictors.base import Average, Predictor, fit_objective, standardise
from mixing.search.predictors.gaussian_process import FittedProcess, GaussianProcess, climb
from mixing.search.predictors.laws import LogLinearLaw
from mixing.search.predictors.trees import BaggedTrees, SplitTrees, check_not_constant
from mixing.search.strategies.climb import plain_process
from mixing.search.strategies.thompson import CautiousMean, Thompson
from tests.mixing.conftest import plain_score, small_space

needs_trees = pytest.mark.skipif(importlib.util.find_spec("lightgbm") is None, reason="LightGBM is not installed")
PREDICTORS: dict[str, Predictor] = {
    "process": GaussianProcess(),
    "law": LogLinearLaw(starts=20, polished=2),
    "trees": BaggedTrees(bags=3),
    "recipe": SplitTrees(),
    "average": Average(parts=(GaussianProcess(), LogLinearLaw(starts=20, polished=2))),
}


def make_runs(count: int = 40, seed: int = 0, tasks: tuple[str, ...] = ("score",)) -> Runs:
    space = small_space()
    rng = np.random.default_rng(seed)
    weights = Sampler().draw(space, count, rng)
    scores = np.array([[plain_score(row) + task for task in range(len(tasks))] for row in weights])
    return Runs.none(space.names, Objective(tasks=tasks)).plus(weights, scores + rng.normal(0, 0.1, scores.shape), 0)


def rescaled(runs: Runs, scale: float, shift: float) -> Runs:
    return Runs.none(runs.names, runs.objective).plus(runs.weights, scale * runs.scores + shift, 0)


def fresh_weights(count: int = 200) -> F64:
    return Sampler().draw(small_space(), count, np.random.default_rng(99))


@needs_trees
@pytest.mark.parametrize(
    ("name", "scale", "shift"),
    [("process", 100.0, -3.0), ("process", 0.01, 0.0), *((name, 0.01, 7.0) for name in PREDICTORS)],
)
def test_a_score_as_fraction_or_shifted_gives_the_same_predictions(name: str, scale: float, shift: float) -> None:
    runs, weights = make_runs(), fresh_weights()
    first = fit_objective(PREDICTORS[name], runs, 0).predict(weights)
    assert np.array_equal(first, fit_objective(PREDICTORS[name], rescaled(runs, scale, shift), 0).predict(weights))
    assert np.ptp(first) > 0.1


def test_per_task_predictors_put_together_follow_the_objective() -> None:
    runs = make_runs(tasks=("first", "second"))
    model = fit_objective(GaussianProcess(), runs, 0)
    truth = np.array([plain_score(row) for row in fresh_weights()])
    assert len(model.fitted) == 2
    assert np.corrcoef(model.predict(fresh_weights()), truth)[0, 1] > 0.95
    assert model.in_points(model.predict(runs.weights)) == pytest.approx(runs.totals, abs=2.0)


@pytest.mark.parametrize(
    ("gains", "message"),
    [
        (np.full(20, 0.25), "the score 'accuracy' is the same, 0.25, in all 20 runs"),
        (np.arange(5.0), "5 runs are too few to learn 'accuracy' from: measure at least 8"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_by_metric(gains: F64, message: str) -> None:
    with pytest.raises(InputError, match=message):
        standardise(gains, "accuracy")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_never_enters_the_table(space: Space, value: float) -> None:
    with pytest.raises(InputError, match="the score 'score' of mixture"):
        Runs.none(space.names, Objective()).plus(space.snap(space.prior), np.array([[value]]), 0)


def test_a_constant_prediction_is_an_error_not_an_answer() -> None:
    with pytest.raises(InputError, match="the same score for every mixture"):
        check_not_constant(np.zeros(10))


# --- Gaussian process ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [GaussianProcess(linear_power=1.0), plain_process()])
def test_the_gradient_of_the_hyperparameters_is_that_of_the_posterior(settings: GaussianProcess) -> None:
    runs = make_runs()
    process = FittedProcess(settings, runs.weights, standardise(runs.totals, "score")[0])
    point = settings.medians.logs + np.array([0.3, -0.2, 0.4, 0.1])
    value, gradient = process.negative_log_posterior(point)
    for index in range(4):
        moved = point.copy()
        moved[index] += 1e-6
        assert (process.negative_log_posterior(moved)[0] - value) / 1e-6 == pytest.approx(gradient[index], abs=2e-3)


def fitted_process(settings: GaussianProcess | None = None) -> FittedProcess:
    runs = make_runs()
    return (settings or GaussianProcess(linear_power=1.0)).fit(
        runs.weights, standardise(runs.totals, "score")[0], np.random.default_rng(0)
    )


def test_held_out_predictions_are_those_of_a_process_without_the_row() -> None:
    process = fitted_process()
    for row in (0, 7):
        rest = np.arange(len(process.targets)) != row
        without = FittedProcess(process.settings, process.weights[rest], process.targets[rest])
        without.condition(process.hyper.logs)
        assert without.members(process.weights[[row]])[0, 0] == pytest.approx(process.held_out[row], abs=1e-5)


@pytest.mark.parametrize("settings", [GaussianProcess(linear_power=1.0), plain_process()])
def test_draws_scatter_around_the_posterior_mean_by_its_deviation(settings: GaussianProcess) -> None:
    process = fitted_process(settings)
    weights = fresh_weights(30)
    rng = np.random.default_rng(5)
    drawn = np.concatenate([process.draw(20, rng).values(np.sqrt(weights)) for _ in range(60)], axis=1)
    deviation = np.sqrt(np.diag(process.covariance(weights)))
    assert np.abs(drawn.mean(axis=1) - process.members(weights)[0]).max() < 5 * deviation.max() / np.sqrt(1200) + 0.02
    assert drawn.std(axis=1) == pytest.approx(deviation, rel=0.25, abs=0.02)


@pytest.mark.parametrize("settings", [GaussianProcess(linear_power=1.0), plain_process()])
def test_the_gradient_of_a_drawn_function_is_its_slope(settings: GaussianProcess) -> None:
    functions = fitted_process(settings).draw(3, np.random.default_rng(1))
    roots, which = np.sqrt(fresh_weights(3) * 0.9 + 0.1 / 6), np.arange(3)
    values, gradients = functions.value_and_gradient(roots, which)
    assert values == pytest.approx(functions.values(roots)[which, which])
    for index in range(6):
        moved = roots.copy()
        moved[:, index] += 1e-6
        slope = (functions.value_and_gradient(moved, which)[0] - values) / 1e-6
        assert slope == pytest.approx(gradients[:, index], abs=1e-3)


@pytest.mark.parametrize("settings", [GaussianProcess(linear_power=1.0), plain_process()])
def test_the_gradient_of_the_cautious_mean_is_its_slope_and_its_deviation_the_posterior_s(
    settings: GaussianProcess,
) -> None:
    process = fitted_process(settings)
    weights = fresh_weights(3) * 0.9 + 0.1 / 6
    roots, which = np.sqrt(weights), np.zeros(3, dtype=np.int64)
    cautious = CautiousMean(processes=[process], factors=np.ones(1), caution=2.0)
    values, gradients = cautious.value_and_gradient(roots, which)
    deviation = np.sqrt(np.diag(process.covariance(weights)))
    assert values == pytest.approx(process.members(weights)[0] - 2.0 * deviation, abs=1e-6)
    for index in range(6):
        moved = roots.copy()
        moved[:, index] += 1e-6
        slope = (cautious.value_and_gradient(moved, which)[0] - values) / 1e-6
        assert slope == pytest.approx(gradients[:, index], abs=1e-3)


def test_climbing_never_loses_and_stays_below_the_caps(space: Space) -> None:
    functions = fitted_process().draw(5, np.random.default_rng(2))
    roots, which = np.sqrt(fresh_weights(5)), np.arange(5)
    reached, values = climb(functions, space, roots, which)
    assert (values >= functions.value_and_gradient(roots, which)[0]).all()
    assert (values > functions.value_and_gradient(roots, which)[0] + 1e-3).any()
    assert space.allows(reached**2)


# --- laws and trees ------------------------------------------------------------------------------------------------


def test_a_planted_law_is_found() -> None:
    weights = Sampler().draw(small_space(), 80, np.random.default_rng(0))
    slopes = np.array([-3.0, -1.0, 0.5, 0.0, 1.0, -0.5])
    targets, _ = standardise(-np.exp(0.3 + weights @ slopes), "loss")
    fitted = LogLinearLaw(starts=50, polished=4).fit(weights, targets, np.random.default_rng(1))
    fresh = fresh_weights()
    truth = -np.exp(0.3 + fresh @ slopes)
    assert np.corrcoef(fitted.members(fresh)[0], truth)[0, 1] > 0.999


@needs_trees
def test_bags_predict_their_rows_from_trees_that_did_not_draw_them() -> None:
    runs = make_runs(80)
    targets, _ = standardise(runs.totals, "score")
    noise = np.random.default_rng(3).permutation(targets)
    fitted = BaggedTrees().fit(runs.weights, noise, np.random.default_rng(0))
    # held-out predictions of pure noise don't follow it; in-sample ones do
    assert np.corrcoef(fitted.held_out, noise)[0, 1] < 0.35
    assert np.corrcoef(fitted.members(runs.weights).mean(axis=0), noise)[0, 1] > 0.5


@needs_trees
def test_members_differ_and_their_spread_is_the_uncertainty() -> None:
    model = fit_objective(BaggedTrees(), make_runs(), 0)
    assert model.members(fresh_weights()).shape == (8, 200)
    assert (model.spread(fresh_weights()) > 0).mean() > 0.9


def test_lightgbm_is_asked_for_by_its_extra_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lightgbm", None)
    predictor: Predictor = BaggedTrees()
    with pytest.raises(Exception, match=r"pip install 'corpusmith\[mix\]'"):
        fit_objective(predictor, make_runs(), 0)
    assert fit_objective(GaussianProcess(), make_runs(), 0).predict(fresh_weights()).shape == (200,)


def test_of_equally_good_mixtures_the_answer_is_the_better_known_one(space: Space) -> None:
    # two groups are worth the same; one was measured up to 0.8, the other never above 0.1
    rng = np.random.default_rng(0)
    known = np.zeros((40, 6))
    known[:, 0], known[:, 1] = rng.uniform(0.0, 0.8, 40), rng.uniform(0.0, 0.1, 40)
    known[:, 2:] = (1.0 - known[:, :2].sum(axis=1, keepdims=True)) / 4
    scores = (known[:, 0] + known[:, 1])[:, None]
    runs = Runs.none(space.names, Objective()).plus(known, scores + rng.normal(0, 0.02, scores.shape), 0)
    answer = Thompson().answer(space, runs, rng).weights
    assert answer[0] > 0.6
    bold = Thompson(caution=0.0).answer(space, runs, rng).weights
    assert answer[1] <= bold[1]
