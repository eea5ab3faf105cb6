"""The shape of the house, one test per rule, read from the syntax trees of every module, lazy imports included.

Imports go down: between rooms by `ROOMS`, inside a room by `SHELVES`. What may break a rule stands in a table here,
with its reason.
"""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[1]

#: each room's floor; a room imports from lower floors and from itself
ROOMS = {
    "corpusmith": 0,
    "raw_sources": 1,
    "baselines": 1,
    "dedup": 1,
    "training": 2,
    "ray_processing": 2,
    "finetuning": 3,
    "eval": 3,
    "mixing": 4,
}
#: floor 5: these look into every room, and nobody looks at them
TOP_FLOOR = ("corpusmith.cli", "corpusmith.api", "corpusmith.commands", "corpusmith.__main__")

#: inside a room: shelves from the lowest up; the longest name that a module begins with decides (the room's own name
#: stands for the modules that lie in no package). A name imports from itself and from the shelves below; two names on
#: one shelf don't know each other.
SHELVES: dict[str, list[tuple[str, ...]]] = {
    "corpusmith": [
        ("corpusmith.errors", "corpusmith.redact", "corpusmith.seeds"),
        ("corpusmith", "corpusmith.packages"),
        ("corpusmith.io",),
        ("corpusmith.io.backends", "corpusmith.config", "corpusmith.text"),
        ("corpusmith.io.pages", "corpusmith.io.tokens", "corpusmith.text.segmentation", "corpusmith.text.tokenizers"),
        ("corpusmith.mixture", "corpusmith.run.progress"),
        ("corpusmith.command", "corpusmith.run.ray"),
        ("corpusmith.run",),
        ("corpusmith.expdb",),
        ("corpusmith.report",),
        ("corpusmith.report.sections",),
        ("corpusmith.report.page",),
        ("corpusmith.report.command",),
        ("corpusmith.steps",),
        ("corpusmith.assets",),
    ],
    "raw_sources": [
        ("raw_sources.archives", "raw_sources.extractors.blocks"),
        ("raw_sources.extractors", "raw_sources.common_crawl", "raw_sources.sample_crawl"),
        ("raw_sources.ingest",),
        ("raw_sources",),
    ],
    "baselines": [
        ("baselines.core", "baselines.constants"),
        ("baselines.mappers.core_utils", "baselines.mappers.kernels"),
        ("baselines.mappers.filters", "baselines.mappers.enrichers"),
        ("baselines.mappers",),
        ("baselines",),
    ],
    "dedup": [
        ("dedup.bff.bloom", "dedup.groups"),
        ("dedup.bff", "dedup.exact", "dedup.minhash"),
        ("dedup",),
    ],
    "training": [
        ("training.models",),
        ("training.hyperparameters",),
        ("training.data",),
        ("training.state",),
        ("training.optimization",),
        ("training.plan",),
        ("training.observers",),
        ("training.loop",),
        ("training.arguments",),
        ("training.params", "training.open_lm_backend", "training.huggingface", "training.finetuning"),
        ("training.experiment", "training.main", "training.proxies"),
        ("training",),
    ],
    "ray_processing": [
        ("ray_processing.datasets",),
        ("ray_processing.pipeline", "ray_processing.tokens"),
        ("ray_processing.process", "ray_processing.dedup_jsonl", "ray_processing.tokenize_shuffle"),
        ("ray_processing",),
    ],
    "eval": [
        ("eval.tasks",),
        ("eval.models", "eval.results"),
        ("eval.scoring",),
        ("eval.evaluate", "eval.compare_evals", "eval.aggregated_metrics", "eval.lm_eval_adapter"),
        ("eval.database", "eval.eval_openlm_ckpt"),
        ("eval", "eval.eval_expdb"),
    ],
    "finetuning": [("finetuning",)],
    "mixing": [
        ("mixing.search.mixtures",),
        ("mixing.search.predictors",),
        ("mixing.search.strategies",),
        ("mixing.search",),
        ("mixing.bench",),
        ("mixing",),
    ],
}

MAX_LINES = 450
MIN_MODULES, MAX_MODULES = 3, 20
#: packages that have another number of modules, and why
SIZES_APART = {
    "raw_sources": "its door of DCLM alone; the rest lies in packages",
    "dedup": "packages only, one per algorithm",
    "mixing": "packages only",
}
MAX_PARAMETERS, MAX_KERNEL_PARAMETERS = 8, 14
#: functions of more parameters, and why
PARAMETERS_APART = {
    "ray_processing.dedup_jsonl.dedup_jsonl": "DCLM's signature",
    "raw_sources.extractors.registry.resiliparse_extractor": "resiliparse's own options",
    "raw_sources.extractors.registry.trafilatura_extractor": "trafilatura's own options",
}
#: where any exception is caught, and what boundary that is
BROAD_EXCEPTS = {
    "baselines.core.compiled.FilterRun._decide": "a page: what a filter raises sets the page aside",
    "baselines.core.factories._load_file": "a module of the user's, while it is imported",
    "baselines.core.factories._return_errors.safe": "DCLM's `_safe`: what a mapper raises becomes its result",
    "baselines.core.shard_processor.ShardProcessor._batch": "a batch of pages: each is then tried alone",
    "baselines.core.steps._build_one": "a factory of the user's, while it builds a mapper",
    "baselines.core.steps.apply_mapper": "a page: what a mapper raises sets the page aside",
    "corpusmith.run.ray.worker._outcome": "a task: what it raises is its outcome",
    "corpusmith.text.tokenizers.huggingface._parse": "the package tokenizers, which raises bare Exception",
    "raw_sources.ingest.documents._row_outcome": "a row of a table: what an extractor raises sets it aside",
    "raw_sources.ingest.documents.document_outcomes": "a document: what a reader raises sets it aside",
    "raw_sources.ingest.pages.PageMaker.outcome": "a record: what an extractor raises sets it aside",
    "training.experiment.run_experiment": "the command: a failed run is recorded as failed, then told in one line",
    "training.loop.loader.ReadAhead._work": "a thread: its error is raised again where batches are taken",
    "training.loop.train_loop.train": "a run: observers hear of any end before it goes on up",
    "training.open_lm_backend.train_with_open_lm": "another trainer: what it raises is told in one line",
    "training.proxies.ProxyWorker.run": "a proxy: what it raises is its result, and the others go on",
}
MAX_FORMAT_SKIPS = 30
#: class names that stand in two modules, and why
NAMES_APART: dict[str, str] = {}
#: one file that is copied beside an exported model, so that it names everything itself
COPIED = "training.huggingface.modeling_openlm"
#: reads DCLM's pickled banlists, by an unpickler that knows one function
UNPICKLER = "baselines.mappers.filters._pickled_banlist"
PICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


@dataclass(frozen=True, slots=True)
class Module:
    """A module of ours: its dotted name, its file, its text and syntax tree, and the modules of ours it imports."""

    name: str
    path: pathlib.Path
    text: str
    tree: ast.Module
    imports: list[tuple[int, str]] = field(default_factory=list)

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @property
    def is_top(self) -> bool:
        return any(self.name == top or self.name.startswith(f"{top}.") for top in TOP_FLOOR)

    def at(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}"


@functools.cache
def modules() -> dict[str, Module]:
    """Every module of the rooms by its name."""
    found: dict[str, Module] = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            text = path.read_text(encoding="utf-8")
            found[name] = Module(name, path, text, ast.parse(text))
    for module in found.values():
        module.imports.extend(_imports_of_ours(module, found))
    return found


def _imports_of_ours(module: Module, known: dict[str, Module]) -> Iterator[tuple[int, str]]:
    for line, name in imported_names(module):
        while name and name not in known:
            name = name.rpartition(".")[0]
        if name and name != module.name:
            yield line, name


def imported_names(module: Module) -> Iterator[tuple[int, str]]:
    """Each name that a module imports, with its line."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{'.' * node.level}{node.module}.{alias.name}") for alias in node.names)


@functools.cache
def files_outside_tests() -> dict[str, str]:
    """The text of every tracked Python file that is no test."""
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [name for name in tracked.stdout.split() if not name.startswith("tests/") and (ROOT / name).exists()]
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in paths}


def shelf_of(module: Module) -> tuple[int, str] | None:
    """The number of a module's shelf in its room, and the name on it that the module belongs to."""
    best: tuple[int, str] | None = None
    for number, shelf in enumerate(SHELVES[module.room]):
        for name in shelf:
            deep = module.package == name if name == module.room else module.name.startswith(f"{name}.")
            if (module.name == name or deep) and (best is None or len(name) > len(best[1])):
                best = number, name
    return best


def functions(module: Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Each function of a module with its full name."""

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{prefix}.{child.name}", child
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            yield from visit(child, f"{prefix}.{child.name}" if named else prefix)  # type: ignore[attr-defined]

    yield from visit(module.tree, module.name)


def test_imports_between_rooms_go_down() -> None:
    wrong = [
        f"{module.at(line)}: {module.room} (floor {ROOMS[module.room]}) imports {name}"
        for module in modules().values()
        for line, name in module.imports
        if not module.is_top
        and (name.startswith(TOP_FLOOR) or (other := name.partition(".")[0]) != module.room)
        and (name.startswith(TOP_FLOOR) or ROOMS[other] >= ROOMS[module.room])
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_has_a_shelf() -> None:
    lost = [name for name, module in modules().items() if not module.is_top and shelf_of(module) is None]
    assert not lost, f"give these a shelf in SHELVES: {lost}"


def test_imports_inside_a_room_go_down() -> None:
    wrong = []
    for module in modules().values():
        for line, name in module.imports:
            other = modules()[name]
            if module.is_top or other.is_top or other.room != module.room:
                continue
            own, its = shelf_of(module), shelf_of(other)
            if own is not None and its is not None and own[1] != its[1] and own[0] <= its[0]:
                wrong.append(
                    f"{module.at(line)}: {own[1]} (shelf {own[0]}) imports {name} of {its[1]} (shelf {its[0]})"
                )
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_imports_not_even_a_lazy_one() -> None:
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done or modules()[name].is_top:
            return
        for _, following in modules()[name].imports:
            visit(following, (*trail, name))
        done.add(name)

    for name in modules():
        visit(name, ())


def test_imports_are_absolute() -> None:
    wrong = [m.at(line) for m in modules().values() for line, name in imported_names(m) if name.startswith(".")]
    assert not wrong


def test_floor_zero_knows_no_torch() -> None:
    wrong = [
        module.at(line)
        for module in modules().values()
        if module.room == "corpusmith" and not module.is_top
        for line, name in imported_names(module)
        if name.partition(".")[0] == "torch"
    ]
    assert not wrong


def test_nobody_unpickles_or_evaluates() -> None:
    for module in modules().values():
        # the exception that torch raises for a checkpoint with more than weights in it is no unpickler
        names = {name.partition(".")[0] for _, name in imported_names(module) if name != "pickle.UnpicklingError"}
        assert names & PICKLERS == ({"pickle"} if module.name == UNPICKLER else set()), module.name
        found = re.search(r"(?<![\w.])eval\(|(?<![\w.])exec\(|yaml\.load\(|allow_pickle=True", module.text)
        assert not found, f"{module.name}: {found[0] if found else ''}"


def test_every_module_and_package_opens_with_a_docstring() -> None:
    assert [name for name, module in modules().items() if not ast.get_docstring(module.tree)] == []


def test_no_file_is_too_long() -> None:
    lengths = {name: text.count("\n") for name, text in files_outside_tests().items()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_a_package_has_three_to_twenty_modules() -> None:
    sizes = Counter(module.package for module in modules().values() if module.name != module.package)
    sizes.update({module.package: 0 for module in modules().values()})
    wrong = {
        package: size
        for package, size in sizes.items()
        if not MIN_MODULES <= size <= MAX_MODULES and package not in SIZES_APART and package != "finetuning"
    }
    assert not wrong
    assert [name for name in SIZES_APART if MIN_MODULES <= sizes[name] <= MAX_MODULES] == [], "no longer apart"


def test_no_function_has_too_many_parameters() -> None:
    wrong, apart = [], set()
    for module in modules().values():
        for name, function in functions(module):
            names = [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
            count = len(names) - (names[:1] in (["self"], ["cls"]))
            is_kernel = any("kernel" in ast.unparse(each) for each in function.decorator_list)
            if count > (MAX_KERNEL_PARAMETERS if is_kernel else MAX_PARAMETERS):
                apart.add(name)
                if name not in PARAMETERS_APART:
                    wrong.append(f"{module.at(function.lineno)}: {name} has {count}")
    assert not wrong, "\n".join(wrong)
    assert set(PARAMETERS_APART) == apart, "no longer apart"


def test_any_exception_is_caught_only_at_named_boundaries() -> None:
    found: dict[str, str] = {}
    for module in modules().values():
        spans = sorted(functions(module), key=lambda each: each[1].lineno)
        for node in ast.walk(module.tree):
            kinds = ast.unparse(node.type) if isinstance(node, ast.ExceptHandler) and node.type else ""
            bare = isinstance(node, ast.ExceptHandler) and node.type is None
            if isinstance(node, ast.ExceptHandler) and (bare or re.search(r"\b(Base)?Exception\b", kinds)):
                inside = [name for name, each in spans if each.lineno <= node.lineno <= (each.end_lineno or 0)]
                found[inside[-1] if inside else module.name] = module.at(node.lineno)
    unnamed = {name: place for name, place in found.items() if name not in BROAD_EXCEPTS}
    assert not unnamed, "\n".join(f"{place}: {name}" for name, place in unnamed.items())
    assert set(BROAD_EXCEPTS) == set(found), "no longer there"


def test_few_lines_are_kept_from_the_formatter() -> None:
    counts = {name: text.count("fmt: skip") for name, text in files_outside_tests().items() if "fmt: skip" in text}
    assert sum(counts.values()) <= MAX_FORMAT_SKIPS, counts


def test_a_class_name_means_one_thing() -> None:
    places = defaultdict(list)
    for module in modules().values():
        if module.name != COPIED:
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef):
                    places[node.name.lstrip("_")].append(module.name)
    doubles = {name: found for name, found in places.items() if len(found) > 1 and name not in NAMES_APART}
    assert not doubles


def test_importing_corpusmith_loads_nothing_heavy() -> None:
    code = "import sys, corpusmith; sys.exit(sorted({'ray', 'torch', 'numba', 'numpy'} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
