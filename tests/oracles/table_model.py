"""A model whose answers are known beforehand, behind the protocol of `eval.models.language_model`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from eval.models.language_model import Cache


class TableModel:
    """A model that answers from a table: what follows the longest known ending of the text so far.

    `table` maps an ending (token ids) to the logits of some next tokens; all other logits are 0. Its
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
