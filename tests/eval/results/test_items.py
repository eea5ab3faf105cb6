"""Items beside an evaluation: what is kept, when it is taken again, and what faults cost."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from corpusmith.errors import CorpusmithError, InputError
from eval import eval_openlm_ckpt
from eval.results.items import ItemResult, Records, TaskResult, items_folder, read_result, read_results
from eval.scoring.suite_run import evaluate
from eval.tasks.suites import Suite, Task
from tests.eval.making import write_checkpoint, write_short_sample, write_tokenizer
from tests.eval.scoring.test_suite_run import CharacterTokenizer, knows
from tests.oracles.table_model import TableModel


class Counting(TableModel):
    """A table that counts its passes, and refuses after some."""

    def __init__(self, limit: float = math.inf) -> None:
        super().__init__(128, {})
        self.passes, self.limit = 0, limit

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.passes += 1
        if self.passes > self.limit:
            raise KeyboardInterrupt
        return super().forward(*args, **kwargs)


def lines(folder: Path, name: str, rows: int = 3) -> Task:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"context": f"{name}{n}", "continuation": "x"}) + "\n" for n in range(rows)))
    return Task(label=name, data_url=str(path), task_type="language_modeling", num_fewshot=(0,))


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(name="s", tasks=(lines(tmp_path, "one"), lines(tmp_path, "two"), lines(tmp_path, "three")))


def records(folder: Path, **model: Any) -> Records:
    return Records(folder=str(folder / "items"), model=model, tokenizer="characters")


def test_a_second_run_takes_what_the_first_left(tmp_path: Path, suite: Suite) -> None:
    first = evaluate(Counting(), CharacterTokenizer(), suite, records=records(tmp_path))
    again = Counting(limit=0)
    second = evaluate(again, CharacterTokenizer(), suite, records=records(tmp_path))
    assert second.icl == first.icl
    assert second.results == first.results
    assert again.passes == 0


def test_an_interrupted_run_goes_on_with_the_task_that_it_was_at(tmp_path: Path, suite: Suite) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate(Counting(limit=2), CharacterTokenizer(), suite, records=records(tmp_path))
    rest = Counting()
    assert list(evaluate(rest, CharacterTokenizer(), suite, records=records(tmp_path)).icl) == ["one", "two", "three"]
    assert rest.passes == 1


@pytest.mark.parametrize("changed", ["model", "tokenizer", "data", "task", "record"])
def test_what_decides_a_result_is_held_against_its_record(tmp_path: Path, suite: Suite, changed: str) -> None:
    evaluate(Counting(), CharacterTokenizer(), suite, records=records(tmp_path))
    kept, passes = records(tmp_path), 1
    if changed == "model":
        kept, passes = records(tmp_path, size=2), 3
    elif changed == "tokenizer":
        kept, passes = replace(kept, tokenizer="words"), 3
    elif changed == "data":
        lines(tmp_path, "two", rows=4)
    elif changed == "task":
        suite = replace(suite, tasks=(replace(suite.tasks[0], prelimiter="> "), *suite.tasks[1:]))
    else:
        path = tmp_path / "items" / "three-0shot.jsonl"
        path.write_text(path.read_text()[:-20])
    again = Counting()
    evaluate(again, CharacterTokenizer(), suite, records=kept)
    assert again.passes == passes


def test_items_are_read_back_as_they_were(tmp_path: Path) -> None:
    items = (
        ItemResult(0, True, "b", (0.5, 1.25)),
        ItemResult(1, False, "b", (math.inf, 0.1)),
        ItemResult(0, True, "a", text="four"),
    )
    task = Task(label="t", data_url=str(tmp_path / "t"), task_type="multiple_choice", num_fewshot=(3,))
    (tmp_path / "t").write_text("")
    result = TaskResult(label="t", shots=3, items=items, seconds=1.5, truncated=2)
    assert result.accuracy == (1 / 2 + 1) / 2
    kept = records(tmp_path)
    kept.save(task, result)
    assert kept.load(task, 3) == result
    head, read = read_result(str(tmp_path / "items" / "t-3shot.jsonl"))
    assert read == result
    assert (head["items"], head["cut"], head["accuracy"], head["near_ties"]) == (3, 2, 0.75, 0)


def test_decisions_that_rounding_may_turn_are_counted(tmp_path: Path) -> None:
    items = tuple(ItemResult(row, True, losses=(1.0, 1.0 + gap)) for row, gap in enumerate((0.0, 0.00009, 0.0002)))
    (tmp_path / "t").write_text("")
    task = Task(label="t", data_url=str(tmp_path / "t"), task_type="multiple_choice", num_fewshot=(0,))
    records(tmp_path).save(task, TaskResult(label="t", shots=0, items=items))
    assert read_result(str(tmp_path / "items" / "t-0shot.jsonl"))[0]["near_ties"] == 2


def test_results_of_an_evaluation_are_those_that_it_reports(tmp_path: Path, suite: Suite) -> None:
    url = str(tmp_path / "evaluation_m_s.json")
    kept = Records(folder=items_folder(url))
    found = evaluate(knows("one0x"), CharacterTokenizer(), suite, records=kept)
    (tmp_path / "evaluation_m_s.json").write_text(json.dumps({"eval_metrics": {"icl": found.icl | {"other": 0.5}}}))
    assert read_results(url) == found.results
    (tmp_path / "bare.json").write_text(json.dumps({"eval_metrics": {"icl": {"one": 0.5}}}))
    with pytest.raises(InputError, match="no items"):
        read_results(str(tmp_path / "bare.json"))


def test_a_margin_is_the_distance_of_the_two_best_choices() -> None:
    assert ItemResult(0, True, losses=(2.0, 0.5, 0.75)).margin == 0.25
    assert ItemResult(0, True, losses=(2.0,)).margin == math.inf


# --- faults --------------------------------------------------------------------------------------------------------


def test_a_malformed_row_costs_its_task_and_no_other(
    tmp_path: Path, suite: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path(suite.tasks[1].data_url).open("a") as file:
        file.write('{"context": "c"}\n')
    evaluation = evaluate(knows(), CharacterTokenizer(), suite)
    assert list(evaluation.icl) == ["one", "three"]
    assert list(evaluation.faults) == ["two"]
    assert "two.jsonl:4: the row lacks 'continuation'" in evaluation.faults["two"]
    assert "task two has no accuracy" in capsys.readouterr().out


def test_an_answer_longer_than_the_context_is_named(tmp_path: Path) -> None:
    task = replace(lines(tmp_path, "long"), max_seq_len=1)
    (tmp_path / "long.jsonl").write_text(
        '{"context": "c", "continuation": "x"}\n{"context": "c", "continuation": "xy"}\n'
    )
    suite = Suite(name="s", tasks=(task, lines(tmp_path, "one")))
    evaluation = evaluate(knows(), CharacterTokenizer(), suite)
    assert list(evaluation.icl) == ["one"]
    assert "row 1: nothing to score" in evaluation.faults["long"]
    two = replace(suite, tasks=(replace(task, max_seq_len=2), suite.tasks[1]))
    (tmp_path / "long.jsonl").write_text('{"context": "c", "continuation": "xyz"}\n')
    assert "row 1: the answer has 3 tokens" in evaluate(knows(), CharacterTokenizer(), two).faults["long"]


def test_contexts_that_are_cut_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = replace(lines(tmp_path, "cut"), max_seq_len=4)  # "cut0" and an answer of one token are five
    evaluation = evaluate(knows(), CharacterTokenizer(), Suite(name="s", tasks=(task,)))
    assert evaluation.results["cut"].truncated == 3
    assert "3 contexts lost their beginning, 4 tokens fit" in capsys.readouterr().out


def test_a_model_with_a_shorter_context_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = TableModel(128, {}, max_positions=3)
    evaluation = evaluate(model, CharacterTokenizer(), Suite(name="s", tasks=(lines(tmp_path, "one"),)))
    assert evaluation.results["one"].truncated == 3
    assert "the model takes 3 tokens only, not 2048" in capsys.readouterr().out


def test_when_no_task_can_be_run_nothing_is_reported_as_zero(tmp_path: Path, suite: Suite) -> None:
    model = TableModel(128, {(): {5: float("nan")}})
    with pytest.raises(CorpusmithError, match=r"no task could be run.*NaN"):
        evaluate(model, CharacterTokenizer(), suite)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_cost_the_task_in_which_they_come(tmp_path: Path, suite: Suite, value: float) -> None:
    model = TableModel(128, {tuple(map(ord, "two1")): {5: value}})
    evaluation = evaluate(model, CharacterTokenizer(), suite)
    assert list(evaluation.icl) == ["one", "three"]
    assert "checkpoint is broken" in evaluation.faults["two"]


def test_a_faulty_task_makes_the_command_fail_and_the_rest_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"hidden_dim": 16, "n_layers": 1, "n_heads": 2, "seq_len": 256, "vocab_size": 260}
    checkpoint = write_checkpoint(tmp_path / "logs", config | {"post_embed_norm": False, "weight_tying": False})
    write_tokenizer(tmp_path / "tokenizer.json")
    write_short_sample(tmp_path)
    (tmp_path / "sample_data" / "schema.jsonl").write_text("[]\n")
    output = tmp_path / "evaluation.json"
    command = [
        *("--checkpoint", str(checkpoint), "--donot-compute-perplexity", "--output-file", str(output)),
        *("--tokenizer", str(tmp_path / "tokenizer.json"), "--eval-yaml", str(tmp_path / "sample.yaml")),
    ]
    assert eval_openlm_ckpt.main(command) == 1
    assert "FAILED sample_schema" in capsys.readouterr().out
    assert len(json.loads(output.read_text())["eval_metrics"]["icl"]) == 3


@pytest.mark.parametrize("broken", ["no tokenizer", "no model", "pickled weights"])
def test_a_hugging_face_folder_that_lacks_something_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=260, n_embd=8, n_layer=1, n_head=1, n_positions=512)
    model = transformers.GPT2LMHeadModel(config)
    folder = tmp_path / "hf"
    model.save_pretrained(folder)
    write_tokenizer(tmp_path / "tokenizer.json")
    if broken != "no tokenizer":
        transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token="<|endoftext|>"
        ).save_pretrained(folder)
    if broken != "no tokenizer":
        (folder / "model.safetensors").unlink()
    if broken == "pickled weights":
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    write_short_sample(tmp_path)
    output = str(tmp_path / "evaluation.json")
    command = ["--hf-model", str(folder), "--eval-yaml", str(tmp_path / "sample.yaml"), "--output-file", output]
    assert eval_openlm_ckpt.main(command) == 2
    error = capsys.readouterr().err
    assert str(folder) in error
    assert ("no tokenizer" if broken == "no tokenizer" else "no causal language model") in error


def test_a_hugging_face_folder_is_evaluated_with_its_own_tokenizer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "my-model"
    config = transformers.GPT2Config(vocab_size=260, n_embd=8, n_layer=1, n_head=1, n_positions=512)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    write_tokenizer(tmp_path / "tokenizer.json")
    transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token="<|endoftext|>"
    ).save_pretrained(folder)
    write_short_sample(tmp_path)
    output = tmp_path / "evaluation.json"
    command = ["--hf-model", str(folder), "--eval-yaml", str(tmp_path / "sample.yaml"), "--output-file", str(output)]
    assert eval_openlm_ckpt.main(command) == 0
    document = json.loads(output.read_text())
    assert document["model"] == "my-model"
    assert len(document["eval_metrics"]["icl"]) == 4
    assert "model_uuid" not in document
