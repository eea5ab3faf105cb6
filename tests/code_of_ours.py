"""What our modules import and name, read from their bytecode: the truth that `corpusmith.run.deciding_code` is held to.

Python's own compiler and its `modulefinder` say what a module imports, in functions too; code for type checkers is
taken out before. Strings are those that the compiled code holds.
"""

from __future__ import annotations

import ast
import functools
import modulefinder
import pathlib
import types
from collections.abc import Iterable, Iterator

from corpusmith.packages import PACKAGES
from corpusmith.run.deciding_code import TABLES, UNDECIDING

ROOT = pathlib.Path(__file__).resolve().parents[1]


@functools.cache
def modules() -> dict[str, pathlib.Path]:
    """Every module and package of ours with its file."""
    files = (path for room in ("corpusmith", *PACKAGES) for path in sorted((ROOT / room).rglob("*.py")))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


@functools.cache
def syntax(module: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


@functools.cache
def imports(module: str) -> frozenset[str]:
    """The modules of ours that a module imports, or names in a string unless it is a table."""
    body = [node for node in syntax(module).body if not _is_for_type_checkers(node)]
    found: set[str] = set()
    for code in _codes(compile(ast.Module(body=body, type_ignores=[]), module, "exec", dont_inherit=True)):
        found |= set(_imported(code))
        if module not in TABLES:
            found |= set(_named(code.co_consts))
    return frozenset(found - {module})


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _imported(code: types.CodeType) -> Iterator[str]:
    for what, arguments in modulefinder.ModuleFinder().scan_opcodes(code):
        if what == "absolute_import":
            names, package = arguments
            for name in names or ():
                yield from (each for each in [f"{package}.{name}"] if each in modules())
            if package in modules() and (not names or any(f"{package}.{name}" not in modules() for name in names)):
                yield package


def _named(constants: Iterable[object]) -> Iterator[str]:
    for constant in constants:
        if isinstance(constant, tuple | frozenset):
            yield from _named(constant)
        elif isinstance(constant, str) and "." in constant and constant.partition(":")[0] in modules():
            yield constant.partition(":")[0]


def parents(name: str) -> list[str]:
    """A module and the packages that it lies in, the nearest first."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def closure(entries: Iterable[str]) -> set[str]:
    """All modules that entries reach, those left out that cannot decide."""
    found: set[str] = set()
    pending = [entry.partition(":")[0] for entry in entries]
    while pending:
        module = pending.pop()
        if module not in found and not UNDECIDING.keys() & set(parents(module)):
            found.add(module)
            pending += imports(module)
    return found


@functools.cache
def versions() -> dict[str, int]:
    """The VERSION of each package that has one, from its syntax tree."""
    return {
        name: node.value.value
        for name, path in modules().items()
        if path.name == "__init__.py"
        for node in syntax(name).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "VERSION"
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, int)
    }


def version_package(module: str) -> str:
    """The nearest package at or above a module that has a VERSION; `""` where none has."""
    return next((name for name in parents(module) if name in versions()), "")
