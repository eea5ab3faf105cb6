"""The short module names of DCLM (`core`, `mappers`, `aggregators`) as aliases of the modules under `baselines`.

DCLM appends its `baselines` folder to `sys.path`, which makes two copies of each module. Here a finder in
`sys.meta_path` answers for these names with the one module that exists, loaded when it is first asked for. As with
DCLM, a package of the user's of the same name comes first. The finder itself must stand before the others: they would
find `core.constants` through the path of the aliased package, and make the second copy.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

ALIASED_ROOTS = ("core", "mappers", "aggregators")
REAL_PACKAGE = "baselines"
_ALIASED_IMPORT = re.compile(rf"^([ \t]*(?:from|import)[ \t]+)(?=(?:{'|'.join(ALIASED_ROOTS)})\b)", re.MULTILINE)


class _AliasLoader(Loader):
    """Hands out a module that is known under another name."""

    def __init__(self, real_name: str) -> None:
        self.real_name = real_name
        self.real_spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the real module, imported if need be."""
        module = importlib.import_module(self.real_name)
        self.real_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back, which the import system has just replaced."""
        module.__spec__ = self.real_spec


class AliasFinder(MetaPathFinder):
    """Finds `core.x` as `baselines.core.x`, and so on for `ALIASED_ROOTS`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the alias, or None for names that are not ours."""
        root = fullname.partition(".")[0]
        if root not in ALIASED_ROOTS:
            return None
        if fullname == root:
            theirs = PathFinder.find_spec(root)
            # a folder without __init__.py and with no code of the name is not a package of the user's
            if theirs is not None and theirs.origin is not None:
                return None
        elif sys.modules[root] is not sys.modules.get(f"{REAL_PACKAGE}.{root}"):
            return None
        real_name = f"{REAL_PACKAGE}.{fullname}"
        real_spec = importlib.util.find_spec(real_name)
        if real_spec is None:
            return None
        is_package = real_spec.submodule_search_locations is not None
        return ModuleSpec(fullname, _AliasLoader(real_name), is_package=is_package)


def without_aliases(source: str) -> str:
    """The source of a user's file, its imports by DCLM's names turned into those of the modules that they lead to."""
    return _ALIASED_IMPORT.sub(rf"\1{REAL_PACKAGE}.", source)


def install_aliases() -> None:
    """Put the finder at the head of `sys.meta_path`, once."""
    if not any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, AliasFinder())
