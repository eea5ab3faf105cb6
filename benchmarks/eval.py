"""Multiple choice and language modeling against lm-evaluation-harness: the same small random-weight model and tasks.

Real task files are rendered with their few-shot examples once, so that both sides score the same texts without examples
of their own; each side builds its prompts, tokenizes and batches as it does. Both run on one thread; the times are CPU
seconds, the harness's without the building of its tasks, ours with all that `evaluate` does. The largest difference of
a request's log-likelihood is printed.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import torch

from benchmarks._bench import ROOT, SHARED, Row, make_parser, run
from benchmarks._eval_data import heavy_suite
from corpusmith.errors import CorpusmithError, InputError
from eval.models.huggingface import HuggingFaceModel, load_hugging_face_model
from eval.models.prompt_tokenizers import load_hugging_face_tokenizer
from eval.scoring.suite_run import evaluate
from eval.tasks.prompts import PromptTokenizer, fewshot_indices, preamble_text, scored_rows
from eval.tasks.suites import (
    LANGUAGE_MODELING,
    MULTIPLE_CHOICE,
    LanguageModelingRow,
    MultipleChoiceRow,
    Suite,
    Task,
    read_rows,
)

TASKS = {
    MULTIPLE_CHOICE: ("arc_easy", "piqa", "commonsense_qa", "openbook_qa", "boolq"),
    LANGUAGE_MODELING: ("lambada_openai", "jeopardy", "bigbench_qa_wikidata"),
}
GOALS: dict[str, float] = {MULTIPLE_CHOICE: 3.0, LANGUAGE_MODELING: 1.2}
#: padded tokens of a batch, ours by default on a CPU; the harness, which counts sequences, gets as many as this holds
BATCH_TOKENS = 2048
TOLERANCE = 1e-3
CONTEXT = 2048
ANSWER_ROOM = 64
PEER = ROOT / ".peers" / "lm_eval" / "bin" / "python"


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A task whose rows hold their few-shot examples, and its tokens: of the longest sequence, and of each answer."""

    task: Task
    longest: int
    answer_tokens: list[list[int]]


def make_model(folder: Path, tokenizer_file: Path) -> None:
    """A Llama of 13 million weights and GPT-NeoX's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50304,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:  # an untrained network is nearly uniform; this one has opinions
            torch.nn.init.normal_(weight, std=0.1 if "embed" in name else 0.06)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(tokenizer_file), eos_token="<|endoftext|>", model_max_length=CONTEXT
    ).save_pretrained(folder)


def render(task: Task, rows_per_task: int, folder: Path, tokenizer: PromptTokenizer) -> Rendered:
    """Write rows of a task with their few-shot examples before them, those that fit into the model's context."""
    rows = read_rows(task)
    draws = random.Random(task.fewshot_random_seed)
    path = folder / f"{task.label}.jsonl"
    rendered = Task(label=task.label, data_url=str(path), task_type=task.task_type, num_fewshot=(0,))
    lines: list[bytes] = []
    for index in range(len(rows)):
        if len(lines) == rows_per_task:
            break
        shown = [rows[other] for other in fewshot_indices(draws, len(rows), index, task.num_fewshot[-1])]
        preamble = preamble_text(task, shown)
        before = preamble + (task.example_delimiter if preamble else "")
        after = task.continuation_delimiter.rstrip()
        row = rows[index]
        if isinstance(row, MultipleChoiceRow):
            text = before + row.query + after
            line = {"query": text, "choices": list(row.choices), "gold": row.gold}
        else:
            assert isinstance(row, LanguageModelingRow)
            text = before + row.context + after
            line = {"context": text, "continuation": row.continuation}
        if len(tokenizer.encode_batch([text])[0]) < CONTEXT - ANSWER_ROOM:
            lines.append(orjson.dumps(line))
    path.write_bytes(b"\n".join(lines) + b"\n")
    inputs = list(scored_rows(rendered, read_rows(rendered), tokenizer, 0))
    return Rendered(
        task=rendered,
        longest=max(len(item.tokens) for row in inputs for item in row),
        answer_tokens=[[len(item.tokens) - item.span_start for item in row] for row in inputs],
    )


def run_ours(model: HuggingFaceModel, tokenizer: PromptTokenizer, item: Rendered) -> tuple[float, list[list[float]]]:
    """CPU seconds, and log-likelihoods per row and choice."""
    started = time.process_time()
    suite = Suite(name=item.task.label, tasks=(item.task,))
    evaluation = evaluate(model, tokenizer, suite)
    seconds = time.process_time() - started
    rows = evaluation.results[item.task.label].items
    return seconds, [
        [-loss * count for loss, count in zip(row.losses, counts, strict=True)]
        for row, counts in zip(rows, item.answer_tokens, strict=True)
    ]


def run_peer(model: Path, items: Sequence[Rendered], output: Path) -> dict[str, tuple[float, list[list[float]]]]:
    """The same by the harness, in its environment, by label."""
    script = str(Path(__file__).with_name("_lm_eval_peer.py"))
    entries = [f"{item.task.task_type}:{max(1, BATCH_TOKENS // item.longest)}:{item.task.data_url}" for item in items]
    command = [str(PEER), script, str(model), str(output), *entries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CorpusmithError(f"the harness failed: {done.stderr.strip().splitlines()[-1:]}")
    found = json.loads(output.read_text())
    return {
        item.task.label: (found[item.task.data_url]["seconds"], found[item.task.data_url]["loglikelihoods"])
        for item in items
    }


def largest_difference(ours: list[list[float]], theirs: list[list[float]]) -> float:
    """Over all requests, in nats."""
    pairs = [pair for mine, other in zip(ours, theirs, strict=True) for pair in zip(mine, other, strict=True)]
    return max(abs(mine - other) for mine, other in pairs)


def measure(source: Path, quick: bool) -> list[Row]:
    """A row per task, and one per type with the sums."""
    if not PEER.exists():
        raise InputError(f"no lm-evaluation-harness at {PEER}; run: make peers")
    tokenizer_file = SHARED / "tokenizers" / "EleutherAI_gpt-neox-20b.tokenizer.json"
    if not source.is_dir() or not tokenizer_file.exists():
        raise InputError(f"needs task files in {source} and {tokenizer_file}")
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_model(folder / "model", tokenizer_file)
        model, tokenizer = (
            load_hugging_face_model(str(folder / "model")),
            load_hugging_face_tokenizer(str(folder / "model")),
        )
        tasks = {task.label: task for task in heavy_suite(source).tasks}
        for kind, labels in TASKS.items():
            items = [render(tasks[label], 16 if quick else 150, folder, tokenizer) for label in labels]
            rows += _measure_type(kind, items, model, tokenizer, folder, 1 if quick else 3)
    return rows


def _measure_type(
    kind: str, items: list[Rendered], model: HuggingFaceModel, tokenizer: PromptTokenizer, folder: Path, repeats: int
) -> list[Row]:
    """Interleaved repeats of all tasks of a type; medians."""
    run_ours(model, tokenizer, items[0])  # warm
    times: dict[str, tuple[list[float], list[float]]] = {item.task.label: ([], []) for item in items}
    differences = dict.fromkeys(times, 0.0)
    for _ in range(repeats):
        peer = run_peer(folder / "model", items, folder / "peer.json")
        for item in items:
            label = item.task.label
            seconds, ours = run_ours(model, tokenizer, item)
            their_seconds, theirs = peer[label]
            times[label][0].append(seconds)
            times[label][1].append(their_seconds)
            differences[label] = max(differences[label], largest_difference(ours, theirs))
    rows, sums = [], [0.0, 0.0]
    for item in items:
        label = item.task.label
        if differences[label] > TOLERANCE:
            raise CorpusmithError(f"{label}: log-likelihoods differ by {differences[label]} nats")
        medians = [statistics.median(side) for side in times[label]]
        sums = [total + median for total, median in zip(sums, medians, strict=True)]
        name = f"{label} ({len(item.answer_tokens)} rows, log-likelihoods within {differences[label]:.1e})"
        rows.append(_row(name, medians[0], medians[1], goal=None))
        sys.stderr.write(f"{name}: {medians[0]:.2f} s, {medians[1]:.2f} s\n")
    return [*rows, _row(f"{kind}, all", sums[0], sums[1], goal=GOALS[kind])]


def _row(name: str, ours: float, other: float, goal: float | None) -> Row:
    ratio = other / ours
    return Row(
        name=name,
        ours=ours,
        other=other,
        unit="CPU s",
        ratio=ratio,
        goal="" if goal is None else f">= {goal}",
        met=None if goal is None else ratio >= goal,
    )


def main() -> int:
    """Print the rows; exit code 2 where there is nothing to measure."""
    parser = make_parser(__doc__ or "")
    parser.set_defaults(source=str(SHARED / "eval_data"))
    return run(parser, lambda arguments: measure(Path(arguments.source), arguments.quick))


if __name__ == "__main__":
    raise SystemExit(main())
