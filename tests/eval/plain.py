"""The slow plain path: one sequence at a time, from its first token, no padding, no cache. It is the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eval.scoring.judge import clean_generation, generation_is_right
from eval.tasks.prompts import GenerationInput, PromptTokenizer, ScoredInput, generation_inputs, scored_rows
from eval.tasks.suites import GENERATION, LANGUAGE_MODELING, GenerationRow, Suite, Task, read_rows, split_categories

#: all logits (T, V) of one sequence
Logits = Callable[[list[int]], Tensor]


@dataclass(frozen=True)
class PlainItem:
    """A row: mean cross entropy per choice, whether it is right."""

    losses: tuple[float, ...]
    correct: bool


def span_losses(logits: Logits, item: ScoredInput) -> tuple[float, bool]:
    """Mean cross entropy of the answer, and whether each argmax is its token."""
    log_probabilities = torch.log_softmax(logits(item.tokens).float(), dim=-1)
    targets = item.tokens[item.span_start :]
    losses, hits = [], []
    for position, target in enumerate(targets, start=item.span_start):
        losses.append(-log_probabilities[position - 1, target])
        hits.append(int(log_probabilities[position - 1].argmax()) == target)
    return float(torch.stack(losses).mean()), all(hits)


def continuation(logits: Logits, item: GenerationInput, eot_id: int) -> list[int]:
    """Greedy tokens up to the end token or the limit; stop strings are left to the cleaning."""
    tokens: list[int] = []
    while len(tokens) < item.max_new_tokens:
        token = int(logits(item.tokens + tokens)[-1].argmax())
        if token == eot_id:
            break
        tokens.append(token)
    return tokens


def plain_items(logits: Logits, tokenizer: PromptTokenizer, task: Task, shots: int) -> list[PlainItem]:
    """All rows of a task, categories in order."""
    items: list[PlainItem] = []
    for _, rows in split_categories(task, read_rows(task)):
        if task.task_type == GENERATION:
            questions = [row for row in rows if isinstance(row, GenerationRow)]
            for prompt in generation_inputs(task, questions, tokenizer, shots):
                text = tokenizer.decode_new(continuation(logits, prompt, tokenizer.eot_id))
                cleaned = clean_generation(text, task.early_stopping_criteria, task.cot_delimiter)
                items.append(PlainItem((), generation_is_right(cleaned, questions[prompt.row].answers)))
            continue
        for row, inputs in zip(rows, scored_rows(task, rows, tokenizer, shots), strict=True):
            scores = [span_losses(logits, item) for item in inputs]
            losses = [loss for loss, _ in scores]
            if task.task_type == LANGUAGE_MODELING:
                correct = scores[0][1]
            else:
                perplexities = torch.tensor(losses).exp()
                correct = int(perplexities.argmin()) == row.gold  # type: ignore[union-attr]
            items.append(PlainItem(tuple(losses), correct))
    return items


def plain_suite(logits: Logits, tokenizer: PromptTokenizer, suite: Suite) -> dict[str, list[PlainItem]]:
    """All tasks, the last shot count of each."""
    return {task.label: plain_items(logits, tokenizer, task, task.num_fewshot[-1]) for task in suite.tasks}


def changed_decisions(
    found: Sequence[tuple[float, ...]], truth: Sequence[PlainItem], right: Sequence[bool]
) -> list[tuple[int, float]]:
    """Rows whose decision differs from the truth, with the truth's margin between its two best choices."""
    changed = []
    for row, (item, mine) in enumerate(zip(truth, right, strict=True)):
        if item.correct != mine:
            best = sorted(item.losses)
            changed.append((row, best[1] - best[0] if len(best) > 1 else float("inf")))
    return changed
