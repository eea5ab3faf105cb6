"""Stretches of read-only filters, compiled to one pass over the page.

The filters of a run look at one shared view of the page's text, in the order of the YAML, and stop at the first that
removes the page or raises. They change nothing, so what became of a page follows from where its way ended: how many
pages each filter saw, removed or could not handle. Their time is measured for the run as a whole and apportioned by
pages that are timed filter by filter.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

from baselines.core.constants import CONTENT, Page
from baselines.core.factories import load_mapper_function
from baselines.core.steps import BuiltStep, LocalStep
from corpusmith.text.segmentation.view import TextView, view

#: one page in so many is timed filter by filter
TIMED_EVERY = 64

#: (True, predicate on the view of the text), or (False, mapper of the page); falsy results remove the page
Check = tuple[bool, Callable[[Any], Any]]


class FilterRun:
    """Read-only filters that follow each other, as one.

    `first`: position of its first filter among the steps; `stopped[i]` and `failed[i]` count the pages that filter i
    removed or raised on, `pages` all that came in; `seconds` is the time of all pages.
    """

    def __init__(self, built: Sequence[BuiltStep], first: int) -> None:
        self.first = first
        self.steps = tuple(built)
        self._checks = [_check_of(step) for step in built]
        self._mappers: list[Check] = [(False, step.mapper) for step in built]
        self.pages = 0
        self.stopped = [0] * len(self.steps)
        self.failed = [0] * len(self.steps)
        self.seconds = 0.0
        self._timed = [0.0] * len(self.steps)

    def decide(self, page: Page) -> tuple[int, str | None]:
        """Return the position of the filter that ends a page's way and, if it raised, the error; (-1, None) if none."""
        started = time.perf_counter()
        self.pages += 1
        text = page.get(CONTENT)
        if type(text) is str:
            position, problem = self._decide(page, view(text), self._checks, self.pages % TIMED_EVERY == 1)
        else:  # the filters one by one, for the errors that are theirs
            position, problem = self._decide(page, None, self._mappers, False)
        self.seconds += time.perf_counter() - started
        if position >= 0:
            (self.stopped if problem is None else self.failed)[position] += 1
        return position, problem

    def _decide(
        self, page: Page, seen: TextView | None, checks: Sequence[Check], is_timed: bool
    ) -> tuple[int, str | None]:
        position = 0
        before = time.perf_counter() if is_timed else 0.0
        try:
            for position, (on_view, check) in enumerate(checks):
                kept = check(seen if on_view else page)
                if is_timed:
                    now = time.perf_counter()
                    self._timed[position] += now - before
                    before = now
                if not kept:
                    return position, None
        except Exception as error:  # noqa: BLE001 - the page boundary: the shard goes on, the page is quarantined
            return position, f"{type(error).__name__}: {error}"
        return -1, None

    def apportioned_seconds(self) -> list[float]:
        """The time of each filter: its share in the pages that were timed filter by filter."""
        total = sum(self._timed)
        if total == 0:
            return [self.seconds / len(self.steps)] * len(self.steps)
        return [self.seconds * own / total for own in self._timed]


def _check_of(built: BuiltStep) -> Check:
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
    """Return the steps in order, with each stretch of two or more filters that may be compiled as one run."""
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
