"""`quantile_filter` keeps the stated share of pages by score, whatever the shards, ties and tasks that ran twice."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.io.pages.shards import list_shards, open_shard_writer, read_shard
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Outcome
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, RunResult
from ray_processing.pipeline.quantile_filter import (
    QuantileConfig,
    QuantileLayout,
    SelectTask,
    keys_of,
    pages_to_keep,
    plan_stage,
    score_of,
    select_threshold,
)

STEP = "02-quantile_filter"
SCORES = st.floats(allow_nan=False, width=64)


class Inline:
    """A runner that runs each task in this process, twice."""

    def __init__(self, execution: Execution | None = None) -> None:
        del execution

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def map(self, function: Any, tasks: Sequence[Any], **_: Any) -> Iterator[Outcome[Any]]:
        for index, task in enumerate(tasks):
            function(task)
            yield Outcome(index=index, value=function(task))


def execute(root: pathlib.Path, config: QuantileConfig) -> RunResult:
    plan = RunPlan(inputs=list_shards(str(root / "in")), stages=[plan_stage(config, STEP)])
    place = RunPlace(root=str(root / "run"), output=str(root / "out"), errors=str(root / "errors"))
    return Run(place, plan, Inline).execute(Execution(), RunOptions())  # type: ignore[arg-type]


def write(root: pathlib.Path, shards: list[list[dict[str, Any]]]) -> None:
    for number, pages in enumerate(shards):
        with open_shard_writer(str(root / "in" / f"{number}.jsonl")) as writer:
            for page in pages:
                writer.write(page)


def left(root: pathlib.Path) -> list[dict[str, Any]]:
    return [page for shard in list_shards(str(root / "out")) for page in read_shard(shard.url)]


@given(scores=st.lists(SCORES, max_size=20))
def test_keys_order_scores_and_give_them_back(scores: list[float]) -> None:
    array = np.array(scores, dtype=np.float64) + 0.0
    keys = keys_of(array)
    assert [score_of(int(key)) for key in keys] == array.tolist()
    assert (np.argsort(keys, kind="stable") == np.argsort(array, kind="stable")).all()


@given(
    shards=st.lists(st.lists(SCORES | st.sampled_from([0.0, 0.5, 1.0]), max_size=12), min_size=1, max_size=4),
    fraction=st.sampled_from([0.1, 0.3, 0.7, 1.0, 1e-9]),
)
def test_selected_score_is_that_of_the_sorted_list(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[float]], fraction: float
) -> None:
    layout = QuantileLayout(folder=str(tmp_path_factory.mktemp("scores")))
    for number, scores in enumerate(shards):
        keys = keys_of(np.array(scores, dtype=np.float64) + 0.0)
        pathlib.Path(layout.scores_url(number)).write_bytes(keys.tobytes())
    config = QuantileConfig(key="score", keep_fraction=fraction)
    select_threshold(SelectTask(layout=layout, config=config, shards=len(shards)))
    found = json.loads(pathlib.Path(layout.threshold_url).read_text())
    ordered = sorted((score for scores in shards for score in scores), reverse=True)
    assert found["scored"] == len(ordered)
    if ordered:
        threshold = ordered[pages_to_keep(len(ordered), fraction) - 1]
        assert found["score"] == (threshold if math.isfinite(threshold) else None)
        assert found["kept"] == sum(score >= threshold for score in ordered)


@pytest.mark.parametrize(
    ("pages", "fraction", "kept"), [(10, 0.1, 1), (10, 0.7, 7), (11, 0.1, 2), (3, 1.0, 3), (1, 0.001, 1), (0, 0.5, 0)]
)
def test_share_is_rounded_up_and_taken_as_written(pages: int, fraction: float, kept: int) -> None:
    assert pages_to_keep(pages, fraction) == kept


@pytest.mark.parametrize(("lower_better", "expected"), [(False, [9, 8, 7]), (True, [0, 1, 2])])
def test_best_pages_stay_in_their_order(tmp_path: pathlib.Path, lower_better: bool, expected: list[int]) -> None:
    pages = [{"text": f"page {number}", "score": number} for number in (3, 9, 0, 7, 1, 8, 2, 5, 4, 6)]
    write(tmp_path, [pages[:4], [], pages[4:]])
    result = execute(tmp_path, QuantileConfig(key="score", keep_fraction=0.3, lower_better=lower_better))
    assert left(tmp_path) == [page for page in pages if page["score"] in expected]
    counts = result.stages[0].counts()
    assert (counts.read, counts.kept, counts.removed) == (10, 3, {STEP: 7})
    thresholds = {record.details["steps"][0]["threshold"] for record in result.records}
    assert thresholds == {2.0 if lower_better else 7.0}


def test_pages_that_tie_with_the_last_one_stay(tmp_path: pathlib.Path) -> None:
    write(tmp_path, [[{"score": 1}, {"score": 0.5}, {"score": 0.5}], [{"score": 0.5}, {"score": 0.1}]])
    execute(tmp_path, QuantileConfig(key="score", keep_fraction=0.4))
    assert [page["score"] for page in left(tmp_path)] == [1, 0.5, 0.5, 0.5]


def test_pages_without_a_usable_score_are_set_aside_and_not_counted(tmp_path: pathlib.Path) -> None:
    pages: list[dict[str, Any]] = [
        {"score": 1},
        {"score": 2},
        {},
        {"score": None},
        {"score": "3"},
        {"score": True},
        {"score": 10**400},
    ]
    write(tmp_path, [pages])
    result = execute(tmp_path, QuantileConfig(key="score", keep_fraction=0.5))
    counts = result.stages[0].counts()
    assert (counts.kept, counts.removed, counts.errored) == (1, {STEP: 1}, {STEP: 4, "read": 1})
    assert left(tmp_path) == [{"score": 2}]


def test_page_without_a_score_may_count_as_the_worst(tmp_path: pathlib.Path) -> None:
    write(tmp_path, [[{"a": 1}, {"score": -5}, {"score": 5}]])
    config = QuantileConfig(key="score", keep_fraction=0.6, key_must_exist=False)
    execute(tmp_path, config)
    assert left(tmp_path) == [{"score": -5}, {"score": 5}]
    write(tmp_path / "all", [[{"a": 1}, {"score": -5}, {"score": 5}]])
    execute(tmp_path / "all", QuantileConfig(key="score", keep_fraction=1.0, key_must_exist=False))
    assert len(left(tmp_path / "all")) == 3


def test_result_does_not_depend_on_the_cut_into_shards(tmp_path: pathlib.Path) -> None:
    pages = [{"score": (number * 7919) % 101 / 7, "n": number} for number in range(60)]
    outputs = []
    for number, size in enumerate((60, 7, 1)):
        root = tmp_path / str(number)
        for start in range(0, 60, size):
            with open_shard_writer(str(root / "in" / f"{start:03d}.jsonl")) as writer:
                for page in pages[start : start + size]:
                    writer.write(page)
        execute(root, QuantileConfig(key="score", keep_fraction=0.25))
        outputs.append(left(root))
    assert outputs[0] == outputs[1] == outputs[2]
    assert len(outputs[0]) == 15


@pytest.mark.parametrize("fraction", [0.0, 1.1, float("nan")])
def test_share_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"keep_fraction must lie in \(0, 1\]"):
        QuantileConfig(key="score", keep_fraction=fraction)
