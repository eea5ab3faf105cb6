"""AdamW, clipping and precision of section 5."""

import math

import pytest
import torch

from corpusmith.errors import InputError
from training.optimization.recipe import Recipe, autocast, clip_gradients, make_optimizer


def test_optimizer_has_an_empty_group_without_decay_then_everything() -> None:
    optimizer = make_optimizer(torch.nn.Linear(2, 3), Recipe(weight_decay=0.033))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.033]
    assert [len(group["params"]) for group in optimizer.param_groups] == [0, 2]
    assert optimizer.param_groups[1]["betas"] == (0.9, 0.95)
    assert optimizer.param_groups[1]["eps"] == 1e-8


def test_clipping_scales_the_global_norm_to_one() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))]
    weights[0].grad, weights[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients(weights, 1.0).item() == pytest.approx(5.0)
    norm = math.hypot(*(weight.grad.item() for weight in weights if weight.grad is not None))
    assert norm == pytest.approx(1.0, abs=1e-5)
    assert weights[0].grad.item() == pytest.approx(0.6, abs=1e-5)


def test_fp16_autocast_is_refused_without_cuda() -> None:
    with pytest.raises(InputError, match="CUDA"):
        autocast("amp", torch.device("cpu"))
    with pytest.raises(InputError, match="fp64"):
        autocast("fp64", torch.device("cpu"))
