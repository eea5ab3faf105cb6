"""Local steps of a YAML: as they stand there, with their mappers built, and what one of them makes of a page."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from baselines.core.constants import Page
from baselines.core.factories import (
    BatchMapper,
    batch_mapper,
    draws_random_numbers,
    error_text,
    get_mapper,
    looking_beside,
)
from corpusmith.errors import UserError

Mapper = Callable[[Page], list[Page]]


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalStep:
    """A local step of a YAML: its index among all steps there, its function and arguments, and what it aggregates.

    `folder`: the folder of the YAML, where functions of the user's own may stand too.
    """

    index: int
    func: str
    arguments: dict[str, Any] = field(default_factory=dict)
    aggregate: dict[str, Any] = field(default_factory=dict)
    folder: str | None = None

    @property
    def key(self) -> str:
        """The step's name in counts, errors and report: `03-word_length_filter`."""
        return f"{self.index:02d}-{self.func.rsplit('.', 1)[-1]}"

    @property
    def reason(self) -> str:
        """Why a page that this step removes is gone: the function and its arguments."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.func}({shown if len(shown) <= 160 else shown[:157] + '...'})"

    def to_json(self) -> dict[str, Any]:
        """What of the step decides the result."""
        return {"index": self.index, "func": self.func, **self.arguments, "_aggregate": self.aggregate}


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltStep:
    """A step with its mapper, loaded once per worker.

    `position` counts the stage's steps from 0. `seeded`: it may draw random numbers. `batch`: the mapper's own way
    with several pages at once, where it has one.
    """

    key: str
    step: LocalStep
    position: int
    mapper: Mapper
    seeded: bool
    batch: BatchMapper | None


def build_steps(steps: tuple[LocalStep, ...]) -> tuple[BuiltStep, ...]:
    """Return the steps with their mappers; built once per worker and kept for its next shards.

    Raises:
        UserError: a factory fails; names the step.
    """
    return _build(orjson.dumps([asdict(step) for step in steps]))


@functools.lru_cache(maxsize=4)
def _build(steps_json: bytes) -> tuple[BuiltStep, ...]:
    steps = [LocalStep(**document) for document in orjson.loads(steps_json)]
    return tuple(_build_one(step, position) for position, step in enumerate(steps))


def _build_one(step: LocalStep, position: int) -> BuiltStep:
    try:
        with looking_beside(step.folder):
            mapper = get_mapper(step.func, **step.arguments)
    except Exception as error:  # the set-up boundary: a factory may raise anything, and it is the cause of ours
        reason = error_text(error, step.func, step.folder)
        raise UserError(f"step {step.key}: cannot be set up: {reason}") from error
    return BuiltStep(
        key=step.key,
        step=step,
        position=position,
        mapper=mapper,
        seeded=draws_random_numbers(step.func),
        batch=batch_mapper(mapper),
    )


def apply_mapper(built: BuiltStep, page: Page) -> tuple[list[Page], str | None]:
    """Return the pages that a step makes of one; none and the reason where it raised or gave no list of pages."""
    try:
        result = built.mapper(page)
    except Exception as error:  # noqa: BLE001 - the page boundary: the shard goes on, the page is quarantined
        return [], error_text(error, built.step.func, built.step.folder)
    problem = _misreturned(result)
    return (result, None) if problem is None else ([], problem)


def _misreturned(result: object) -> str | None:
    """What is wrong with a mapper's result, if anything."""
    if type(result) is list and (not result or (len(result) == 1 and type(result[0]) is dict)):
        return None
    if not isinstance(result, list):
        return f"returned {type(result).__name__} instead of a list of pages"
    wrong = [page for page in result if not isinstance(page, dict)]
    return None if not wrong else f"returned a list that holds {type(wrong[0]).__name__} instead of a page"
