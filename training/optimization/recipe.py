"""The recipe: AdamW, gradient clipping, precision.

Follows OpenLM. The loss is in `training.optimization.losses`, the learning rate in `training.optimization.schedule`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from corpusmith.errors import InputError

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
    """What turns gradients into steps, whatever the learning rate.

    `clip_norm` bounds the global L2 norm of the gradients, None leaves them; `weight_decay` applies to everything,
    embeddings and norms included; `z_loss` is the coefficient of mean(logsumexp^2).
    """

    weight_decay: float
    z_loss: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    clip_norm: float | None = 1.0


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over two groups, as OpenLM stores them: an empty one without decay, and all parameters with decay."""
    groups: list[dict[str, object]] = [
        {"params": [], "weight_decay": 0.0},
        {"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": recipe.weight_decay},
    ]
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=recipe.epsilon, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` for the next step of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Iterable[Tensor], norm: float | None) -> Tensor:
    """Scale all gradients so that their global L2 norm is at most `norm`; returns the norm before."""
    found = nn.utils.clip_grad_norm_(parameters, float("inf") if norm is None else norm)
    # sharded gradients give a norm that is itself a distributed tensor
    return found.full_tensor() if isinstance(found, DTensor) else found


def default_precision(device: torch.device) -> str:
    """The precision of a run that names none: bf16 autocast on CUDA, fp32 elsewhere."""
    return "amp_bfloat16" if device.type == "cuda" else "fp32"


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
