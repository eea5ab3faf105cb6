"""get_mapper, get_aggregator, get_transform: built-ins by table, users' files by path, factories called once."""

from __future__ import annotations

import ast
import importlib
import inspect
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from baselines.core import get_aggregator, get_mapper, get_transform
from baselines.core import mapper_table as tables
from baselines.core.factories import ProfilingData, load_mapper_function
from baselines.core.factory_utils import factory_function, initialize_mapper, is_factory

ROOT = pathlib.Path(__file__).resolve().parents[3]

CUSTOM = """
calls = []

def tag(page, value="x"):
    page["tag"] = value
    return [page]

def make(prefix):
    calls.append(prefix)
    def mapper(page):
        page["tag"] = prefix + str(len(calls))
        return [page]
    return mapper
make._is_factory = True

def smallest(values):
    return {"smallest": min(values)}
"""


@pytest.fixture
def custom(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A working directory with `own/mappers.py`."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mappers.py").write_text(CUSTOM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def public_functions(path: pathlib.Path) -> set[str]:
    """Names of the functions that a module defines at its top and does not hide."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}


def test_table_of_mappers_is_complete() -> None:
    helpers = {"count_words", "read_banlist", "require_free"}
    defined: dict[str, str] = {}
    for path in sorted((ROOT / "baselines" / "mappers").rglob("*.py")):
        if not path.name.startswith("_") and path.parent.name != "kernels":
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            names = public_functions(path) - helpers
            if path.parent.name == "enrichers" and path.name != "enrichers.py":
                # DCLM's modules of models offer their loaders and measures beside the enricher
                names = {name for name in names if name.endswith("_enricher")}
            defined |= {name: f"{module}:{name}" for name in names}
    normalizers = {name: entry for name, entry in tables.MAPPERS.items() if name not in defined}
    assert defined == {name: entry for name, entry in tables.MAPPERS.items() if name in defined}
    assert set(normalizers) == public_functions(ROOT / "corpusmith/text/normalize.py")
    assert set(tables.AGGREGATORS) == public_functions(ROOT / "baselines/aggregators.py")


def test_helpers_are_listed_apart_from_mappers() -> None:
    mappers = tables.MAPPERS.keys() - tables.HELPERS.keys()
    suffixes = ("_filter", "_filters", "_modifier", "_enricher", "_splitter", "_formatter", "within_page_dedup")
    assert [name for name in mappers if not name.endswith(suffixes)] == []
    assert [name for name in tables.HELPERS if name.endswith(suffixes)] == []


def test_a_new_row_of_the_table_is_found_at_the_doors_and_imported_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    importlib.import_module("baselines.mappers.filters")  # with the names that the table has now
    monkeypatch.setitem(tables.MAPPERS, "new_filter", "baselines.mappers.filters.metadata_filters:quality_filter")
    assert "new_filter" in tables.mappers_of("baselines.mappers.filters")
    names, get, list_names = tables.door("baselines.mappers.filters", "baselines.mappers.filters.metadata_filters")
    assert "new_filter" in names
    assert "new_filter" in list_names()
    assert get("new_filter").__name__ == "quality_filter"
    with pytest.raises(AttributeError, match="has no attribute 'other_filter'"):
        get("other_filter")


@pytest.mark.parametrize("door", ["", ".filters", ".filters.content_filters", ".modifiers", ".enrichers"])
def test_doors_re_export_the_mappers_themselves(door: str) -> None:
    module = importlib.import_module(f"baselines.mappers{door}")
    for name in module.__all__:
        assert getattr(module, name) is load_mapper_function(name)
        assert name in dir(module)


def test_importing_the_doors_loads_no_mapper(tmp_path: pathlib.Path) -> None:
    code = """
import baselines.mappers, baselines.mappers.filters, baselines.mappers.enrichers
print([name for name in sys.modules if name.startswith("baselines.mappers") ])
"""
    assert (
        run_python(code, tmp_path)
        == "['baselines.mappers', 'baselines.mappers.filters', 'baselines.mappers.enrichers']"
    )


@pytest.mark.parametrize("name", sorted(tables.MAPPERS | tables.AGGREGATORS))
def test_every_entry_of_the_tables_resolves(name: str) -> None:
    module, _, attribute = (tables.MAPPERS | tables.AGGREGATORS)[name].partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_utility_names_are_found_too() -> None:
    assert get_mapper("split_words")("a b") == ["a", "b"]
    assert get_mapper("view")("a").text == "a"


def test_unknown_name_is_reported_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"Function page_lenght_filter not found in modules .*'page_length_filter'"):
        get_mapper("page_lenght_filter")


def test_a_step_of_a_yaml_can_be_passed_whole() -> None:
    step: dict[str, Any] = {
        "func": "page_length_filter",
        "length_type": "char",
        "max_length": 3,
        "module": "x",
        "_aggregate": {},
    }
    mapper = get_mapper(**step)
    assert mapper({"text": "abcd"}) == []
    page = {"text": "abcd"}
    assert mapper(page, max_length=4) == [page]


def test_wrong_keyword_of_a_plain_mapper_shows_at_the_call() -> None:
    mapper = get_mapper("quality_filter", treshold=1)
    with pytest.raises(TypeError, match="treshold"):
        mapper({"fasttext_hq_prob": 1})


def test_factory_is_called_at_once_and_its_mapper_ignores_keywords() -> None:
    with pytest.raises(ValueError, match="location"):
        get_mapper("substring_filter", banlist="a", location="middle", _safe=True)
    page = {"text": "bcd"}
    assert get_mapper("substring_filter", banlist="a")(page, banlist="b") == [page]


def test_safe_inside_profile_outside() -> None:
    assert get_mapper("word_length_filter", _safe=True)({}) == "KeyError('text')"
    result, profile = get_mapper("word_length_filter", _safe=True, _profile=True)({})
    assert result == "KeyError('text')"
    assert isinstance(profile, ProfilingData)
    assert profile.execution_time >= 0
    kept, _ = get_mapper("word_length_filter", _profile=True)({"text": "a"})
    assert kept == [{"text": "a"}]
    with pytest.raises(KeyError):
        get_mapper("word_length_filter", _profile=True)({})


def test_custom_mapper_is_loaded_from_the_working_directory(custom: pathlib.Path) -> None:
    assert get_mapper("own.mappers.tag", value=3)({}) == [{"tag": 3}]
    assert get_mapper(f"{custom}/own/mappers.tag")({}) == [{"tag": "x"}]
    assert load_mapper_function("own.mappers.tag").__module__.startswith("corpusmith_custom_mappers_")


def test_keyword_given_twice_to_a_custom_mapper_is_an_error(custom: pathlib.Path) -> None:
    with pytest.raises(TypeError):
        get_mapper("own.mappers.tag", value=3)({}, value=4)


def test_custom_factory_is_called_once(custom: pathlib.Path) -> None:
    mapper = get_mapper("own.mappers.make", prefix="p")
    assert mapper({}) == [{"tag": "p1"}]
    assert mapper({}, prefix="q") == [{"tag": "p1"}]


def test_custom_aggregators_follow_the_same_rule(custom: pathlib.Path) -> None:
    assert get_aggregator("own.mappers.smallest")([2, 1]) == {"smallest": 1}
    assert get_transform("own.mappers.tag")({}) == [{"tag": "x"}]


def test_custom_file_that_fails_keeps_its_cause(custom: pathlib.Path) -> None:
    (custom / "broken.py").write_text("import no_such_module_anywhere\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="no_such_module_anywhere") as caught:
        get_mapper("broken.fn")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert str(custom) in str(caught.value)
    assert not [name for name in sys.modules if name.startswith("corpusmith_custom_broken")]
    with pytest.raises(FileNotFoundError, match=r"absent\.py"):
        get_mapper("absent.fn")


def test_custom_file_without_the_function_is_an_assertion(custom: pathlib.Path) -> None:
    with pytest.raises(AssertionError, match="Function nothing not found"):
        get_mapper("own.mappers.nothing")


def test_relative_custom_names_are_refused() -> None:
    with pytest.raises(ValueError, match="relative"):
        get_mapper(".own.mappers.tag")


def test_any_value_of_the_mark_makes_a_factory() -> None:
    def plain(page: Any) -> Any:
        return page

    @factory_function
    def make(n: int) -> Any:
        """Make."""
        return lambda page: [page] * n

    marked = lambda: None  # noqa: E731
    marked._is_factory = False  # type: ignore[attr-defined]
    assert not is_factory(plain)
    assert is_factory(make)
    assert is_factory(marked)
    assert make.__doc__ == "Make."
    assert initialize_mapper(plain, anything=1) is plain
    assert initialize_mapper(make, n=2)(0) == [0, 0]


def test_signature_is_that_of_the_named_function(custom: pathlib.Path) -> None:
    parameters = {
        name: list(inspect.signature(load_mapper_function(name)).parameters)
        for name in ("substring_filter", "quality_filter", "own.mappers.tag")
    }
    assert parameters["substring_filter"][0] == "banlist"
    assert parameters["quality_filter"][:2] == ["page", "key"]
    assert parameters["own.mappers.tag"] == ["page", "value"]


def test_mappers_that_draw_are_marked() -> None:
    drawing = {name for name in tables.MAPPERS if getattr(load_mapper_function(name), "draws_random", False)}
    assert drawing == {"random_sampling_filter", "starcoder_v2_format_modifier"}


def run_python(code: str, cwd: pathlib.Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_short_module_names_lead_to_the_same_modules(tmp_path: pathlib.Path) -> None:
    code = """
import baselines.core
from core.constants import CONTENT, GLOBAL_FUNCTIONS
from core.factory_utils import factory_function
import mappers.filters.content_filters, aggregators, core
import baselines.mappers.filters.content_filters as filters, baselines.core.constants as constants
import baselines.core.factory_utils as utils, corpusmith.steps.global_steps as steps, baselines.aggregators
assert GLOBAL_FUNCTIONS is constants.GLOBAL_FUNCTIONS is steps.GLOBAL_FUNCTIONS
assert factory_function is utils.factory_function
assert mappers.filters.content_filters is filters and core is baselines.core and aggregators is baselines.aggregators
assert filters.__spec__.name == filters.__name__ == "baselines.mappers.filters.content_filters"
print(CONTENT)
"""
    assert run_python(code, tmp_path) == "text"


def test_a_package_of_the_user_comes_before_an_alias(tmp_path: pathlib.Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "core" / "constants.py").write_text("CONTENT = 'mine'", encoding="utf-8")
    code = f"""
sys.path.insert(0, {str(tmp_path)!r})
import baselines.core.constants
import core.constants
print(core.constants.CONTENT, baselines.core.constants.CONTENT)
"""
    assert run_python(code, tmp_path) == "mine text"


def test_core_and_mappers_load_no_heavy_package(tmp_path: pathlib.Path) -> None:
    code = """
import baselines.core, baselines.mappers
heavy = {"numba", "ray", "torch", "fasttext", "unidecode", "nltk", "blingfire", "transformers"}
print(sorted(heavy & set(sys.modules)))
"""
    assert run_python(code, tmp_path) == "[]"


@pytest.mark.parametrize(
    ("func", "arguments", "forwarded"),
    [
        ("page_length_filter", {"length_type": "word"}, {"model", "ignore_punctuation", "ignore_whitespace"}),
        ("page_length_filter", {"length_type": "line"}, {"remove_empty"}),
        ("page_length_filter", {"length_type": "paragraph"}, {"remove_empty"}),
        ("page_length_filter", {"length_type": "sentence"}, {"remove_empty", "tokenizer", "tokenizer_lang"}),
        ("word_counter_enricher", {}, {"model", "ignore_punctuation", "ignore_whitespace"}),
        ("word_removal_ratio_filter", {}, {"model", "ignore_punctuation", "ignore_whitespace"}),
        ("word_length_modifier", {}, {"model", "ignore_punctuation", "ignore_whitespace"}),
    ],
)
def test_mappers_say_where_their_other_arguments_go(func: str, arguments: dict[str, str], forwarded: set[str]) -> None:
    (target,) = load_mapper_function(func).forwards_keywords_to(arguments)  # type: ignore[attr-defined]
    assert set(list(inspect.signature(target).parameters)[1:]) == forwarded


def test_every_mapper_with_open_arguments_says_where_they_go() -> None:
    for name in tables.MAPPERS:
        parameters = inspect.signature(load_mapper_function(name)).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            assert hasattr(load_mapper_function(name), "forwards_keywords_to"), name
