"""The loss of next-token prediction, computed from hidden states so that the logits never stand in memory as a whole.

Follows OpenLM's arithmetic: mean cross entropy over the targets that are not ignored, z-loss over all positions.
Departs from it in one guard (a micro-batch whose targets are all ignored has loss 0, not NaN), in weights per
sequence, and in how it computes: logits, their softmax and both gradients go chunk by chunk over the tokens, in the
forward pass, as Liger kernels do.

Shape suffixes: B batch, T tokens, N = B T, D width, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.data.masking import IGNORED

#: Logits that stand in memory at once.
CHUNK_LOGITS = {"cpu": 1 << 24, "cuda": 1 << 28}


class LossTerms(NamedTuple):
    """Loss to minimise; cross entropy summed over each sequence, and its number of targets; mean of all logits.

    The mean of the logits is 0 where it was not asked for; only `loss` has a gradient.
    """

    loss: Tensor
    row_losses_B: Tensor
    row_tokens_B: Tensor
    logit_mean: Tensor


class NextTokenHead:
    """What a model computes in training in place of logits: `LossTerms` of these targets.

    Args:
        targets_BT: target ids, -100 where ignored.
        z_loss: coefficient of mean(logsumexp^2).
        weights_B: factor of each sequence's cross entropy in the loss; the divisor stays the number of targets.
        compiled: compile what happens to a chunk of logits.
        measure_logits: find the mean of the logits.
    """

    def __init__(
        self,
        targets_BT: Tensor,
        z_loss: float = 0.0,
        weights_B: Tensor | None = None,
        *,
        compiled: bool = False,
        measure_logits: bool = False,
    ) -> None:
        self.targets_BT, self.z_loss, self.weights_B = targets_BT, z_loss, weights_B
        self.compiled, self.measure_logits = compiled, measure_logits

    def __call__(self, hidden_BTD: Tensor, output: nn.Linear) -> LossTerms:
        terms = next_token_loss(
            hidden_BTD, output.weight, self.targets_BT, self.z_loss, self.weights_B, compiled=self.compiled
        )
        if not self.measure_logits:
            return terms
        with torch.no_grad():  # the mean over tokens and vocabulary of h W' is mean(h) mean(W)'
            mean = hidden_BTD.float().mean(dim=(0, 1)) @ output.weight.float().mean(dim=0)
        return terms._replace(logit_mean=mean)


def next_token_loss(
    hidden_BTD: Tensor,
    weight_VD: Tensor,
    targets_BT: Tensor,
    z_loss: float = 0.0,
    weights_B: Tensor | None = None,
    *,
    compiled: bool = False,
) -> LossTerms:
    """Loss terms of hidden states.

    Args:
        hidden_BTD: what the model computes, after its last norm.
        weight_VD: of the output layer.
        targets_BT, z_loss, weights_B, compiled: as in `NextTokenHead`.
    """
    targets_N = targets_BT.flatten()
    if weights_B is None:
        weights_BT = torch.ones_like(targets_BT, dtype=torch.float32)
    else:
        weights_BT = weights_B.float()[:, None].expand(targets_BT.shape)
    loss, entropies_N = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
        hidden_BTD.flatten(0, 1), weight_VD, targets_N, weights_BT.flatten(), z_loss, compiled
    )
    kept_BT = targets_BT != IGNORED
    row_losses_B = entropies_N.view(targets_BT.shape).sum(dim=1)
    return LossTerms(loss, row_losses_B, kept_BT.sum(dim=1), torch.zeros((), device=loss.device))


class _ChunkedLoss(torch.autograd.Function):
    """Both terms and their gradients, chunk by chunk; the backward pass only scales what the forward pass found."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        weights_N: Tensor,
        z_loss: float,
        compiled: bool,
    ) -> tuple[Tensor, Tensor]:
        device = hidden_ND.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight_VD.dtype
        terms = _chunk_terms(compiled)
        with torch.autocast(device, enabled=False):
            hidden_ND, narrow_VD = hidden_ND.to(dtype), weight_VD.to(dtype)
            kept_N = targets_N != IGNORED
            kept = kept_N.sum().clamp(min=1).to(torch.float32)
            # gradients are held times `kept`, else fp16 would lose them
            z_share = z_loss / len(targets_N)
            scales_N = weights_N * kept_N
            gradient_ND = torch.empty_like(hidden_ND)
            gradient_VD = torch.empty_like(weight_VD, dtype=torch.float32)
            entropies, squares = [], torch.zeros((), device=hidden_ND.device)
            most = max(1, CHUNK_LOGITS.get(device, CHUNK_LOGITS["cpu"]) // len(weight_VD))
            size = 1 << (most.bit_length() - 1)  # batches are mostly a multiple of it, so chunks are of one shape
            for start in range(0, len(targets_N), size):
                chunk = slice(start, start + size)
                logits = hidden_ND[chunk] @ narrow_VD.T
                entropy, square, gradient = terms(
                    logits, targets_N[chunk], kept_N[chunk], scales_N[chunk], 2 * z_share * kept
                )
                entropies.append(entropy)
                squares = squares + square
                torch.mm(gradient, narrow_VD, out=gradient_ND[chunk])
                _add_product(gradient_VD, gradient.T, hidden_ND[chunk], first=start == 0)
            entropies_N = torch.cat(entropies)
            loss = (entropies_N * weights_N).sum() / kept + z_share * squares
        ctx.gradients = gradient_ND, gradient_VD, kept
        ctx.weight_dtype = weight_VD.dtype
        ctx.mark_non_differentiable(entropies_N)
        return loss, entropies_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient_ND, gradient_VD, kept = ctx.gradients or _raise_second_backward()
        ctx.gradients = None  # they are scaled in place, so there is no second time
        scale = gradients[0] / kept
        return gradient_ND.mul_(scale), gradient_VD.mul_(scale).to(ctx.weight_dtype), *[None] * 4


def _raise_second_backward() -> Any:
    raise RuntimeError("the loss was differentiated before; compute it again")


def _add_product(total: Tensor, left: Tensor, right: Tensor, *, first: bool) -> None:
    """`total += left @ right`, or `=` for the first one; `total` is fp32."""
    if left.dtype == torch.float32:
        total.addmm_(left, right, beta=0 if first else 1)
    elif first:
        total.copy_(left @ right)
    else:
        total.add_(left @ right)


def _terms(
    logits_NV: Tensor, targets_N: Tensor, kept_N: Tensor, scales_N: Tensor, z_scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of a chunk: cross entropies, the sum of logsumexp^2, and the gradient of the logits."""
    logits_NV = logits_NV.float()
    lse_N = torch.logsumexp(logits_NV, dim=-1)
    safe_N = targets_N.where(kept_N, 0)[:, None]
    entropies_N = (lse_N - logits_NV.gather(1, safe_N)[:, 0]) * kept_N
    gradient_NV = (logits_NV - lse_N[:, None]).exp() * (scales_N + z_scale * lse_N)[:, None]
    gradient_NV = gradient_NV.scatter_add(1, safe_N, -scales_N[:, None])
    return entropies_N, lse_N.square().sum(), gradient_NV


def _terms_in_place(
    logits_NV: Tensor, targets_N: Tensor, kept_N: Tensor, scales_N: Tensor, z_scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`_terms` in the memory of the logits, one row of exponentials per token: what a cache likes best."""
    dtype = logits_NV.dtype
    logits_NV = logits_NV.float()
    safe_N = targets_N.where(kept_N, 0)[:, None]
    target_logits_N = logits_NV.gather(1, safe_N)[:, 0]
    highest_N = logits_NV.max(dim=-1).values
    exponentials_NV = logits_NV.sub_(highest_N[:, None]).exp_()
    sums_N = exponentials_NV.sum(dim=-1)
    lse_N = highest_N + sums_N.log()
    entropies_N = (lse_N - target_logits_N) * kept_N
    gradient_NV = exponentials_NV.mul_(((scales_N + z_scale * lse_N) / sums_N)[:, None])
    gradient_NV.scatter_add_(1, safe_N, -scales_N[:, None])
    return entropies_N, lse_N.square().sum(), gradient_NV.to(dtype)


@functools.cache
def _chunk_terms(compiled: bool) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    if not compiled:
        return _terms_in_place

    def narrow(logits_NV: Tensor, *targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        entropies_N, squares, gradient_NV = _terms(logits_NV, *targets)
        return entropies_N, squares, gradient_NV.to(logits_NV.dtype)

    return torch.compile(narrow, dynamic=False)


def token_losses(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Cross entropy of each token in nats, (B, T); 0 where the target is ignored."""
    losses = F.cross_entropy(logits_BTV.flatten(0, -2), targets_BT.flatten(), ignore_index=IGNORED, reduction="none")
    return losses.view(targets_BT.shape)
