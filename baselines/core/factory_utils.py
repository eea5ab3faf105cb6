"""Marks on mapper functions: a factory builds its mapper once; some mappers draw random numbers."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from baselines.core.constants import CONTENT, Page
from corpusmith.text.segmentation.view import view

F = TypeVar("F", bound=Callable[..., Any])
Mapper = Callable[..., Any]


def is_factory(func: Any) -> bool:
    """Whether the object carries the mark of `factory_function`, whatever its value."""
    return hasattr(func, "_is_factory")


def factory_function(func: F) -> F:
    """Mark a function as a factory: called once with the step's arguments, it returns the mapper."""

    @functools.wraps(func)
    def factory(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    factory._is_factory = True  # type: ignore[attr-defined]
    return factory  # type: ignore[return-value]


def draws_random(func: F) -> F:
    """Mark a mapper that draws from Python's or numpy's global generator, so that drivers seed them for each page."""
    func.draws_random = True  # type: ignore[attr-defined]
    return func


def read_only(func: F) -> F:
    """Mark a mapper that keeps a page as it is or removes it, by what is in the page alone.

    Runs of such steps are compiled to one pass (`baselines.core.compiled`).
    """
    func.is_read_only = True  # type: ignore[attr-defined]
    return func


def text_filter(predicate: Callable[..., bool]) -> Callable[..., list[Page]]:
    """Return the filter that a predicate on the view of a page's text makes: `page -> [page]` or `[]`.

    The other arguments are the predicate's, which stays as the attribute `predicate` for compiled runs.
    """

    @functools.wraps(predicate)
    def filter_by_text(page: Page, *args: Any, **kwargs: Any) -> list[Page]:
        return [page] if predicate(view(page[CONTENT]), *args, **kwargs) else []

    first, *others = inspect.signature(predicate).parameters.values()
    hints = typing.get_type_hints(predicate)
    shown = [first.replace(name="page", annotation="Page"), *others]
    filter_by_text.__signature__ = inspect.Signature(shown, return_annotation="list[Page]")  # type: ignore[attr-defined]
    hints = {name: hint for name, hint in hints.items() if name != first.name}
    filter_by_text.__annotations__ = {**hints, "page": Page, "return": list[Page]}
    del filter_by_text.__wrapped__
    filter_by_text.predicate = predicate  # type: ignore[attr-defined]
    return read_only(filter_by_text)


def runs_on_actors(func: F) -> F:
    """Mark a factory whose mapper holds a large model: Ray actors keep it from shard to shard, and may have a GPU.

    Such a factory has the argument `device`; unless that is "cpu" an actor asks for a GPU where the cluster has any.
    """
    func.runs_on_actors = True  # type: ignore[attr-defined]
    return func


def forwards_keywords(choose: Callable[[Mapping[str, Any]], Iterable[Callable[..., Any]]]) -> Callable[[F], F]:
    """Mark a mapper that hands its `**kwargs` on, so that a YAML's arguments can be checked before the run.

    Args:
        choose: from the step's arguments to the functions whose parameters (less the first) they may also name. It is
            kept as the mapper's attribute `forwards_keywords_to`.
    """

    def mark(func: F) -> F:
        func.forwards_keywords_to = choose  # type: ignore[attr-defined]
        return func

    return mark


def initialize_mapper(func: Mapper, **kwargs: Any) -> Mapper:
    """Return the mapper that a factory makes of these arguments; a plain mapper is returned as it is."""
    if is_factory(func):
        mapper: Mapper = func(**kwargs)
        return mapper
    return func
