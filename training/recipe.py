"""The recipe: loss with z-loss, AdamW, learning-rate schedule, gradient clipping, precision.

Follows OpenLM. Departs from it in one guard: a micro-batch whose targets are all ignored has loss 0, not NaN.

Shape suffixes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corpusmith.errors import InputError
from training.masking import IGNORED

#: `--precision` name to autocast dtype; None is no autocast.
PRECISIONS: dict[str, torch.dtype | None] = {
    "amp_bfloat16": torch.bfloat16,
    "amp_bf16": torch.bfloat16,
    "amp": torch.float16,
    "bf16": None,
    "fp16": None,
    "fp32": None,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What turns gradients into steps.

    `total_steps` and `warmup_steps` count optimizer steps; `final_learning_rate` is reached at the end of the cosine;
    `clip_norm` bounds the global L2 norm of the gradients.
    """

    learning_rate: float
    final_learning_rate: float
    warmup_steps: int
    total_steps: int
    weight_decay: float
    z_loss: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    clip_norm: float = 1.0
    min_learning_rate: float = 0.0


def language_model_loss(logits_BTV: Tensor, targets_BT: Tensor, z_loss: float = 0.0) -> tuple[Tensor, Tensor]:
    """The loss to minimise, and its cross entropy alone (without gradient), both in nats per token.

    Cross entropy is the mean over the targets that are not ignored (0 where all are). The z-loss
    `z_loss * mean(logsumexp^2)` runs over all positions, ignored ones included.
    """
    loss, entropy = _LanguageModelLoss.apply(  # type: ignore[no-untyped-call]
        logits_BTV.flatten(0, -2), targets_BT.flatten(), z_loss
    )
    return loss, entropy


class _LanguageModelLoss(torch.autograd.Function):
    """Both terms from one logsumexp, their gradient in one buffer: logits are the largest tensor of a step."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, targets_N: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
        kept_N = targets_N != IGNORED
        safe_N = targets_N.where(kept_N, 0)
        lse_N = torch.logsumexp(logits_NV, dim=-1)
        share_N = kept_N.to(lse_N.dtype) / kept_N.sum().clamp(min=1)
        target_logits_N = logits_NV.gather(1, safe_N[:, None])[:, 0]
        entropy = ((lse_N - target_logits_N) * share_N).sum()
        ctx.save_for_backward(logits_NV, safe_N, lse_N, share_N)
        ctx.z_loss = z_loss
        ctx.mark_non_differentiable(entropy)
        return entropy + z_loss * lse_N.square().mean(), entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        logits_NV, safe_N, lse_N, share_N = ctx.saved_tensors
        scale_N = share_N + 2 * ctx.z_loss / len(lse_N) * lse_N
        gradient_NV = (logits_NV - lse_N[:, None]).exp_().mul_((scale_N * gradients[0])[:, None])
        gradient_NV.scatter_add_(1, safe_N[:, None], (-share_N * gradients[0])[:, None])
        return gradient_NV, None, None


def token_losses(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Cross entropy of each token in nats, (B, T); 0 where the target is ignored."""
    losses = F.cross_entropy(logits_BTV.flatten(0, -2), targets_BT.flatten(), ignore_index=IGNORED, reduction="none")
    return losses.view(targets_BT.shape)


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate of optimizer step `step`, from 0: linear warmup, then a cosine down to the final rate."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.total_steps - recipe.warmup_steps)
    span = recipe.learning_rate - recipe.final_learning_rate
    rate = recipe.final_learning_rate + 0.5 * (1 + math.cos(math.pi * progress)) * span
    return max(rate, recipe.min_learning_rate)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over two groups, as OpenLM stores them: an empty one without decay, and all parameters with decay."""
    groups: list[dict[str, object]] = [
        {"params": [], "weight_decay": 0.0},
        {"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": recipe.weight_decay},
    ]
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=betas, eps=recipe.epsilon)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` for the next step of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Iterable[Tensor], norm: float) -> Tensor:
    """Scale all gradients so that their global L2 norm is at most `norm`; returns the norm before."""
    return nn.utils.clip_grad_norm_(parameters, norm)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which the forward pass runs.

    Raises:
        InputError: a precision that is unknown or that this device can't train in.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    dtype = PRECISIONS[precision]
    if dtype is torch.float16 and device.type != "cuda":
        raise InputError("--precision amp needs a CUDA device; use amp_bfloat16 or fp32 on a CPU")
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


@contextlib.contextmanager
def tf32_matmul() -> Iterator[None]:
    """TF32 matrix products on CUDA inside the block, as OpenLM trains."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
