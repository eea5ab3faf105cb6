"""Batches, shared prefixes, caches and processes change no score: held against the plain path of plain.py."""

from __future__ import annotations

import functools
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import eval_openlm_ckpt
from eval.models.huggingface import HuggingFaceModel
from eval.models.language_model import LanguageModel
from eval.models.openlm import OpenLMModel
from eval.models.prompt_tokenizers import load_prompt_tokenizer
from eval.results.items import TaskResult
from eval.scoring.batching import TokenBudget, prefix_groups
from eval.scoring.inference import generate, score_groups
from eval.scoring.suite_run import evaluate
from eval.tasks.prompts import GenerationInput, PromptTokenizer, ScoredInput
from eval.tasks.suites import Suite, load_suite
from tests.eval.making import write_checkpoint, write_short_sample, write_tokenizer
from tests.eval.plain import PlainItem, changed_decisions, continuation, plain_suite, span_losses
from tests.oracles.table_model import TableModel
from training.models.config import ModelConfig
from training.models.openlm import Transformer

TOLERANCE = 1e-4
VOCABULARY = 61
ROOT = Path(__file__).resolve().parents[3]


def widen(module: torch.nn.Module) -> torch.nn.Module:
    """Weights so large that logits differ: an untrained network is nearly uniform, and would hide mistakes."""
    torch.manual_seed(1)
    for name, weight in module.named_parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.6 if "output" in name or "head" in name else 0.15)
    return module.eval()


def open_lm(vocab_size: int = VOCABULARY, **changes: Any) -> OpenLMModel:
    values = {"hidden_dim": 32, "n_layers": 2, "n_heads": 4, "seq_len": 64, "vocab_size": vocab_size, "qk_norm": True}
    return OpenLMModel(widen(Transformer(ModelConfig(**(values | changes)))))


def transformers_model(kind: str) -> HuggingFaceModel:
    transformers = pytest.importorskip("transformers")
    common = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    made = {
        "GPTNeoX": lambda: transformers.GPTNeoXConfig(**common, **sizes),
        "Llama": lambda: transformers.LlamaConfig(**common, **sizes, num_key_value_heads=2),
        "GPT2": lambda: transformers.GPT2Config(**common, n_embd=32, n_layer=2, n_head=4, n_positions=128),
        "Bloom": lambda: transformers.BloomConfig(**common, hidden_size=32, n_layer=2, n_head=4),
        "Mistral": lambda: transformers.MistralConfig(**common, **sizes, num_key_value_heads=2, sliding_window=7),
        "Mamba": lambda: transformers.MambaConfig(**common, hidden_size=32, num_hidden_layers=2, pad_token_id=0),
    }
    name = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
    return HuggingFaceModel(widen(getattr(transformers, name)(made[kind]())))


@functools.cache
def model_of(kind: str) -> LanguageModel:
    """The models under test, made once."""
    if kind.startswith("open_lm"):
        position = kind.removeprefix("open_lm_") if "_rotary" in kind else "rotary"
        return open_lm(positional_embedding_type=position)
    return transformers_model(kind)


def plain_logits(model: LanguageModel) -> Any:
    """Logits (T, V) of one whole sequence by the bare network."""

    @torch.inference_mode()
    def logits(tokens: list[int]) -> torch.Tensor:
        ids = torch.tensor([tokens])
        if isinstance(model, TableModel):
            return model.forward(ids)[0][0]
        output = model._module(ids)  # type: ignore[attr-defined]
        found: torch.Tensor = (output[0] if isinstance(output, tuple) else output.logits)[0].float()
        return found

    return logits


def random_row(draws: random.Random, row: int, choices: int) -> list[ScoredInput]:
    """A row whose choices share none, some or all of their context, with answers of one to five tokens."""
    shared = [draws.randrange(1, VOCABULARY) for _ in range(draws.choice([0, 1, 6, 20]))]
    inputs = []
    for choice in range(choices):
        own = [draws.randrange(1, VOCABULARY) for _ in range(draws.choice([0, 0, 3]))]
        context = shared + own or [draws.randrange(1, VOCABULARY)]
        answer = [draws.randrange(1, VOCABULARY) for _ in range(draws.choice([1, 1, 2, 5]))]
        inputs.append(ScoredInput(row=row, choice=choice, tokens=context + answer, span_start=len(context)))
    return inputs


KINDS = [
    "open_lm",
    "open_lm_head_rotary",
    "open_lm_llama_rotary",
    "GPTNeoX",
    "Llama",
    "GPT2",
    "Bloom",
    "Mistral",
    "Mamba",
]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32), tokens=st.sampled_from([1, 40, 300, 4096]))
def test_scores_are_those_of_the_plain_path(kind: str, seed: int, tokens: int) -> None:
    model, draws = model_of(kind), random.Random(seed)
    rows = [random_row(draws, row, draws.choice([1, 2, 4])) for row in range(6)]
    groups = [group for inputs in rows for group in prefix_groups(inputs, model.reuses_cache)]
    found = {(s.row, s.choice): s for s in score_groups(model, groups, TokenBudget(model, tokens))}
    assert len(found) == sum(map(len, rows))
    for inputs in rows:
        for item in inputs:
            loss, exact = span_losses(plain_logits(model), item)
            score = found[item.row, item.choice]
            assert score.mean_cross_entropy == pytest.approx(loss, abs=TOLERANCE)
            assert score.exact == exact


@pytest.mark.parametrize("kind", KINDS)
def test_generations_are_those_of_the_plain_path(kind: str) -> None:
    class Nothing:
        eot_id = 7

    model, draws = model_of(kind), random.Random(3)
    items = [
        GenerationInput(
            row=row,
            tokens=[draws.randrange(1, VOCABULARY) for _ in range(draws.choice([1, 4, 9]))],
            max_new_tokens=draws.choice([1, 5, 12]),
        )
        for row in range(9)
    ]
    found = {g.row: g.tokens for g in generate(model, Nothing(), items, (), TokenBudget(model, 64))}  # type: ignore[arg-type]
    for item in items:
        assert found[item.row] == continuation(plain_logits(model), item, 7)


@given(st.data())
def test_units_hold_each_sequence_once_and_whole(data: st.DataObject) -> None:
    draws = random.Random(data.draw(st.integers(0, 2**32)))
    inputs = random_row(draws, 5, draws.choice([1, 2, 5]))
    for share in (True, False):
        groups = prefix_groups(inputs, share)
        pairs = {ending.choice: (group, ending) for group in groups for ending in group.endings}
        assert len(pairs) == len(inputs) == sum(len(group.endings) for group in groups)
        for item in inputs:
            group, ending = pairs[item.choice]
            assert group.row == 5
            assert group.prefix + ending.tokens == item.tokens
            assert ending.scored == len(item.tokens) - item.span_start
            assert 1 <= len(group.prefix) <= len(item.tokens) - 1
        if not share:
            assert all(len(group.endings) == 1 or all(len(e.tokens) == 1 for e in group.endings) for group in groups)


def test_answers_of_one_token_and_language_modeling_need_one_pass() -> None:
    class Counting(TableModel):
        passes = 0

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            self.passes += 1
            return super().forward(*args, **kwargs)

    model = Counting(50, {})
    choices = [ScoredInput(row=0, choice=n, tokens=[1, 2, 3, 10 + n], span_start=3) for n in range(4)]
    line = [ScoredInput(row=1, choice=0, tokens=[1, 2, 3, 4, 5], span_start=2)]
    groups = [*prefix_groups(choices), *prefix_groups(line)]
    assert len(list(score_groups(model, groups, TokenBudget(model, 100)))) == 5
    assert model.passes == 1


def tokens_run(inputs: list[ScoredInput]) -> int:
    """Tokens of all passes for one row."""
    return sum(len(u.prefix) + sum(len(e.tokens) - 1 for e in u.endings) for u in prefix_groups(inputs))


def test_a_shared_context_is_run_once_and_a_shifted_window_is_not_shared() -> None:
    context = list(range(1, 31))
    whole = [ScoredInput(row=0, choice=n, tokens=[*context, 40 + n, 50], span_start=30) for n in range(4)]
    assert tokens_run(whole) == 30 + 4
    shifted = [ScoredInput(row=0, choice=n, tokens=[*context[n:], 40 + n, 50], span_start=30 - n) for n in range(2)]
    assert len(prefix_groups(shifted)) == 2


# --- whole suites --------------------------------------------------------------------------------------------------


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """The sample suite with the first rows of each task."""
    write_short_sample(tmp_path)
    return load_suite(str(tmp_path / "sample.yaml"))


@pytest.fixture
def tokenizer(tmp_path: Path) -> PromptTokenizer:
    """Bytes."""
    write_tokenizer(tmp_path / "tokenizer.json")
    return load_prompt_tokenizer(str(tmp_path / "tokenizer.json"))


def assert_same(results: dict[str, TaskResult], truth: dict[str, list[PlainItem]]) -> None:
    assert results.keys() == truth.keys()
    for label, result in results.items():
        items, plain = result.items, truth[label]
        for item, true in zip(items, plain, strict=True):
            assert item.losses == pytest.approx(true.losses, abs=TOLERANCE), label
        changed = changed_decisions([item.losses for item in items], plain, [item.correct for item in items])
        assert all(margin < TOLERANCE for _, margin in changed), (label, changed)


@pytest.mark.parametrize(("tokens", "share"), [(None, True), (300, True), (4096, False)])
def test_a_suite_is_scored_as_by_the_plain_path(
    suite: Suite, tokenizer: PromptTokenizer, tokens: int | None, share: bool
) -> None:
    model = open_lm(260, seq_len=256)
    evaluation = evaluate(model, tokenizer, suite, max_batch_tokens=tokens, share_prefixes=share)
    assert not evaluation.faults
    assert_same(evaluation.results, plain_suite(plain_logits(model), tokenizer, suite))


def test_two_processes_find_what_one_finds(tmp_path: Path, suite: Suite, tokenizer: PromptTokenizer) -> None:
    config = {"hidden_dim": 32, "n_layers": 2, "n_heads": 4, "seq_len": 256, "vocab_size": 260}
    checkpoint = write_checkpoint(tmp_path / "logs", config | {"post_embed_norm": False, "weight_tying": False})

    def run(processes: int) -> tuple[dict[str, float], dict[str, list[dict[str, Any]]]]:
        output = tmp_path / f"evaluation_{processes}.json"
        command = [
            *("--checkpoint", str(checkpoint), "--donot-compute-perplexity", "--output-file", str(output)),
            *("--tokenizer", str(tmp_path / "tokenizer.json"), "--eval-yaml", str(tmp_path / "sample.yaml")),
        ]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        script = str(ROOT / "eval" / "eval_openlm_ckpt.py")
        if processes == 1:
            assert eval_openlm_ckpt.main(command) == 0
        else:
            subprocess.run([sys.executable, *launcher, script, *command], check=True, capture_output=True)
        items = {
            path.name: [json.loads(line) for line in path.read_text().splitlines()[1:]]
            for path in sorted((tmp_path / f"evaluation_{processes}_items").glob("*.jsonl"))
        }
        return json.loads(output.read_text())["eval_metrics"]["icl"], items

    (one_icl, one), (two_icl, two) = run(1), run(2)
    assert one_icl == two_icl
    assert one.keys() == two.keys()
    for name in one:
        for mine, other in zip(one[name], two[name], strict=True):
            assert mine.pop("losses", []) == pytest.approx(other.pop("losses", []), abs=TOLERANCE)
            assert mine == other
