"""The protocol of a model that can be evaluated.

A batch stands right-aligned: shorter sequences are padded on the left and `mask_BK` says which tokens are real, so the
ends, where answers are scored and text is continued, lie in the same columns. What was run can be kept as a cache and
continued, each row by several endings.

Shapes: B sequences, T new tokens, K cached and new tokens, N rows selected from a cache, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

#: What a model remembers of the tokens it has seen; only the model that made it looks inside.
Cache = Any

_FLOAT_BYTES = 4


class LanguageModel(Protocol):
    """Anything that predicts the next token."""

    @property
    def vocab_size(self) -> int:
        """V: number of logits per position."""

    @property
    def device(self) -> torch.device:
        """Where `forward` wants its input."""

    @property
    def max_positions(self) -> int | None:
        """The longest sequence that the model takes; None where it says no limit."""

    @property
    def reuses_cache(self) -> bool:
        """Whether `forward` gives and takes caches."""

    @property
    def bytes_per_token(self) -> int:
        """About how much memory a token of a batch takes, its cached keys and values included."""

    def forward(
        self,
        ids_BT: Tensor,
        mask_BK: Tensor | None = None,
        cache: Cache = None,
        *,
        keep: int = 0,
        want_cache: bool = False,
    ) -> tuple[Tensor, Cache]:
        """Run new tokens.

        Args:
            ids_BT: int64 ids.
            mask_BK: True where a cached or new token is real; None where all are.
            cache: of the tokens before; it is not changed.
            keep: how many last positions need logits; 0 means all.
            want_cache: whether the returned cache will be used.

        Returns:
            Single-precision logits (B, `keep` or T, V), those at position p predicting token p + 1, and the cache.
        """

    def select(self, cache: Cache, rows_N: Tensor) -> Cache:
        """A cache of the given rows of another, which is not changed; a row may be given several times."""


def estimate_bytes_per_token(layers: int, width: int) -> int:
    """Cached keys and values, twice (they are copied as they grow), and what one layer holds while it works."""
    return _FLOAT_BYTES * (4 * layers * width + 24 * width)
