"""Attention over packed documents: which query sees which key, for torch's scaled dot product or FlexAttention.

Plain causal attention needs no mask. A mask for padding or a cache is a boolean tensor. Tokens that see their own
document only get a FlexAttention block mask on CUDA, which skips blocks without a visible pair, and a boolean tensor
elsewhere, where FlexAttention has no backward pass.

Shape suffixes: B batch, T query tokens, K key tokens, H heads, D width of a head.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

Mask = Tensor | BlockMask | None


def attend(q_BHTD: Tensor, k_BHKD: Tensor, v_BHKD: Tensor, mask: Mask) -> Tensor:
    """Softmax attention with scale 1 / sqrt(D), (B, H, T, D); `mask` None is plain causal."""
    if isinstance(mask, BlockMask):
        alone = q_BHTD.is_cuda and not torch.compiler.is_compiling()  # else what encloses it fuses it
        flex = _fused_flex() if alone else cast(Callable[..., Any], flex_attention)
        attended: Tensor = flex(q_BHTD, k_BHKD, v_BHKD, block_mask=mask)
        return attended
    return F.scaled_dot_product_attention(q_BHTD, k_BHKD, v_BHKD, mask, is_causal=mask is None)


@functools.cache
def _fused_flex() -> Callable[..., Any]:
    """FlexAttention compiled: its plain form computes all scores."""
    flex: Callable[..., Any] = torch.compile(flex_attention, dynamic=False)
    return flex


def causal_mask(tokens: int, past: int, attention_mask: Tensor | None, device: torch.device) -> Tensor | None:
    """Which query sees which key; None where plain causal attention needs no mask.

    Args:
        tokens: number of new tokens, T.
        past: number of cached keys; K is both together.
        attention_mask: (B, K), 1 or True where a key may be seen.
        device: of the mask.

    Returns:
        Boolean, (1 or B, 1, T, K).
    """
    if attention_mask is None and past == 0:
        return None
    queries = torch.arange(past, past + tokens, device=device)
    visible = torch.arange(past + tokens, device=device)[None, :] <= queries[:, None]
    if attention_mask is None:
        return visible[None, None]
    allowed = visible[None] & attention_mask.to(device=device, dtype=torch.bool)[:, None, :]
    # a padded query with nothing to see would give NaN, which spreads through the loss
    return (allowed | ~allowed.any(dim=-1, keepdim=True))[:, None]


def document_numbers(ids_BT: Tensor, separator: int) -> Tensor:
    """The number of the document of each token, (B, T): a document ends with its `separator`."""
    ends_BT = (ids_BT == separator).to(torch.int32)
    return ends_BT.cumsum(dim=1, dtype=torch.int32) - ends_BT


def document_mask(documents_BT: Tensor) -> Mask:
    """Causal attention within documents, from `document_numbers`."""
    if documents_BT.is_cuda:
        return document_block_mask(documents_BT)
    tokens = torch.arange(documents_BT.shape[1], device=documents_BT.device)
    same_BTK = documents_BT[:, :, None] == documents_BT[:, None, :]
    return (same_BTK & (tokens[None, :] <= tokens[:, None]))[:, None]


def document_block_mask(documents_BT: Tensor) -> BlockMask:
    """`document_mask` for FlexAttention."""

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (documents_BT[batch, query] == documents_BT[batch, key]) & (key <= query)

    batch, tokens = documents_BT.shape
    return create_block_mask(visible, batch, None, tokens, tokens, device=str(documents_BT.device))
