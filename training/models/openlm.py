"""The OpenLM transformer: pre-norm blocks, full-width qk norm, rotary attention, gated feed-forward.

Follows OpenLM exactly in arithmetic, in state-dict keys and in the triple that `forward` returns. Departs from it in
its attention backend (see `training.models.attention`) and in the rotary tables (see `training.models.layers`); and in
the `head`, by which training computes its loss from the hidden states without all logits in memory.

Shape suffixes: B batch, T query tokens, K key tokens, H heads, D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.models.attention import Mask, attend, causal_mask, document_mask
from training.models.config import ModelConfig
from training.models.layers import (
    GemmaGeglu,
    Rotary,
    SwiGlu,
    depth_std,
    init_truncated,
    make_linear,
    make_norm,
    make_positional_embedding,
)

#: Keys and values of one layer, each (B, K, H, D of a head); keys are stored after rotation.
LayerCache = tuple[Tensor, Tensor]
ModelOutput = tuple[Tensor, Tensor, list[LayerCache] | None]
#: Computes a loss, or whatever is wanted, from the normed hidden states (B, T, D) and the output layer.
Head = Callable[[Tensor, nn.Linear], Any]


class Attention(nn.Module):
    """Causal self-attention of one layer."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        width = config.hidden_dim
        self.n_heads, self.head_dim = config.n_heads, config.head_dim
        self.in_proj = make_linear(width, 3 * width, 1 / math.sqrt(width))
        self.out_proj = make_linear(width, width, depth_std(width, layer))
        self.pos_embed = make_positional_embedding(config)
        self.q_norm = make_norm(config.model_norm, width) if config.qk_norm else nn.Identity()
        self.k_norm = make_norm(config.model_norm, width) if config.qk_norm else nn.Identity()

    def forward(self, x_BTD: Tensor, mask: Mask, cache: LayerCache | None) -> tuple[Tensor, LayerCache]:
        """Attend over the cached and the new tokens.

        Args:
            x_BTD: normed input.
            mask: as `training.models.attention.attend` takes it.
            cache: keys and values of earlier tokens.

        Returns:
            The output, (B, T, D), and the cache with the new tokens appended.
        """
        batch, tokens, width = x_BTD.shape
        q, k, v = self.in_proj(x_BTD).chunk(3, dim=-1)
        heads = (batch, tokens, self.n_heads, self.head_dim)
        q_BTHD, k_BTHD, v_BTHD = self.q_norm(q).view(heads), self.k_norm(k).view(heads), v.view(heads)
        offset = 0 if cache is None else cache[0].shape[1]
        q_BTHD, k_BTHD = self.pos_embed(q_BTHD, k_BTHD, offset)
        q_BTHD, k_BTHD = q_BTHD.to(v.dtype), k_BTHD.to(v.dtype)
        if cache is not None:
            k_BTHD, v_BTHD = torch.cat([cache[0], k_BTHD], dim=1), torch.cat([cache[1], v_BTHD], dim=1)
        attended_BHTD = attend(q_BTHD.transpose(1, 2), k_BTHD.transpose(1, 2), v_BTHD.transpose(1, 2), mask)
        output = self.out_proj(attended_BHTD.transpose(1, 2).reshape(batch, tokens, width))
        return cast(Tensor, output), (k_BTHD, v_BTHD)


class Block(nn.Module):
    """`h = x + attention(norm(x))`, then `h + feed_forward(norm(h))`."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        width, hidden = config.hidden_dim, config.ffn_dim
        std_in, std_out = 1 / math.sqrt(width), depth_std(hidden, layer)
        self.attention = Attention(config, layer)
        self.feed_forward: nn.Module
        if config.ffn_type == "gelu":
            # OpenLM registers both matrices twice, so its state dict holds each under two keys.
            self._ff_w1 = make_linear(width, hidden, std_in)
            self._ff_w2 = make_linear(hidden, width, std_out)
            self.feed_forward = nn.Sequential(self._ff_w1, nn.GELU(), self._ff_w2)
        elif config.ffn_type == "gemma_geglu":
            self.feed_forward = GemmaGeglu(width, hidden)
        else:
            self.feed_forward = SwiGlu(width, hidden, std_in, std_out)
        self.attention_norm = make_norm(config.model_norm, width)
        self.ffn_norm = make_norm(config.model_norm, width)

    def forward(self, x_BTD: Tensor, mask: Mask, cache: LayerCache | None) -> tuple[Tensor, LayerCache]:
        """One layer; arguments as in `Attention.forward`."""
        attended, cache = self.attention(self.attention_norm(x_BTD), mask, cache)
        h_BTD = x_BTD + attended
        return h_BTD + self.feed_forward(self.ffn_norm(h_BTD)), cache


class Transformer(nn.Module):
    """The whole model.

    Args:
        config: sizes and kinds.
        grad_checkpointing: recompute each block in the backward pass instead of keeping its activations.
    """

    def __init__(self, config: ModelConfig, grad_checkpointing: bool = False) -> None:
        super().__init__()
        self.config = config
        self.grad_checkpointing = grad_checkpointing
        width = config.hidden_dim
        self.tok_embeddings = nn.Embedding(config.vocab_size, width)
        init_truncated(self.tok_embeddings.weight, 1 / math.sqrt(width))
        if config.post_embed_norm:
            self.post_embed_norm = make_norm(config.model_norm, width)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = make_norm(config.model_norm, width)
        self.output = make_linear(width, config.vocab_size, 1 / math.sqrt(width))
        self.tie_weights()

    def tie_weights(self) -> None:
        """Make the embedding the same tensor as the output head, where the config says so."""
        if self.config.weight_tying:
            self.tok_embeddings.weight = self.output.weight

    def blocks(self) -> Sequence[nn.Module]:
        """The layers: units of sharding, recomputation and compilation."""
        return list(self.layers)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: list[LayerCache] | None = None,
        use_cache: bool = False,
        documents: Tensor | None = None,
        head: Head | None = None,
        logits_to_keep: int = 0,
    ) -> Any:
        """Logits of the next token at each position.

        Args:
            input_ids: (B, T) token ids.
            attention_mask: (B, K) over cached and new tokens, 1 or True where a key may be seen; positions stay
                absolute, so padding shifts them.
            past_key_values: the third value of an earlier call with `use_cache`.
            use_cache: return the keys and values for the next call.
            documents: (B, T) number of each token's document; tokens see their own document only.
            head: what to compute from the hidden states instead of the logits.
            logits_to_keep: compute logits of that many last positions only; 0 computes all.

        Returns:
            `ModelOutput`: logits (B, T or `logits_to_keep`, V) in fp32, the normed hidden states (B, T, D), and the
            cache or None. With `head`, what it returns.
        """
        past = 0 if past_key_values is None else past_key_values[0][0].shape[1]
        self._prepare_tables(past + input_ids.shape[1])
        x_BTD = self.tok_embeddings(input_ids)
        if self.config.post_embed_norm:
            x_BTD = self.post_embed_norm(x_BTD)
        mask: Mask = causal_mask(input_ids.shape[1], past, attention_mask, input_ids.device)
        if documents is not None:
            mask = document_mask(documents)
        caches: list[LayerCache] = []
        for index, layer in enumerate(self.layers):
            layer_cache = None if past_key_values is None else past_key_values[index]
            if self.grad_checkpointing and self.training:
                x_BTD, layer_cache = checkpoint(layer, x_BTD, mask, layer_cache, use_reentrant=False)
            else:
                x_BTD, layer_cache = layer(x_BTD, mask, layer_cache)
            if use_cache and layer_cache is not None:
                caches.append(layer_cache)
        hidden_BTD = self.norm(x_BTD)
        if head is not None:
            return head(hidden_BTD, self.output)
        logits_BTV = self.output(hidden_BTD[:, -logits_to_keep:])
        return logits_BTV.float(), hidden_BTD, caches if use_cache else None

    def _prepare_tables(self, positions: int) -> None:
        """Build the rotary tables before the layers run: compiled layers then only read them."""
        for layer in self.layers:
            rotary = cast(Block, layer).attention.pos_embed
            if isinstance(rotary, Rotary):
                rotary.prepare(positions)


def strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the leading `module.` of DDP and the `_orig_mod.` of torch.compile."""
    return {key.removeprefix("module.").replace("_orig_mod.", ""): value for key, value in state.items()}
