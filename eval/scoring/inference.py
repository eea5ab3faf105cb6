"""Run a model over batches: cross entropies of answers, and greedy generation.

Scores are those of teacher forcing in single precision: logits at position p are compared with token p + 1. A group's
common beginning is run once; answers of one token need nothing more, longer ones continue its cache.

Shapes: B sequences of a batch, T positions, K cached and new positions, N scored tokens or selected rows, V vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from corpusmith.errors import CorpusmithError
from eval.models.language_model import Cache, LanguageModel
from eval.scoring.batching import Ending, PrefixGroup, TokenBudget, run_in_batches
from eval.tasks.prompts import GenerationInput, PromptTokenizer

#: share of open sequences below which finished ones leave a batch that generates
_DROP_BELOW = 0.75


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


@dataclass(slots=True)
class _Parts:
    """Losses of an answer's tokens, and whether the argmax hits them, as they come."""

    losses: list[Tensor]
    hits: list[Tensor]


@torch.inference_mode()
def score_groups(model: LanguageModel, groups: Iterable[PrefixGroup], budget: TokenBudget) -> Iterator[SpanScore]:
    """Scores of all endings, in the order of the batches (by length), not of the groups."""
    yield from run_in_batches(
        groups,
        length=lambda group: len(group.prefix),
        positions=lambda group: group.keep,
        budget=budget,
        run=lambda batch: _score_batch(model, batch, budget),
    )


def _score_batch(model: LanguageModel, batch: Sequence[PrefixGroup], budget: TokenBudget) -> list[SpanScore]:
    """Scores of one batch: the beginnings in one pass, then what endings of more than one token still need."""
    ids_BT, mask_BT = left_padded([group.prefix for group in batch], model.device)
    keep = max(group.keep for group in batch)
    pairs = [(b, ending) for b, group in enumerate(batch) for ending in group.endings]
    longer = [place for place, (_, ending) in enumerate(pairs) if len(ending.tokens) > 1]
    logits_BkV, cache = model.forward(ids_BT, mask_BT, keep=keep, want_cache=bool(longer))
    parts = [_Parts([], []) for _ in pairs]
    wanted = [
        _Wanted(place, b, keep - count + i, ending.tokens[0] if i == count - 1 else batch[b].prefix[i + 1 - count])
        for place, (b, ending) in enumerate(pairs)
        for count in [ending.scored_in_prefix]
        for i in range(count)
    ]
    _collect(parts, logits_BkV, wanted)
    del logits_BkV
    _score_endings(model, cache, mask_BT, pairs, longer, budget, parts, ids_BT.shape[1])
    return [
        SpanScore(
            row=batch[b].row,
            choice=ending.choice,
            mean_cross_entropy=torch.cat(part.losses).mean().item(),
            exact=bool(torch.cat(part.hits).all()),
        )
        for (b, ending), part in zip(pairs, parts, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One scored token: whose it is, where its logits are in a batch, and its id."""

    place: int
    row: int
    position: int
    target: int


def _score_endings(
    model: LanguageModel,
    cache: Cache,
    mask_BT: Tensor | None,
    pairs: Sequence[tuple[int, Ending]],
    longer: Sequence[int],
    budget: TokenBudget,
    parts: list[_Parts],
    cached: int,
) -> None:
    """Continue the cache by the endings of more than one token; `longer` are their places in `pairs`."""
    ordered = sorted(longer, key=lambda place: len(pairs[place][1].tokens), reverse=True)
    while ordered:
        longest = len(pairs[ordered[0]][1].tokens) - 1
        count = max(1, min(budget.tokens // (cached + longest), budget.logits // longest))
        group, ordered = ordered[:count], ordered[count:]
        rows_N = torch.tensor([pairs[place][0] for place in group], device=model.device)
        ids_NT = _right_padded([pairs[place][1].tokens[:-1] for place in group], model.device)
        mask_NK = None
        if mask_BT is not None:
            mask_NK = torch.cat([mask_BT[rows_N], torch.ones_like(ids_NT, dtype=torch.bool)], dim=1)
        logits_NTV, _ = model.forward(ids_NT, mask_NK, model.select(cache, rows_N))
        wanted = [
            _Wanted(place, n, i, ending.tokens[i + 1])
            for n, place in enumerate(group)
            for ending in [pairs[place][1]]
            for i in range(max(0, len(ending.tokens) - 1 - ending.scored), len(ending.tokens) - 1)
        ]
        _collect(parts, logits_NTV, wanted)


def _collect(parts: list[_Parts], logits_BTV: Tensor, wanted: Sequence[_Wanted]) -> None:
    """Add the losses of the wanted tokens, which stand in the order of their places, to their parts."""
    if not wanted:
        return
    rows_N = torch.tensor([token.row for token in wanted], device=logits_BTV.device)
    positions_N = torch.tensor([token.position for token in wanted], device=logits_BTV.device)
    targets_N = torch.tensor([token.target for token in wanted], device=logits_BTV.device)
    # each position's normaliser once, however many choices are scored with it
    normaliser_N = logits_BTV.logsumexp(dim=-1)[rows_N, positions_N]
    _check_numbers(normaliser_N)
    losses_N = (normaliser_N - logits_BTV[rows_N, positions_N, targets_N]).cpu()
    hits_N = (logits_BTV.argmax(dim=-1)[rows_N, positions_N] == targets_N).cpu()
    start = 0
    for end in range(1, len(wanted) + 1):
        if end == len(wanted) or wanted[end].place != wanted[start].place:
            part = parts[wanted[start].place]
            part.losses.append(losses_N[start:end])
            part.hits.append(hits_N[start:end])
            start = end


def _check_numbers(values: Tensor) -> None:
    """Refuse what would be scored as wrong answers in silence."""
    if not values.isfinite().all():
        raise CorpusmithError("the model gives logits that are not numbers (NaN or infinite); its checkpoint is broken")


@torch.inference_mode()
def generate(
    model: LanguageModel,
    tokenizer: PromptTokenizer,
    inputs: Iterable[GenerationInput],
    stops: Sequence[str],
    budget: TokenBudget,
) -> Iterator[Generation]:
    """Greedy continuations, in the order of the batches.

    A sequence ends at the end-of-text token, at `max_new_tokens`, or once its decoded text holds a stop string (a
    regular expression); what follows the stop string stays in and is cut by `eval.scoring.judge.clean_generation`.
    """
    pattern = re.compile("|".join(stops)) if stops else None

    def ends(new_tokens: list[int]) -> bool:
        return pattern is not None and pattern.search(tokenizer.decode_new(new_tokens)) is not None

    continue_batch = _generate_with_cache if model.reuses_cache else _generate_afresh
    yield from run_in_batches(
        inputs,
        length=lambda item: len(item.tokens) + item.max_new_tokens,
        positions=lambda item: 1,
        budget=budget,
        run=lambda batch: continue_batch(model, batch, tokenizer.eot_id, ends),
    )


class _Open:
    """The sequences of a batch that still grow."""

    def __init__(self, batch: Sequence[GenerationInput], eot_id: int, ends: Callable[[list[int]], bool]) -> None:
        self.batch = batch
        self.new_tokens: list[list[int]] = [[] for _ in batch]
        self._eot_id, self._ends = eot_id, ends

    def take(self, indices: Sequence[int], logits_BV: Tensor) -> list[int]:
        """Append the likeliest token to each of the given sequences; returns those that stay open."""
        highest = logits_BV.max(dim=-1)  # NaN where any is NaN
        _check_numbers(highest.values)
        still_open = []
        for i, token in zip(indices, highest.indices.tolist(), strict=True):
            if token == self._eot_id:
                continue
            self.new_tokens[i].append(token)
            full = len(self.new_tokens[i]) >= self.batch[i].max_new_tokens
            if not full and not self._ends(self.new_tokens[i]):
                still_open.append(i)
        return still_open

    def generations(self) -> list[Generation]:
        """What came out."""
        return [
            Generation(row=item.row, tokens=tokens) for item, tokens in zip(self.batch, self.new_tokens, strict=True)
        ]


def _generate_with_cache(
    model: LanguageModel, batch: Sequence[GenerationInput], eot_id: int, ends: Callable[[list[int]], bool]
) -> list[Generation]:
    """Continue all prompts of a batch, one token a pass; once many are finished they leave it."""
    state = _Open(batch, eot_id, ends)
    ids_BT, mask_BK = left_padded([item.tokens for item in batch], model.device)
    logits_BTV, cache = model.forward(ids_BT, mask_BK, keep=1, want_cache=True)
    held = list(range(len(batch)))  # which sequences the rows of the cache are
    still_open = state.take(held, logits_BTV[:, -1])
    while still_open:
        if len(still_open) < _DROP_BELOW * len(held):
            rows_N = torch.tensor([held.index(i) for i in still_open], device=model.device)
            cache, held = model.select(cache, rows_N), still_open
            mask_BK = None if mask_BK is None else mask_BK[rows_N]
        last = [state.new_tokens[i][-1] if state.new_tokens[i] else eot_id for i in held]
        ids_BT = torch.tensor(last, dtype=torch.int64, device=model.device)[:, None]
        if mask_BK is not None:
            mask_BK = torch.cat([mask_BK, torch.ones_like(ids_BT, dtype=torch.bool)], dim=1)
        logits_BTV, cache = model.forward(ids_BT, mask_BK, cache, keep=1, want_cache=True)
        rows = [held.index(i) for i in still_open]
        still_open = state.take(still_open, logits_BTV[rows, -1])
    return state.generations()


def _generate_afresh(
    model: LanguageModel, batch: Sequence[GenerationInput], eot_id: int, ends: Callable[[list[int]], bool]
) -> list[Generation]:
    """The same for a model without a cache: each token costs a pass over all before it."""
    state = _Open(batch, eot_id, ends)
    still_open = list(range(len(batch)))
    while still_open:
        sequences = [batch[i].tokens + state.new_tokens[i] for i in still_open]
        ids_BT, mask_BT = left_padded(sequences, model.device)
        logits_BTV, _ = model.forward(ids_BT, mask_BT, keep=1)
        still_open = state.take(still_open, logits_BTV[:, -1])
    return state.generations()


def left_padded(sequences: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Int64 ids (B, T), zeros before the shorter ones, and True where an id is real, None where all are."""
    longest = max(len(sequence) for sequence in sequences)
    rows = [[0] * (longest - len(sequence)) + sequence for sequence in sequences]
    ids_BT = torch.tensor(rows, dtype=torch.int64, device=device)
    if all(len(sequence) == longest for sequence in sequences):
        return ids_BT, None
    pads_B = torch.tensor([longest - len(sequence) for sequence in sequences], device=device)
    return ids_BT, torch.arange(longest, device=device)[None, :] >= pads_B[:, None]


def _right_padded(sequences: Sequence[list[int]], device: torch.device) -> Tensor:
    """Int64 ids (B, T), zeros behind the shorter ones, which a causal model does not see."""
    longest = max(len(sequence) for sequence in sequences)
    rows = [sequence + [0] * (longest - len(sequence)) for sequence in sequences]
    return torch.tensor(rows, dtype=torch.int64, device=device)
