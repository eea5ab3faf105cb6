"""VERSION reaches the fingerprint of every stage that its package decides, and no code changes without being asked.

`deciding_modules.json` holds, for each package with a VERSION, that number and a hash of each of its modules that
decide some stage. When the first test fails, its message says what to do; `python tests/test_versions.py` writes the
new state.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from corpusmith.run import deciding_code
from tests.code_of_ours import closure, imports, modules, syntax, version_package, versions
from tests.stage_kinds import Kind, all_kinds, code_of

STATE = pathlib.Path(__file__).with_name("deciding_modules.json")
PINNED_PYTHON = (3, 11)
State = dict[str, dict[str, Any]]

# Who imports by a name that is no constant, and what makes sure that the module counts all the same.
DYNAMIC_IMPORTS = {
    "baselines.core.aliases": "DCLM's names for modules of ours, imported for users' files",
    "baselines.core.mapper_table": "its own rows, which ray_processing.pipeline.stages gives as entries",
    "baselines.core.factories": "rows of the mappers' table, which ray_processing.pipeline.stages gives as entries",
    "baselines.mappers.enrichers.quality_prediction_enrichers_kenlm_model": "libraries of others",
    "corpusmith.assets": "the catalogues and the builders of assets, which a fingerprint holds by their content",
    "corpusmith.cli": "verbs",
    "corpusmith.imports": "what its callers name",
    "corpusmith.io.storage": "back ends, named in its own strings",
    "corpusmith.run.deciding_code": "packages, for their VERSION",
    "corpusmith.run.ray.worker": "what a task asks to be set up, named in strings of who asks",
    "corpusmith.steps.global_steps": "rows of its own table",
    "mixing.search.strategies.registry": "strategies of the user's, named in his YAML",
    "ray_processing.pipeline.config": "the arguments of global steps, which a fingerprint holds",
    "ray_processing.pipeline.forecast": "what global steps need, told before they run",
    "ray_processing.pipeline.stages": "the plans of global steps: each gives itself as entry",
    "raw_sources.extractors.registry": "rows of its own table, which raw_sources.ingest.run gives as entries",
    "training.observers.trackers": "wandb",
    "training.models.registry": "architectures, named in its own strings",
    "training.open_lm_backend": "open_lm itself",
}
IMPORTERS = ("import_module", "resolve", "resolve_name", "__import__")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> list[Kind]:
    return all_kinds(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def fingerprints(kinds: list[Kind]) -> dict[str, Any]:
    return {kind.name: kind.fingerprint() for kind in kinds}


# --- what changed -------------------------------------------------------------------------------------------------


def tree_hash(source: str) -> str:
    """A hash of a module's syntax tree without docstrings, and without the places of the modules of ours it names."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.ImportFrom) and node.module in modules():
            node.module = None
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            module, _, name = node.value.partition(":")
            node.value = f":{name}" if "." in module and module in modules() else node.value
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def current_state(kinds: list[Kind]) -> State:
    state: State = {}
    for module in sorted(closure(entry for kind in kinds for entry in kind.entries)):
        package = version_package(module)
        here = state.setdefault(package, {"version": versions().get(package), "modules": {}})
        here["modules"][module] = tree_hash(modules()[module].read_text(encoding="utf-8"))
    return dict(sorted(state.items()))


def what_changed(recorded: State, found: State) -> Iterator[str]:
    """A paragraph for each package that differs."""
    before = {digest for package in recorded.values() for digest in package["modules"].values()}
    for name in sorted({*recorded, *found}):
        old, new = recorded.get(name, {"modules": {}}), found.get(name, {"modules": {}})
        if old == new:
            continue
        edited = [each for each, digest in new["modules"].items() if digest not in before]
        placed = [each for each, digest in new["modules"].items() if digest in before and each not in old["modules"]]
        gone = [each for each in old["modules"] if each not in new["modules"]]
        lines = [
            f"  {what}: {', '.join(each)}" for what, each in (("here now, not changed", placed), ("gone", gone)) if each
        ]
        if edited and old.get("version") == new.get("version"):
            lines += [
                f"  changed: {', '.join(edited)}",
                "  May any stage's bytes differ, for any input? Then raise VERSION in "
                f"{name.replace('.', '/')}/__init__.py (runs begun before are refused or redone); otherwise leave it.",
            ]
        elif "version" in old and "version" in new and old["version"] != new["version"]:
            lines.append(f"  VERSION {old['version']} became {new['version']}")
        yield "\n".join([f"{name}:", *lines])


@pytest.mark.skipif(sys.version_info[:2] != PINNED_PYTHON, reason="syntax trees are hashed as Python 3.11 prints them")
def test_deciding_code_changes_only_with_a_decision_about_its_version(kinds: list[Kind]) -> None:
    changes = list(what_changed(json.loads(STATE.read_text()), current_state(kinds)))
    assert not changes, "\n".join(["", *changes, "Decide, then run `python tests/test_versions.py`."])


def test_the_message_names_what_changed_and_a_move_asks_nothing() -> None:
    old: State = {
        "a": {"version": 1, "modules": {"a.x": "1", "a.y": "2"}},
        "b": {"version": 1, "modules": {"b.z": "3"}},
    }
    moved: State = {
        "a": {"version": 1, "modules": {"a.x": "1"}},
        "b": {"version": 1, "modules": {"b.y": "2", "b.z": "3"}},
    }
    assert list(what_changed(old, moved)) == ["a:\n  gone: a.y", "b:\n  here now, not changed: b.y"]
    edited: State = {**old, "a": {"version": 1, "modules": {"a.x": "1", "a.y": "9"}}}
    (message,) = what_changed(old, edited)
    assert message.startswith(
        "a:\n  changed: a.y\n  May any stage's bytes differ, for any input? Then raise VERSION in a/"
    )
    raised: State = {**edited, "a": {**edited["a"], "version": 2}}
    assert list(what_changed(old, raised)) == ["a:\n  VERSION 1 became 2"]
    assert not list(what_changed(old, old))


@pytest.mark.parametrize(
    ("other", "is_equal"),
    [
        ('"""Other words."""\nfrom corpusmith.seeds import draw\nx = work("dedup.exact.hash:warm")\n', True),
        ('from corpusmith.io.storage import draw\n# a comment\nx = work("dedup.bff.hash:warm")\n', True),
        ('from corpusmith.seeds import other\nx = work("dedup.exact.hash:warm")\n', False),
        ('from corpusmith.seeds import draw\nx = work("dedup.exact.hash:cold")\n', False),
        ('from corpusmith.seeds import draw\ny = work("dedup.exact.hash:warm")\n', False),
    ],
)
def test_words_and_places_of_modules_do_not_count_as_changes(other: str, is_equal: bool) -> None:
    module = '"""Words."""\nfrom corpusmith.seeds import draw\nx = work("dedup.exact.hash:warm")\n'
    assert (tree_hash(module) == tree_hash(other)) == is_equal


# --- what a package's VERSION reaches -----------------------------------------------------------------------------


def test_the_fingerprint_of_each_stage_holds_the_packages_that_its_code_reaches(
    kinds: list[Kind], fingerprints: dict[str, Any]
) -> None:
    for kind in kinds:
        expected = {version_package(module): 0 for module in closure(kind.entries)}
        found = {name: 0 for name in code_of(fingerprints[kind.name]) if name != "unicode"}
        assert found == expected, kind.name


@pytest.mark.parametrize("package", sorted(versions()))
def test_raising_a_version_makes_each_stage_differ_that_imports_the_package_and_no_other(
    package: str, kinds: list[Kind], fingerprints: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(package)
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    reached = {kind.name for kind in kinds if package in map(version_package, closure(kind.entries))}
    assert {kind.name for kind in kinds if kind.fingerprint() != fingerprints[kind.name]} == reached
    assert reached, f"{package} decides no stage: it needs no VERSION"


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("local: url_modifiers", "baselines.mappers.kernels.address_kernels"),
        ("local: metadata_filters", "corpusmith.seeds"),
        ("local: content_filters", "corpusmith.text.tokenizers.load"),
        ("local: aggregates", "baselines.aggregators"),
        ("exact_dedup", "corpusmith.io.spill"),
        ("minhash_dedup", "dedup.groups.members"),
        ("bff", "dedup.bff.bloom.shared_memory"),
        ("ingest: blocks", "corpusmith.text.kernels"),
        ("shuffle as wds", "ray_processing.tokens.spilled_rows"),
        ("shuffle as wds", "corpusmith.seeds"),
        ("evaluation", "training.models.attention"),
    ],
)
def test_what_hand_written_lists_forgot_counts(kind: str, module: str, kinds: list[Kind]) -> None:
    (found,) = (each for each in kinds if each.name == kind)
    assert version_package(module) in code_of(found.fingerprint())
    assert module in closure(found.entries)


def test_every_deciding_module_lies_in_a_package_with_a_version(kinds: list[Kind]) -> None:
    without = sorted({each for kind in kinds for each in closure(kind.entries) if not version_package(each)})
    assert not without, "give their packages a VERSION, or name them in UNDECIDING with the reason"


def test_only_runs_that_use_a_row_of_a_table_depend_on_it(fingerprints: dict[str, Any]) -> None:
    assert "baselines.mappers.enrichers" not in code_of(fingerprints["local: url_modifiers"])
    assert "baselines.mappers.enrichers" in code_of(fingerprints["local: enrichers"])
    assert "raw_sources.extractors.blocks" not in code_of(fingerprints["ingest: resiliparse"])
    assert "raw_sources.extractors.blocks" in code_of(fingerprints["ingest: blocks"])
    assert "dedup.bff" not in code_of(fingerprints["exact_dedup"])
    rooms = {name.partition(".")[0] for name in code_of(fingerprints["exact_dedup"])}
    assert rooms == {"corpusmith", "dedup"}


def test_every_planner_of_a_stage_is_among_the_kinds(kinds: list[Kind]) -> None:
    asking = {
        name
        for name, path in modules().items()
        if "code_versions(" in path.read_text(encoding="utf-8") and name != deciding_code.__name__
        for node in ast.walk(syntax(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "code_versions"
    }
    assert asking == {kind.planner for kind in kinds}


# --- what the derivation rests on ---------------------------------------------------------------------------------


def test_patterns_find_the_imports_that_the_compiler_finds() -> None:
    different = {
        name: sorted(deciding_code.imported_modules(name) ^ imports(name))
        for name in modules()
        if deciding_code.imported_modules(name) != imports(name)
    }
    assert not different


def test_what_cannot_decide_and_tables_are_there_and_have_a_reason() -> None:
    assert {*deciding_code.UNDECIDING, *deciding_code.TABLES} <= modules().keys()
    assert all({*deciding_code.UNDECIDING.values(), *deciding_code.TABLES.values()})


def test_packages_hold_a_version_and_names_of_others_only() -> None:
    for name, path in modules().items():
        if path.name == "__init__.py":
            lines = [
                ast.unparse(node) for node in syntax(name).body if not isinstance(node, ast.Import | ast.ImportFrom)
            ]
            names = ("VERSION = ", "__all__ = ", "__version__ = ", "__all__, __getattr__, __dir__ = door(__name__, ")
            code = [line for line in lines[1:] if not line.startswith(names)]
            assert code == (["install_aliases()"] if name == "baselines.core" else []), name


def test_modules_are_imported_by_constant_names() -> None:
    dynamic = {
        name
        for name, path in modules().items()
        if any(f"{importer}(" in path.read_text(encoding="utf-8") for importer in IMPORTERS)
        for node in ast.walk(syntax(name))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in IMPORTERS
        and node.args
        and not isinstance(node.args[0], ast.Constant)
    }
    assert dynamic == DYNAMIC_IMPORTS.keys()


def taken_values(tree: ast.Module, is_undeciding: Any) -> list[str]:
    """Expressions that take a value from a module that cannot decide.

    Allowed are calls that stand alone or open a `with` block, annotations, and functions and classes handed on as they
    are.
    """
    parent = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if is_undeciding(f"{node.module}.{alias.name}")
    }
    names |= {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if is_undeciding(alias.name)
    }
    return [
        ast.unparse(_statement(node, parent))
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in names and not _gives_nothing(node, parent)
    ]


def _gives_nothing(node: ast.AST, parent: dict[ast.AST, ast.AST]) -> bool:
    while isinstance(parent[node], ast.Attribute):
        node = parent[node]
    above = parent[node]
    if isinstance(above, ast.Call) and above.func is node:
        return isinstance(parent[above], ast.Expr | ast.withitem)
    if isinstance(above, ast.Call | ast.keyword):
        return isinstance(node, ast.Name) and not node.id.isupper()
    while above in parent:
        if isinstance(above, ast.arg) or (isinstance(above, ast.AnnAssign) and above.annotation is node):
            return True
        if isinstance(above, ast.FunctionDef) and above.returns is node:
            return True
        node, above = above, parent[above]
    return False


def _statement(node: ast.AST, parent: dict[ast.AST, ast.AST]) -> ast.AST:
    while not isinstance(node, ast.stmt):
        node = parent[node]
    return node


def test_no_deciding_module_takes_a_value_from_one_that_cannot_decide(kinds: list[Kind]) -> None:
    found = {
        module: taken
        for module in closure(entry for kind in kinds for entry in kind.entries)
        if any(map(deciding_code.is_undeciding, imports(module)))
        if (taken := taken_values(syntax(module), deciding_code.is_undeciding))
    }
    assert not found


@pytest.mark.parametrize(
    ("statement", "taken"),
    [
        ("say('x')", 0),
        ("with track(3, 'x') as bar:\n    bar.advance()", 0),
        ("work(say, on_step=say)", 0),
        ("def work(bar: Tracker | None = None) -> Tracker: ...", 0),
        ("bar: Tracker", 0),
        ("def work():\n    if x:\n        say('x')", 0),
        ("x = say('x')", 1),
        ("return_value = len(track(3, 'x'))", 1),
        ("def work():\n    return progress.width()", 1),
        ("if progress.width() > 80:\n    cut()", 1),
        ("def work(width=progress.WIDTH): ...", 1),
        ("work(WIDTH)", 1),
        ("x = [say]", 1),
        ("def work(bar: Tracker):\n    return Tracker(3)", 1),
        ("for line in track(3, 'x'): ...", 1),
    ],
)
def test_a_taken_value_is_found(statement: str, taken: int) -> None:
    imported = (
        "from corpusmith.run import progress\n"
        "from corpusmith.run.progress import WIDTH, Tracker, say, track\n"
        "from corpusmith.seeds import draw\n"
    )
    found = taken_values(
        ast.parse(f"{imported}draw()\n{statement}\n"), lambda name: name.startswith("corpusmith.run.pr")
    )
    assert len(found) == taken


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        STATE.write_text(json.dumps(current_state(all_kinds(pathlib.Path(folder))), indent=2) + "\n")
