"""The modules that decide what a stage writes are found from its entry, and none takes a value from one that may not.

The trees are planted here; what is true of our own code stands in `tests/test_versions.py`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from corpusmith.run import deciding_code
from corpusmith.run.deciding_code import code_versions, deciding_modules, version_package

Plant = Callable[[str, str], None]


@pytest.fixture
def plant(tmp_path: pathlib.Path) -> Plant:
    """Writes a module's source below `tmp_path`; packages above it get an `__init__.py` if they lack one."""

    def write(module: str, source: str) -> None:
        *packages, name = module.split(".")
        folder = tmp_path
        for package in packages:
            folder = folder / package
            folder.mkdir(exist_ok=True)
            (folder / "__init__.py").touch()
        (folder / f"{name}.py").write_text(source)

    return write


@pytest.mark.parametrize(
    "statement",
    [
        "from dedup.units import split",
        "from dedup.units import split as cut, join",
        "from dedup import units",
        "import dedup.units",
        "import dedup.units as cut",
        "def work():\n    from dedup.units import split\n    return split",
        "try:\n    from dedup.units import (\n        join,  # both\n        split,\n    )\nfinally:\n    pass",
        "SET_UP = 'dedup.units:warm'",
        'work(set_up="dedup.units:warm")',
        'importlib.import_module("dedup.units")',
    ],
)
def test_what_an_entry_imports_or_names_decides(statement: str, plant: Plant, tmp_path: pathlib.Path) -> None:
    plant("dedup.units", "from corpusmith.text.deep import words\n")
    plant("dedup.other", "")
    plant("corpusmith.text.deep", "import numpy\n")
    plant("dedup.entry", f"{statement}\n")
    expected = {"dedup.entry", "dedup.units", "corpusmith.text.deep"}
    assert deciding_modules("dedup.entry:work", home=tmp_path) == expected


@pytest.mark.parametrize(
    "statement",
    [
        "if TYPE_CHECKING:\n    from dedup.units import split\n\n    import dedup.units\n\nx = 1",
        "'''Cuts as dedup.units does.'''",
        "# from dedup.units import split",
        "message = 'dedup.units is slow'",
        "'dedup.nowhere:warm'",
        "from deduplication.units import split",
        "from dedup.nowhere import split",
        "import dedup.nowhere",
    ],
)
def test_what_is_only_spoken_of_does_not_decide(statement: str, plant: Plant, tmp_path: pathlib.Path) -> None:
    plant("dedup.units", "")
    plant("dedup.entry", f"{statement}\n")
    assert deciding_modules("dedup.entry", home=tmp_path) == {"dedup.entry"}


def test_a_package_decides_only_where_a_name_is_taken_from_it(plant: Plant, tmp_path: pathlib.Path) -> None:
    plant("dedup.exact.units", "")
    plant("dedup.exact.drop", "")
    (tmp_path / "dedup" / "exact" / "__init__.py").write_text("from dedup.exact.drop import drop\n")
    plant("dedup.inside", "from dedup.exact import units\n")
    plant("dedup.through", "from dedup.exact import drop_all\n")
    assert deciding_modules("dedup.inside", home=tmp_path) == {"dedup.inside", "dedup.exact.units"}
    assert deciding_modules("dedup.through", home=tmp_path) == {"dedup.through", "dedup.exact", "dedup.exact.drop"}


def test_rows_of_a_table_and_what_cannot_decide_are_left_to_whoever_plans(
    plant: Plant, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding_code, "TABLES", {"baselines.rows": "the steps' functions are entries"})
    monkeypatch.setattr(deciding_code, "UNDECIDING", {"corpusmith.bars": "only shown"})
    plant("baselines.rows", "from baselines.shape import Row\nROWS = {'a': 'baselines.a:a', 'b': 'baselines.b:b'}\n")
    for name in ("shape", "a", "b"):
        plant(f"baselines.{name}", "")
    plant("corpusmith.bars.lines", "import baselines.b\n")
    plant("baselines.entry", "import baselines.rows\nfrom corpusmith.bars.lines import say\n")
    without = {"baselines.entry", "baselines.rows", "baselines.shape"}
    assert deciding_modules("baselines.entry", home=tmp_path) == without
    assert deciding_modules("baselines.entry", "baselines.a:a", home=tmp_path) == {*without, "baselines.a"}


def test_the_nearest_version_above_a_module_stands_for_it(plant: Plant, tmp_path: pathlib.Path) -> None:
    for module in ("dedup.exact.units", "dedup.groups.choice", "training.loop"):
        plant(module, "")
    (tmp_path / "dedup" / "__init__.py").write_text("VERSION = 1\n")
    (tmp_path / "dedup" / "exact" / "__init__.py").write_text('"""Exact."""\n\nVERSION = 12\n')
    assert version_package("dedup.exact.units", home=tmp_path) == "dedup.exact"
    assert version_package("dedup.exact", home=tmp_path) == "dedup.exact"
    assert version_package("dedup.groups.choice", home=tmp_path) == "dedup"
    assert version_package("training.loop", home=tmp_path) is None


@pytest.mark.parametrize("entry", ["json:loads", "dedup.nowhere:work", pathlib.Path.exists])
def test_an_entry_that_is_not_ours_is_refused(entry: str | Callable[..., object]) -> None:
    with pytest.raises(LookupError, match="in no module of ours"):
        code_versions(entry)
