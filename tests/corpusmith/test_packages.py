"""Our generic top-level names lead to our packages, and no script folder hides somebody's module."""

from __future__ import annotations

import importlib.metadata
import pathlib
import subprocess
import sys

import pytest

from corpusmith import packages
from corpusmith.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT_FOLDERS = (
    *("raw_sources", "baselines", "dedup", "ray_processing", "training", "finetuning", "eval", "mixing", "tools"),
    "benchmarks",
)


def test_every_package_lies_beside_corpusmith() -> None:
    packages.check_origin()


def test_a_foreign_package_with_our_name_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name == "eval" or name.startswith("eval.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match=r"import eval.*not to Corpusmith"):
        packages.check_origin()


def test_setup_names_every_package_and_no_other() -> None:
    text = (ROOT / "setup.py").read_text()
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "tools", "benchmarks"}
    for package in ours:
        assert f'"{package}"' in text, f"setup.py does not name {package}"
    assert set(packages.PACKAGES) == ours - {"corpusmith"}


@pytest.mark.parametrize("folder", SCRIPT_FOLDERS)
def test_no_module_of_a_script_folder_hides_another(folder: str) -> None:
    installed = set(importlib.metadata.packages_distributions())
    if folder == "benchmarks":
        # benchmarks bear the names of what they measure; each puts the checkout on the path first
        installed -= set(packages.PACKAGES)
    for path in (ROOT / folder).glob("*.py"):
        if path.stem != "__init__":
            assert path.stem not in sys.stdlib_module_names, f"{path} hides a module of the standard library"
            assert path.stem not in installed, f"{path} hides an installed module"


def test_help_is_instant_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from corpusmith.cli import main; main(['--help']); "
        "heavy = {'ray', 'torch', 'numba', 'pyarrow', 'tokenizers'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
