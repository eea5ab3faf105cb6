"""One run gives all 53 labels: real rows where the data is at hand, invented ones of the right shape elsewhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks._eval_data import heavy_suite, write_stand_ins
from eval.models.prompt_tokenizers import load_prompt_tokenizer
from eval.results.aggregation import aggregate, load_facts
from eval.results.items import TaskResult
from eval.scoring.suite_run import evaluate
from eval.tasks.suites import Suite
from tests.eval.scoring.test_invariance import open_lm

ROWS = 12
NO_DATA_HERE = {
    "mmlu_zeroshot", "mmlu_fewshot", "hellaswag_zeroshot", "hellaswag", "bigbench_elementary_math_qa", "squad", "coqa",
    "bbq", "gpqa_main", "gpqa_diamond",
}  # fmt: skip


def real_rows(source: Path, folder: Path) -> None:
    """The first rows of each task file; of the one with categories, rows of each."""
    for path in source.rglob("*.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        step = len(lines) // 60 if path.name == "jeopardy_all.jsonl" else 1
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(lines[::step][: 60 if step > 1 else ROWS]))


@pytest.fixture(scope="module")
def suite(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    folder = tmp_path_factory.mktemp("eval_data")
    real_rows(shared_data / "eval_data", folder)
    assert set(write_stand_ins(folder, heavy_suite(folder), 3)) == NO_DATA_HERE
    return heavy_suite(folder)


@pytest.fixture(scope="module")
def results(shared_data: Path, suite: Suite) -> dict[str, TaskResult]:
    pytest.importorskip("tokenizers")
    tokenizer = load_prompt_tokenizer(str(shared_data / "tokenizers" / "EleutherAI_gpt-neox-20b.tokenizer.json"))
    model = open_lm(50432, seq_len=2048, hidden_dim=16, n_layers=1, n_heads=2)
    evaluation = evaluate(model, tokenizer, suite)
    assert not evaluation.faults
    assert not evaluation.missing
    return evaluation.results


def test_one_run_gives_every_label_and_core_and_extended_as_numbers(results: dict[str, TaskResult]) -> None:
    icl = {label: result.accuracy for label, result in results.items()}
    assert list(icl) == [task.label for task in load_facts().tasks]
    assert len(icl) == 53
    document = aggregate(icl)
    assert document["missing tasks"] == "[]"
    for key in ("Core", "Extended", "Core_v1", "Core_v2", "Extended_v1", "Extended_v2"):
        assert isinstance(document[key], float), key
    assert document["Core"] == document["Core_v2"]
    assert len(document["aggregated_task_categories_centered"]) == 6


def test_tasks_with_categories_have_as_many_as_upstream(results: dict[str, TaskResult], suite: Suite) -> None:
    split = {task.label for task in suite.tasks if task.has_categories}
    found = {label: len({item.category for item in results[label].items}) for label in split}
    assert found == {"mmlu_zeroshot": 57, "mmlu_fewshot": 57, "jeopardy": 5, "bbq": 11}


def test_an_accuracy_is_a_whole_number_of_rows(results: dict[str, TaskResult], suite: Suite) -> None:
    for task in suite.tasks:
        result = results[task.label]
        sizes = Counter(item.category for item in result.items)
        if not task.has_categories:
            assert result.accuracy * len(result.items) == pytest.approx(round(result.accuracy * len(result.items)))
        else:
            right = Counter(item.category for item in result.items if item.correct)
            assert result.accuracy == pytest.approx(sum(right[c] / n for c, n in sizes.items()) / len(sizes))
