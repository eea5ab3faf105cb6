"""The bench: every method on the same surfaces with the same budget, caps and seeds, and the rows that compare them.

On surfaces the measure is ρ = (f(answer) − f(uniform)) / (f* − f(uniform)) without noise: 1 is optimal, 0 uniform. If
a method beats f*, f* is raised to that. On RegMix's tables it is the rank of the answer, 1 the best.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from corpusmith.errors import InputError
from corpusmith.run.progress import track
from corpusmith.seeds import stable_hash
from mixing.bench.contenders import Measure, contender, measure_of, rounds_of
from mixing.bench.optimum import best_score
from mixing.bench.pile import pile_surface
from mixing.bench.regmix_tables import POOL_FAMILIES, MeasuredPool, make_pool, read_tables
from mixing.bench.statistics import Paired, compare, summarise
from mixing.bench.surfaces import Surface, make_surface
from mixing.search.claims import spearman
from mixing.search.mixtures.arrays import F64, Json
from mixing.search.mixtures.one_thread import one_thread
from mixing.search.mixtures.runs import Objective, Runs
from mixing.search.mixtures.sampler import Sampler
from mixing.search.mixtures.space import Space
from mixing.search.predictors.base import ObjectiveModel
from mixing.search.search import Result, Search, weights_of
from mixing.search.strategies.base import Answer, Strategy

SURFACE_FAMILIES = ("law", "skills", "pile")
FAMILIES = (*SURFACE_FAMILIES, *POOL_FAMILIES)
_FRESH = 2_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FinishedSearch:
    """One search of the bench: its answer and runs, and how long it took."""

    answer: Answer
    runs: Runs
    seconds: float


@dataclass(kw_only=True, slots=True)
class Values:
    """A method's values over the seeds of a family; `measured` ranks its best measured mixture (pools alone)."""

    value: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    spearman: list[float] = field(default_factory=list)
    spearman_top: list[float] = field(default_factory=list)
    curve: list[F64] = field(default_factory=list)


def run_method(
    strategy: Strategy, space: Space, measure: Measure, objective: Objective, *, rounds: Sequence[int], seed: int
) -> FinishedSearch:
    """One search, from the first round to the answer."""
    started = time.process_time()
    search = Search(strategy, space, objective, rounds=rounds, seed=seed)
    while proposals := search.proposals():
        scores = measure(weights_of(proposals))
        tasks = objective.tasks
        search.tell(
            [
                Result(id=proposal.id, scores=dict(zip(tasks, map(float, row), strict=True)))
                for proposal, row in zip(proposals, scores, strict=True)
            ]
        )
    answer = search.answer()
    return FinishedSearch(answer=answer, runs=search.runs, seconds=time.process_time() - started)


def run_bench(
    families: Sequence[str], methods: Sequence[str], seeds: Sequence[int], budget: int, *, tables: str, folder: str
) -> dict[str, dict[str, Values]]:
    """All methods on all seeds of all families; by family and method.

    Raises:
        InputError: an unknown family or method.
    """
    unknown = next((family for family in families if family not in FAMILIES), None)
    if unknown is not None:
        raise InputError(f"no family {unknown!r} (known: {', '.join(FAMILIES)})")
    found = {}
    with track(len(families) * len(methods) * len(seeds), "mix bench", "searches") as progress:
        for family in families:
            values = {method: Values() for method in methods}
            pool = make_pool(read_tables(tables), family) if family in POOL_FAMILIES else None
            for seed in seeds:
                with one_thread():
                    if pool is not None:
                        _run_pool(pool, values, seed, budget, folder)
                    else:
                        surface = pile_surface(tables, seed) if family == "pile" else make_surface(family, seed)
                        _run_surface(surface, values, budget, folder)
                progress.advance(len(methods))
            found[family] = values
    return found


def _run_surface(surface: Surface, values: dict[str, Values], budget: int, folder: str) -> None:
    """All methods on one surface."""
    answers = {}
    for method in values:
        strategy = contender(method, surface, folder)
        noise = np.random.default_rng(stable_hash("noise", surface.family, surface.seed, method))
        measure, objective = measure_of(method, surface, noise)
        rounds = rounds_of(method, strategy, budget)
        answers[method] = run_method(strategy, surface.space, measure, objective, rounds=rounds, seed=surface.seed)
    scores = {
        method: float(surface.score(surface.space.project(each.answer.weights))[0]) for method, each in answers.items()
    }
    uniform = float(surface.score(surface.space.project(np.ones((1, len(surface.space.names)))))[0])
    best = max(best_score(surface), *scores.values())
    rng = np.random.default_rng(stable_hash("fresh", surface.family, surface.seed))
    fresh = Sampler().draw(surface.space, _FRESH, rng)
    truth = surface.score(fresh)
    for method, outcome in answers.items():
        own = values[method]
        own.value.append((scores[method] - uniform) / (best - uniform))
        own.seconds.append(outcome.seconds)
        if len(outcome.runs):
            reached = np.maximum.accumulate(surface.score(outcome.runs.weights))
            own.curve.append((reached - uniform) / (best - uniform))
        if outcome.answer.model is not None:
            _add_spearman(own, outcome.answer.model, fresh, truth)


def _add_spearman(values: Values, model: ObjectiveModel, fresh: F64, truth: F64) -> None:
    predicted = model.predict(fresh)
    top = np.argsort(-truth, kind="stable")[: len(truth) // 4]
    values.spearman.append(spearman(predicted, truth))
    values.spearman_top.append(spearman(predicted[top], truth[top]))


def _run_pool(pool: MeasuredPool, values: dict[str, Values], seed: int, budget: int, folder: str) -> None:
    """All methods on the pool with one seed."""
    for method, own in values.items():
        strategy = contender(method, None, folder)
        outcome = run_method(
            strategy,
            pool.space,
            lambda weights: pool.seen[pool.rows(weights)],
            pool.objective,
            rounds=rounds_of(method, strategy, budget),
            seed=seed,
        )
        own.value.append(float(pool.ranks(outcome.answer.weights)[0]))
        if len(outcome.runs):
            own.measured.append(float(pool.ranks(outcome.runs.weights[outcome.runs.best()])[0]))
        own.seconds.append(outcome.seconds)


def rows_of(found: dict[str, dict[str, Values]], seeds: str) -> list[Json]:
    """One row for each family and method; pools have one more for the best measured mixture."""
    rows = []
    for family, methods in found.items():
        for method, values in methods.items():
            rows.append(_row(family, method, values.value, seeds) | _extras(values))
            if values.measured:
                rows.append(_row(family, f"{method} (measured)", values.measured, seeds))
    return rows


def _row(family: str, method: str, values: Sequence[float], seeds: str) -> Json:
    summary = summarise(np.array(values))
    return {
        "family": family,
        "method": method,
        "mean": summary.mean,
        "low": summary.low,
        "high": summary.high,
        "q10": summary.q10,
        "seeds": seeds,
        "median": summary.median,
    }


def _extras(values: Values) -> Json:
    """Seconds, the predictor's rank correlation, and ρ of the best mixture so far after each quarter of the runs."""
    extras: Json = {"seconds": float(np.median(values.seconds))}
    if values.spearman:
        extras["spearman"] = float(np.mean(values.spearman))
        extras["spearman_top_quarter"] = float(np.mean(values.spearman_top))
    if values.curve:
        quarters = [
            [float(curve[max(0, len(curve) * part // 4 - 1)]) for part in (1, 2, 3, 4)] for curve in values.curve
        ]
        extras["best_so_far"] = [float(each) for each in np.mean(quarters, axis=0)]
    return extras


def paired_rows(found: dict[str, dict[str, Values]]) -> list[Json]:
    """The first method minus each other one, on surfaces."""
    rows = []
    for family, methods in found.items():
        if family in POOL_FAMILIES:
            continue
        first, *others = methods
        for other in others:
            pair: Paired = compare(np.array(methods[first].value), np.array(methods[other].value))
            rows.append(
                {
                    "family": family,
                    "method": first,
                    "other": other,
                    "mean": pair.mean,
                    "low": pair.low,
                    "high": pair.high,
                    "wins": pair.wins,
                    "p": pair.p_value,
                }
            )
    return rows


def score_answer(surface: Surface, method: str, strategy: Strategy, budget: int) -> float:
    """ρ of one strategy alone, with the noise that `method` sees."""
    noise = np.random.default_rng(stable_hash("noise", surface.family, surface.seed, method))
    measure, objective = measure_of(method, surface, noise)
    rounds = rounds_of(method, strategy, budget)
    outcome = run_method(strategy, surface.space, measure, objective, rounds=rounds, seed=surface.seed)
    score = float(surface.score(surface.space.project(outcome.answer.weights))[0])
    uniform = float(surface.score(surface.space.project(np.ones((1, len(surface.space.names)))))[0])
    return (score - uniform) / (max(best_score(surface), score) - uniform)
