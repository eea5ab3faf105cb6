"""The paper's five ablations, on our bench: compute, allocation, start, proxy size, target.

Compute, allocation and start are run on the surfaces. Proxy size is a search among RegMix's 256 shared mixtures that is
shown losses at 1M or at 60M and judged at 60M; the target is then one domain's loss, or the mean of all 13.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corpusmith.run.progress import track
from mixing.bench.bench import run_bench, run_method, score_answer
from mixing.bench.contenders import contender, parse_method, rounds_of, with_sampler_temperature
from mixing.bench.regmix_tables import PILE_CC, MeasuredPool, make_pool, read_tables
from mixing.bench.statistics import summarise
from mixing.bench.surfaces import make_surface
from mixing.search.mixtures.arrays import Json
from mixing.search.strategies.climb import split_budget

BUDGETS = (56, 112, 168, 224)
ALLOCATIONS = {"6:1": (6, 1), "4:2:1": (4, 2, 1), "2:2:1:1": (2, 2, 1, 1)}
TARGETS = (
    PILE_CC,
    "metric/the_pile_wikipedia_en_val_loss",
    "metric/the_pile_arxiv_val_loss",
    "metric/the_pile_github_val_loss",
)
_FLAT = 1e-6
_POOL_BUDGET = 56


def run_ablations(
    families: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    budget: int,
    *,
    tables: str,
    folder: str,
    label: str,
) -> list[Json]:
    """Rows {ablation, setting, family, method, mean, low, high, q10, seeds}: ρ on surfaces, ranks on tables."""
    rows: list[Json] = []
    bases = list(dict.fromkeys(parse_method(method)[0] for method in methods))

    def add(ablation: str, setting: str, family: str, method: str, values: Sequence[float]) -> None:
        summary = summarise(np.array(values))
        rows.append(
            {
                "ablation": ablation,
                "setting": setting,
                "family": family,
                "method": method,
                "mean": summary.mean,
                "low": summary.low,
                "high": summary.high,
                "q10": summary.q10,
                "seeds": label,
            }
        )

    for size in BUDGETS:
        for family, found in run_bench(families, bases, seeds, size, tables=tables, folder=folder).items():
            for method, values in found.items():
                add("compute", f"{size} runs", family, method, values.value)
    for name, shares in ALLOCATIONS.items():
        rounds = ":".join(map(str, split_budget(budget, shares)))
        named = [f"{base}@{rounds}" for base in bases]
        for family, found in run_bench(families, named, seeds, budget, tables=tables, folder=folder).items():
            for method, values in found.items():
                add("allocation", f"{name} of {budget}", family, parse_method(method)[0], values.value)
    for family in families:
        for base in bases:
            for setting, temperature in (("Dirichlet of the prior", 0.5), ("random", _FLAT)):
                add("start", setting, family, base, _started(family, base, seeds, budget, temperature))
    _on_tables(bases, seeds, tables, add)
    return rows


def _started(family: str, method: str, seeds: Sequence[int], budget: int, temperature: float) -> list[float]:
    """ρ with another start sampler, f* as the surface's own."""
    found = []
    with track(len(seeds), f"start of {method}", "searches") as progress:
        for seed in seeds:
            surface = make_surface(family, seed)
            strategy = with_sampler_temperature(contender(method, surface), temperature)
            found.append(score_answer(surface, method, strategy, budget))
            progress.advance()
    return found


def _on_tables(methods: Sequence[str], seeds: Sequence[int], folder: str, add: object) -> None:
    """Proxy size and target, by rank at 60M."""
    assert callable(add)
    tables = read_tables(folder)
    for target in (*TARGETS, None):
        family = "transfer-mean" if target is None else "transfer-cc"
        for size in ("1m", "60m"):
            pool = make_pool(tables, family, target, searched_at=size)
            for method in methods:
                name = (
                    "mean of 13"
                    if target is None
                    else target.removeprefix("metric/the_pile_").removesuffix("_val_loss")
                )
                ranks = [_rank(pool, method, seed) for seed in seeds]
                add("proxy size and target", f"{name}, shown {size}", "transfer", method, ranks)


def _rank(pool: MeasuredPool, method: str, seed: int) -> float:
    strategy = contender(method, None)
    outcome = run_method(
        strategy,
        pool.space,
        lambda weights: pool.seen[pool.rows(weights)],
        pool.objective,
        rounds=rounds_of(method, strategy, _POOL_BUDGET),
        seed=seed,
    )
    return float(pool.ranks(outcome.answer.weights)[0])
