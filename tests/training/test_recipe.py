"""The measured fixtures of section 5."""

import math

import pytest
import torch
import torch.nn.functional as F

from corpusmith.errors import InputError
from training.recipe import (
    Recipe,
    autocast,
    clip_gradients,
    language_model_loss,
    learning_rate,
    make_optimizer,
    token_losses,
)

LOGITS = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [5.0, 1.0, -1.0]])
TARGETS = torch.tensor([2, -100, 0])


def recipe(**changed) -> Recipe:
    values = {"learning_rate": 0.003, "final_learning_rate": 3e-5, "warmup_steps": 2000, "total_steps": 7850}
    return Recipe(**(values | {"weight_decay": 0.033} | changed))


def test_z_loss_runs_over_ignored_positions_too():
    loss, entropy = language_model_loss(LOGITS, TARGETS, 0.1)
    assert entropy.item() == pytest.approx(0.2140935, abs=1e-6)
    assert loss.item() == pytest.approx(1.4815925, abs=1e-6)


def test_token_losses_of_ignored_targets_are_zero():
    losses = token_losses(LOGITS[None], TARGETS[None])
    assert losses.shape == (1, 3)
    assert losses[0, 1] == 0
    assert losses.sum().item() / 2 == pytest.approx(0.2140935, abs=1e-6)


@pytest.mark.parametrize("z_loss", [0.0, 0.3])
def test_gradient_is_that_of_the_plain_formula(z_loss):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    targets = torch.tensor([[0, 6, -100, 3, 3], [1, -100, 2, 5, 0]])
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, _ = language_model_loss(ours, targets, z_loss)
    (2.5 * loss).backward()
    expected = F.cross_entropy(plain.flatten(0, 1), targets.flatten()) + z_loss * plain.logsumexp(-1).square().mean()
    (2.5 * expected).backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    torch.testing.assert_close(ours.grad, plain.grad, rtol=0, atol=1e-12)


def test_a_batch_whose_targets_are_all_ignored_has_loss_zero():
    logits = LOGITS.clone().requires_grad_()
    loss, _ = language_model_loss(logits, torch.full((3,), -100))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 1.5e-6), (999, 0.0015), (1999, 0.003), (2000, 0.003), (4925, 0.001515), (7849, 3.0000214e-05)],
)
def test_schedule(step, rate):
    assert learning_rate(recipe(), step) == pytest.approx(rate, rel=1e-7)


def test_schedule_without_warmup_starts_at_the_top_and_respects_the_floor():
    assert learning_rate(recipe(warmup_steps=0, total_steps=10), 0) == 0.003
    assert learning_rate(recipe(min_learning_rate=0.001), 7849) == 0.001


def test_optimizer_has_an_empty_group_without_decay_then_everything():
    optimizer = make_optimizer(torch.nn.Linear(2, 3), recipe())
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.033]
    assert [len(group["params"]) for group in optimizer.param_groups] == [0, 2]
    assert optimizer.param_groups[1]["betas"] == (0.9, 0.95)
    assert optimizer.param_groups[1]["eps"] == 1e-8


def test_clipping_scales_the_global_norm_to_one():
    weights = [torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))]
    weights[0].grad, weights[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients(weights, 1.0).item() == pytest.approx(5.0)
    norm = math.hypot(*(weight.grad.item() for weight in weights))
    assert norm == pytest.approx(1.0, abs=1e-5)
    assert weights[0].grad.item() == pytest.approx(0.6, abs=1e-5)


def test_fp16_autocast_is_refused_without_cuda():
    with pytest.raises(InputError, match="CUDA"):
        autocast("amp", torch.device("cpu"))
    with pytest.raises(InputError, match="fp64"):
        autocast("fp64", torch.device("cpu"))
