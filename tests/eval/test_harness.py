"""Evaluation of a model that answers from a table; the accuracies are worked out by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.errors import CorpusmithError, InputError
from eval.batching import MAX_BATCH_LOGITS, batch_token_limit, batches_by_length
from eval.harness import evaluate
from eval.inference import decode_generation, generate, score_spans
from eval.models import OpenLMModel, TableModel
from eval.prompts import GenerationInput, ScoredInput
from eval.scoring import choice_perplexity, predicted_choice
from eval.tasks import Suite, Task

END, PAD = 0, 1


class CharacterTokenizer:
    """Each character is its code point; nothing needs a prefix space."""

    num_ids = vocab_size = 128
    eot_id, pad_id = END, PAD

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


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
    return evaluate(model, CharacterTokenizer(), suite)["t"]


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
    assert list(evaluate(knows(), CharacterTokenizer(), both)) == ["t"]
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
    losses = {score.choice: score.mean_cross_entropy for score in score_spans(model, [first, second], 2, 8)}
    assert float(choice_perplexity(losses[0])) == pytest.approx(4.277913, abs=1e-6)
    assert float(choice_perplexity(losses[1])) == pytest.approx(2.471518, abs=1e-6)
    assert predicted_choice([losses[0], losses[1]]) == 1


def generated(model: TableModel, prompt: str, max_new_tokens: int, stops: Sequence[str] = ()) -> str:
    item = GenerationInput(row=0, tokens=list(map(ord, prompt)), max_new_tokens=max_new_tokens)
    (result,) = generate(model, CharacterTokenizer(), [item], stops, 1, 64)
    return CharacterTokenizer().decode(result.tokens)


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
    together = {g.row: g.tokens for g in generate(model, CharacterTokenizer(), items, (), 16, 64)}
    assert ["".join(map(chr, together[row])) for row in range(3)] == ["one", "seventeen", "2"]


def test_ids_that_are_special_or_unknown_are_not_decoded() -> None:
    assert decode_generation(CharacterTokenizer(), [ord("a"), END, PAD, 500, ord("b")]) == "ab"


@pytest.mark.parametrize("kind", ["language_modeling", "generation_task_with_answers"])
def test_logits_that_are_not_numbers_are_an_error_not_a_wrong_answer(tmp_path: Path, kind: str) -> None:
    suite = one_task(tmp_path, kind, [{"context": "a", "continuation": "b", "answer": "b"}])
    with pytest.raises(CorpusmithError, match="NaN"):
        evaluate(knows(others={"a": {"x": float("nan")}}), CharacterTokenizer(), suite)


@given(lengths=st.lists(st.integers(1, 50), max_size=60), max_tokens=st.integers(1, 200), window=st.integers(1, 30))
def test_batches_hold_every_item_once_and_keep_the_limit(lengths: list[int], max_tokens: int, window: int) -> None:
    items = list(enumerate(lengths))
    batches = list(batches_by_length(items, lambda item: item[1], max_tokens, window))
    assert sorted(item for batch in batches for item in batch) == items
    for batch in batches:
        longest = max(length for _, length in batch)
        assert len(batch) == 1 or len(batch) * longest <= max_tokens


def test_a_batch_holds_the_given_number_of_full_sequences_while_its_logits_fit() -> None:
    assert batch_token_limit(4, 256, 4096) == 1024
    assert batch_token_limit(1024, 2048, 50432) == MAX_BATCH_LOGITS // 50432


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_scores_do_not_depend_on_batch_size(batch_size: int) -> None:
    items = [ScoredInput(row=row, choice=0, tokens=list(range(1, row + 3)), span_start=1) for row in range(9)]
    model = TableModel(16, {(2,): {3: 1.0}, (2, 3): {4: -1.0}, (5,): {6: 0.5}})
    reference = {s.row: s.mean_cross_entropy for s in score_spans(model, items, 1, 1)}
    scores = {s.row: s.mean_cross_entropy for s in score_spans(model, items, batch_size, 12)}
    assert scores == pytest.approx(reference, abs=1e-6)


def test_a_network_is_put_into_evaluation_mode_and_asked_for_its_vocabulary() -> None:
    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(7, 5, dtype=torch.bfloat16)
            self.dropout = torch.nn.Dropout(0.9)

        def forward(self, ids_BT: torch.Tensor) -> tuple[torch.Tensor, None, None]:
            return self.dropout(self.embedding(ids_BT)), None, None

    model = OpenLMModel(Network())
    assert model.vocab_size == 5
    ids_BT = torch.tensor([[1, 2]])
    assert model.logits(ids_BT).dtype == torch.float32
    assert torch.equal(model.logits(ids_BT), model.logits(ids_BT))
