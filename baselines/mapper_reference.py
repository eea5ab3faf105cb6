"""`corpusmith mappers [NAME]`: what every mapper of ours does and takes, from its docstring and signature."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError, did_you_mean
from corpusmith.run.progress import say


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith mappers`."""
    parser = make_parser(
        "corpusmith mappers",
        "List the mappers that a YAML can name, or document one.",
        "corpusmith mappers page_length_filter",
    )
    parser.add_argument("name", nargs="?", help="a mapper (default: one line about each)")
    return parser


def mapper_names() -> list[str]:
    """The names of the mappers, sorted; functions that the table holds beside them are left out."""
    from baselines.core.mapper_table import HELPERS, MAPPERS

    return sorted(MAPPERS.keys() - HELPERS.keys())


def summary(function: Callable[..., Any]) -> str:
    """The first sentence of a mapper's documentation."""
    text = inspect.getdoc(function) or ""
    return " ".join(text.split("\n\n", 1)[0].split())


def example_step(name: str, function: Callable[..., Any], is_factory: bool) -> str:
    """Return the mapper as a step of a YAML, each argument with its default or its type.

    Args:
        name: of the mapper.
        function: the mapper, or its factory.
        is_factory: which of both; a mapper's first argument is the page.
    """
    parameters = list(inspect.signature(inspect.unwrap(function)).parameters.values())[0 if is_factory else 1 :]
    lines = [f"- func: {name}"]
    for item in parameters:
        if item.kind in (item.VAR_KEYWORD, item.VAR_POSITIONAL):
            continue
        kind = str(item.annotation)
        shown = f"required: {kind}" if item.default is item.empty else f"default {item.default!r}: {kind}"
        lines.append(f"    {item.name}:  # {shown}")
    return "\n".join(lines)


def document(name: str) -> str:
    """Return all that is known of a mapper.

    Raises:
        InputError: an unknown name.
    """
    from baselines.core.factories import load_mapper_function
    from baselines.core.factory_utils import is_factory
    from baselines.core.mapper_table import MAPPERS

    if name not in MAPPERS:
        raise InputError(f"no mapper {name!r}{did_you_mean(name, MAPPERS)} (corpusmith mappers lists them)")
    function = load_mapper_function(name)
    module = MAPPERS[name].partition(":")[0]
    notes = [f"from {module} import {name}"]
    if getattr(function, "draws_random", False):
        notes.append("draws random numbers; `corpusmith process` seeds them for each page")
    step = example_step(name, function, is_factory(function))
    return "\n".join([name, "", inspect.getdoc(function) or "", "", *notes, "", "In a YAML:", "", step])


def overview() -> str:
    """A line for each mapper, by the module that holds it."""
    from baselines.core.factories import load_mapper_function
    from baselines.core.mapper_table import MAPPERS

    by_module: dict[str, list[str]] = {}
    for name in mapper_names():
        by_module.setdefault(MAPPERS[name].partition(":")[0], []).append(name)
    width = max(map(len, mapper_names()))
    lines: list[str] = []
    for module, names in sorted(by_module.items()):
        lines += [f"{module}:", *(f"  {name:<{width}}  {summary(load_mapper_function(name))}" for name in names), ""]
    return "\n".join([*lines, "`corpusmith mappers NAME` tells all of one."])


def run(arguments: argparse.Namespace) -> None:
    """Print what was asked for."""
    say(document(arguments.name) if arguments.name else overview())


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith mappers`."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
