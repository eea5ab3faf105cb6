"""One optimizer step: gradients of a batch over its micro-batches, clipping, the update.

Follows OpenLM: each micro-batch's loss counts by its share of the sequences, gradients are averaged over ranks in the
last micro-batch only. A step is `compute_gradients`, then `apply_gradients`: whoever calls them may look at the loss in
between. What a step needs and nothing else is here, so that a benchmark runs the very step of training.

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
from training.models.attention import document_numbers
from training.models.config import ModelConfig
from training.models.registry import blocks_of, build_model
from training.optimization.losses import LossTerms, NextTokenHead
from training.optimization.recipe import Recipe, autocast, clip_gradients, make_optimizer, set_learning_rate
from training.state.checkpoint import load_into
from training.state.ranks import Ranks
from training.state.sharding import Sharding, gradient_sync, spread_model


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
class TrainingState:
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


def make_training_state(
    model_config: ModelConfig,
    config: StepConfig,
    ranks: Ranks,
    weights: Mapping[str, Tensor] | None = None,
    weights_url: str = "",
) -> TrainingState:
    """Build model, optimizer and scaler.

    Args:
        model_config: architecture and sizes.
        config: of the step.
        ranks: this process among its peers; the model goes to its device.
        weights: to start from; by default torch's generator draws them.
        weights_url: names their origin in the error.

    Raises:
        InputError: the weights do not fit the model.
    """
    model = build_model(model_config, config.grad_checkpointing)
    if weights is not None:
        load_into(model, weights, weights_url)
    model.to(ranks.device).train()
    blocks = blocks_of(model)
    if config.compile:
        for block in blocks:
            block.compile()
    network = spread_model(model, list(blocks), ranks, config.sharding)
    return TrainingState(
        config=config,
        ranks=ranks,
        model=model,
        network=network,
        optimizer=make_optimizer(model, config.recipe),
        scaler=torch.amp.GradScaler(ranks.device.type, enabled=config.precision == "amp"),
    )


def compute_gradients(
    state: TrainingState,
    batch: Batch,
    domain_weights: Mapping[str, float] | None = None,
    *,
    measure_logits: bool = False,
) -> StepLoss:
    """Forward and backward of all micro-batches, then clipping; the weights stay as they are.

    Args:
        state: gets the gradients.
        batch: of this rank.
        domain_weights: factors of the loss of each sequence by its domain, 1 where it names none.
        measure_logits: find the mean of the logits too.
    """
    config = state.config
    state.optimizer.zero_grad(set_to_none=True)
    x_BT, y_BT, weights_B = _on_device(state, batch, domain_weights)
    micro = len(x_BT) // config.accumulation
    parts: list[LossTerms] = []
    forward = 0.0
    started = time.perf_counter()
    for start in range(0, len(x_BT), micro):
        rows = slice(start, start + micro)
        with gradient_sync(state.network, last=start + micro == len(x_BT)):
            asked = time.perf_counter()
            weights = None if weights_B is None else weights_B[rows]
            terms = forward_loss(state, x_BT[rows], y_BT[rows], weights, measure_logits=measure_logits)
            forward += time.perf_counter() - asked
            state.scaler.scale(terms.loss * (micro / len(x_BT))).backward()  # type: ignore[no-untyped-call]
        parts.append(terms._replace(loss=terms.loss.detach()))
    state.scaler.unscale_(state.optimizer)
    norm = clip_gradients(state.model.parameters(), config.recipe.clip_norm)
    means = torch.stack([part.row_losses_B.sum() / part.row_tokens_B.sum().clamp(min=1) for part in parts])
    return StepLoss(
        entropy=means.mean(),
        row_losses_B=torch.cat([part.row_losses_B for part in parts]),
        row_tokens_B=torch.cat([part.row_tokens_B for part in parts]),
        gradient_norm=norm,
        logit_mean=torch.stack([part.logit_mean for part in parts]).mean(),
        seconds={"forward": forward, "backward": time.perf_counter() - started - forward},
    )


def apply_gradients(state: TrainingState, rate: float) -> None:
    """Update the weights with the gradients that stand."""
    set_learning_rate(state.optimizer, rate)
    state.scaler.step(state.optimizer)
    state.scaler.update()


def forward_loss(
    state: TrainingState, x_BT: Tensor, y_BT: Tensor, weights_B: Tensor | None = None, *, measure_logits: bool = False
) -> LossTerms:
    """Loss terms of a (micro-)batch that lies on the device; `weights_B` are factors of each sequence's loss."""
    config = state.config
    separator = config.document_separator
    documents = None if separator is None else document_numbers(x_BT, separator)
    head = NextTokenHead(y_BT, config.recipe.z_loss, weights_B, compiled=config.compile, measure_logits=measure_logits)
    with autocast(config.precision, state.ranks.device):
        terms: LossTerms = state.network(x_BT, documents=documents, head=head)
    return terms


@torch.no_grad()
def evaluate_loss(state: TrainingState, batch: Batch) -> Tensor:
    """Mean cross entropy of this rank's batch over its micro-batches, without a step."""
    x_BT, y_BT, _ = _on_device(state, batch, None)
    micro = len(x_BT) // state.config.accumulation
    losses = []
    for start in range(0, len(x_BT), micro):
        terms = forward_loss(state, x_BT[start : start + micro], y_BT[start : start + micro])
        losses.append(terms.row_losses_B.sum() / terms.row_tokens_B.sum().clamp(min=1))
    return torch.stack(losses).mean()


def _on_device(
    state: TrainingState, batch: Batch, domain_weights: Mapping[str, float] | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inputs, targets and weights as tensors of the device."""
    device = state.ranks.device
    x_BT, y_BT = (torch.from_numpy(np.ascontiguousarray(part)) for part in (batch.x_BT, batch.y_BT))
    weights_B = None
    if domain_weights:
        weights_B = torch.tensor([domain_weights.get(origin.domain, 1.0) for origin in batch.origins], device=device)
    if device.type == "cuda":
        x_BT, y_BT = x_BT.pin_memory(), y_BT.pin_memory()
    return x_BT.to(device, non_blocking=True), y_BT.to(device, non_blocking=True), weights_B
