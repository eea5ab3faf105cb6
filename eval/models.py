"""Models behind one small protocol: our checkpoints, and a table for tests.

Shapes: B sequences, T positions, V vocabulary. Sequences are padded on the right; a causal model's logits at a real
position don't depend on what follows, so no mask is needed.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class LanguageModel(Protocol):
    """Anything that predicts the next token."""

    @property
    def vocab_size(self) -> int:
        """V: number of logits per position."""

    @property
    def device(self) -> torch.device:
        """Where `logits` wants its input."""

    def logits(self, ids_BT: Tensor) -> Tensor:
        """Single-precision logits of shape (B, T, V); those at position p predict token p + 1. `ids_BT` is int64."""


class OpenLMModel:
    """A network of `training` in evaluation mode: called with ids (B, T), it gives a tuple, logits first."""

    def __init__(self, module: torch.nn.Module, device: str = "cpu") -> None:
        self._module = module.to(device).eval()
        self._device = torch.device(device)
        with torch.inference_mode():
            one_token_BT = torch.zeros(1, 1, dtype=torch.int64, device=self._device)
            self._vocab_size = int(self.logits(one_token_BT).shape[-1])

    @property
    def vocab_size(self) -> int:
        """V of the network's head."""
        return self._vocab_size

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return self._device

    def logits(self, ids_BT: Tensor) -> Tensor:
        """Logits (B, T, V) in single precision."""
        logits_BTV: Tensor = self._module(ids_BT)[0]
        return logits_BTV.float()


class TableModel:
    """A model that answers from a table: what follows the longest known ending of the text so far.

    `table` maps an ending (token ids) to the logits of some next tokens; all other logits are 0. Slow, for tests.
    """

    def __init__(self, vocab_size: int, table: Mapping[tuple[int, ...], Mapping[int, float]]) -> None:
        self._vocab_size = vocab_size
        self._table = table
        self._longest = max((len(ending) for ending in table), default=0)

    @property
    def vocab_size(self) -> int:
        """V."""
        return self._vocab_size

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    def logits(self, ids_BT: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        batch, length = ids_BT.shape
        logits_BTV = torch.zeros(batch, length, self._vocab_size)
        for row, ids in enumerate(ids_BT.tolist()):
            for position in range(length):
                for token, logit in self._next(ids[: position + 1]).items():
                    logits_BTV[row, position, token] = logit
        return logits_BTV

    def _next(self, ids: list[int]) -> Mapping[int, float]:
        """The entry of the longest ending in the table."""
        for size in range(min(self._longest, len(ids)), -1, -1):
            entry = self._table.get(tuple(ids[len(ids) - size :]))
            if entry is not None:
                return entry
        return {}
