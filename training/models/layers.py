"""The parts of an OpenLM block: norms, positional embeddings and feed-forward networks.

Follows OpenLM's arithmetic and state-dict keys. Departs from it in one point that decides parity: rotary tables are
always built from the `inv_freq` buffer as loaded, in fp32, and rebuilt after every `load_state_dict`, move or cast;
OpenLM keeps an old table until device, dtype or length changes. `rotary_table="exact"` ignores the buffer.

Shape suffixes: B batch, T tokens, H heads, D width (of the model, or of one head in rotations), F feed-forward width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corpusmith.errors import InputError
from training.models.config import ModelConfig

NORM_EPS = 1e-5
ROTARY_BASE = 10000.0


class LayerNorm(nn.Module):
    """LayerNorm with optional gain and bias; `low_precision` runs it in the autocast dtype, autocast off.

    Args:
        width: size of the last axis.
        weight, bias: which parameters exist.
        low_precision: cast input and parameters to the autocast dtype where autocast is on.
    """

    def __init__(self, width: int, *, weight: bool, bias: bool, low_precision: bool) -> None:
        super().__init__()
        self.width = width
        self.low_precision = low_precision
        self.weight = nn.Parameter(torch.ones(width)) if weight else None
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis; same shape."""
        device = x.device.type
        if not (self.low_precision and torch.is_autocast_enabled(device)):
            return F.layer_norm(x, (self.width,), self.weight, self.bias, NORM_EPS)
        dtype = torch.get_autocast_dtype(device)
        weight = None if self.weight is None else self.weight.to(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        with torch.autocast(device, enabled=False):
            return F.layer_norm(x.to(dtype), (self.width,), weight, bias, NORM_EPS)


class RmsNorm(nn.Module):
    """`x * rsqrt(mean(x^2) + eps)` in fp32, cast back, times the gain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis; same shape."""
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + NORM_EPS)
        return scaled.to(x.dtype) * self.weight


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "default_layer_norm": lambda width: LayerNorm(width, weight=True, bias=True, low_precision=False),
    "lp_layer_norm": lambda width: LayerNorm(width, weight=True, bias=True, low_precision=True),
    "gain_only_lp_layer_norm": lambda width: LayerNorm(width, weight=True, bias=False, low_precision=True),
    "gain_only_layer_norm": lambda width: LayerNorm(width, weight=True, bias=False, low_precision=False),
    "no_wb_layer_norm": lambda width: LayerNorm(width, weight=False, bias=False, low_precision=False),
    "rms_norm": RmsNorm,
}


def make_norm(name: str, width: int) -> nn.Module:
    """The norm of OpenLM's `--model-norm` name, over `width` features."""
    return _NORMS[name](width)


class NoPosition(nn.Module):
    """No positional embedding."""

    def forward(self, q_BTHD: Tensor, k_BTHD: Tensor, offset: int = 0) -> tuple[Tensor, Tensor]:
        """Queries and keys as they are."""
        return q_BTHD, k_BTHD


class Rotary(nn.Module):
    """Rotate-half rotary embedding; `over_heads` is the historical bug that indexes by head instead of position.

    The state dict always holds the buffer `inv_freq` (width / 2). It stays in fp32 when the model is cast.
    """

    inv_freq: Tensor

    def __init__(self, width: int, *, over_heads: bool, exact: bool) -> None:
        super().__init__()
        self.width = width
        self.over_heads = over_heads
        self.exact = exact
        self.register_buffer("inv_freq", inverse_frequencies(width))
        self._cos: Tensor | None = None
        self._sin: Tensor | None = None

    def forward(self, q_BTHD: Tensor, k_BTHD: Tensor, offset: int = 0) -> tuple[Tensor, Tensor]:
        """Rotate queries and keys; position of the first token is `offset`."""
        if self.over_heads:
            cos, sin = (table[None, None] for table in self._tables(0, q_BTHD.shape[2], q_BTHD))
        else:
            cos, sin = (table[None, :, None] for table in self._tables(offset, q_BTHD.shape[1], q_BTHD))
        return _rotate(q_BTHD, cos, sin), _rotate(k_BTHD, cos, sin)

    def prepare(self, length: int) -> tuple[Tensor, Tensor]:
        """The tables of cos and sin for at least `length` positions, built where they are shorter."""
        if self._cos is None or self._sin is None or self._cos.shape[0] < length:
            frequencies = inverse_frequencies(self.width) if self.exact else self.inv_freq.float()
            positions = torch.arange(length, dtype=torch.float32, device=self.inv_freq.device)
            angles = positions[:, None] * frequencies.to(positions.device)[None, :]
            doubled = torch.cat([angles, angles], dim=-1)
            self._cos, self._sin = doubled.cos(), doubled.sin()
        return self._cos, self._sin

    def _tables(self, start: int, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Rows `start` … of cos and sin, shape (length, width), in the dtype of `like`."""
        cos, sin = self.prepare(start + length)
        return cos[start : start + length].to(like.dtype), sin[start : start + length].to(like.dtype)

    def _forget_tables(self) -> None:
        self._cos = self._sin = None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._forget_tables()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Rotary:
        before = self.inv_freq
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.inv_freq.dtype != before.dtype:  # a cast would round the frequencies for good
            self.inv_freq = before.to(self.inv_freq.device)
        self._forget_tables()
        return self


class LlamaRotary(nn.Module):
    """Interleaved rotary embedding of Llama: pairs (2j, 2j + 1) as complex numbers, in fp32; no buffer is stored.

    Raises:
        InputError: a position beyond twice the sequence length.
    """

    def __init__(self, width: int, seq_len: int) -> None:
        super().__init__()
        self.width = width
        self.positions = 2 * seq_len

    def forward(self, q_BTHD: Tensor, k_BTHD: Tensor, offset: int = 0) -> tuple[Tensor, Tensor]:
        """Rotate queries and keys; position of the first token is `offset`."""
        end = offset + q_BTHD.shape[1]
        if end > self.positions:
            raise InputError(f"position {end - 1} lies beyond llama_rotary's table of {self.positions} positions")
        positions = torch.arange(offset, end, dtype=torch.float32, device=q_BTHD.device)
        angles = positions[:, None] * inverse_frequencies(self.width).to(q_BTHD.device)[None, :]
        cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]
        return _rotate_pairs(q_BTHD, cos, sin), _rotate_pairs(k_BTHD, cos, sin)


def inverse_frequencies(width: int) -> Tensor:
    """`10000^(-2j / width)` for j = 0 … width / 2 - 1, fp32, shape (width / 2,)."""
    return 1.0 / (ROTARY_BASE ** (torch.arange(0, width, 2, dtype=torch.float32) / width))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`[x1, x2]` (halves of the last axis) to `[x1 cos - x2 sin, x2 cos + x1 sin]`; the tables' halves are equal."""
    half = x.shape[-1] // 2
    (first, second), cos, sin = x.chunk(2, dim=-1), cos[..., :half], sin[..., :half]
    turned = torch.addcmul(first * cos, second, sin, value=-1), torch.addcmul(second * cos, first, sin)
    return torch.cat(turned, dim=-1)


def _rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (2j, 2j + 1) of the last axis in fp32; the dtype of `x` comes back."""
    even, odd = x.float().view(*x.shape[:-1], -1, 2).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)


def make_positional_embedding(config: ModelConfig) -> nn.Module:
    """The module that rotates queries and keys, by `positional_embedding_type`."""
    kind, width = config.positional_embedding_type, config.head_dim
    if kind == "none":
        return NoPosition()
    if kind == "llama_rotary":
        return LlamaRotary(width, config.seq_len)
    return Rotary(width, over_heads=kind == "head_rotary", exact=config.rotary_table == "exact")


class SwiGlu(nn.Module):
    """`w3(silu(a) * b)` where `a, b` are the halves of `w12(x)`; no biases."""

    def __init__(self, width: int, hidden: int, std_in: float, std_out: float) -> None:
        super().__init__()
        self.w12 = make_linear(width, 2 * hidden, std_in)
        self.w3 = make_linear(hidden, width, std_out)

    def forward(self, x: Tensor) -> Tensor:
        """Last axis `width` to `width`."""
        gate, up = self.w12(x).chunk(2, dim=-1)
        return cast(Tensor, self.w3(F.silu(gate) * up))


class GemmaGeglu(nn.Module):
    """`down(gelu(gate(x)) * up(x))`, with biases and torch's default init, as OpenLM has it."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden)
        self.up_proj = nn.Linear(width, hidden)
        self.down_proj = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Last axis `width` to `width`."""
        return cast(Tensor, self.down_proj(F.gelu(self.gate_proj(x)) * self.up_proj(x)))


def make_linear(width_in: int, width_out: int, std: float) -> nn.Linear:
    """A linear layer without bias, its weight drawn from a normal truncated at three standard deviations."""
    linear = nn.Linear(width_in, width_out, bias=False)
    init_truncated(linear.weight, std)
    return linear


def init_truncated(weight: Tensor, std: float) -> None:
    """Fill with a normal of mean 0 and this standard deviation, truncated at three of them."""
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)


def depth_std(width: int, layer: int) -> float:
    """Standard deviation of a projection back into the residual stream at `layer` (from 0)."""
    return 1.0 / math.sqrt(width) / math.sqrt(2 * (layer + 1))
