"""Run a model over batches: cross entropies of answers, and greedy generation.

Scores are those of teacher forcing in single precision: logits at position p are compared with token p + 1. Shapes:
B sequences, T positions, N scored tokens of a batch, V vocabulary.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from corpusmith.errors import CorpusmithError
from eval.batching import batch_token_limit, batches_by_length
from eval.models import LanguageModel
from eval.prompts import GenerationInput, PromptTokenizer, ScoredInput


@dataclass(frozen=True, slots=True)
class SpanScore:
    """Of one scored sequence: the answer's mean cross entropy in nats, and whether greedy decoding would give it."""

    row: int
    choice: int
    mean_cross_entropy: float
    exact: bool


@dataclass(frozen=True, slots=True)
class Generation:
    """The new tokens of one prompt, without the end-of-text token."""

    row: int
    tokens: list[int]


@torch.inference_mode()
def score_spans(
    model: LanguageModel, inputs: Iterable[ScoredInput], batch_size: int, max_seq_len: int
) -> Iterator[SpanScore]:
    """Scores of all inputs, in the order of the batches (by length), not of the inputs."""
    limit = batch_token_limit(batch_size, max_seq_len, model.vocab_size)
    for batch in batches_by_length(inputs, lambda item: len(item.tokens), limit):
        ids_BT = _right_padded([item.tokens for item in batch], model.device)
        yield from _score_batch(model.logits(ids_BT), ids_BT, batch)


def _score_batch(logits_BTV: Tensor, ids_BT: Tensor, batch: Sequence[ScoredInput]) -> list[SpanScore]:
    """Scores of one batch from its logits."""
    sequences = [b for b, item in enumerate(batch) for _ in range(item.span_start, len(item.tokens))]
    positions = [p for item in batch for p in range(item.span_start, len(item.tokens))]
    sequence_N = torch.tensor(sequences, device=ids_BT.device)
    position_N = torch.tensor(positions, device=ids_BT.device)
    logits_NV = logits_BTV[sequence_N, position_N - 1].float()
    _check_numbers(logits_NV)
    targets_N = ids_BT[sequence_N, position_N]
    losses_N = torch.nn.functional.cross_entropy(logits_NV, targets_N, reduction="none")
    equal_N = logits_NV.argmax(dim=-1) == targets_N
    spans = [len(item.tokens) - item.span_start for item in batch]
    losses_by_item, equal_by_item = torch.split(losses_N.cpu(), spans), torch.split(equal_N.cpu(), spans)
    return [
        SpanScore(row=item.row, choice=item.choice, mean_cross_entropy=losses.mean().item(), exact=bool(equal.all()))
        for item, losses, equal in zip(batch, losses_by_item, equal_by_item, strict=True)
    ]


@torch.inference_mode()
def generate(
    model: LanguageModel,
    tokenizer: PromptTokenizer,
    inputs: Iterable[GenerationInput],
    stops: Sequence[str],
    batch_size: int,
    max_seq_len: int,
) -> Iterator[Generation]:
    """Greedy continuations, in the order of the batches.

    A sequence ends at the end-of-text token, at `max_new_tokens`, or once its decoded text holds a stop string (a
    regular expression); what follows the stop string stays in and is cut by `eval.scoring.clean_generation`.
    """
    limit = batch_token_limit(batch_size, max_seq_len, model.vocab_size)
    pattern = re.compile("|".join(stops)) if stops else None
    for batch in batches_by_length(inputs, lambda item: len(item.tokens) + item.max_new_tokens, limit):

        def ends(new_tokens: list[int], pattern: re.Pattern[str] | None = pattern) -> bool:
            return pattern is not None and pattern.search(decode_generation(tokenizer, new_tokens)) is not None

        yield from _generate_batch(model, batch, tokenizer.eot_id, ends)


def _generate_batch(
    model: LanguageModel, batch: Sequence[GenerationInput], eot_id: int, ends: Callable[[list[int]], bool]
) -> list[Generation]:
    """Continue all prompts of a batch; finished ones leave it."""
    new_tokens: list[list[int]] = [[] for _ in batch]
    open_indices = list(range(len(batch)))
    while open_indices:
        sequences = [batch[i].tokens + new_tokens[i] for i in open_indices]
        ids_BT = _right_padded(sequences, model.device)
        last_B = torch.tensor([len(sequence) - 1 for sequence in sequences], device=model.device)
        logits_BV = model.logits(ids_BT)[torch.arange(len(sequences), device=model.device), last_B]
        _check_numbers(logits_BV)
        still_open = []
        for i, token in zip(open_indices, logits_BV.argmax(dim=-1).tolist(), strict=True):
            if token == eot_id:
                continue
            new_tokens[i].append(token)
            if len(new_tokens[i]) < batch[i].max_new_tokens and not ends(new_tokens[i]):
                still_open.append(i)
        open_indices = still_open
    return [Generation(row=item.row, tokens=tokens) for item, tokens in zip(batch, new_tokens, strict=True)]


def decode_generation(tokenizer: PromptTokenizer, tokens: Sequence[int]) -> str:
    """Text of generated tokens: special ids and ids that the tokenizer doesn't have are left out.

    The pad id counts as special only where it is a token of its own, not one of the added runs of spaces as in
    GPT-NeoX's.
    """
    special = {tokenizer.eot_id}
    if tokenizer.pad_id < tokenizer.vocab_size:
        special.add(tokenizer.pad_id)
    return tokenizer.decode([token for token in tokens if token not in special and token < tokenizer.num_ids])


def _check_numbers(logits: Tensor) -> None:
    """Refuse logits that are not numbers: they would be scored as wrong answers in silence."""
    if logits.isnan().any():
        raise CorpusmithError("the model gives logits that are not numbers (NaN); its checkpoint is broken")


def _right_padded(sequences: Sequence[list[int]], device: torch.device) -> Tensor:
    """Int64 ids (B, T), T the longest sequence, zeros behind the shorter ones."""
    longest = max(len(sequence) for sequence in sequences)
    rows = [sequence + [0] * (longest - len(sequence)) for sequence in sequences]
    return torch.tensor(rows, dtype=torch.int64, device=device)
