"""Few-shot prompts: which rows are shown, what the text is, which tokens are scored.

Follows llm-foundry v0.9.0, which DCLM pins, token for token: one random generator per data set replayed in file order,
the examples in the iteration order of a Python set, preamble, context and answer encoded apart, truncation from the
left. Departs from it in building no padding (batches are made by length, see `eval.batching`), and in that special
tokens spelt out in a prompt are text. Our tokenizers add no special tokens of their own, so the preamble is encoded
plainly too.

Names: P preamble (prompt string and few-shot examples), c test context, a answer.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from corpusmith.errors import InputError
from eval.tasks import GenerationRow, LanguageModelingRow, MultipleChoiceRow, Row, SchemaRow, Task

#: room for the spaces and delimiters around an answer, where a chain of thought precedes it
_COT_EXTRA_TOKENS = 10


class PromptTokenizer(Protocol):
    """What evaluation asks of a tokenizer; `corpusmith.text.tokenizer.Tokenizer` offers it."""

    @property
    def num_ids(self) -> int:
        """Highest id + 1."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens, without added ones."""

    @property
    def eot_id(self) -> int:
        """The id that ends a document, and so a generation."""

    @property
    def pad_id(self) -> int:
        """The id that fills up sequences."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, no special tokens added."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""


@dataclass(frozen=True, slots=True)
class ScoredInput:
    """One sequence to be scored: the tokens from `span_start` to the end are the answer.

    `row` is the row's index in its data set, `choice` the index of the choice (0 for language modeling).
    """

    row: int
    choice: int
    tokens: list[int]
    span_start: int


@dataclass(frozen=True, slots=True)
class GenerationInput:
    """One prompt to be continued by at most `max_new_tokens` tokens."""

    row: int
    tokens: list[int]
    max_new_tokens: int


def fewshot_indices(generator: random.Random, size: int, index: int, shots: int) -> list[int]:
    """The rows shown before row `index` of `size`, in the order in which they are shown.

    The order is the iteration order of a Python set with exactly this history of insertions and removals; the draws
    depend on those for all earlier rows, so call it for rows 0, 1, 2, … with one generator.
    """
    if shots == 0:
        return []
    chosen = set(generator.sample(range(size), min(size - 1, shots)))
    if index in chosen:
        chosen.remove(index)
        replacement = index
        while replacement == index or replacement in chosen:
            replacement = generator.choice(range(size))
        chosen.add(replacement)
    return list(chosen)


def needs_prefix_space(tokenizer: PromptTokenizer) -> bool:
    """Whether a word after a space is one token with its space, so that answers must begin with one."""
    return len(tokenizer.encode(" a")) == 1


def scored_inputs(task: Task, rows: Sequence[Row], tokenizer: PromptTokenizer, shots: int) -> Iterator[ScoredInput]:
    """All sequences of a language-modeling, multiple-choice or schema data set, row by row, choice by choice.

    Raises:
        InputError: an answer alone is longer than the task's `max_seq_len`.
    """
    prefix_space = needs_prefix_space(tokenizer)
    generator = random.Random(task.fewshot_random_seed)
    for index, row in enumerate(rows):
        shown = [rows[other] for other in fewshot_indices(generator, len(rows), index, shots)]
        preamble = preamble_text(task, shown)
        preamble_ids = tokenizer.encode(preamble)
        for choice, (context, answer) in enumerate(_contexts_and_answers(task, row, preamble)):
            answer_ids = tokenizer.encode(_with_space(answer) if prefix_space else answer)
            context_ids = preamble_ids + tokenizer.encode(context)
            room = task.max_seq_len - len(answer_ids)
            if room < 0:
                raise InputError(
                    f"{task.data_url}: row {index + 1}: the answer has {len(answer_ids)} tokens, more than max_seq_len "
                    f"{task.max_seq_len}"
                )
            kept = _last(context_ids, room)
            if not answer_ids or not kept:
                raise InputError(
                    f"{task.data_url}: row {index + 1}: nothing to score: {len(kept)} tokens of context, "
                    f"{len(answer_ids)} of answer"
                )
            yield ScoredInput(row=index, choice=choice, tokens=kept + answer_ids, span_start=len(kept))


def generation_inputs(
    task: Task, rows: Sequence[GenerationRow], tokenizer: PromptTokenizer, shots: int
) -> Iterator[GenerationInput]:
    """All prompts of a generation data set, cut from the left so that the longest answer still fits.

    Raises:
        InputError: the longest answer leaves no room for a prompt.
    """
    answer_tokens = max_answer_length(task, rows, tokenizer)
    room = task.max_seq_len - answer_tokens
    if room < 1:
        message = f"the longest answer has {answer_tokens} tokens, which max_seq_len {task.max_seq_len} does not hold"
        raise InputError(f"{task.data_url}: {message}")
    generator = random.Random(task.fewshot_random_seed)
    for index, row in enumerate(rows):
        shown = [rows[other] for other in fewshot_indices(generator, len(rows), index, shots)]
        preamble = preamble_text(task, shown)
        tokens = tokenizer.encode(preamble) + tokenizer.encode(_test_context(task, row.context, preamble))
        if not tokens:
            raise InputError(f"{task.data_url}: row {index + 1}: the prompt is empty")
        yield GenerationInput(row=index, tokens=_last(tokens, room), max_new_tokens=max(answer_tokens, 1))


def max_answer_length(task: Task, rows: Sequence[GenerationRow], tokenizer: PromptTokenizer) -> int:
    """Tokens of the longest answer or alias with its chain of thought, and ten more where there is a delimiter."""
    longest = 0
    for row in rows:
        thought = "" if row.chain_of_thought is None else row.chain_of_thought + task.cot_delimiter
        for answer in row.answers:
            longest = max(longest, len(tokenizer.encode(thought + answer)))
    return longest + (_COT_EXTRA_TOKENS if task.cot_delimiter else 0)


def preamble_text(task: Task, shown: Sequence[Row]) -> str:
    """P: the prompt string and the shown rows, each with its answer."""
    text = task.prompt_string
    for row in shown:
        delimiter = task.example_delimiter if text else ""
        text += _shot_text(task, row, delimiter)
    return text


def _shot_text(task: Task, row: Row, delimiter: str) -> str:
    """One example with its answer; in a schema the prelimiter precedes the example delimiter."""
    match row:
        case SchemaRow():
            context, answer = row.context_options[row.gold], row.continuation
            return task.prelimiter + delimiter + context + task.continuation_delimiter + answer
        case LanguageModelingRow():
            context, answer = row.context, row.continuation
        case MultipleChoiceRow():
            context, answer = row.query, row.choices[row.gold]
        case GenerationRow():
            thought = "" if row.chain_of_thought is None else row.chain_of_thought + task.cot_delimiter
            context, answer = row.context, thought + row.answer
    return delimiter + task.prelimiter + context + task.continuation_delimiter + answer


def _contexts_and_answers(task: Task, row: Row, preamble: str) -> list[tuple[str, str]]:
    """The pairs (c, a) of a row that are compared with each other."""
    match row:
        case LanguageModelingRow():
            return [(_test_context(task, row.context, preamble), row.continuation)]
        case MultipleChoiceRow():
            context = _test_context(task, row.query, preamble)
            return [(context, choice) for choice in row.choices]
        case SchemaRow():
            return [(_schema_context(task, option, preamble), row.continuation) for option in row.context_options]
        case GenerationRow():
            raise InputError(f"task {task.label}: generation tasks have nothing to score token by token")


def _test_context(task: Task, context: str, preamble: str) -> str:
    """c: its trailing white space goes, so the default delimiter vanishes and moves to the answer."""
    delimiter = task.example_delimiter if preamble else ""
    return (delimiter + task.prelimiter + context + task.continuation_delimiter).rstrip()


def _schema_context(task: Task, option: str, preamble: str) -> str:
    """c of one option; without a preamble nothing is added or stripped."""
    if not preamble:
        return task.prelimiter + option
    return task.prelimiter + task.example_delimiter + option + task.continuation_delimiter.rstrip()


def _with_space(answer: str) -> str:
    """The answer with one leading space, unless it has one."""
    return answer if answer.startswith(" ") else " " + answer


def _last(tokens: list[int], count: int) -> list[int]:
    """The last `count` tokens."""
    return tokens[max(len(tokens) - count, 0) :]
