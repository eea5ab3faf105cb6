"""The door of the room: run a suite of tasks on a model.

Follows llm-foundry's in-context learning as DCLM uses it: accuracy per data set, a task with categories is the
unweighted mean over them, and of several shot counts the last is reported. Departs from it in what a fault costs: a
task that cannot be run is named and has no accuracy, the others go on.

Under torchrun each process works on every n-th row, and what they find is summed: sums of one number and zeros, so the
merged numbers are those that were computed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from corpusmith.errors import CorpusmithError, InputError
from corpusmith.run.progress import Tracker, say, track
from eval.models.language_model import LanguageModel
from eval.results.items import Records, TaskResult
from eval.scoring.batching import TokenBudget
from eval.scoring.task_run import EvalContext, TaskResultShard, merged_items, run_shard
from eval.tasks.prompts import PromptTokenizer
from eval.tasks.suites import Suite, Task, count_rows, read_rows, split_categories
from training.state.ranks import Ranks, sum_over_ranks, true_everywhere


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of a suite.

    `icl` is the accuracy in 0..1 by label, in the suite's order; `results` the same item by item. `faults` says by
    label why a task that has data has no accuracy: a row is malformed, the model gave no numbers. `missing` names the
    data files of tasks that have none.
    """

    icl: dict[str, float]
    results: dict[str, TaskResult]
    faults: dict[str, str]
    missing: dict[str, str]


def evaluate(
    model: LanguageModel,
    tokenizer: PromptTokenizer,
    suite: Suite,
    *,
    records: Records | None = None,
    ranks: Ranks | None = None,
    max_batch_tokens: int | None = None,
    share_prefixes: bool = True,
) -> Evaluation:
    """Run all tasks of a suite.

    Args:
        model: what is evaluated.
        tokenizer: the one that it was trained with.
        suite: the tasks.
        records: where finished tasks are kept and found; None keeps nothing.
        ranks: this process among those that share the work.
        max_batch_tokens: padded tokens of a batch to begin with; estimated from free memory by default.
        share_prefixes: whether a row's choices continue one run of what they have in common.

    Raises:
        InputError: the suite has no task with data, or the tokenizer has ids that the model lacks.
        CorpusmithError: no task could be run.
    """
    if tokenizer.num_ids > model.vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.num_ids} ids, the model only {model.vocab_size} logits: give the "
            "tokenizer that the model was trained with"
        )
    ranks = ranks or Ranks(device=model.device)
    missing = {task.label: task.data_url for task in suite.missing}
    for label, data_url in missing.items():
        _report(ranks, f"{suite.name}: task {label} is left out: no data file {data_url}")
    if not suite.tasks:
        raise InputError(
            f"{suite.name}: none of its {len(suite.missing)} tasks has its data file; fetch them with `corpusmith "
            "assets fetch`, give their folder with --eval_data, or evaluate on eval/sample.yaml"
        )
    context = EvalContext(
        model=model,
        tokenizer=tokenizer,
        ranks=ranks,
        budget=TokenBudget(model, max_batch_tokens),
        share_prefixes=share_prefixes,
    )
    results: dict[str, TaskResult] = {}
    faults: dict[str, str] = {}
    jobs = [(_fitted(task, context), shots) for task in suite.tasks for shots in task.num_fewshot]
    total = sum(count_rows(task) for task, _ in jobs)
    with track(total, suite.name, "rows") as tracker:
        for task, shots in jobs:
            try:
                results[task.label] = _result_of(context, task, shots, records, tracker)
                faults.pop(task.label, None)
            except CorpusmithError as error:
                faults[task.label] = str(error)
                results.pop(task.label, None)
                _report(ranks, f"{suite.name}: task {task.label} has no accuracy: {error}")
    if not results:
        raise CorpusmithError(f"{suite.name}: no task could be run; the first fault: {next(iter(faults.values()))}")
    icl = {label: result.accuracy for label, result in results.items()}
    return Evaluation(icl=icl, results=results, faults=faults, missing=missing)


def _report(ranks: Ranks, line: str) -> None:
    """Say something once, not once per process."""
    if ranks.leads:
        say(line)


def _fitted(task: Task, context: EvalContext) -> Task:
    """The task with a context window that the model has."""
    limit = context.model.max_positions
    if limit is None or limit >= task.max_seq_len:
        return task
    _report(context.ranks, f"task {task.label}: the model takes {limit} tokens only, not {task.max_seq_len}")
    return replace(task, max_seq_len=limit)


def _result_of(context: EvalContext, task: Task, shots: int, records: Records | None, within: Tracker) -> TaskResult:
    """The result of a task: as recorded, or run now and recorded.

    Of a recorded one, processes other than the first hold no items.
    """
    stored = records.load(task, shots) if records is not None and context.ranks.leads else None
    if sum_over_ranks(torch.tensor(int(stored is not None)), context.ranks).item():
        within.advance(len(stored.items) if stored is not None else 0)
        _report(context.ranks, f"{task.label} {shots}-shot: done before, taken from its record")
        return stored or TaskResult(label=task.label, shots=shots, items=())
    started = time.monotonic()
    fault: CorpusmithError | None = None
    shards: list[TaskResultShard] = []
    try:
        datasets = split_categories(task, read_rows(task))
        total = sum(len(rows) for _, rows in datasets)
        with track(total, f"{task.label} {shots}-shot", "rows", within=within) as tracker:
            for category, rows in datasets:
                shards.append(run_shard(context, task, category, rows, shots, tracker))
    except CorpusmithError as error:
        fault = error
    if not true_everywhere(fault is None, context.ranks):
        raise fault or CorpusmithError("it failed in another process")
    items = tuple(item for shard in shards for item in merged_items(context, task, shard))
    truncated = int(sum_over_ranks(torch.tensor(sum(shard.truncated for shard in shards)), context.ranks).item())
    seconds = round(time.monotonic() - started, 3)
    result = TaskResult(label=task.label, shots=shots, items=items, seconds=seconds, truncated=truncated)
    if truncated:
        _report(
            context.ranks,
            f"{task.label} {shots}-shot: {truncated} contexts lost their beginning, {task.max_seq_len} tokens fit",
        )
    if records is not None and context.ranks.leads:
        records.save(task, result)
    return result
