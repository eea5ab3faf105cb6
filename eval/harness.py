"""The door of the room: run a suite of tasks on a model.

Follows llm-foundry's in-context learning as DCLM uses it: accuracy per data set, a task with categories is the
unweighted mean over them, and of several shot counts the last is reported.
"""

from collections.abc import Sequence
from typing import cast

from corpusmith.errors import InputError
from corpusmith.run.progress import Tracker, say, track
from eval.inference import decode_generation, generate, score_spans
from eval.models import LanguageModel
from eval.prompts import PromptTokenizer, generation_inputs, scored_inputs
from eval.scoring import clean_generation, generation_is_right, predicted_choice
from eval.tasks import (
    GENERATION,
    LANGUAGE_MODELING,
    GenerationRow,
    MultipleChoiceRow,
    Row,
    SchemaRow,
    Suite,
    Task,
    read_rows,
    split_categories,
)


def evaluate(model: LanguageModel, tokenizer: PromptTokenizer, suite: Suite) -> dict[str, float]:
    """Accuracy in 0..1 of each task of the suite, by label, in the suite's order.

    Tasks whose data is absent are named on standard output and have no entry.

    Raises:
        InputError: the suite has no task with data, a row is malformed, or the tokenizer has ids that the model lacks.
    """
    if tokenizer.num_ids > model.vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.num_ids} ids, the model only {model.vocab_size} logits: give the "
            "tokenizer that the model was trained with"
        )
    for task in suite.missing:
        say(f"{suite.name}: task {task.label} is left out: no data file {task.data_url}")
    if not suite.tasks:
        raise InputError(
            f"{suite.name}: none of its {len(suite.missing)} tasks has its data file; put them into local_data/ in the "
            "working directory, or evaluate on eval/sample.yaml"
        )
    accuracies: dict[str, float] = {}
    for task in suite.tasks:
        parts = split_categories(task, read_rows(task))
        total = sum(len(rows) for _, rows in parts)
        for shots in task.num_fewshot:
            with track(total, f"{task.label} {shots}-shot", "rows") as tracker:
                scores = [
                    _accuracy(model, tokenizer, task, rows, shots, suite.device_eval_batch_size, tracker)
                    for _, rows in parts
                ]
            accuracies[task.label] = sum(scores) / len(scores)
    return accuracies


def _accuracy(
    model: LanguageModel,
    tokenizer: PromptTokenizer,
    task: Task,
    rows: Sequence[Row],
    shots: int,
    batch_size: int,
    tracker: Tracker,
) -> float:
    """Share of rows answered rightly in one data set."""
    if task.task_type == GENERATION:
        generation_rows = cast(Sequence[GenerationRow], rows)
        right = _generated_rightly(model, tokenizer, task, generation_rows, shots, batch_size, tracker)
    else:
        right = _scored_rightly(model, tokenizer, task, rows, shots, batch_size, tracker)
    return right / len(rows)


def _scored_rightly(
    model: LanguageModel,
    tokenizer: PromptTokenizer,
    task: Task,
    rows: Sequence[Row],
    shots: int,
    batch_size: int,
    tracker: Tracker,
) -> int:
    """Number of rows whose continuation is predicted (language modeling) or whose gold choice is the likeliest."""
    right = 0
    losses: dict[int, dict[int, float]] = {}
    inputs = scored_inputs(task, rows, tokenizer, shots)
    for score in score_spans(model, inputs, batch_size, task.max_seq_len):
        if task.task_type == LANGUAGE_MODELING:
            right += score.exact
            tracker.advance()
            continue
        row = cast(MultipleChoiceRow | SchemaRow, rows[score.row])
        choices = row.choices if isinstance(row, MultipleChoiceRow) else row.context_options
        so_far = losses.setdefault(score.row, {})
        so_far[score.choice] = score.mean_cross_entropy
        if len(so_far) == len(choices):
            right += predicted_choice([so_far[choice] for choice in range(len(choices))]) == row.gold
            del losses[score.row]
            tracker.advance()
    return right


def _generated_rightly(
    model: LanguageModel,
    tokenizer: PromptTokenizer,
    task: Task,
    rows: Sequence[GenerationRow],
    shots: int,
    batch_size: int,
    tracker: Tracker,
) -> int:
    """Number of rows whose greedy continuation starts with the answer or an alias."""
    right = 0
    stops = task.early_stopping_criteria
    inputs = generation_inputs(task, rows, tokenizer, shots)
    for generation in generate(model, tokenizer, inputs, stops, batch_size, task.max_seq_len):
        text = decode_generation(tokenizer, generation.tokens)
        cleaned = clean_generation(text, stops, task.cot_delimiter, task.do_normalization)
        right += generation_is_right(cleaned, rows[generation.row].answers, task.do_normalization)
        tracker.advance()
    return right
