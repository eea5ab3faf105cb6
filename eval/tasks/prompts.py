"""Few-shot prompts: which rows are shown, what the text is, which tokens are scored.

Follows llm-foundry v0.9.0, which DCLM pins, token for token: one random generator per data set replayed in file order,
the examples in the iteration order of a Python set, preamble, context and answer encoded apart, truncation from the
left. Departs from it in building no padding (batches are made by length, see `eval.scoring.batching`).

Names: P preamble (prompt string and few-shot examples), c test context, a answer.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from corpusmith.errors import InputError
from eval.tasks.suites import GenerationRow, LanguageModelingRow, MultipleChoiceRow, Row, SchemaRow, Task

#: room for the spaces and delimiters around an answer, where a chain of thought precedes it
_COT_EXTRA_TOKENS = 10
#: rows whose texts are encoded together
_WINDOW = 256


class PromptTokenizer(Protocol):
    """What evaluation asks of a tokenizer; see `eval.models.prompt_tokenizers`."""

    @property
    def num_ids(self) -> int:
        """Highest id + 1."""

    @property
    def eot_id(self) -> int:
        """The id that ends a document, and so a generation."""

    @property
    def content_hash(self) -> str:
        """Names the tokenizer's content."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, no special tokens added."""

    def encode_starts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each beginning of a prompt, with the special tokens that a model wants there (BOS)."""

    def decode_new(self, ids: Sequence[int]) -> str:
        """The text of generated ids, without special tokens and ids that are none."""


@dataclass(frozen=True, slots=True)
class ScoredInput:
    """One sequence to be scored: the tokens from `span_start` to the end are the answer.

    `row` is the row's index in its data set, `choice` the index of the choice (0 for language modeling), `truncated`
    whether the context lost its beginning.
    """

    row: int
    choice: int
    tokens: list[int]
    span_start: int
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class GenerationInput:
    """One prompt to be continued by at most `max_new_tokens` tokens; `truncated` where it lost its beginning."""

    row: int
    tokens: list[int]
    max_new_tokens: int
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """Which rows a process works on: of `processes`, those whose index leaves the remainder `process`."""

    process: int = 0
    processes: int = 1


ALL_ROWS = Share()


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
    return len(tokenizer.encode_batch([" a"])[0]) == 1


def scored_rows(
    task: Task, rows: Sequence[Row], tokenizer: PromptTokenizer, shots: int, share: Share = ALL_ROWS
) -> Iterator[list[ScoredInput]]:
    """The sequences of each row of a language-modeling, multiple-choice or schema data set, choice by choice.

    Raises:
        InputError: an answer alone is longer than the task's `max_seq_len`, or there is nothing to score.
    """
    add_space = _with_space if needs_prefix_space(tokenizer) else str
    for window in _windows(_preambles(task, rows, shots, share)):
        starts = _encoded(tokenizer.encode_starts, (preamble for _, preamble in window))
        pairs = [
            [(context, add_space(answer)) for context, answer in _contexts_and_answers(task, rows[index], preamble)]
            for index, preamble in window
        ]
        ids = _encoded(tokenizer.encode_batch, (text for row in pairs for pair in row for text in pair))
        for (index, preamble), row in zip(window, pairs, strict=True):
            yield [
                _scored_input(task, index, choice, starts[preamble] + ids[context], ids[answer])
                for choice, (context, answer) in enumerate(row)
            ]


def _scored_input(task: Task, index: int, choice: int, context_ids: list[int], answer_ids: list[int]) -> ScoredInput:
    """One sequence, its context cut from the left to what `max_seq_len` leaves."""
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
    truncated = len(kept) < len(context_ids)
    return ScoredInput(row=index, choice=choice, tokens=kept + answer_ids, span_start=len(kept), truncated=truncated)


def generation_inputs(
    task: Task,
    rows: Sequence[GenerationRow],
    tokenizer: PromptTokenizer,
    shots: int,
    share: Share = ALL_ROWS,
    answer_tokens: int | None = None,
) -> Iterator[GenerationInput]:
    """All prompts of a generation data set, cut from the left so that the longest answer still fits.

    `answer_tokens` is what `max_answer_length` says, where it is known already.

    Raises:
        InputError: the longest answer leaves no room for a prompt.
    """
    if answer_tokens is None:
        answer_tokens = max_answer_length(task, rows, tokenizer)
    room = task.max_seq_len - answer_tokens
    if room < 1:
        message = f"the longest answer has {answer_tokens} tokens, which max_seq_len {task.max_seq_len} does not hold"
        raise InputError(f"{task.data_url}: {message}")
    for window in _windows(_preambles(task, rows, shots, share)):
        starts = _encoded(tokenizer.encode_starts, (preamble for _, preamble in window))
        contexts = [_test_context(task, rows[index].context, preamble) for index, preamble in window]
        ids = _encoded(tokenizer.encode_batch, contexts)
        for (index, preamble), context in zip(window, contexts, strict=True):
            tokens = starts[preamble] + ids[context]
            if not tokens:
                raise InputError(f"{task.data_url}: row {index + 1}: the prompt is empty")
            yield GenerationInput(
                row=index,
                tokens=_last(tokens, room),
                max_new_tokens=max(answer_tokens, 1),
                truncated=len(tokens) > room,
            )


def max_answer_length(task: Task, rows: Sequence[GenerationRow], tokenizer: PromptTokenizer) -> int:
    """Tokens of the longest answer or alias with its chain of thought, and ten more where there is a delimiter."""
    longest = 0
    for start in range(0, len(rows), _WINDOW):
        texts = [
            ("" if row.chain_of_thought is None else row.chain_of_thought + task.cot_delimiter) + answer
            for row in rows[start : start + _WINDOW]
            for answer in row.answers
        ]
        longest = max(longest, *map(len, tokenizer.encode_starts(texts)))
    return longest + (_COT_EXTRA_TOKENS if task.cot_delimiter else 0)


def _preambles(task: Task, rows: Sequence[Row], shots: int, share: Share) -> Iterator[tuple[int, str]]:
    """Index and preamble of this process's rows; the draws for all others are made too."""
    generator = random.Random(task.fewshot_random_seed)
    for index in range(len(rows)):
        shown = fewshot_indices(generator, len(rows), index, shots)
        if index % share.processes == share.process:
            yield index, preamble_text(task, [rows[other] for other in shown])


def _windows(items: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Items in groups whose texts are encoded together."""
    iterator = iter(items)
    while window := list(itertools.islice(iterator, _WINDOW)):
        yield window


def _encoded(encode: Callable[[Sequence[str]], list[list[int]]], texts: Iterable[str]) -> dict[str, list[int]]:
    """Token ids by text; each text is encoded once."""
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, encode(distinct), strict=True))


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
