"""How fast a run is against what its device could do: FLOPs of a token, peak of a device, model FLOPs utilisation.

FLOPs follow the PaLM paper (Chowdhery et al. 2022, appendix B): 6 per parameter of a matrix product and token, forward
and backward together, and 12 * layers * width * length for the attention scores; recomputed activations don't count.
The input embedding is a look-up and does not count, the output head does. Attention counts as if it were not causal,
as PaLM, nanoGPT and OpenLM's users count it.
"""

from __future__ import annotations

import functools
import time

import torch

from training.models.config import ModelConfig
from training.optimization.recipe import PRECISIONS
from training.plan.config import TrainConfig
from training.state.ranks import Ranks

#: Dense bf16 FLOPs per second by a part of the device's name, from the makers' data sheets; the first match counts.
BF16_PEAKS = (
    ("B200", 2250e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("L4", 121e12),
    ("A10G", 70e12),
    ("A10", 125e12),
    ("RTX 4090", 165e12),
    ("V100", 125e12),
    ("T4", 65e12),
)
_MATMUL_SIZE = 1024
_MATMUL_SECONDS = 0.2


def flops_per_token(config: ModelConfig, seq_len: int | None = None) -> int:
    """FLOPs of training on one token, forward and backward; `seq_len` by default the model's."""
    width, hidden = config.hidden_dim, config.ffn_dim
    feed_forward = 2 * width * hidden if config.ffn_type == "gelu" else 3 * width * hidden
    matrices = config.n_layers * (4 * width * width + feed_forward) + width * config.vocab_size
    return 6 * matrices + 12 * config.n_layers * width * (seq_len or config.seq_len)


def peak_flops(device: torch.device, precision: str = "amp_bfloat16") -> float:
    """FLOPs per second that the device could do in this precision; measured where no data sheet is known."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = next((peak for part, peak in BF16_PEAKS if part in name), None)
        if known is not None:
            low = PRECISIONS.get(precision) is not None or precision in ("bf16", "fp16")
            return known if low else known / 2  # fp32 products run in TF32
    dtype = PRECISIONS.get(precision) or torch.float32
    return _measured_peak(str(device), dtype)


@functools.cache
def _measured_peak(device: str, dtype: torch.dtype) -> float:
    """FLOPs per second of square matrix products, the best of some; takes a fraction of a second."""
    left = torch.randn(_MATMUL_SIZE, _MATMUL_SIZE, device=device).to(dtype)
    best, until = 0.0, time.perf_counter() + _MATMUL_SECONDS
    while True:
        started = time.perf_counter()
        left @ left
        if left.is_cuda:
            torch.cuda.synchronize(device)
        ended = time.perf_counter()
        best = max(best, 2 * _MATMUL_SIZE**3 / max(ended - started, 1e-9))
        if ended > until:
            return best


class RunThroughput:
    """The utilisation of one run, from its tokens per second."""

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        self._per_token = flops_per_token(config.model, config.plan.phases[0].seq_len)
        self._peak, self._devices = peak_flops(ranks.device, config.step.precision), ranks.world_size

    def __call__(self, tokens_per_second: float) -> float:
        """Model FLOPs utilisation, from 0 to 1."""
        return utilisation(tokens_per_second, self._per_token, self._peak, self._devices)


def utilisation(tokens_per_second: float, per_token: int, peak: float, devices: int) -> float:
    """Model FLOPs utilisation, from 0 to 1: the share of the devices' peak that goes into the model's own FLOPs.

    Args:
        tokens_per_second: of all devices together.
        per_token: FLOPs of the model for a token.
        peak: FLOPs per second that one device could do.
        devices: how many there are.
    """
    return tokens_per_second * per_token / (peak * devices)
