"""Any causal language model of the transformers library behind the protocol of `eval.models.language_model`.

Weights are read from safetensors only, no code from the Hub is run, and everything is computed in single precision, as
DCLM evaluates. Attention caches are shared by the choices of a row; models with other memories (state space, linear
attention) are run without one.

Shapes: B sequences, T new tokens, K cached and new tokens, N selected rows, V vocabulary.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor

from corpusmith.errors import InputError, missing_package
from eval.models.language_model import Cache, estimate_bytes_per_token


class HuggingFaceModel:
    """A `...ForCausalLM` in evaluation mode, single precision."""

    def __init__(self, module: Any, device: str | torch.device = "cpu") -> None:
        self._module = module.to(device=device, dtype=torch.float32).eval()
        self.device = torch.device(device)
        config = module.config.get_text_config()
        head = module.get_output_embeddings()
        self.vocab_size = int(config.vocab_size if head is None else head.weight.shape[0])
        self.max_positions: int | None = getattr(config, "max_position_embeddings", None)
        layers, width = getattr(config, "num_hidden_layers", 1), getattr(config, "hidden_size", self.vocab_size)
        self.bytes_per_token = estimate_bytes_per_token(layers, width)
        self._parameters = frozenset(inspect.signature(module.forward).parameters)
        # the name changed in transformers 5
        self._cache_name = "cache" if "cache" in self._parameters else "past_key_values"
        self.reuses_cache = self._has_plain_cache()

    @torch.inference_mode()
    def _has_plain_cache(self) -> bool:
        """Whether the model keeps keys and values of each token, and nothing else."""
        if not {self._cache_name, "use_cache"} <= self._parameters:
            return False
        output = self._module(input_ids=torch.zeros(1, 2, dtype=torch.int64, device=self.device), use_cache=True)
        layers = getattr(self._cache_of(output), "layers", None)
        return bool(layers) and all(hasattr(layer, "keys") and layer.is_croppable for layer in layers or ())

    def _cache_of(self, output: Any) -> Cache:
        """The cache that a forward pass returns; its name changed with the argument's."""
        name = self._cache_name if self._cache_name in output else "past_key_values"
        return getattr(output, name, None)

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
        arguments: dict[str, Any] = {"input_ids": ids_BT}
        past = 0
        if self.reuses_cache:
            arguments["use_cache"] = want_cache or cache is not None
            if cache is not None:
                # the model extends the cache that it is given
                arguments[self._cache_name] = own = copy.copy(cache)
                own.layers = [copy.copy(layer) for layer in cache.layers]
                past = cache.get_seq_length()
        if mask_BK is not None:
            arguments["attention_mask"] = mask_BK.long()
            positions_BK = (mask_BK.long().cumsum(dim=-1) - 1).clamp(min=0)
            if "position_ids" in self._parameters:
                arguments["position_ids"] = positions_BK[:, past:]
        if keep and "logits_to_keep" in self._parameters:
            arguments["logits_to_keep"] = keep
        output = self._module(**arguments)
        new_cache = self._cache_of(output) if want_cache and self.reuses_cache else None
        return output.logits[:, -keep:].float(), new_cache

    def select(self, cache: Cache, rows_N: Tensor) -> Cache:
        """The keys and values of some rows."""
        chosen = copy.copy(cache)
        chosen.layers = [copy.copy(layer) for layer in cache.layers]
        chosen.batch_select_indices(rows_N)
        return chosen


def load_hugging_face_model(
    name_or_path: str, device: str | torch.device = "cpu", cache_dir: str | None = None
) -> HuggingFaceModel:
    """A causal language model from a folder, or by its name in the cache or on the Hub.

    Raises:
        InputError: there is none, or it can't be loaded without running foreign code or unpickling.
    """
    try:
        from transformers import AutoModelForCausalLM
    except ModuleNotFoundError as error:
        raise missing_package("transformers", "eval") from error
    try:
        module = AutoModelForCausalLM.from_pretrained(
            name_or_path, cache_dir=cache_dir, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{name_or_path}: no causal language model that can be loaded ({reason})") from error
    return HuggingFaceModel(module, device)
