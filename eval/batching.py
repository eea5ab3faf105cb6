"""Batches of sequences of like length.

Upstream pads every sequence to the full context and pays for it; scores don't depend on padding, so we sort by length
and pad to the longest of each batch. A batch is bounded in padded tokens.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

#: sequences that are sorted together, so that a large task needn't be held in memory as a whole
WINDOW = 1024
#: an upper bound for the logits of one batch: 2**26 numbers are 256 MiB in single precision
MAX_BATCH_LOGITS = 1 << 26


def batch_token_limit(batch_size: int, max_seq_len: int, vocab_size: int) -> int:
    """Padded tokens per batch: what `batch_size` full sequences hold, less where the logits would not fit."""
    return max(1, min(batch_size * max_seq_len, MAX_BATCH_LOGITS // vocab_size))


def batches_by_length(
    items: Iterable[Item], length: Callable[[Item], int], max_tokens: int, window: int = WINDOW
) -> Iterator[list[Item]]:
    """Lists of items of like length, longest first within a window; one item may exceed `max_tokens` alone.

    The number of items times the length of the longest is at most `max_tokens`. Ties keep their order.
    """
    buffer: list[Item] = []
    for item in items:
        buffer.append(item)
        if len(buffer) == window:
            yield from _cut(buffer, length, max_tokens)
            buffer = []
    yield from _cut(buffer, length, max_tokens)


def _cut(items: Sequence[Item], length: Callable[[Item], int], max_tokens: int) -> Iterator[list[Item]]:
    """Batches of one window."""
    batch: list[Item] = []
    longest = 0
    for item in sorted(items, key=length, reverse=True):
        if batch and (len(batch) + 1) * longest > max_tokens:
            yield batch
            batch = []
        if not batch:
            longest = length(item)
        batch.append(item)
    if batch:
        yield batch
