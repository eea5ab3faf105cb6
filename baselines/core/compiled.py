"""Steps of a YAML as they run over pages: each alone, and runs of read-only filters compiled to one pass.

A run's filters look at one shared view of the page's text, in the order of the YAML, and stop at the first that removes
the page or raises. They change nothing, so what the filters before did needs no books: how many pages each saw, removed
or could not handle follows from where each page stopped. Their time is measured for the run as a whole and apportioned
by pages that are timed filter by filter.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from baselines.core.constants import CONTENT, Page
from baselines.core.factories import (
    BatchMapper,
    batch_mapper,
    draws_random_numbers,
    error_text,
    get_mapper,
    load_mapper_function,
    looking_beside,
)
from corpusmith.errors import UserError
from corpusmith.text.segmentation.view import view

# One page in so many is timed filter by filter.
TIMED_EVERY = 64

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
        """The step's name in books, errors and report: `03-word_length_filter`."""
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


class FilterRun:
    """Read-only filters that follow each other, as one.

    `first`: position of its first filter among the steps; `stopped[i]` and `failed[i]` count the pages that filter i
    removed or raised on, `pages` all that came in; `seconds` is the time of all pages.
    """

    def __init__(self, built: Sequence[BuiltStep], first: int) -> None:
        self.first = first
        self.steps = tuple(built)
        self._checks = [_check_of(step) for step in built]
        self.reset()

    def reset(self) -> None:
        """Forget all counts, for the next shard."""
        self.pages = 0
        self.stopped = [0] * len(self.steps)
        self.failed = [0] * len(self.steps)
        self.seconds = 0.0
        self._timed = [0.0] * len(self.steps)

    def decide(self, page: Page) -> tuple[int, str | None]:
        """Position of the filter that ends the page's way, and the error if it raised; (-1, None) if it is kept."""
        started = time.perf_counter()
        self.pages += 1
        text = page.get(CONTENT)
        if type(text) is not str:
            position, problem = self._decide_singly(page)
        elif self.pages % TIMED_EVERY == 1:
            position, problem = self._decide_timed(page, text)
        else:
            position, problem = self._decide(page, text)
        self.seconds += time.perf_counter() - started
        if position >= 0:
            (self.stopped if problem is None else self.failed)[position] += 1
        return position, problem

    def _decide(self, page: Page, text: str) -> tuple[int, str | None]:
        position = 0
        seen = view(text)
        try:
            for position, (on_view, check) in enumerate(self._checks):
                if not check(seen if on_view else page):
                    return position, None
        except Exception as error:  # noqa: BLE001 - the page boundary: the shard goes on, the page is kept aside
            return position, f"{type(error).__name__}: {error}"
        return -1, None

    def _decide_timed(self, page: Page, text: str) -> tuple[int, str | None]:
        position = 0
        seen = view(text)
        started = time.perf_counter()
        try:
            for position, (on_view, check) in enumerate(self._checks):
                kept = check(seen if on_view else page)
                now = time.perf_counter()
                self._timed[position] += now - started
                started = now
                if not kept:
                    return position, None
        except Exception as error:  # noqa: BLE001 - as above
            return position, f"{type(error).__name__}: {error}"
        return -1, None

    def _decide_singly(self, page: Page) -> tuple[int, str | None]:
        """A page whose text is missing or no string: the filters one by one, for the errors that are theirs."""
        position = 0
        try:
            for position, built in enumerate(self.steps):
                if not built.mapper(page):
                    return position, None
        except Exception as error:  # noqa: BLE001 - as above
            return position, f"{type(error).__name__}: {error}"
        return -1, None

    def apportioned_seconds(self) -> list[float]:
        """The time of each filter: its share in the pages that were timed filter by filter."""
        total = sum(self._timed)
        if total == 0:
            return [self.seconds / len(self.steps)] * len(self.steps)
        return [self.seconds * own / total for own in self._timed]


def _check_of(built: BuiltStep) -> tuple[bool, Callable[[Any], Any]]:
    """(True, predicate on the view of the text), or (False, mapper of the page); falsy results remove the page."""
    predicate = getattr(load_mapper_function(built.step.func), "predicate", None)
    if predicate is None:
        return False, built.mapper
    return True, functools.partial(predicate, **built.step.arguments)


def is_compilable(step: LocalStep) -> bool:
    """Whether a step may stand in a run: a read-only filter of ours that aggregates nothing."""
    return (
        "." not in step.func and not step.aggregate and getattr(load_mapper_function(step.func), "is_read_only", False)
    )


Plan = tuple[BuiltStep | FilterRun, ...]


def compile_steps(built: Sequence[BuiltStep]) -> Plan:
    """The steps in order, with each stretch of two or more filters that may be compiled as one run."""
    plan: list[BuiltStep | FilterRun] = []
    position = 0
    while position < len(built):
        end = position
        while end < len(built) and is_compilable(built[end].step):
            end += 1
        if end - position >= 2:
            plan.append(FilterRun(built[position:end], position))
            position = end
        else:
            plan.append(built[position])
            position += 1
    return tuple(plan)


@functools.lru_cache(maxsize=4)
def _build(steps_json: bytes) -> tuple[BuiltStep, ...]:
    built = []
    for position, document in enumerate(orjson.loads(steps_json)):
        step = LocalStep(**document)
        try:
            with looking_beside(step.folder):
                mapper = get_mapper(step.func, **step.arguments)
        except Exception as error:
            reason = error_text(error, step.func, step.folder)
            raise UserError(f"step {step.key}: cannot be set up: {reason}") from error
        built.append(
            BuiltStep(
                key=step.key,
                step=step,
                position=position,
                mapper=mapper,
                seeded=draws_random_numbers(step.func),
                batch=batch_mapper(mapper),
            )
        )
    return tuple(built)


def build_steps(steps: tuple[LocalStep, ...]) -> tuple[BuiltStep, ...]:
    """The steps with their mappers; built once per worker and kept for its next shards.

    Raises UserError naming the step whose factory fails.
    """
    return _build(orjson.dumps([asdict(step) for step in steps]))
