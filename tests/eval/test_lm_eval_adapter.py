"""Requests of a harness: scored as by the plain path, in our process and inside lm-evaluation-harness itself."""

from __future__ import annotations

import json
import random
import site
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from corpusmith.errors import InputError
from eval.models.openlm import OpenLMModel
from eval.models.prompt_tokenizers import load_prompt_tokenizer
from eval.scoring.request_scores import ContinuationRequest, score_requests
from eval.tasks.prompts import GenerationInput, ScoredInput
from tests.eval.making import write_checkpoint, write_tokenizer
from tests.eval.plain import continuation, span_losses
from tests.eval.scoring.test_invariance import VOCABULARY, model_of, plain_logits
from tests.oracles.table_model import TableModel
from training.state.checkpoint import load_model

ROOT = Path(__file__).resolve().parents[2]
HARNESS = ROOT / ".peers" / "lm_eval" / "bin" / "python"


def test_requests_are_scored_in_their_order_as_by_the_plain_path() -> None:
    model, draws = model_of("open_lm"), random.Random(4)
    contexts = [[draws.randrange(1, VOCABULARY) for _ in range(length)] for length in (9, 9, 1, 30)]
    requests = [
        ContinuationRequest(
            draws.choice(contexts), [draws.randrange(1, VOCABULARY) for _ in range(draws.choice([1, 2, 4]))]
        )
        for _ in range(20)
    ]
    scores = score_requests(model, requests, max_length=24)
    for request, score in zip(requests, scores, strict=True):
        kept = request.context[-(24 - len(request.continuation)) :]
        item = ScoredInput(row=0, choice=0, tokens=kept + request.continuation, span_start=len(kept))
        loss, greedy = span_losses(plain_logits(model), item)
        assert score.log_likelihood == pytest.approx(-loss * len(request.continuation), abs=1e-3)
        assert score.greedy == greedy


def test_a_context_that_several_requests_share_is_run_once() -> None:
    class Counting(TableModel):
        tokens = 0

        def forward(self, ids_BT: Any, *args: Any, **kwargs: Any) -> Any:
            self.tokens += ids_BT.numel()
            return super().forward(ids_BT, *args, **kwargs)

    model = Counting(99, {})
    score_requests(model, [ContinuationRequest(list(range(1, 51)), [60 + n, 70]) for n in range(4)], 2048)
    assert model.tokens == 50 + 4


@pytest.mark.parametrize(
    "request_", [ContinuationRequest([], [1]), ContinuationRequest([1], []), ContinuationRequest([1], [2, 3, 4])]
)
def test_what_cannot_be_scored_is_named(request_: ContinuationRequest) -> None:
    with pytest.raises(InputError, match="request 1:"):
        score_requests(TableModel(9, {}), [ContinuationRequest([1], [2]), request_], 3)


# --- inside the harness ---------------------------------------------------------------------------------------------

DRIVER = """
import json, sys
root, packages, folder = sys.argv[1:]
sys.path.insert(0, root)
sys.path.append(packages)  # what ours needs and the harness's environment lacks
import lm_eval
from lm_eval.api.instance import Instance
from eval.lm_eval_adapter import CorpusmithLM
model = lm_eval.api.registry.get_model("corpusmith").create_from_arg_string(
    f"checkpoint={folder}/logs/checkpoints/epoch_1.pt,tokenizer={folder}/tokenizer.json", {"batch_size": 2})
assert isinstance(model, CorpusmithLM)
task = {"task": "animals", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": f"{folder}/t.jsonl"}},
        "test_split": "test", "num_fewshot": 0, "output_type": "multiple_choice", "doc_to_text": "{{query}}",
        "doc_to_choice": "{{choices}}", "doc_to_target": "gold", "metric_list": [{"metric": "acc"}]}
found = lm_eval.simple_evaluate(model=model, tasks=[task], bootstrap_iters=0, log_samples=True)
samples = sorted(found["samples"]["animals"], key=lambda sample: sample["doc_id"])
def ask(kind, arguments):
    return [Instance(request_type=kind, doc={}, arguments=a, idx=n) for n, a in enumerate(arguments)]
print(json.dumps({
    "accuracy": found["results"]["animals"]["acc,none"],
    "choices": [[r[0][0] for r in sample["resps"]] for sample in samples],
    "rolling": model.loglikelihood_rolling(ask("loglikelihood_rolling", [("a short text",), ("x" * 700,)])),
    "generated": model.generate_until(ask("generate_until", [
        ("Who?", {"until": ["q"], "max_gen_toks": 12}), ("What is", {"until": [], "max_gen_toks": 5})])),
}))
"""


@pytest.mark.all
def test_the_harness_runs_its_tasks_on_a_checkpoint(tmp_path: Path) -> None:
    if not HARNESS.exists():
        pytest.skip("needs lm-evaluation-harness in .peers/lm_eval; run: make peers")
    config = {"hidden_dim": 16, "n_layers": 1, "n_heads": 2, "seq_len": 256, "vocab_size": 260}
    checkpoint = write_checkpoint(tmp_path / "logs", config | {"post_embed_norm": False, "weight_tying": False})
    write_tokenizer(tmp_path / "tokenizer.json")
    rows: list[dict[str, Any]] = [
        {"query": "Which one barks?", "choices": ["a dog", "a trout"], "gold": 0},
        {"query": "Which one swims?", "choices": ["a hawk", "a carp", "a mole"], "gold": 1},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run(
        [str(HARNESS), "-c", DRIVER, str(ROOT), site.getsitepackages()[0], str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={"HF_HUB_OFFLINE": "1", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])

    torch.set_num_threads(1)
    model, tokenizer = OpenLMModel(load_model(str(checkpoint))), load_prompt_tokenizer(str(tmp_path / "tokenizer.json"))
    logits = plain_logits(model)

    def encode(text: str) -> list[int]:
        return tokenizer.encode_batch([text])[0]

    def log_likelihood(context: list[int], answer: list[int]) -> float:
        loss, _ = span_losses(logits, ScoredInput(row=0, choice=0, tokens=context + answer, span_start=len(context)))
        return -loss * len(answer)

    expected = [[log_likelihood(encode(row["query"]), encode(f" {c}")) for c in row["choices"]] for row in rows]
    for mine, theirs in zip(found["choices"], expected, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)
    right = [values.index(max(values)) == row["gold"] for values, row in zip(expected, rows, strict=True)]
    assert found["accuracy"] == sum(right) / 2
    end = [tokenizer.eot_id]
    assert found["rolling"][0] == pytest.approx(log_likelihood(end, encode("a short text")), abs=1e-3)
    assert found["rolling"][1] < -700  # three windows of an untrained model, near log 260 a token
    prompt = GenerationInput(row=0, tokens=encode("Who?"), max_new_tokens=12)
    text = tokenizer.decode_new(continuation(logits, prompt, tokenizer.eot_id))
    assert found["generated"][0] == text.split("q")[0]
    assert len(found["generated"]) == 2
