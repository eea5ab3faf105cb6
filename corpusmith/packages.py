"""Where each of our top-level packages was imported from.

They have generic names (`eval`, `training`, …). Another distribution, or a folder in the current directory, may own one
of them; then the wrong code would run. Each entry point calls `check_origin()` first.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import pathlib
import sys

from corpusmith.errors import UserError

PACKAGES = ("raw_sources", "baselines", "dedup", "training", "ray_processing", "eval", "mixing")
HOME = pathlib.Path(__file__).resolve().parents[1]


def location(package: str) -> pathlib.Path | None:
    """The folder that `import package` would take, or None if there is none."""
    loaded = sys.modules.get(package)
    spec = getattr(loaded, "__spec__", None) or importlib.machinery.PathFinder.find_spec(package)
    if spec is None:
        spec = next((found for finder in sys.meta_path if (found := finder.find_spec(package, None))), None)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return pathlib.Path(next(iter(spec.submodule_search_locations))).resolve()
    return pathlib.Path(spec.origin).resolve() if spec.origin else None


def check_origin() -> None:
    """Raise UserError naming the first package that would be imported from elsewhere than beside `corpusmith`."""
    for package in PACKAGES:
        found = location(package)
        if found == HOME / package:
            continue
        if found is None:
            raise UserError(
                f"the package {package!r} is missing beside {HOME / 'corpusmith'}; reinstall: pip install -e {HOME}"
            )
        owners = [name for name in importlib.metadata.packages_distributions().get(package, []) if name != "corpusmith"]
        owner = f"distribution {owners[0]!r}" if owners else "a folder on the import path"
        remedy = f"uninstall it (pip uninstall {owners[0]})" if owners else "run from another directory"
        raise UserError(
            f"`import {package}` takes {found}, which belongs to {owner}, not to Corpusmith; {remedy} or use an "
            "environment of Corpusmith's own"
        )
