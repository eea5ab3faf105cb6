"""Modules and names by which DCLM's users, their mappers, scripts and notebooks, reach the code.

A name's entry in the table: its parameters (ours may follow them), its value, or nothing where only the name counts.
The parameters of mappers are keys of the YAML: test_keys.py.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.doors.tables import CLOSED, ROOT, gaps, table

NAMES = table("names_of_dclm")


def load(module: str) -> ModuleType | None:
    """The module, or None where there is none; an import that fails is an error."""
    for end in range(1, module.count(".") + 2):
        if importlib.util.find_spec(".".join(module.split(".")[:end])) is None:
            return None
    return importlib.import_module(module)


def find(module: ModuleType | None, name: str) -> Any:
    """What stands under a dotted name; AttributeError where nothing does."""
    return functools.reduce(getattr, name.split("."), module)


def has(module: ModuleType | None, name: str) -> bool:
    try:
        find(module, name)
    except AttributeError:
        return False
    return True


def parameters(function: Any) -> list[str]:
    """Parameters as a call writes them, without annotations."""
    return [
        "*" * (each.kind is each.VAR_POSITIONAL)
        + "**" * (each.kind is each.VAR_KEYWORD)
        + each.name
        + ("" if each.default is each.empty else f"={each.default!r}")
        for each in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize("module", NAMES)
def test_names_of_dclm_are_where_its_users_look_for_them(module: str) -> None:
    found = load(module)
    missing = [name for name in NAMES[module] if not has(found, name)]
    assert missing == gaps("names").get(module, []), CLOSED


@pytest.mark.parametrize("module", NAMES)
def test_parameters_and_values_of_dclm_come_first(module: str) -> None:
    found = load(module)
    differing = []
    for name, theirs in NAMES[module].items():
        if theirs is None or not has(found, name):
            continue
        ours = find(found, name)
        if (parameters(ours)[: len(theirs)] if isinstance(theirs, list) else ours) != theirs:
            differing.append(name)
    assert differing == gaps("parameters").get(module, []), CLOSED


def test_the_short_names_lead_to_the_same_modules() -> None:
    code = (
        "import baselines.core, core.constants, mappers.modifiers, aggregators, baselines.mappers.modifiers as long; "
        "assert core.constants is baselines.core.constants; assert mappers.modifiers is long; "
        "import baselines.aggregators; assert aggregators is baselines.aggregators"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_global_functions_resolve_when_read_and_importing_them_loads_no_ray() -> None:
    code = (
        "import sys; from ray_processing import GLOBAL_FUNCTIONS; "
        "assert list(GLOBAL_FUNCTIONS) == ['bff', 'exact_dedup', 'minhash_dedup', 'quantile_filter']; "
        "assert not {'ray', 'torch'} & set(sys.modules); assert callable(GLOBAL_FUNCTIONS['exact_dedup'])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
