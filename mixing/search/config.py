"""The `search` section of a YAML as a dataclass, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from corpusmith.config import YamlDocument, build, load_yaml
from corpusmith.errors import ConfigError, InputError
from corpusmith.io import storage
from mixing.search.mixtures.arrays import Json
from mixing.search.mixtures.runs import Objective
from mixing.search.mixtures.sampler import Sampler
from mixing.search.mixtures.space import GRID, Space, caps_from_tokens, make_space
from mixing.search.strategies.base import Strategy
from mixing.search.strategies.registry import make_strategy
from mixing.search.strategies.thompson import PARALLEL

LEAST_FIRST_ROUND = 8


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """The start sampler's settings."""

    temperature: float = 0.5
    strength: list[float] = field(default_factory=lambda: [0.1, 5.0])
    minimum: float = GRID

    def __post_init__(self) -> None:
        if len(self.strength) != 2 or not 0 < self.strength[0] <= self.strength[1]:
            raise InputError(f"strength must be two numbers above 0, the smaller first, got {self.strength}")
        if not 0 < self.minimum <= 0.01 or abs(1 / self.minimum - round(1 / self.minimum)) > 1e-6:
            raise InputError(f"minimum must be 1 divided by a whole number from 100 on, got {self.minimum:g}")
        if self.temperature <= 0:
            raise InputError(f"temperature must be above 0, got {self.temperature:g}")


@dataclass(frozen=True, kw_only=True)
class CapsConfig:
    """How often the target's training may read a group again."""

    target_tokens: float
    max_epochs: float = 4.0


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Tasks by weight, and whether higher or lower scores are better."""

    tasks: dict[str, float] = field(default_factory=lambda: {"score": 1.0})
    better: str = "higher"

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise InputError(f"better must be 'higher' or 'lower', got {self.better!r}")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """A search.

    Args:
        strategy: a name (`corpusmith mix bench --help` lists them) or `module:Class` of a module beside the YAML.
        mode: of `climb`: `thompson` (default), `robust` or `paper`.
        budget: runs in all; not given where `rounds` says how many each round has.
        parallel: how many proxies run at once; decides how many rounds the default makes of the budget.
        fixed: blocks of groups that keep their ratios, so that only the rest is searched.
    """

    seed: int = 42
    strategy: str = "climb"
    mode: str | None = None
    budget: int = 112
    rounds: list[int] | None = None
    parallel: int = PARALLEL
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    caps: CapsConfig | None = None
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    fixed: dict[str, dict[str, float]] | None = None

    def __post_init__(self) -> None:
        if self.parallel < 1 or self.budget < 1:
            raise InputError("budget and parallel must be at least 1")
        if self.rounds is not None and (not self.rounds or min(self.rounds) < 1):
            raise InputError(f"rounds must be a list of numbers above 0, got {self.rounds}")
        if self.rounds and self.rounds[0] < LEAST_FIRST_ROUND:
            raise InputError(
                f"the first round must have at least {LEAST_FIRST_ROUND} runs to learn from, got {self.rounds[0]}"
            )
        if self.mode not in (None, "thompson", "robust", "paper"):
            raise InputError(f"mode must be thompson, robust or paper, got {self.mode!r}")
        if self.mode is not None and self.strategy != "climb":
            raise InputError(f"mode belongs to the strategy 'climb', not to {self.strategy!r}")

    @property
    def strategy_name(self) -> str:
        """The strategy's name with its mode."""
        return f"climb-{self.mode}" if self.mode in ("robust", "paper") else self.strategy

    def make_strategy(self, folder: str = ".") -> Strategy:
        """The strategy; a user's module is looked for in `folder`."""
        low, high = self.sampler.strength
        sampler = Sampler(temperature=self.sampler.temperature, strength=(low, high))
        return make_strategy(self.strategy_name, sampler, folder)

    def make_objective(self) -> Objective:
        """The objective."""
        tasks = self.objective.tasks
        better: Any = self.objective.better
        return Objective(tasks=tuple(tasks), weights=tuple(float(weight) for weight in tasks.values()), better=better)

    def make_space(self, tokens: Mapping[str, float]) -> Space:
        """The space over groups of so many tokens (or natural shares, where there are no caps by tokens)."""
        caps = None
        if self.caps is not None:
            caps = caps_from_tokens(tokens, float(self.caps.target_tokens), float(self.caps.max_epochs))
        return make_space(tokens, caps, self.sampler.minimum, self.fixed)

    def allocation(self, strategy: Strategy) -> tuple[int, ...]:
        """How many runs each round has."""
        return tuple(self.rounds) if self.rounds is not None else strategy.rounds(self.budget, self.parallel)

    def identity(self) -> Json:
        """What decides proposals: all but the number of rounds, which may grow."""
        return {**{key: value for key, value in asdict(self).items() if key not in ("budget", "rounds")}}


_SECTIONS: dict[str, type] = {"sampler": SamplerConfig, "caps": CapsConfig, "objective": ObjectiveConfig}


def load_search_config(path: str) -> tuple[SearchConfig, str]:
    """The `search` section of a YAML (or the whole of it, where there is none), and the folder of the file.

    Raises:
        ConfigError: an unknown key, a wrong type or a refused value, with file, line and key.
    """
    document = load_yaml(path)
    if not isinstance(document.data, dict):
        raise ConfigError(document.where(), "expected a mapping with the key 'search'")
    prefix: tuple[str | int, ...] = ("search",) if "search" in document.data else ()
    section = document.data["search"] if prefix else document.data
    config = _build(document, section, prefix)
    _check_strategy(config, document.where(*prefix, "strategy"), storage.parent(path))
    return config, storage.parent(path)


def _build(document: YamlDocument, section: object, prefix: tuple[str | int, ...]) -> SearchConfig:
    def where(*keys: str | int) -> str:
        return document.where(*prefix, *keys)

    if not isinstance(section, dict):
        raise ConfigError(where(), "expected a mapping")
    mapping = dict(section)
    for key, kind in _SECTIONS.items():
        if mapping.get(key) is not None:
            mapping[key] = _guarded(kind, mapping[key], lambda *keys, key=key: where(key, *keys))
    key = "rounds" if mapping.get("rounds") else "strategy"
    try:
        return build(SearchConfig, mapping, where)
    except InputError as error:
        raise ConfigError(where(key), str(error)) from error


def _guarded(kind: type, mapping: object, where: Any) -> Any:
    if not isinstance(mapping, dict):
        raise ConfigError(where(), "expected a mapping")
    try:
        return build(kind, mapping, where)
    except InputError as error:
        raise ConfigError(where(), str(error)) from error


def _check_strategy(config: SearchConfig, where: str, folder: str) -> None:
    try:
        config.make_strategy(folder)
    except InputError as error:
        raise ConfigError(where, str(error)) from error
