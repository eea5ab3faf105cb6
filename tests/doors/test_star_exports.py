"""What `import *` passes on: users' mappers and tests, copied from DCLM's, take names that reach them only so.

DCLM's modules have no `__all__`: each passes on its public names and those that it imports itself (`passed on`, without
those of other libraries). Where ours has one, it passes on these, its own additions (`ours`), and nothing else.
"""

from __future__ import annotations

import pytest

from tests.doors.tables import CLOSED, gaps, table
from tests.doors.test_imports import NAMES, load

STARS = table("star_exports_of_dclm")


def star_exports(module: str) -> list[str]:
    """The names that `from module import *` gives; none where there is no such module."""
    found = load(module)
    if found is None:
        return []
    return list(getattr(found, "__all__", [name for name in vars(found) if not name.startswith("_")]))


def of_dclm(module: str) -> list[str]:
    """The names that DCLM's module passes on."""
    own = [name for name in NAMES[module] if not name.startswith("_") and "." not in name]
    return list(dict.fromkeys([*own, *STARS.get(module, {}).get("passed on", [])]))


@pytest.mark.parametrize("module", NAMES)
def test_import_star_passes_on_the_names_of_dclm(module: str) -> None:
    passed = star_exports(module)
    absent = gaps("names").get(module, [])
    missing = [name for name in of_dclm(module) if name not in passed and name not in absent]
    assert missing == gaps("star exports").get(module, []), CLOSED


@pytest.mark.parametrize("module", [module for module, entry in STARS.items() if "ours" in entry])
def test_import_star_passes_on_nothing_else(module: str) -> None:
    found = load(module)
    assert hasattr(found, "__all__")
    assert sorted(set(star_exports(module)) - set(of_dclm(module))) == STARS[module]["ours"]
    assert [name for name in star_exports(module) if not hasattr(found, name)] == []
