"""Strategies by name: ours from a table of strings, a user's from a module beside the YAML (`my_module:MyStrategy`)."""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
from collections.abc import Callable
from typing import Any, cast

from corpusmith.errors import InputError, UserError, did_you_mean
from mixing.search.mixtures.sampler import Sampler
from mixing.search.predictors.trees import SplitTrees
from mixing.search.strategies.base import Natural, RandomSearch, Strategy, Uniform
from mixing.search.strategies.climb import ClimbPaper, ClimbRobust, plain_process, robust_predictor
from mixing.search.strategies.mixmin import MixMin
from mixing.search.strategies.olmix import Olmix
from mixing.search.strategies.regmix import RegMix, literal_trees
from mixing.search.strategies.thompson import Thompson

STRATEGIES: dict[str, Callable[[Sampler], Strategy]] = {
    "climb": lambda sampler: Thompson(sampler=sampler),
    "climb-oneshot": lambda sampler: Thompson(sampler=sampler, one_shot=True),
    "climb-robust": lambda sampler: ClimbRobust(sampler=sampler),
    "climb-robust-oneshot": lambda sampler: ClimbRobust(sampler=sampler, predictor=robust_predictor(), shares=(1,)),
    "climb-paper": lambda sampler: ClimbPaper(sampler=sampler),
    "climb-paper-oneshot": lambda sampler: ClimbPaper(sampler=sampler, predictor=SplitTrees(), shares=(1,)),
    "gp-oneshot": lambda sampler: ClimbRobust(sampler=sampler, predictor=plain_process(), shares=(1,)),
    "regmix": lambda sampler: RegMix(sampler=sampler, predictor=literal_trees()),
    "regmix-tuned": lambda sampler: RegMix(sampler=sampler, predictor=SplitTrees()),
    "olmix": lambda sampler: Olmix(sampler=sampler),
    "mixmin": lambda sampler: MixMin(),
    "random": lambda sampler: RandomSearch(sampler=sampler),
    "uniform": lambda sampler: Uniform(),
    "natural": lambda sampler: Natural(),
}


def make_strategy(name: str, sampler: Sampler | None = None, folder: str = ".") -> Strategy:
    """A strategy by name, or `module:attribute` of a module in `folder` (a class or function without arguments).

    Raises:
        InputError: no strategy of this name.
    """
    if ":" in name:
        return _own_strategy(name, folder)
    if name not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise InputError(f"no strategy {name!r}{did_you_mean(name, STRATEGIES)} (known: {known}, or module:Class)")
    return STRATEGIES[name](sampler or Sampler())


def _own_strategy(name: str, folder: str) -> Strategy:
    module_name, _, attribute = name.partition(":")
    path = pathlib.Path(folder) / (module_name.replace(".", "/") + ".py")
    try:
        if path.is_file():
            spec = importlib.util.spec_from_file_location(module_name, path)
            assert spec is not None
            assert spec.loader is not None
            module: Any = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(f"strategy {name!r}: no module {error.name!r}, neither at {path} nor installed") from error
    made = getattr(module, attribute, None)
    if made is None:
        raise InputError(f"strategy {name!r}: {path if path.is_file() else module_name} has no {attribute!r}")
    strategy = made()
    missing = [method for method in ("rounds", "ask", "answer") if not callable(getattr(strategy, method, None))]
    if missing:
        raise UserError(f"strategy {name!r} lacks {', '.join(missing)}; mixing/search/strategies/base.py shows how")
    return cast(Strategy, strategy)
