"""The committed Unicode table is what its generator makes of `uniseg`."""

from __future__ import annotations

import importlib.util
import pathlib
from types import ModuleType

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[4]


@pytest.fixture
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "tools.make_word_break_table", ROOT / "tools/make_word_break_table.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ranges_are_runs_of_equal_values(generator: ModuleType) -> None:
    ranges = generator.code_point_ranges(
        lambda c: "digit" if c in "0123456789" else "last" if c == "\U0010ffff" else ""
    )
    assert ranges == {"digit": [(0x30, 0x39)], "last": [(0x10FFFF, 0x10FFFF)]}
    assert generator.format_ranges([(0x30, 0x39), (0x41, 0x41)]) == "30-39 41"


def test_committed_table_is_what_uniseg_gives(generator: ModuleType) -> None:
    pytest.importorskip("uniseg", reason="uniseg, from which the table is made, is not installed")
    assert generator.TABLE_PATH.read_text(encoding="utf-8") == generator.render_table()


def test_check_names_the_file_that_differs(
    generator: ModuleType, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("uniseg", reason="uniseg, from which the table is made, is not installed")
    output = tmp_path / "table.py"
    assert generator.main(["--check", "--output", str(output)]) == 2
    assert str(output) in capsys.readouterr().err
    assert generator.main(["--output", str(output)]) == 0
    assert generator.main(["--check", "--output", str(output)]) == 0
