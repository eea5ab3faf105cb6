"""No deciding module changes without a decision about its VERSION.

`deciding_modules.json` holds, for each module of ours with a VERSION, that number and a hash of its syntax tree
without docstrings. When this test fails: raise VERSION where results may differ (a run begun before is then refused or
redone), leave it where they cannot, and write the new state with `python tests/test_versions.py`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
STATE = pathlib.Path(__file__).with_name("deciding_modules.json")
ROOMS = ("corpusmith", "raw_sources", "baselines", "dedup", "ray_processing", "training", "eval", "mixing")
PINNED_PYTHON = (3, 11)


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def current_state() -> dict[str, dict[str, object]]:
    state: dict[str, dict[str, object]] = {}
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        versions = [
            node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "VERSION"
            and isinstance(node.value, ast.Constant)
        ]
        if versions:
            digest = hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest()[:16]
            state[str(path.relative_to(ROOT))] = {"version": versions[0], "tree": digest}
    return state


@pytest.mark.skipif(sys.version_info[:2] != PINNED_PYTHON, reason="syntax trees are hashed as Python 3.11 prints them")
def test_deciding_modules_change_only_with_a_decision_about_their_version() -> None:
    recorded = json.loads(STATE.read_text())
    found = current_state()
    changed = [name for name in sorted({*recorded, *found}) if recorded.get(name) != found.get(name)]
    assert not changed, (
        f"{', '.join(changed)} changed: decide about VERSION there, then run `python tests/test_versions.py`"
    )


if __name__ == "__main__":
    STATE.write_text(json.dumps(current_state(), indent=2) + "\n")
