"""What the report of a search shows, as JSON: from its runs, its space and the objective's model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from corpusmith.seeds import stable_hash
from mixing.search.claims import gain_over, predictor_fit
from mixing.search.mixtures.arrays import F64, Json
from mixing.search.mixtures.runs import Runs
from mixing.search.mixtures.sampler import Sampler
from mixing.search.mixtures.space import Space
from mixing.search.predictors.base import ObjectiveModel, fit_objective
from mixing.search.predictors.gaussian_process import FittedProcess
from mixing.search.strategies.base import Answer
from mixing.search.strategies.thompson import default_process

_BAND_REPEATS = 200
_BAND_DRAWS = 2_000
_FACTORS = {"removed": 0.0, "halved": 0.5, "doubled": 2.0}


def search_facts(
    runs: Runs, space: Space, answer: Answer, seed: int, epochs: Mapping[str, float] | None = None
) -> Json:
    """Weights by round, the predictor's fit, the best so far, sensitivity, and what is claimed of the answer.

    Args:
        epochs: how often a group would be read if it had weight 1, by name; None: not known.
    """
    model = fit_objective(default_process(), runs, seed)
    shown = answer.model or model
    gain = gain_over(runs, space, answer.weights, space.project(space.prior)[0])
    unit = runs.objective.sign
    best = runs.best()
    return {
        "objective": {"name": runs.objective.name, "better": runs.objective.better},
        "runs": len(runs),
        "answer": space.as_dict(answer.weights),
        "natural": space.as_dict(space.prior),
        "epochs": _epochs(space, answer.weights, epochs),
        "best_measured": {
            "id": runs.ids[best],
            "score": float(unit * runs.totals[best]),
            "groups": space.as_dict(runs.weights[best]),
        },
        "better_than_natural": {
            "shown": gain.is_shown,
            "gain": gain.value,
            "low": gain.low,
            "high": gain.high,
            "chance_of_no_difference": gain.null,
        },
        "fit": predictor_fit(shown, runs),
        "predicted_by_measured": [
            [float(unit * held), float(unit * total)]
            for held, total in zip(shown.in_points(shown.held_out), runs.totals, strict=True)
        ],
        "rounds": _rounds(runs),
        "best_so_far": [float(unit * value) for value in np.maximum.accumulate(runs.totals)],
        "random_band": _random_band(runs, space, model, seed),
        "sensitivity": _sensitivity(space, model, answer.weights),
    }


def _epochs(space: Space, weights: F64, epochs: Mapping[str, float] | None) -> dict[str, float] | None:
    if epochs is None:
        return None
    return {name: float(weight) * epochs[name] for name, weight in zip(space.names, weights, strict=True)}


def _rounds(runs: Runs) -> list[Json]:
    """For each round its number of runs, best and mean score, and the mean weight of each group."""
    found = []
    for index in np.unique(runs.rounds):
        rows = runs.rounds == index
        sign = runs.objective.sign
        found.append(
            {
                "runs": int(rows.sum()),
                "best": float(sign * runs.totals[rows].max()),
                "mean": float(sign * runs.totals[rows].mean()),
                "weights": dict(zip(runs.names, map(float, runs.weights[rows].mean(axis=0)), strict=True)),
            }
        )
    return found


def _random_band(runs: Runs, space: Space, model: ObjectiveModel, seed: int) -> list[list[float]]:
    """The best so far that random search would show by the model: 5 %, 50 % and 95 % quantile after each run."""
    rng = np.random.default_rng(stable_hash("random band", seed))
    drawn = Sampler().draw(space, _BAND_DRAWS, rng)
    noise = np.sqrt(
        sum(
            (factor * fitted.hyper.noise) ** 2
            for factor, fitted in zip(model.factors, model.fitted, strict=True)
            if isinstance(fitted, FittedProcess)
        )
    )
    values = model.in_points(model.predict(drawn))
    picks = rng.integers(0, len(drawn), (_BAND_REPEATS, len(runs)))
    seen = values[picks] + model.deviation * noise * rng.standard_normal(picks.shape)
    quantiles = np.quantile(np.maximum.accumulate(seen, axis=1), [0.05, 0.5, 0.95], axis=0)
    return [[float(runs.objective.sign * value) for value in row] for row in quantiles.T]


def _sensitivity(space: Space, model: ObjectiveModel, weights: F64) -> Json:
    """The predicted change of the objective when a group's weight is multiplied and the others make room."""
    base = float(model.predict(weights[None])[0])
    found: Json = {}
    for place, name in enumerate(space.names):
        if weights[place] == 0:
            continue
        row = {}
        for label, factor in _FACTORS.items():
            other = weights.copy()
            own = min(1.0, factor * float(weights[place]))
            rest = 1.0 - float(weights[place])
            other *= (1.0 - own) / rest if rest > 0 else 0.0
            other[place] = own
            row[label] = model.deviation * (float(model.predict(other[None])[0]) - base)
        found[name] = row
    return found
