"""Log-likelihoods and continuations of free-standing requests, as evaluation harnesses ask for them.

A harness asks for one continuation of one context at a time. Requests that share a context, as the choices of a
question do, are put together again and scored from one run of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corpusmith.errors import InputError
from eval.models.language_model import LanguageModel
from eval.scoring.batching import PrefixGroup, TokenBudget, prefix_groups
from eval.scoring.inference import score_groups
from eval.tasks.prompts import ScoredInput


@dataclass(frozen=True, slots=True)
class ContinuationRequest:
    """A continuation to be scored after a context, both as token ids and neither empty."""

    context: list[int]
    continuation: list[int]


@dataclass(frozen=True, slots=True)
class RequestScore:
    """Log-likelihood of a continuation in nats, summed over its tokens, and whether greedy decoding gives it."""

    log_likelihood: float
    greedy: bool


def score_requests(
    model: LanguageModel, requests: Sequence[ContinuationRequest], max_length: int, budget: TokenBudget | None = None
) -> list[RequestScore]:
    """Scores in the order of the requests; contexts are cut from the left to `max_length` tokens in all.

    Raises:
        InputError: an empty context or continuation, or a continuation that leaves no room for a context.
    """
    scores: list[RequestScore | None] = [None] * len(requests)
    groups = _groups(requests, max_length, model.reuses_cache)
    for score in score_groups(model, groups, budget or TokenBudget(model)):
        tokens = len(requests[score.choice].continuation)
        scores[score.choice] = RequestScore(-score.mean_cross_entropy * tokens, score.exact)
    return [score for score in scores if score is not None]


def _groups(requests: Sequence[ContinuationRequest], max_length: int, share: bool) -> Iterator[PrefixGroup]:
    """Requests with the same context together; `choice` is the index of the request."""
    by_context: dict[tuple[int, ...], list[int]] = {}
    for index, request in enumerate(requests):
        by_context.setdefault(tuple(request.context), []).append(index)
    for number, indices in enumerate(by_context.values()):
        yield from prefix_groups([_scored(requests[i], number, i, max_length) for i in indices], share)


def _scored(request: ContinuationRequest, row: int, index: int, max_length: int) -> ScoredInput:
    room = max_length - len(request.continuation)
    if not request.context or not request.continuation or room < 1:
        raise InputError(
            f"request {index}: {len(request.context)} tokens of context and {len(request.continuation)} of "
            f"continuation can't be scored within {max_length}"
        )
    kept = request.context[-room:]
    return ScoredInput(row=row, choice=index, tokens=kept + request.continuation, span_start=len(kept))
