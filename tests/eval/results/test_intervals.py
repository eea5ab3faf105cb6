"""Bootstrap intervals and paired comparison, against arithmetic by hand and a bootstrap over rows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from corpusmith.errors import InputError
from eval import compare_evals
from eval.results.aggregation import core_and_extended, load_facts
from eval.results.intervals import compare, intervals, sign_test
from eval.results.items import ItemResult, Records, TaskResult
from eval.tasks.suites import Task


def result(label: str, right: list[bool], categories: list[str] | None = None) -> TaskResult:
    items = [ItemResult(row, correct, categories[row] if categories else None) for row, correct in enumerate(right)]
    return TaskResult(label=label, shots=0, items=tuple(items))


def random_result(label: str, rows: int, share: float, seed: int) -> TaskResult:
    return result(label, [bool(x) for x in np.random.default_rng(seed).random(rows) < share])


def test_an_interval_is_that_of_a_bootstrap_over_rows() -> None:
    task = random_result("t", 400, 0.3, 1)
    found = intervals({"t": task}, resamples=20_000)["t"]
    right = np.array([item.correct for item in task.items], dtype=float)
    draws = np.random.default_rng(5)
    means = [right[draws.integers(0, 400, 400)].mean() for _ in range(20_000)]
    assert found.value == right.mean()
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.005)


def test_categories_are_resampled_apart_and_weigh_alike() -> None:
    # one category of 4 rows, all right, and one of 96, all wrong: no resample changes anything
    task = result("t", [True] * 4 + [False] * 96, ["a"] * 4 + ["b"] * 96)
    found = intervals({"t": task})["t"]
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_core_and_extended_have_intervals_where_all_their_tasks_are_there() -> None:
    facts = load_facts()
    results = {task.label: random_result(task.label, 50, 0.6, n) for n, task in enumerate(facts.tasks)}
    found = intervals(results)
    core, extended = core_and_extended({label: task.accuracy for label, task in results.items()})
    assert found["Core"].value == pytest.approx(core)
    assert found["Extended"].value == pytest.approx(extended)
    assert found["Core"].low < found["Core"].value < found["Core"].high
    # the mean over 22 tasks of 50 rows: its standard error follows from those of the tasks
    centered = [(task.centered(1, "v2") - task.centered(0, "v2")) for task in facts.tasks]
    errors = [
        slope**2 * r.accuracy * (1 - r.accuracy) / 50 for slope, r in zip(centered, results.values(), strict=True)
    ]
    expected = math.sqrt(sum(errors)) / 53
    assert (found["Extended"].high - found["Extended"].low) / (2 * 1.96) == pytest.approx(expected, rel=0.05)
    del results["copa"]
    assert "Core" not in intervals(results)


def test_a_task_draws_the_same_whatever_stands_beside_it() -> None:
    one, two = random_result("one", 80, 0.5, 1), random_result("two", 80, 0.5, 2)
    assert intervals({"one": one})["one"] == intervals({"two": two, "one": one})["one"]
    assert intervals({"one": one}) == intervals({"one": one})
    assert intervals({"one": one}) != intervals({"one": one}, seed=1)


def test_a_paired_difference_is_surer_than_an_unpaired_one() -> None:
    first = random_result("t", 1000, 0.5, 3)
    # the second model misses 20 of the rows that the first has right, and no other
    ones = [n for n, item in enumerate(first.items) if item.correct][:20]
    second = result("t", [item.correct and n not in ones for n, item in enumerate(first.items)])
    found = compare({"t": first}, {"t": second})["t"]
    assert found.value == pytest.approx(0.02)
    assert 0.005 < found.low < 0.02 < found.high < 0.035
    assert found.p_value == pytest.approx(2 * 0.5**20)
    apart = [intervals({"t": task})["t"] for task in (first, second)]
    assert found.high - found.low < 0.5 * min(e.high - e.low for e in apart)


def test_equal_models_do_not_differ() -> None:
    task = random_result("t", 100, 0.5, 4)
    found = compare({"t": task}, {"t": task})["t"]
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("wins", "losses", "expected"),
    [(0, 0, 1.0), (5, 0, 0.0625), (0, 5, 0.0625), (8, 2, 112 / 1024), (3, 3, 1.0)],
)
def test_the_sign_test_is_that_of_the_binomial(wins: int, losses: int, expected: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(expected)


def test_the_sign_test_goes_over_into_the_normal_one() -> None:
    assert sign_test(10_300, 9_700) == pytest.approx(sign_test(10_301, 9_701), rel=0.05)


def test_evaluations_of_other_rows_are_not_compared() -> None:
    with pytest.raises(InputError, match=r"task t: the evaluations have other rows \(3 and 4\)"):
        compare({"t": result("t", [True] * 3)}, {"t": result("t", [True] * 4)})
    with pytest.raises(InputError, match="no task in common"):
        compare({"t": result("t", [True])}, {"u": result("u", [True])})


def test_the_command_shows_intervals_and_differences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.jsonl").write_text("")
    task = Task(label="copa", data_url=str(tmp_path / "t.jsonl"), task_type="multiple_choice", num_fewshot=(0,))
    paths = []
    for name, right in (("a", [True, True, True, False]), ("b", [True, False, True, False])):
        path = tmp_path / f"{name}.json"
        found = result("copa", right)
        Records(folder=str(tmp_path / f"{name}_items")).save(task, found)
        path.write_text(json.dumps({"eval_metrics": {"icl": {"copa": found.accuracy}}}))
        paths.append(str(path))
    assert compare_evals.main([paths[0]]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["copa", "75.00"]
    assert compare_evals.main([*paths, "--json", str(tmp_path / "out.json")]) == 0
    assert "sign test" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["copa"]["value"] == 0.25
    assert compare_evals.main([paths[0], "--confidence", "95"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err
