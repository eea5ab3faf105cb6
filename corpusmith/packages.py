"""Where each room was imported from.

Our rooms have generic top-level names (`eval`, `training`, …). Another distribution, or a folder in the current
directory, may own one of them; then the wrong code would run. Each entry point calls `check()` first.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import pathlib
import sys

from corpusmith.errors import UserError

ROOMS = ("raw_sources", "baselines", "dedup", "training", "ray_processing", "eval", "mixing")
HOME = pathlib.Path(__file__).resolve().parents[1]


def location(room: str) -> pathlib.Path | None:
    """The folder that `import room` would take, or None if there is none."""
    loaded = sys.modules.get(room)
    spec = getattr(loaded, "__spec__", None) or importlib.machinery.PathFinder.find_spec(room)
    if spec is None:
        spec = next((found for finder in sys.meta_path if (found := finder.find_spec(room, None))), None)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return pathlib.Path(next(iter(spec.submodule_search_locations))).resolve()
    return pathlib.Path(spec.origin).resolve() if spec.origin else None


def check() -> None:
    """Raise UserError naming the first room that would be imported from elsewhere than beside `corpusmith`."""
    for room in ROOMS:
        found = location(room)
        if found == HOME / room:
            continue
        if found is None:
            raise UserError(
                f"the room {room!r} is missing beside {HOME / 'corpusmith'}; reinstall: pip install -e {HOME}"
            )
        owners = [name for name in importlib.metadata.packages_distributions().get(room, []) if name != "corpusmith"]
        owner = f"distribution {owners[0]!r}" if owners else "a folder on the import path"
        remedy = f"uninstall it (pip uninstall {owners[0]})" if owners else "run from another directory"
        raise UserError(
            f"`import {room}` takes {found}, which belongs to {owner}, not to Corpusmith; {remedy} or use an "
            "environment of Corpusmith's own"
        )
