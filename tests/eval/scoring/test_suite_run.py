"""Evaluation of a model that answers from a table; the accuracies are worked out by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.errors import CorpusmithError, InputError
from eval.models.openlm import OpenLMModel
from eval.scoring.batching import TokenBudget, prefix_groups, run_in_batches
from eval.scoring.inference import generate, score_groups
from eval.scoring.judge import choice_perplexity, predicted_choice
from eval.scoring.suite_run import evaluate
from eval.tasks.prompts import GenerationInput, ScoredInput
from eval.tasks.suites import Suite, Task
from tests.oracles.table_model import TableModel
from training.models.config import ModelConfig

END, PAD = 0, 1


class CharacterTokenizer:
    """Each character is its code point; nothing needs a prefix space."""

    num_ids = 128
    eot_id = END
    content_hash = "characters"

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(character) for character in text] for text in texts]

    encode_starts = encode_batch

    def decode_new(self, ids: Sequence[int]) -> str:
        return "".join(chr(token) for token in ids if token not in (END, PAD) and token < self.num_ids)


def knows(*texts: str, others: Mapping[str, Mapping[str, float]] | None = None, vocab: int = 128) -> TableModel:
    """A model that, after each beginning of a text, goes on with that text's next character, and then ends."""
    table: dict[tuple[int, ...], dict[int, float]] = {}
    for text in texts:
        for length in range(1, len(text)):
            table[tuple(map(ord, text[:length]))] = {ord(text[length]): 9.0}
        table[tuple(map(ord, text))] = {END: 9.0}
    for ending, logits in (others or {}).items():
        table[tuple(map(ord, ending))] = {ord(character): logit for character, logit in logits.items()}
    return TableModel(vocab, table)


def one_task(folder: Path, kind: str, rows: Sequence[Mapping[str, object]], **changes: object) -> Suite:
    path = folder / f"{kind}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values: dict[str, object] = {"label": "t", "data_url": str(path), "task_type": kind, "num_fewshot": (0,)}
    return Suite(name="s", tasks=(Task(**{**values, **changes}),), max_seq_len=64)  # type: ignore[arg-type]


def accuracy(model: TableModel, suite: Suite) -> float:
    return evaluate(model, CharacterTokenizer(), suite).icl["t"]


def test_language_modeling_needs_every_token_of_the_continuation(tmp_path: Path) -> None:
    rows = [
        {"context": "sun", "continuation": "set"},  # known in full
        {"context": "moon", "continuation": "rise"},  # only its first letters are known
        {"context": "rain", "continuation": "bow"},  # unknown
    ]
    suite = one_task(tmp_path, "language_modeling", rows)
    assert accuracy(knows("sunset", "moonris"), suite) == pytest.approx(1 / 3)


def test_multiple_choice_takes_the_choice_of_least_mean_loss(tmp_path: Path) -> None:
    rows = [
        {"query": "a", "choices": ["x", "yy"], "gold": 0},  # x is likelier
        {"query": "b", "choices": ["x", "yy"], "gold": 0},  # yy has the lower mean
        {"query": "c", "choices": ["x", "z"], "gold": 0},  # both unknown: a tie, the first wins
        {"query": "d", "choices": ["x", "z"], "gold": 1},  # a tie again, the first wins and is wrong
    ]
    table = {"a": {"x": 5.0}, "b": {"y": 4.0, "x": 3.0}, "by": {"y": 4.0}}
    suite = one_task(tmp_path, "multiple_choice", rows)
    assert accuracy(knows(others=table), suite) == pytest.approx(2 / 4)


def test_schema_scores_the_common_continuation_after_each_context(tmp_path: Path) -> None:
    rows = [
        {"context_options": ["p", "q"], "continuation": "z", "gold": 0},
        {"context_options": ["r", "s"], "continuation": "z", "gold": 0},
    ]
    suite = one_task(tmp_path, "schema", rows)
    assert accuracy(knows(others={"p": {"z": 5.0}, "s": {"z": 5.0}}), suite) == pytest.approx(1 / 2)


def test_generation_is_compared_with_answer_and_aliases(tmp_path: Path) -> None:
    rows: list[Mapping[str, object]] = [
        {"context": "k:", "answer": "one", "aliases": ["eins"]},
        {"context": "l:", "answer": "two"},
        {"context": "m:", "answer": "six"},
    ]
    suite = one_task(tmp_path, "generation_task_with_answers", rows)
    assert accuracy(knows("k:Eins", "l: two!", "m:three"), suite) == pytest.approx(2 / 3)


def test_stop_strings_cut_what_follows(tmp_path: Path) -> None:
    rows = [{"context": "k:", "answer": "yes"}, {"context": "l:", "answer": "abcdefgh"}]
    model = knows("k:.\nyes", "l:abcdefgh")
    suite = one_task(tmp_path, "generation_task_with_answers", rows)
    stopping = one_task(tmp_path, "generation_task_with_answers", rows, early_stopping_criteria=("\n",))
    assert accuracy(model, suite) == 1.0  # ".\nyes" is cleaned to "yes"
    assert accuracy(model, stopping) == 0.5  # "." is cleaned to nothing


def test_a_category_task_is_the_plain_mean_over_its_categories(tmp_path: Path) -> None:
    rows = [
        {"context": "sun", "continuation": "set", "category": "b"},
        {"context": "moon", "continuation": "rise", "category": "a"},
        {"context": "rain", "continuation": "bow", "category": "a"},
        {"context": "snow", "continuation": "man", "category": "a"},
    ]
    suite = one_task(tmp_path, "language_modeling", rows, has_categories=True)
    assert accuracy(knows("sunset", "moonrise"), suite) == pytest.approx((1 / 3 + 1) / 2)


def test_of_several_shot_counts_the_last_is_reported(tmp_path: Path) -> None:
    rows = [{"context": "a", "continuation": "b"}, {"context": "c", "continuation": "d"}]
    # after one example, "c d\na", the model still knows "b"; without examples it does not
    model = knows(others={"c d\na": {"b": 5.0}, "a b\nc": {"d": 5.0}})
    assert accuracy(model, one_task(tmp_path, "language_modeling", rows, num_fewshot=(1, 0))) == 0.0
    assert accuracy(model, one_task(tmp_path, "language_modeling", rows, num_fewshot=(0, 1))) == 1.0


def test_missing_tasks_are_named_and_a_suite_of_nothing_else_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = one_task(tmp_path, "language_modeling", [{"context": "a", "continuation": "b"}])
    gone = Task(label="gone", data_url="gone.jsonl", task_type="schema", num_fewshot=(0,))
    both = Suite(name="s", tasks=suite.tasks, missing=(gone,))
    evaluation = evaluate(knows(), CharacterTokenizer(), both)
    assert list(evaluation.icl) == ["t"]
    assert evaluation.missing == {"gone": "gone.jsonl"}
    assert "task gone is left out: no data file gone.jsonl" in capsys.readouterr().out
    with pytest.raises(InputError, match="none of its 1 tasks"):
        evaluate(knows(), CharacterTokenizer(), Suite(name="s", tasks=(), missing=(gone,)))


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path: Path) -> None:
    suite = one_task(tmp_path, "language_modeling", [{"context": "a", "continuation": "b"}])
    with pytest.raises(InputError, match="128 ids, the model only 100"):
        evaluate(knows(vocab=100), CharacterTokenizer(), suite)


def test_perplexities_are_those_of_the_worked_check() -> None:
    # V = 5, all logits zero but: choice 0 at position 2 token 1 is 2, at position 3 token 2 is -1, targets 1 then 2;
    # choice 1 at position 2 token 3 is 1, target 3
    first = ScoredInput(row=0, choice=0, tokens=[4, 0, 0, 1, 2], span_start=3)
    second = ScoredInput(row=0, choice=1, tokens=[4, 0, 4, 3], span_start=3)
    model = TableModel(5, {(4, 0, 0): {1: 2.0}, (4, 0, 0, 1): {2: -1.0}, (4, 0, 4): {3: 1.0}})
    groups = prefix_groups([first, second])
    losses = {score.choice: score.mean_cross_entropy for score in score_groups(model, groups, TokenBudget(model))}
    assert float(choice_perplexity(losses[0])) == pytest.approx(4.277913, abs=1e-6)
    assert float(choice_perplexity(losses[1])) == pytest.approx(2.471518, abs=1e-6)
    assert predicted_choice([losses[0], losses[1]]) == 1


def generated(model: TableModel, prompt: str, max_new_tokens: int, stops: Sequence[str] = ()) -> str:
    item = GenerationInput(row=0, tokens=list(map(ord, prompt)), max_new_tokens=max_new_tokens)
    (result,) = generate(model, CharacterTokenizer(), [item], stops, TokenBudget(model))
    return CharacterTokenizer().decode_new(result.tokens)


def test_generation_ends_at_the_end_token_the_limit_or_a_stop_string() -> None:
    model = knows("q:abc def")
    assert generated(model, "q:", 20) == "abc def"
    assert generated(model, "q:", 3) == "abc"
    assert generated(model, "q:", 20, [" d"]) == "abc d"
    assert generated(model, "q:", 20, ["x", "c."]) == "abc "  # a regular expression: c and any character


def test_prompts_of_one_batch_do_not_disturb_each_other() -> None:
    model = knows("k:one", "long prompt:seventeen", "m:2")
    prompts = ["k:", "long prompt:", "m:"]
    items = [
        GenerationInput(row=row, tokens=list(map(ord, text)), max_new_tokens=12) for row, text in enumerate(prompts)
    ]
    together = {g.row: g.tokens for g in generate(model, CharacterTokenizer(), items, (), TokenBudget(model))}
    assert ["".join(map(chr, together[row])) for row in range(3)] == ["one", "seventeen", "2"]


@pytest.mark.parametrize("kind", ["language_modeling", "generation_task_with_answers"])
def test_logits_that_are_not_numbers_are_an_error_not_a_wrong_answer(tmp_path: Path, kind: str) -> None:
    suite = one_task(tmp_path, kind, [{"context": "a", "continuation": "b", "answer": "b"}])
    with pytest.raises(CorpusmithError, match="NaN"):
        evaluate(knows(others={"a": {"x": float("nan")}}), CharacterTokenizer(), suite)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), max_size=60),
    max_tokens=st.integers(1, 200),
    max_logits=st.integers(1, 30),
)
def test_batches_hold_every_item_once_and_keep_both_budgets(
    sizes: list[tuple[int, int]], max_tokens: int, max_logits: int
) -> None:
    budget = TokenBudget(knows(), max_tokens)
    budget.logits = max_logits
    batches: list[list[tuple[int, tuple[int, int]]]] = []

    def run(batch: list[tuple[int, tuple[int, int]]]) -> list[int]:
        batches.append(batch)
        return [index for index, _ in batch]

    items = list(enumerate(sizes))
    results = run_in_batches(items, lambda item: item[1][0], lambda item: item[1][1], budget, run)
    assert sorted(results) == [index for index, _ in items]
    for batch in batches:
        longest, most = max(size[0] for _, size in batch), max(size[1] for _, size in batch)
        assert len(batch) == 1 or (len(batch) * longest <= max_tokens and len(batch) * most <= max_logits)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_when_memory_runs_out_the_budget_halves_and_nothing_is_lost(error: Exception) -> None:
    budget = TokenBudget(knows(), 64)

    def run(batch: list[int]) -> list[int]:
        if len(batch) > 5:
            raise error
        return batch

    assert sorted(run_in_batches(range(40), lambda _: 1, lambda _: 1, budget, run)) == list(range(40))
    assert budget.tokens == 4
    with pytest.raises(CorpusmithError, match="one sequence of 1 tokens"):
        list(run_in_batches([9, 9], lambda _: 1, lambda _: 1, budget, lambda batch: run(batch * 9)))


def test_another_error_of_torch_is_not_taken_for_lack_of_memory() -> None:
    def run(batch: list[int]) -> list[int]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(run_in_batches([1, 2], lambda _: 1, lambda _: 1, TokenBudget(knows()), run))


def test_a_network_is_put_into_evaluation_mode() -> None:
    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = ModelConfig(hidden_dim=5, n_layers=1, n_heads=1, seq_len=8, vocab_size=5)
            self.embedding = torch.nn.Embedding(7, 5, dtype=torch.bfloat16)
            self.dropout = torch.nn.Dropout(0.9)

        def forward(self, ids_BT: torch.Tensor, **_: object) -> tuple[torch.Tensor, None, None]:
            return self.dropout(self.embedding(ids_BT)), None, None

    model = OpenLMModel(Network())
    assert model.vocab_size == 5
    ids_BT = torch.tensor([[1, 2]])
    assert model.forward(ids_BT)[0].dtype == torch.float32
    assert torch.equal(model.forward(ids_BT)[0], model.forward(ids_BT)[0])
