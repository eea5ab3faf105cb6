"""A runner without Ray, for tests of what a run decides: tasks run one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from corpusmith.errors import CorpusmithError
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Outcome, Runner


class InProcess(Runner):
    """Runs tasks at once, in order; a CorpusmithError is the task's outcome, anything else a bug of the test."""

    def map(self, function: Callable[[Any], Any], tasks: Sequence[Any], **_: Any) -> Generator[Outcome[Any]]:
        for index, task in enumerate(tasks):
            try:
                yield Outcome(index=index, value=function(task))
            except CorpusmithError as error:
                yield Outcome(index=index, error=str(error), traceback=f"trace of: {error}")


@pytest.fixture
def in_process() -> Callable[[Execution], Runner]:
    """What a Run opens instead of Ray."""
    return InProcess
