"""Models behind one small protocol: checkpoints of ours and of OpenLM, and a table for tests.

A batch stands right-aligned: shorter sequences are padded on the left and `mask_BK` says which tokens are real, so the
ends, where answers are scored and text is continued, lie in the same columns. What was run can be kept as a cache and
continued, each row by several endings.

Shapes: B sequences, T new tokens, K cached and new tokens, N rows selected from a cache, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
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


class OpenLMModel:
    """A network of `training` in evaluation mode."""

    reuses_cache = True

    def __init__(self, module: torch.nn.Module, device: str | torch.device = "cpu") -> None:
        """`module` is called as `training.models.openlm.Transformer` is; its `config` has the sizes."""
        self._module = module.to(device).eval()
        self.device = torch.device(device)
        config: Any = module.config
        self.vocab_size: int = config.vocab_size
        # rotary tables grow on demand: no length is refused
        self.max_positions = None
        self.bytes_per_token = estimate_bytes_per_token(config.n_layers, config.hidden_dim)

    def forward(
        self,
        ids_BT: Tensor,
        mask_BK: Tensor | None = None,
        cache: Cache = None,
        *,
        keep: int = 0,
        want_cache: bool = False,
    ) -> tuple[Tensor, Cache]:
        """Logits and cache; see `LanguageModel.forward`."""
        logits_BTV, _, new_cache = self._module(
            ids_BT, attention_mask=mask_BK, past_key_values=cache, use_cache=want_cache, logits_to_keep=keep
        )
        return logits_BTV.float(), new_cache

    def select(self, cache: Cache, rows_N: Tensor) -> Cache:
        """The keys and values of some rows."""
        return [(keys[rows_N], values[rows_N]) for keys, values in cache]


def estimate_bytes_per_token(layers: int, width: int) -> int:
    """Cached keys and values, twice (they are copied as they grow), and what one layer holds while it works."""
    return _FLOAT_BYTES * (4 * layers * width + 24 * width)


class TableModel:
    """A model that answers from a table: what follows the longest known ending of the text so far.

    `table` maps an ending (token ids) to the logits of some next tokens; all other logits are 0. Slow, for tests. Its
    cache is the list of real tokens seen.
    """

    reuses_cache = True
    device = torch.device("cpu")
    bytes_per_token = 1

    def __init__(
        self,
        vocab_size: int,
        table: Mapping[tuple[int, ...], Mapping[int, float]],
        max_positions: int | None = None,
    ) -> None:
        self.vocab_size = vocab_size
        self.max_positions = max_positions
        self._table = table
        self._longest = max((len(ending) for ending in table), default=0)

    def forward(
        self,
        ids_BT: Tensor,
        mask_BK: Tensor | None = None,
        cache: Cache = None,
        *,
        keep: int = 0,
        want_cache: bool = False,
    ) -> tuple[Tensor, Cache]:
        """Logits and cache; see `LanguageModel.forward`."""
        batch, length = ids_BT.shape
        logits_BTV = torch.zeros(batch, length, self.vocab_size)
        histories = []
        for row, ids in enumerate(ids_BT.tolist()):
            history = list(cache[row]) if cache is not None else []
            for position, token in enumerate(ids):
                real = mask_BK is None or bool(mask_BK[row, position - length])
                if real:
                    history.append(token)
                for following, logit in self._next(history).items():
                    logits_BTV[row, position, following] = logit
            histories.append(history)
        return logits_BTV[:, -keep:], histories if want_cache else None

    def select(self, cache: Cache, rows_N: Tensor) -> Cache:
        """The tokens of some rows."""
        return [list(cache[row]) for row in rows_N.tolist()]

    def _next(self, ids: list[int]) -> Mapping[int, float]:
        """The entry of the longest ending in the table."""
        for size in range(min(self._longest, len(ids)), -1, -1):
            entry = self._table.get(tuple(ids[len(ids) - size :]))
            if entry is not None:
                return entry
        return {}
