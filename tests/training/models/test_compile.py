"""Compiled runs: one graph for all layers, the same numbers as without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from training.data.batch import Batch
from training.loop.resume import seed_all
from training.optimization.step import StepConfig, apply_gradients, compute_gradients, make_training_state
from training.plan.config import TrainConfig
from training.state.ranks import Ranks


@pytest.mark.all
@pytest.mark.parametrize("grad_checkpointing", [False, True])
def test_compiled_steps_are_the_plain_ones_and_all_layers_share_a_graph(
    make_config: Callable[..., TrainConfig], grad_checkpointing: bool
) -> None:
    plain = make_config(grad_checkpointing=grad_checkpointing)
    model = replace(plain.model, n_layers=12)
    chunk = np.random.default_rng(0).integers(0, 32, (8, 17))
    batch = Batch(x_BT=chunk[:, :-1], y_BT=chunk[:, 1:])
    found = []
    for compiled in (False, True):
        torch._dynamo.reset()
        config = StepConfig(recipe=plain.step.recipe, compile=compiled, grad_checkpointing=grad_checkpointing)
        seed_all(1)
        state = make_training_state(model, config, Ranks())
        losses = []
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
            for _ in range(4):
                losses.append(compute_gradients(state, batch).entropy.item())
                apply_gradients(state, 0.01)
        found.append(losses)
    assert found[0] == pytest.approx(found[1], abs=1e-4)
