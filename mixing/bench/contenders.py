"""The methods of the bench by name, and how each measures a surface.

A name may carry its rounds: `climb@64:32:16`. `doremi` looks at the surface's losses by group, `mixmin` at
log-likelihoods of proxies for single groups; all others see one noisy score for each mixture they ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from corpusmith.errors import InputError
from mixing.bench.surfaces import Surface
from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.runs import Objective
from mixing.search.strategies.base import Strategy
from mixing.search.strategies.doremi import DoReMi
from mixing.search.strategies.registry import STRATEGIES, make_strategy
from mixing.search.strategies.thompson import PARALLEL

METHODS = (*STRATEGIES, "doremi")
#: scores (n, t) of mixtures (n, k)
Measure = Callable[[F64], F64]


def parse_method(name: str) -> tuple[str, tuple[int, ...] | None]:
    """A method's name and its rounds, where it carries them.

    Raises:
        InputError: rounds that are no numbers.
    """
    base, _, rounds = name.partition("@")
    if not rounds:
        return base, None
    parts = rounds.split(":")
    if not all(part.isdigit() and int(part) for part in parts):
        raise InputError(f"method {name!r}: expected rounds as in climb@64:32:16")
    return base, tuple(map(int, parts))


def contender(name: str, surface: Surface | None, folder: str = ".") -> Strategy:
    """The strategy of a method; `doremi` needs a surface.

    Raises:
        InputError: no method of this name.
    """
    base, _ = parse_method(name)
    if base == "doremi":
        if surface is None:
            raise InputError("doremi needs losses by group, which the tables of runs do not have")
        return DoReMi(losses=surface.domain_losses)
    return make_strategy(base, folder=folder)


def rounds_of(name: str, strategy: Strategy, budget: int) -> tuple[int, ...]:
    """How many runs each round has."""
    _, rounds = parse_method(name)
    return strategy.rounds(budget, PARALLEL) if rounds is None else rounds


def measure_of(name: str, surface: Surface, rng: Rng) -> tuple[Measure, Objective]:
    """What the method sees of a surface, with noise, and the objective that it is told."""
    if parse_method(name)[0] != "mixmin":
        return (lambda weights: surface.measure(weights, rng)[:, None]), Objective()
    examples = surface.likelihoods(rng)
    tasks = tuple(f"task{index}" for index in range(examples.shape[1]))
    return (lambda weights: examples[np.argmax(weights, axis=1)]), Objective(tasks=tasks)


def with_sampler_temperature(strategy: Strategy, temperature: float) -> Strategy:
    """The strategy with another start sampler (the paper's random start: temperature near 0 forgets the prior)."""
    sampler = strategy.sampler  # type: ignore[attr-defined]
    return replace(strategy, sampler=replace(sampler, temperature=temperature))  # type: ignore[type-var]
