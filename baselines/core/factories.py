"""From the name of a step to a callable: built-in functions by table, users' own by the path of their file.

Follows DCLM's `get_mapper`, `get_aggregator` and `get_transform`; departs from it in looking built-ins up in a table
of strings instead of importing every module, in loading a user's file once, and in keeping the cause of its errors.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from baselines.core.factory_utils import initialize_mapper, is_factory
from baselines.core.mapper_table import AGGREGATORS, MAPPERS
from corpusmith.errors import did_you_mean
from corpusmith.imports import resolve

IGNORED_KEYS = ("module", "func")
_BESIDE: ContextVar[str | None] = ContextVar("folder of the YAML", default=None)


@dataclass
class ProfilingData:
    """What a profiled call took.

    Attributes:
        execution_time: seconds.
    """

    execution_time: float


def get_mapper(func: str, _profile: bool = False, _safe: bool = False, **kwargs: Any) -> Callable[..., Any]:
    """Return the mapper that a YAML step names, ready to be called with a page.

    Args:
        func: name of a built-in mapper, or the dotted path of a custom one relative to the working directory (or to the
            folder of `looking_beside`).
        _profile: calls return (result, ProfilingData).
        _safe: calls return `repr(error)` instead of raising.
        kwargs: the other keys of the step; `module`, `func` and names that start with `_` are left out.

    Raises:
        ValueError: unknown name.
        FileNotFoundError: a custom file that cannot be loaded, with its error as the cause.
        AssertionError: a custom file without the function.
        Exception: whatever a factory raises, which is called here.
    """
    mapper = _load_function(func, MAPPERS, initialize_mapper, **kwargs)
    if _safe:
        mapper = _return_errors(mapper)
    if _profile:
        mapper = _measure_time(mapper)
    return mapper


class BatchMapper(Protocol):
    """A mapper, made by a factory, that handles several pages better than one by one: models do."""

    batch_size: int

    def __call__(self, page: dict[str, Any]) -> list[dict[str, Any]]: ...

    def apply_batch(self, pages: list[dict[str, Any]]) -> None:
        """Change all pages in place, as calls with each would, and keep them all; nothing is changed if it raises."""


def batch_mapper(mapper: Callable[..., Any]) -> BatchMapper | None:
    """Return the mapper of `get_mapper` as what handles several pages at once, if it is one."""
    made = mapper.args[0] if isinstance(mapper, functools.partial) and mapper.args else None
    return made if hasattr(made, "apply_batch") else None


def get_aggregator(func: str, **kwargs: Any) -> Callable[..., Any]:
    """Return the aggregator of this name (built-in or custom) with its arguments bound; errors as `get_mapper`."""
    return _load_function(func, AGGREGATORS, **kwargs)


def get_transform(func: str, **kwargs: Any) -> Callable[..., Any]:
    """Return the transform of this name (built-in or custom) with its arguments bound; errors as `get_mapper`."""
    return _load_function(func, AGGREGATORS, **kwargs)


def load_mapper_function(func: str) -> Callable[..., Any]:
    """Return the function that a step names, neither called nor bound; errors as `get_mapper`."""
    return _find_function(func, MAPPERS)


def draws_random_numbers(func: str) -> bool:
    """Whether a step's mapper may draw random numbers: users' own always may, ours where they are marked."""
    return "." in func or bool(getattr(load_mapper_function(func), "draws_random", False))


def step_arguments(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a step that are arguments of its function."""
    return {key: value for key, value in step.items() if key not in IGNORED_KEYS and not key.startswith("_")}


def _load_function(
    func: str,
    default_modules: Mapping[str, str],
    prep_func: Callable[..., Callable[..., Any]] | None = None,
    **kwargs: Any,
) -> Callable[..., Any]:
    """Find a function and bind its arguments.

    Args:
        func: name in `default_modules`, or dotted path of a custom function.
        default_modules: name to `"module:function"`.
        prep_func: turns (function, arguments) into the callable to use; factories are called by it.
        kwargs: arguments, and keys to leave out.
    """
    arguments = step_arguments(kwargs)
    function = _find_function(func, default_modules)
    if prep_func is not None and is_factory(function):
        prepared = prep_func(function, **arguments)
        return functools.partial(_call_without_keywords, prepared)
    if "." in func:
        # a keyword given here and at call time is an error for users' functions, not an override
        return functools.partial(_call_with_both, function, arguments)
    return functools.partial(function, **arguments)


def _call_without_keywords(function: Callable[..., Any], *args: Any, **ignored: Any) -> Any:
    del ignored
    return function(*args)


def _call_with_both(
    function: Callable[..., Any], arguments: dict[str, Any], /, *args: Any, **call_arguments: Any
) -> Any:
    return function(*args, **call_arguments, **arguments)


def _find_function(func: str, default_modules: Mapping[str, str]) -> Callable[..., Any]:
    return _find_custom(func) if "." in func else _find_built_in(func, default_modules)


def _find_built_in(name: str, default_modules: Mapping[str, str]) -> Callable[..., Any]:
    """Return the function by table, else any attribute of that name in the table's modules (as DCLM finds it)."""
    if name in default_modules:
        function: Callable[..., Any] = resolve(default_modules[name])
        return function
    module_names = sorted({reference.partition(":")[0] for reference in default_modules.values()})
    for module_name in module_names:
        found = getattr(importlib.import_module(module_name), name, None)
        if callable(found):
            return found  # type: ignore[no-any-return]
    hint = did_you_mean(name, default_modules)
    raise ValueError(f"Function {name} not found in modules {', '.join(module_names)}{hint}")


@contextlib.contextmanager
def looking_beside(folder: str | None) -> Iterator[None]:
    """Within the block, users' files that are not below the working directory are looked for in `folder` too."""
    token = _BESIDE.set(folder)
    try:
        yield
    finally:
        _BESIDE.reset(token)


def custom_path(func: str) -> str:
    """The file of a user's function: below the working directory, as it is now, else beside the YAML."""
    relative = func.rpartition(".")[0].replace(".", os.sep) + ".py"
    path = os.path.join(os.getcwd(), relative)
    beside = _BESIDE.get()
    if beside is not None and not os.path.isfile(path) and os.path.isfile(os.path.join(beside, relative)):
        return os.path.join(beside, relative)
    return path


def error_text(error: Exception, func: str, folder: str | None = None) -> str:
    """An error of a step's function in one line; of a user's own function with its file and line.

    Args:
        error: what the function raised.
        func: its name in the YAML.
        folder: the folder of the YAML.
    """
    text = f"{type(error).__name__}: {error}"
    if "." not in func:
        return text
    with looking_beside(folder):
        return text + _line_in(custom_path(func), error)


def _line_in(path: str, error: Exception) -> str:
    """Where in a user's file an error came up: ` (mine.py:5)`."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f" ({os.path.basename(path)}:{lines[-1]})" if lines else ""


def _find_custom(func: str) -> Callable[..., Any]:
    """Return the function of a user's file."""
    if func.startswith("."):
        raise ValueError(f"{func}: relative imports are not supported; give the path from the working directory")
    attribute = func.rpartition(".")[2]
    path = custom_path(func)
    module = _load_file(path)
    if not hasattr(module, attribute):
        raise AssertionError(f"Function {attribute} not found in {path}")
    function: Callable[..., Any] = getattr(module, attribute)
    return function


def _load_file(path: str) -> ModuleType:
    """Run a user's Python file as a module whose name no other file has."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    name = f"corpusmith_custom_{os.path.splitext(os.path.basename(path))[0]}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"cannot load {path} (working directory {os.getcwd()})")
    module = importlib.util.module_from_spec(spec)
    earlier = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything; it is the cause of ours
        if earlier is None:
            del sys.modules[name]
        else:
            sys.modules[name] = earlier
        reason = f"{type(error).__name__}: {error}{_line_in(path, error)}"
        raise FileNotFoundError(f"cannot load {path} (working directory {os.getcwd()}): {reason}") from error
    return module


def _return_errors(mapper: Callable[..., Any]) -> Callable[..., Any]:
    def safe(*args: Any, **kwargs: Any) -> Any:
        try:
            return mapper(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  the page boundary: the caller sets the page aside
            return repr(error)

    return safe


def _measure_time(mapper: Callable[..., Any]) -> Callable[..., Any]:
    def profiled(*args: Any, **kwargs: Any) -> tuple[Any, ProfilingData]:
        start = time.perf_counter()
        result = mapper(*args, **kwargs)
        return result, ProfilingData(time.perf_counter() - start)

    return profiled
