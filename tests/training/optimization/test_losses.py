"""The loss of section 5: measured fixtures, and the chunked gradient against the plain formula."""

import pytest
import torch
import torch.nn.functional as F

from training.optimization import losses
from training.optimization.losses import NextTokenHead, next_token_loss, token_losses

LOGITS = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [5.0, 1.0, -1.0]])
TARGETS = torch.tensor([2, -100, 0])
IDENTITY = torch.eye(3)  # an output layer that gives the hidden states back as logits


def test_z_loss_runs_over_ignored_positions_too() -> None:
    loss, row_losses, row_tokens, _ = next_token_loss(LOGITS[None], IDENTITY, TARGETS[None], 0.1)
    assert row_losses.item() / row_tokens.item() == pytest.approx(0.2140935, abs=1e-6)
    assert row_tokens.tolist() == [2]
    assert loss.item() == pytest.approx(1.4815925, abs=1e-6)


def test_token_losses_of_ignored_targets_are_zero() -> None:
    found = token_losses(LOGITS[None], TARGETS[None])
    assert found.shape == (1, 3)
    assert found[0, 1] == 0
    assert found.sum().item() / 2 == pytest.approx(0.2140935, abs=1e-6)


@pytest.mark.parametrize(
    ("z_loss", "chunk_logits", "compiled"),
    [(0.0, 7, False), (0.3, 21, False), (0.3, 1 << 20, False), pytest.param(0.3, 35, True, marks=pytest.mark.all)],
)
def test_gradients_are_those_of_the_plain_formula_for_any_chunk(
    monkeypatch: pytest.MonkeyPatch, z_loss: float, chunk_logits: int, compiled: bool
) -> None:
    monkeypatch.setitem(losses.CHUNK_LOGITS, "cpu", chunk_logits)
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(2, 5, 4, generator=generator)
    weight = torch.randn(7, 4, generator=generator)
    targets = torch.tensor([[0, 6, -100, 3, 3], [1, -100, 2, 5, 0]])
    factors = torch.tensor([0.5, 2.0])
    ours = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    plain = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    loss, row_losses, row_tokens, _ = next_token_loss(ours[0], ours[1], targets, z_loss, factors, compiled=compiled)
    torch.autograd.backward(2.5 * loss)
    logits = plain[0] @ plain[1].T
    entropies = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(2, 5)
    expected = (entropies * factors[:, None]).sum() / 8 + z_loss * logits.logsumexp(-1).square().mean()
    torch.autograd.backward(2.5 * expected)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    torch.testing.assert_close(row_losses, entropies.sum(dim=1).detach(), rtol=0, atol=1e-5)
    assert row_tokens.tolist() == [4, 4]
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-5)


def test_bf16_gradients_are_near_those_of_fp32() -> None:
    generator = torch.Generator().manual_seed(2)
    hidden, weight = torch.randn(2, 16, 8, generator=generator), torch.randn(40, 8, generator=generator)
    targets = torch.randint(0, 40, (2, 16), generator=generator)
    gradients = []
    for enabled in (False, True):
        parts = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            torch.autograd.backward(next_token_loss(parts[0], parts[1], targets, 1e-4).loss)
        assert all(part.grad is not None and part.grad.dtype == torch.float32 for part in parts)
        gradients.append([part.grad for part in parts])
    for exact, narrow in zip(*gradients, strict=True):
        torch.testing.assert_close(narrow, exact, rtol=0.05, atol=2e-3)


def test_a_batch_whose_targets_are_all_ignored_has_loss_zero() -> None:
    hidden = LOGITS[None].clone().requires_grad_()
    loss, *_ = next_token_loss(hidden, IDENTITY, torch.full((1, 3), -100))
    torch.autograd.backward(loss)
    assert loss.item() == 0
    assert hidden.grad is not None
    assert torch.equal(hidden.grad, torch.zeros_like(hidden))


def test_the_mean_of_the_logits_needs_no_logits() -> None:
    output = torch.nn.Linear(6, 9, bias=False)
    hidden = torch.randn(2, 5, 6)
    head = NextTokenHead(torch.zeros(2, 5, dtype=torch.long), measure_logits=True)
    assert head(hidden, output).logit_mean.item() == pytest.approx(output(hidden).mean().item(), abs=1e-6)
