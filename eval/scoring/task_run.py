"""One data set of a task (the whole file, or one category): run a process's share of it, merge, judge.

Shapes: R rows, C choices of the row with the most, G new tokens of the longest generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from corpusmith.run.progress import Tracker
from eval.models.language_model import LanguageModel
from eval.results.items import ItemResult
from eval.scoring.batching import PrefixGroup, TokenBudget, prefix_groups
from eval.scoring.inference import generate, score_groups
from eval.scoring.judge import clean_generation, generation_is_right, predicted_choice
from eval.tasks.prompts import (
    GenerationInput,
    PromptTokenizer,
    Share,
    generation_inputs,
    max_answer_length,
    scored_rows,
)
from eval.tasks.suites import GENERATION, GenerationRow, MultipleChoiceRow, Row, SchemaRow, Task
from training.state.ranks import Ranks, sum_over_ranks


@dataclass(frozen=True, kw_only=True)
class EvalContext:
    """What all tasks of an evaluation share."""

    model: LanguageModel
    tokenizer: PromptTokenizer
    ranks: Ranks
    budget: TokenBudget
    share_prefixes: bool = True

    @property
    def share(self) -> Share:
        """This process's rows."""
        return Share(process=self.ranks.rank, processes=self.ranks.world_size)


@dataclass(kw_only=True)
class TaskResultShard:
    """What one process found of a data set; zero for rows of other processes.

    `losses_RC` in nats; `exact_R` is 1 where greedy decoding gives the answer; `tokens_RG` are generated ids + 1.
    """

    category: str | None
    rows: Sequence[Row]
    losses_RC: Tensor
    exact_R: Tensor
    tokens_RG: Tensor
    truncated: int = 0


def run_shard(
    context: EvalContext, task: Task, category: str | None, rows: Sequence[Row], shots: int, tracker: Tracker
) -> TaskResultShard:
    """Run this process's rows of a data set; `tracker` counts the rows of all processes."""
    shard = TaskResultShard(
        category=category,
        rows=rows,
        losses_RC=torch.zeros(len(rows), max(map(count_choices, rows)), dtype=torch.float64),
        exact_R=torch.zeros(len(rows), dtype=torch.int64),
        tokens_RG=torch.zeros(0, 0, dtype=torch.int64),
    )
    if task.task_type == GENERATION:
        _generate_rows(context, task, shard, shots, tracker)
    else:
        _score_rows(context, task, shard, shots, tracker)
    return shard


def count_choices(row: Row) -> int:
    """Sequences that are scored for a row."""
    match row:
        case MultipleChoiceRow():
            return len(row.choices)
        case SchemaRow():
            return len(row.context_options)
        case _:
            return 1


def _score_rows(context: EvalContext, task: Task, shard: TaskResultShard, shots: int, tracker: Tracker) -> None:
    """Fill in losses and exactness."""

    def groups() -> Iterator[PrefixGroup]:
        for inputs in scored_rows(task, shard.rows, context.tokenizer, shots, context.share):
            shard.truncated += sum(item.truncated for item in inputs)
            if context.share_prefixes:
                yield from prefix_groups(inputs, context.model.reuses_cache)
            else:
                yield from (group for item in inputs for group in prefix_groups([item]))

    open_choices: dict[int, int] = {}
    for score in score_groups(context.model, groups(), context.budget):
        shard.losses_RC[score.row, score.choice] = score.mean_cross_entropy
        shard.exact_R[score.row] = int(score.exact)
        left = open_choices.pop(score.row, count_choices(shard.rows[score.row])) - 1
        if left:
            open_choices[score.row] = left
        else:
            tracker.advance(_rows_done(context, score.row, len(shard.rows)))


def _generate_rows(context: EvalContext, task: Task, shard: TaskResultShard, shots: int, tracker: Tracker) -> None:
    """Fill in generated tokens."""
    rows = cast(Sequence[GenerationRow], shard.rows)
    longest = max_answer_length(task, rows, context.tokenizer)
    shard.tokens_RG = torch.zeros(len(rows), max(longest, 1), dtype=torch.int64)

    def inputs() -> Iterator[GenerationInput]:
        for item in generation_inputs(task, rows, context.tokenizer, shots, context.share, longest):
            shard.truncated += item.truncated
            yield item

    stops = task.early_stopping_criteria
    for generation in generate(context.model, context.tokenizer, inputs(), stops, context.budget):
        new_G = torch.tensor(generation.tokens, dtype=torch.int64)
        shard.tokens_RG[generation.row, : len(new_G)] = new_G + 1
        tracker.advance(_rows_done(context, generation.row, len(rows)))


def _rows_done(context: EvalContext, row: int, count: int) -> int:
    """Rows that one row of this process stands for: the other processes are taken to keep pace."""
    return min(context.share.processes, count - row)


def merged_items(context: EvalContext, task: Task, shard: TaskResultShard) -> list[ItemResult]:
    """The rows of all processes, judged."""
    losses_RC, exact_R, tokens_RG = (
        sum_over_ranks(tensor, context.ranks).cpu() for tensor in (shard.losses_RC, shard.exact_R, shard.tokens_RG)
    )
    losses, exact, tokens = losses_RC.tolist(), exact_R.tolist(), tokens_RG.tolist()
    if task.task_type == GENERATION:
        return [_judge_generation(context, task, shard, index, tokens[index]) for index in range(len(shard.rows))]
    items = []
    for index, row in enumerate(shard.rows):
        found = tuple(losses[index][: count_choices(row)])
        if isinstance(row, MultipleChoiceRow | SchemaRow):
            correct = predicted_choice(found) == row.gold
        else:
            correct = bool(exact[index])
        items.append(ItemResult(row=index, correct=correct, category=shard.category, losses=found))
    return items


def _judge_generation(
    context: EvalContext, task: Task, shard: TaskResultShard, index: int, tokens: Sequence[int]
) -> ItemResult:
    """A row of a generation task: its cleaned text against answer and aliases."""
    row = cast(GenerationRow, shard.rows[index])
    text = context.tokenizer.decode_new([token - 1 for token in tokens if token])
    cleaned = clean_generation(text, task.early_stopping_criteria, task.cot_delimiter, task.do_normalization)
    correct = generation_is_right(cleaned, row.answers, task.do_normalization)
    return ItemResult(row=index, correct=correct, category=shard.category, text=cleaned)
