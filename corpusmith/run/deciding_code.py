"""Which code of ours decides what a stage writes: derived from what its entry imports, not listed by hand.

From an entry (a function, `"module:function"` or the name of a module) this follows every import of our packages at
any depth of a file, and every string that names a module of ours (`set_up="corpusmith.text…:warm_kernels"`). Left out
are imports for type checkers only, the packages of `UNDECIDING`, and the strings of `TABLES`, of which a stage uses
single rows: whoever plans the stage gives these rows as further entries. Importing `a.b.c` does not make `a` and `a.b`
count: an `__init__.py` holds a docstring, a VERSION and re-exports, and counts where a name is imported from it.

Each package that decides bytes has one `VERSION` in its `__init__.py`, which stands for all modules that have no nearer
one. `code_versions` gives those that a stage's fingerprint holds. Sources are searched by patterns, since parsing them
takes longer than a command's start may; `tests/test_versions.py` holds the patterns to the syntax trees.
"""

from __future__ import annotations

import functools
import importlib
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from corpusmith.packages import HOME, PACKAGES

Entry = str | Callable[..., Any]

#: Modules and packages that cannot decide what a stage writes, and why; no deciding module takes a value from one.
UNDECIDING = {
    "corpusmith.cli": "the verbs: they call what decides, with the arguments that a fingerprint holds",
    "corpusmith.command": "parses flags and turns errors into a line and an exit code",
    "corpusmith.expdb": "reference JSONs: uuids, dates and commits beside a data set, never in it",
    "corpusmith.report": "shows what a run recorded, after it",
    "corpusmith.run.progress": "bars and lines on the terminal",
    "corpusmith.steps.needs": "what a step will take of memory and disk, told before it runs",
    "corpusmith.steps.standalone": "the flags of a dedup by itself, its report and its reference JSON",
}

#: Modules whose strings name many others, of which a stage uses single rows, and who gives these as entries.
TABLES = {
    "baselines.core.mapper_table": "mappers, aggregators: `ray_processing.pipeline.stages` gives those of its steps",
    "corpusmith.run.deciding_code": "these tables themselves",
    "corpusmith.steps.global_steps": "global steps: each plans its own stage and gives itself",
    "raw_sources.extractors.registry": "extractors: `raw_sources.ingest.run` gives the one of its config",
}

_MODULE = rf"(?:corpusmith|{'|'.join(PACKAGES)})\b[\w.]*"
_IMPORT = re.compile(
    rf"^[ \t]*(?:from[ \t]+({_MODULE})[ \t]+import[ \t]+(\([^)]*\)|[^\n(]+)|import[ \t]+({_MODULE}[^\n]*))",
    re.MULTILINE,
)
_NAMED = re.compile(rf"""["']({_MODULE})(?::\w+)?["']""")
_FOR_TYPE_CHECKERS = re.compile(r"^if TYPE_CHECKING:\n(?:(?:[ \t].*)?\n)+", re.MULTILINE)
_COMMENT = re.compile("#.*")
_IMPORTED_NAME = re.compile(r"([\w.]+)(?:[ \t]+as[ \t]+\w+)?")
_VERSION = re.compile(r"^VERSION = \d+$", re.MULTILINE)


def code_versions(*entries: Entry) -> dict[str, int]:
    """The VERSION of each package of ours whose code decides what the entries of a stage write.

    Raises:
        LookupError: an entry is no module of ours.
    """
    packages = {version_package(module) for module in deciding_modules(*entries)}
    return {name: int(importlib.import_module(name).VERSION) for name in sorted(filter(None, packages))}


def deciding_modules(*entries: Entry, home: pathlib.Path = HOME) -> set[str]:
    """The modules of ours that decide what the entries write; `home`: the folder that holds our packages.

    Raises:
        LookupError: an entry is no module of ours.
    """
    found: set[str] = set()
    pending = [_module_of(entry, home) for entry in entries]
    while pending:
        module = pending.pop()
        if module not in found and not is_undeciding(module):
            found.add(module)
            pending.extend(imported_modules(module, home))
    return found


def is_undeciding(module: str) -> bool:
    """Whether `UNDECIDING` names the module, or a package that it lies in."""
    return any(name in UNDECIDING for name in _with_parents(module))


@functools.cache
def imported_modules(module: str, home: pathlib.Path = HOME) -> frozenset[str]:
    """The modules of ours that a module imports or, unless it is a table, names in a string."""
    return frozenset(modules_in(_read(module, home), home, with_strings=module not in TABLES) - {module})


def modules_in(source: str, home: pathlib.Path = HOME, *, with_strings: bool = True) -> set[str]:
    """The modules of ours that a source, of a user's file for one, imports or names in a string."""
    source = _FOR_TYPE_CHECKERS.sub("", source)
    found = set(_imports(source, home))
    if with_strings:
        found |= {name for name in _NAMED.findall(source) if "." in name}
    return {name for name in found if _is_module(name, home)}


@functools.cache
def version_package(module: str, home: pathlib.Path = HOME) -> str | None:
    """The package whose VERSION stands for a module: the nearest that has one.

    None where none has: no stage of ours reaches such a module, a user's file may.
    """
    for name in _with_parents(module):
        if (home.joinpath(*name.split(".")) / "__init__.py").is_file() and _VERSION.search(_read(name, home)):
            return name
    return None


def _imports(source: str, home: pathlib.Path) -> Iterator[str]:
    for package, names, modules in _IMPORT.findall(source):
        for name in _IMPORTED_NAME.findall(_COMMENT.sub("", names or modules)):
            inner = f"{package}.{name}" if package else name
            yield inner if not package or _is_module(inner, home) else package


def _module_of(entry: Entry, home: pathlib.Path) -> str:
    module = entry.partition(":")[0] if isinstance(entry, str) else entry.__module__
    if not _is_module(module, home):
        raise LookupError(f"{entry!r} is in no module of ours")
    return module


def _with_parents(module: str) -> Iterator[str]:
    """A module's name and those of the packages that it lies in, the nearest first."""
    parts = module.split(".")
    return (".".join(parts[:length]) for length in range(len(parts), 0, -1))


def _read(module: str, home: pathlib.Path) -> str:
    return _source(module, home).read_text(encoding="utf-8")


def _source(module: str, home: pathlib.Path) -> pathlib.Path:
    """The file of a module or package; it need not exist."""
    place = home.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@functools.cache
def _is_module(name: str, home: pathlib.Path) -> bool:
    return _source(name, home).is_file()
