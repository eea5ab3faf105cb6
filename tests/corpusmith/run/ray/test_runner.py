"""One function over many tasks on Ray: outcomes, errors, lost workers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from corpusmith.errors import ShardError
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner


def work(task: int) -> int:
    if task == 3:
        raise ShardError("s3", 7, "damaged")
    if task == 4:
        raise KeyError("text")
    if task == 5:
        os._exit(1)
    return task * task


@pytest.mark.ray
def test_each_task_has_its_outcome_and_none_stops_the_others(runner: Runner) -> None:
    outcomes = {outcome.index: outcome for outcome in runner.map(work, list(range(8)), label="test")}
    assert {index: outcome.value for index, outcome in outcomes.items() if outcome.error is None} == {
        0: 0, 1: 1, 2: 4, 6: 36, 7: 49,
    }  # fmt: skip
    assert outcomes[3].error == "s3: byte 7: damaged"
    assert outcomes[3].traceback is None
    assert outcomes[4].error == "KeyError: 'text'"
    assert "in work" in str(outcomes[4].traceback)
    assert str(outcomes[5].error).startswith("its worker died 4 times")


def test_no_tasks_start_no_cluster() -> None:
    with Runner(Execution()) as idle:
        assert list(idle.map(work, [], label="nothing")) == []


def test_a_cluster_that_is_not_there_is_named_at_once() -> None:
    code = (
        "from corpusmith.run.ray.execution import Execution\n"
        "from corpusmith.run.ray.runner import Runner\n"
        "from corpusmith.errors import InputError\n"
        "try:\n"
        "    with Runner(Execution(ray_address='127.0.0.1:1')) as lost: list(lost.map(str, [1], label='x'))\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "no Ray cluster at 127.0.0.1:1: Connection refused\n"
