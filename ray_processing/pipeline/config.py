"""A whole YAML pipeline checked before any task starts.

A file is a list of sources, each with `source` and `steps`; a step is the string `commit` or a mapping with `func`
and its arguments (DCLM's format). Everything that can be known without a page is checked here: function names,
argument names and types of mappers, custom functions and global steps alike, aggregators and transforms.
"""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from baselines.core.constants import COMMIT_KEY_NAME
from baselines.core.factories import get_aggregator, load_mapper_function, looking_beside
from baselines.core.factory_utils import is_factory
from baselines.core.mapper_table import AGGREGATORS, MAPPERS
from baselines.core.steps import LocalStep
from corpusmith.config import Where, YamlDocument, build, check_type, load_yaml
from corpusmith.errors import ConfigError, did_you_mean
from corpusmith.imports import resolve
from corpusmith.steps.global_steps import GLOBAL_STEPS

IGNORED_KEYS = ("func", "module")
REFUSED_KEYS = ("_profile", "_safe")


@dataclass(frozen=True, kw_only=True)
class GlobalCall:
    """A global step of a YAML: its index, its name in the table, and its checked arguments."""

    index: int
    func: str
    config: Any

    @property
    def key(self) -> str:
        """The step's name in counts, errors and report: `04-exact_dedup`."""
        return f"{self.index:02d}-{self.func}"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """The step `commit`: a stage ends here."""

    index: int


Step = LocalStep | GlobalCall | Commit


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One source of a YAML with its steps, all checked."""

    source: str
    steps: tuple[Step, ...]


def load_pipeline(path: str, source_name: str | None = None) -> Pipeline:
    """Return one source of a YAML; every source in it is checked.

    Functions of the user's own are looked for below the working directory, then beside the YAML.

    Args:
        path: the YAML.
        source_name: which source; None where the file has exactly one.

    Raises:
        ConfigError: something in the file is wrong; names file, line, step and key.
    """
    document = load_yaml(path)
    with looking_beside(_folder(path)):
        return _load(document, path, source_name)


def _folder(path: str) -> str | None:
    """The folder of a local YAML."""
    return None if "://" in path else os.path.dirname(os.path.abspath(path))


def _load(document: YamlDocument, path: str, source_name: str | None) -> Pipeline:
    if not isinstance(document.data, list) or not document.data:
        raise ConfigError(document.where(), "must be a list of sources, each with `source` and `steps`")
    pipelines: dict[str, Pipeline] = {}
    for index, entry in enumerate(document.data):
        pipeline = _check_source(document, index, entry)
        if pipeline.source in pipelines:
            raise ConfigError(document.where(index, "source"), f"the source {pipeline.source!r} stands twice")
        pipelines[pipeline.source] = pipeline
    if source_name is None:
        if len(pipelines) > 1:
            raise ConfigError(path, f"has several sources; choose one with --source_name: {', '.join(pipelines)}")
        return next(iter(pipelines.values()))
    if source_name not in pipelines:
        known = ", ".join(pipelines)
        raise ConfigError(path, f"no source {source_name!r}{did_you_mean(source_name, pipelines)} (there: {known})")
    return pipelines[source_name]


def _check_source(document: YamlDocument, index: int, entry: Any) -> Pipeline:
    if not isinstance(entry, dict):
        raise ConfigError(document.where(index), "a source must be a mapping with `source` and `steps`")
    for key, kind in (("source", str), ("steps", list)):
        if key not in entry:
            raise ConfigError(document.where(index), f"the key {key!r} is missing{did_you_mean(key, entry)}")
        check_type(entry[key], kind, document.where(index, key))
    if not entry["steps"]:
        raise ConfigError(document.where(index, "steps"), "a pipeline needs at least one step")
    steps = tuple(_check_step(document, index, number, step) for number, step in enumerate(entry["steps"]))
    if all(isinstance(step, Commit) for step in steps):
        raise ConfigError(document.where(index, "steps"), "a pipeline needs at least one step other than `commit`")
    return Pipeline(source=entry["source"], steps=steps)


def _check_step(document: YamlDocument, source: int, index: int, step: Any) -> Step:
    def where(*keys: str) -> str:
        line, _, shown = document.where(source, "steps", index, *keys).partition(": ")
        return f"{line}: {shown.removeprefix(f'[{source}].')}"

    if step == COMMIT_KEY_NAME:
        return Commit(index=index)
    if not isinstance(step, dict):
        raise ConfigError(where(), f"a step must be `commit` or a mapping with `func`, got {step!r}")
    if "func" not in step:
        raise ConfigError(where(), f"the key 'func' is missing{did_you_mean('func', map(str, step))}")
    check_type(step["func"], str, where("func"))
    for key in step:
        if key in REFUSED_KEYS or not isinstance(key, str):
            raise ConfigError(where(str(key)), "this key is not allowed in a step")
    arguments = {key: value for key, value in step.items() if key not in IGNORED_KEYS and not key.startswith("_")}
    if step["func"] in GLOBAL_STEPS:
        return _check_global(step["func"], index, arguments, step, where)
    _check_local(step["func"], arguments, where)
    aggregate = step.get("_aggregate") or {}
    _check_aggregate(aggregate, where)
    folder = _folder(document.path)
    return LocalStep(index=index, func=step["func"], arguments=arguments, aggregate=aggregate, folder=folder)


def _check_global(func: str, index: int, arguments: dict[str, Any], step: dict[str, Any], where: Where) -> GlobalCall:
    if "_aggregate" in step:
        raise ConfigError(where("_aggregate"), f"{func} is a global step; only local steps can aggregate")
    config = build(resolve(GLOBAL_STEPS[func].config), arguments, where)
    return GlobalCall(index=index, func=func, config=config)


def _check_local(func: str, arguments: dict[str, Any], where: Where) -> None:
    if "." not in func and func not in MAPPERS:
        raise ConfigError(where("func"), f"unknown function {func!r}{did_you_mean(func, [*MAPPERS, *GLOBAL_STEPS])}")
    try:
        function = load_mapper_function(func)
    except (FileNotFoundError, AssertionError, ValueError) as error:
        raise ConfigError(where("func"), f"the custom function {func!r} cannot be loaded: {error}") from error
    _check_arguments(function, arguments, where, skip_first=not is_factory(function))


def _check_arguments(
    function: Callable[..., Any], arguments: dict[str, Any], where: Where, *, skip_first: bool
) -> None:
    """Hold arguments against a signature: unknown, missing, wrong type."""
    plain = inspect.unwrap(function)
    parameters = list(inspect.signature(plain).parameters.values())[1 if skip_first else 0 :]
    forwarded = getattr(plain, "forwards_keywords_to", None)
    named = {item.name: item for item in parameters if item.kind is not item.VAR_KEYWORD}
    hints = _hints(plain)
    if any(item.kind is item.VAR_KEYWORD for item in parameters):
        targets = forwarded(arguments) if forwarded else None
        if targets is None and not forwarded:
            return
        for target in targets or ():
            extra = list(inspect.signature(target).parameters.values())[1:]
            named.update({item.name: item for item in extra if item.kind is not item.VAR_KEYWORD})
            hints.update(_hints(target))
    for name, value in arguments.items():
        if name not in named:
            known = ", ".join(named) or "none"
            raise ConfigError(where(name), f"unknown argument{did_you_mean(name, named)} (known: {known})")
        if name in hints:
            check_type(value, hints[name], where(name))
    for name, item in named.items():
        if item.default is item.empty and name not in arguments:
            raise ConfigError(where(), f"{plain.__name__} needs the argument {name!r}")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _check_aggregate(aggregate: Any, where: Where) -> None:
    check_type(aggregate, dict, where("_aggregate"))
    for key, how in aggregate.items():
        here = where("_aggregate", key)
        options = {"type": how} if isinstance(how, str) else how
        check_type(options, dict, here)
        if "type" not in options:
            raise ConfigError(here, "the key 'type' (the aggregator's name) is missing")
        _check_aggregator(options["type"], f"{here}.type")
        if "transform" in options:
            transform = _check_aggregator(options["transform"], f"{here}.transform")
            rest = {name: value for name, value in options.items() if name not in ("type", "transform")}

            def inner(*keys: str, here: str = here) -> str:
                return ".".join((here, *keys))

            _check_arguments(transform, rest, inner, skip_first=True)


def _check_aggregator(name: Any, where: str) -> Callable[..., Any]:
    check_type(name, str, where)
    try:
        function: Callable[..., Any] = get_aggregator(name).func  # type: ignore[attr-defined]
        return function
    except (ValueError, FileNotFoundError, AssertionError) as error:
        near = did_you_mean(name, AGGREGATORS)
        raise ConfigError(where, f"unknown aggregator or transform {name!r}{near}") from error
