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
from eval.models.openlm import LanguageModel
from eval.results.items import ItemResult
from eval.scoring.batching import TokenBudget, Unit, units_of_row
from eval.scoring.inference import generate, score_units
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
class Run:
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
class Part:
    """What one process found of a data set; zero for rows of other processes.

    `losses_RC` in nats; `exact_R` is 1 where greedy decoding gives the answer; `tokens_RG` are generated ids + 1.
    """

    category: str | None
    rows: Sequence[Row]
    losses_RC: Tensor
    exact_R: Tensor
    tokens_RG: Tensor
    cut: int = 0


def run_part(run: Run, task: Task, category: str | None, rows: Sequence[Row], shots: int, tracker: Tracker) -> Part:
    """Run this process's rows of a data set; `tracker` counts the rows of all processes."""
    part = Part(
        category=category,
        rows=rows,
        losses_RC=torch.zeros(len(rows), max(map(count_choices, rows)), dtype=torch.float64),
        exact_R=torch.zeros(len(rows), dtype=torch.int64),
        tokens_RG=torch.zeros(0, 0, dtype=torch.int64),
    )
    if task.task_type == GENERATION:
        _generate_rows(run, task, part, shots, tracker)
    else:
        _score_rows(run, task, part, shots, tracker)
    return part


def count_choices(row: Row) -> int:
    """Sequences that are scored for a row."""
    match row:
        case MultipleChoiceRow():
            return len(row.choices)
        case SchemaRow():
            return len(row.context_options)
        case _:
            return 1


def _score_rows(run: Run, task: Task, part: Part, shots: int, tracker: Tracker) -> None:
    """Fill in losses and exactness."""

    def units() -> Iterator[Unit]:
        for inputs in scored_rows(task, part.rows, run.tokenizer, shots, run.share):
            part.cut += sum(item.cut for item in inputs)
            if run.share_prefixes:
                yield from units_of_row(inputs, run.model.reuses_cache)
            else:
                yield from (unit for item in inputs for unit in units_of_row([item]))

    open_choices: dict[int, int] = {}
    for score in score_units(run.model, units(), run.budget):
        part.losses_RC[score.row, score.choice] = score.mean_cross_entropy
        part.exact_R[score.row] = int(score.exact)
        left = open_choices.pop(score.row, count_choices(part.rows[score.row])) - 1
        if left:
            open_choices[score.row] = left
        else:
            tracker.advance(_rows_done(run, score.row, len(part.rows)))


def _generate_rows(run: Run, task: Task, part: Part, shots: int, tracker: Tracker) -> None:
    """Fill in generated tokens."""
    rows = cast(Sequence[GenerationRow], part.rows)
    longest = max_answer_length(task, rows, run.tokenizer)
    part.tokens_RG = torch.zeros(len(rows), max(longest, 1), dtype=torch.int64)

    def inputs() -> Iterator[GenerationInput]:
        for item in generation_inputs(task, rows, run.tokenizer, shots, run.share, longest):
            part.cut += item.cut
            yield item

    stops = task.early_stopping_criteria
    for generation in generate(run.model, run.tokenizer, inputs(), stops, run.budget):
        new_G = torch.tensor(generation.tokens, dtype=torch.int64)
        part.tokens_RG[generation.row, : len(new_G)] = new_G + 1
        tracker.advance(_rows_done(run, generation.row, len(rows)))


def _rows_done(run: Run, row: int, count: int) -> int:
    """Rows that one row of this process stands for: the other processes are taken to keep pace."""
    return min(run.share.processes, count - row)


def merged_items(run: Run, task: Task, part: Part) -> list[ItemResult]:
    """The rows of all processes, judged."""
    losses_RC, exact_R, tokens_RG = (
        sum_over_ranks(tensor, run.ranks).cpu() for tensor in (part.losses_RC, part.exact_R, part.tokens_RG)
    )
    losses, exact, tokens = losses_RC.tolist(), exact_R.tolist(), tokens_RG.tolist()
    if task.task_type == GENERATION:
        return [_judge_generation(run, task, part, index, tokens[index]) for index in range(len(part.rows))]
    items = []
    for index, row in enumerate(part.rows):
        found = tuple(losses[index][: count_choices(row)])
        if isinstance(row, MultipleChoiceRow | SchemaRow):
            correct = predicted_choice(found) == row.gold
        else:
            correct = bool(exact[index])
        items.append(ItemResult(row=index, correct=correct, category=part.category, losses=found))
    return items


def _judge_generation(run: Run, task: Task, part: Part, index: int, tokens: Sequence[int]) -> ItemResult:
    """A row of a generation task: its cleaned text against answer and aliases."""
    row = cast(GenerationRow, part.rows[index])
    text = run.tokenizer.decode_new([token - 1 for token in tokens if token])
    cleaned = clean_generation(text, task.early_stopping_criteria, task.cot_delimiter, task.do_normalization)
    correct = generation_is_right(cleaned, row.answers, task.do_normalization)
    return ItemResult(row=index, correct=correct, category=part.category, text=cleaned)
