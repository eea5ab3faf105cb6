"""The imports of each room, read from the syntax tree, lazy ones included, go down only."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLOORS = {
    "corpusmith": 0,
    "raw_sources": 1,
    "baselines": 1,
    "dedup": 1,
    "training": 2,
    "ray_processing": 2,
    "eval": 3,
    "mixing": 4,
}
CLI = ROOT / "corpusmith" / "cli.py"
MAX_MODULE_LINES = 600
# reads DCLM's pickled banlists, by an unpickler that knows one function
UNPICKLER = ROOT / "baselines" / "mappers" / "filters" / "_pickled_banlist.py"


def modules() -> list[pathlib.Path]:
    return sorted(path for room in FLOORS for path in (ROOT / room).rglob("*.py"))


def imported_modules(path: pathlib.Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def room_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_or_stay_in_the_room(path: pathlib.Path) -> None:
    room = room_of(path)
    wrong = []
    for line, name in imported_modules(path):
        other = name.split(".")[0]
        if other in FLOORS and other != room and path != CLI and FLOORS[other] >= FLOORS[room]:
            wrong.append(f"{path}:{line}: {room} (floor {FLOORS[room]}) imports {name} (floor {FLOORS[other]})")
    assert not wrong


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_floor_zero_knows_no_torch_and_nobody_unpickles(path: pathlib.Path) -> None:
    # the exception that torch raises for a checkpoint with more than weights in it is no unpickler
    names = {name.split(".")[0] for _, name in imported_modules(path) if name != "pickle.UnpicklingError"}
    admitted = {"pickle"} if path == UNPICKLER else set()
    assert names & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"} == admitted
    if room_of(path) == "corpusmith":
        assert "torch" not in names
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])eval\(|(?<![\w.])exec\(|yaml\.load\(|allow_pickle=True", text)


def test_no_import_cycles_at_module_level() -> None:
    names = {str(path.relative_to(ROOT).with_suffix("")).replace("/", "."): path for path in modules()}
    graph = {name: _top_level_imports(path, names) for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for following in graph[name]:
            visit(following, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def _top_level_imports(path: pathlib.Path, names: dict[str, pathlib.Path]) -> list[str]:
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            candidates = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [name for name in candidates if name in names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_opens_with_a_docstring_and_is_of_readable_size(path: pathlib.Path) -> None:
    text = path.read_text(encoding="utf-8")
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
    assert text.count("\n") <= MAX_MODULE_LINES or path.name == "modifiers.py"
