"""A runner without Ray for this room's property tests, and the sample pages."""

from __future__ import annotations

import pathlib
import shutil
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


@pytest.fixture(scope="session")
def in_process() -> Runner:
    """Runs tasks in this process."""
    return InProcess(Execution())


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory, shared_data: pathlib.Path) -> pathlib.Path:
    """The page shards of the sample data without the truth about them."""
    folder = tmp_path_factory.mktemp("pages")
    for path in sorted((shared_data / "data" / "pages").glob("shard_*.jsonl.zst")):
        shutil.copy(path, folder)
    return folder
