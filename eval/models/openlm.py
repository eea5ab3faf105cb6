"""Checkpoints of ours and of OpenLM behind the protocol of `eval.models.language_model`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eval.models.language_model import Cache, estimate_bytes_per_token


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
