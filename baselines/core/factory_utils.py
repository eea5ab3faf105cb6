"""Marks on mapper functions: a factory builds its mapper once; some mappers draw random numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

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
