"""One optimizer step: gradients of a batch over its micro-batches, clipping, the update.

Follows OpenLM: each micro-batch's loss counts by its share of the sequences, gradients are averaged over ranks in the
last micro-batch only. What a step needs and nothing else is here, so that a benchmark runs the very step of training.

Shape suffixes: B sequences of this rank, T tokens.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from training.data.batch import Batch
from training.loop.ranks import Ranks
from training.loop.sharding import Sharding, gradient_sync, spread_model
from training.models.attention import document_numbers
from training.models.config import ModelConfig
from training.models.registry import blocks_of, build_model
from training.optimization.losses import LossTerms, NextTokenHead
from training.optimization.recipe import Recipe, autocast, clip_gradients, make_optimizer, set_learning_rate


@dataclass(frozen=True, kw_only=True, slots=True)
class StepConfig:
    """How a batch becomes an update.

    `accumulation` is the number of micro-batches; tokens after `document_separator` don't see those before it (None:
    sequences are one document); `compile` compiles the blocks and the loss.
    """

    recipe: Recipe
    accumulation: int = 1
    precision: str = "fp32"
    grad_checkpointing: bool = False
    compile: bool = False
    document_separator: int | None = None
    sharding: Sharding | None = None


@dataclass(kw_only=True)
class Trainer:
    """What a step changes, and what it runs on; `network` is what to call in place of `model` on several ranks."""

    config: StepConfig
    ranks: Ranks
    model: nn.Module
    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


@dataclass(kw_only=True, slots=True)
class StepLoss:
    """What a batch of this rank gave.

    `entropy` is the mean cross entropy in nats without z-loss (OpenLM's: mean over micro-batches of the mean over
    tokens); `row_losses_B` its sum over each sequence, `row_tokens_B` the targets of each; `gradient_norm` is that
    of all ranks before clipping; `logit_mean` is 0 where not asked for. `seconds` are this rank's.
    """

    entropy: Tensor
    row_losses_B: Tensor
    row_tokens_B: Tensor
    gradient_norm: Tensor
    logit_mean: Tensor
    seconds: dict[str, float] = field(default_factory=dict)


def make_trainer(
    model_config: ModelConfig, config: StepConfig, ranks: Ranks, weights: Mapping[str, Tensor] | None = None
) -> Trainer:
    """Build model, optimizer and scaler; torch's generator draws the initial weights, unless `weights` are given.

    Raises:
        RuntimeError: the weights do not fit the model.
    """
    model = build_model(model_config, config.grad_checkpointing)
    if weights is not None:
        model.load_state_dict(weights)
    model.to(ranks.device).train()
    blocks = blocks_of(model)
    if config.compile:
        for block in blocks:
            block.compile()
    network = spread_model(model, list(blocks), ranks, config.sharding)
    return Trainer(
        config=config,
        ranks=ranks,
        model=model,
        network=network,
        optimizer=make_optimizer(model, config.recipe),
        scaler=torch.amp.GradScaler(ranks.device.type, enabled=config.precision == "amp"),
    )


def train_step(
    trainer: Trainer, batch: Batch, rate: float, domain_weights: Mapping[str, float] | None = None
) -> StepLoss:
    """One optimizer step on this rank's batch with this learning rate."""
    loss = compute_gradients(trainer, batch, domain_weights)
    apply_gradients(trainer, rate)
    return loss


def compute_gradients(
    trainer: Trainer, batch: Batch, domain_weights: Mapping[str, float] | None = None, *, measure_logits: bool = False
) -> StepLoss:
    """Forward and backward of all micro-batches, then clipping; the weights stay as they are.

    `domain_weights` are factors of the loss of each sequence by its domain, 1 where it names none.
    """
    config = trainer.config
    trainer.optimizer.zero_grad(set_to_none=True)
    x_BT, y_BT, weights_B = _on_device(trainer, batch, domain_weights)
    micro = len(x_BT) // config.accumulation
    parts: list[LossTerms] = []
    forward = 0.0
    started = time.perf_counter()
    for start in range(0, len(x_BT), micro):
        rows = slice(start, start + micro)
        with gradient_sync(trainer.network, last=start + micro == len(x_BT)):
            asked = time.perf_counter()
            weights = None if weights_B is None else weights_B[rows]
            terms = forward_loss(trainer, x_BT[rows], y_BT[rows], weights, measure_logits=measure_logits)
            forward += time.perf_counter() - asked
            trainer.scaler.scale(terms.loss * (micro / len(x_BT))).backward()  # type: ignore[no-untyped-call]
        parts.append(terms._replace(loss=terms.loss.detach()))
    trainer.scaler.unscale_(trainer.optimizer)
    norm = clip_gradients(trainer.model.parameters(), config.recipe.clip_norm)
    means = torch.stack([part.row_losses_B.sum() / part.row_tokens_B.sum().clamp(min=1) for part in parts])
    return StepLoss(
        entropy=means.mean(),
        row_losses_B=torch.cat([part.row_losses_B for part in parts]),
        row_tokens_B=torch.cat([part.row_tokens_B for part in parts]),
        gradient_norm=norm,
        logit_mean=torch.stack([part.logit_mean for part in parts]).mean(),
        seconds={"forward": forward, "backward": time.perf_counter() - started - forward},
    )


def apply_gradients(trainer: Trainer, rate: float) -> None:
    """Update the weights with the gradients that stand."""
    set_learning_rate(trainer.optimizer, rate)
    trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()


def forward_loss(
    trainer: Trainer, x_BT: Tensor, y_BT: Tensor, weights_B: Tensor | None = None, *, measure_logits: bool = False
) -> LossTerms:
    """Loss terms of a (micro-)batch on the device."""
    config = trainer.config
    separator = config.document_separator
    documents = None if separator is None else document_numbers(x_BT, separator)
    head = NextTokenHead(y_BT, config.recipe.z_loss, weights_B, compiled=config.compile, measure_logits=measure_logits)
    with autocast(config.precision, trainer.ranks.device):
        terms: LossTerms = trainer.network(x_BT, documents=documents, head=head)
    return terms


@torch.no_grad()
def evaluate_loss(trainer: Trainer, batch: Batch) -> Tensor:
    """Mean cross entropy of this rank's batch over its micro-batches, without a step."""
    x_BT, y_BT, _ = _on_device(trainer, batch, None)
    micro = len(x_BT) // trainer.config.accumulation
    losses = []
    for start in range(0, len(x_BT), micro):
        terms = forward_loss(trainer, x_BT[start : start + micro], y_BT[start : start + micro])
        losses.append(terms.row_losses_B.sum() / terms.row_tokens_B.sum().clamp(min=1))
    return torch.stack(losses).mean()


def _on_device(
    trainer: Trainer, batch: Batch, domain_weights: Mapping[str, float] | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inputs, targets and weights as tensors of the device."""
    device = trainer.ranks.device
    x_BT, y_BT = (torch.from_numpy(np.ascontiguousarray(part)) for part in (batch.x_BT, batch.y_BT))
    weights_B = None
    if domain_weights:
        weights_B = torch.tensor([domain_weights.get(origin.domain, 1.0) for origin in batch.origins], device=device)
    if device.type == "cuda":
        x_BT, y_BT = x_BT.pin_memory(), y_BT.pin_memory()
    return x_BT.to(device, non_blocking=True), y_BT.to(device, non_blocking=True), weights_B
