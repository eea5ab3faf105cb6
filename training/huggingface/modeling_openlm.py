"""OpenLM models for Hugging Face transformers: pre-norm blocks, full-width qk norm, rotary attention, gated units.

This file stands alone: an export copies it beside the weights as `modeling_openlm.py`, and
`AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)` runs it where nothing else of ours is installed.
It follows OpenLM's arithmetic and the names of its parameters (behind the prefix `model.`), and keeps in
`params_args_dict` what OpenLM's own class keeps there, so that folders written by either can be read here. Positions
are absolute indices: `position_ids` are accepted without effect, which for rotary embeddings changes nothing but
rounding. It knows every norm of OpenLM, `rotary`, `swiglu` and `swiglu_torch`; other kinds are refused by name.

Shape suffixes: B batch, T query tokens, K key tokens, H heads, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

ROTARY_BASE = 10000.0
_NORMS = {  # name: (has a gain, has a bias, runs in the autocast dtype)
    "default_layer_norm": (True, True, False),
    "lp_layer_norm": (True, True, True),
    "gain_only_lp_layer_norm": (True, False, True),
    "gain_only_layer_norm": (True, False, False),
    "no_wb_layer_norm": (False, False, False),
}
_FFN_TYPES = ("swiglu", "swiglu_torch")
# the name under which transformers passes the cache of keys and values: it changed in version 5.24
_CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"


class OpenLMConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """What decides shape and arithmetic stands in `params_args_dict`, under OpenLM's names."""

    model_type = "openlm"

    def __init__(self, params_args_dict: dict[str, Any] | None = None, **kwargs: Any) -> None:
        arguments = dict(params_args_dict or {})
        self.params_args_dict = arguments
        self.hidden_size = arguments.get("dim", 16)
        self.num_hidden_layers = arguments.get("n_layers", 1)
        self.num_attention_heads = arguments.get("n_heads", 1)
        self.vocab_size = arguments.get("vocab_size", 16)
        self.max_position_embeddings = arguments.get("seq_len", 2048)
        kwargs.setdefault("tie_word_embeddings", bool(arguments.get("weight_tying", False)))
        super().__init__(**kwargs)

    def argument(self, name: str, default: Any) -> Any:
        """An entry of `params_args_dict`, or the default where it is missing or null."""
        value = self.params_args_dict.get(name)
        return default if value is None else value


class _LayerNorm(nn.Module):
    """LayerNorm with optional gain and bias, in the autocast dtype where asked."""

    def __init__(self, width: int, eps: float, kind: tuple[bool, bool, bool]) -> None:
        super().__init__()
        gain, bias, self.low_precision = kind
        self.shape, self.eps = (width,), eps
        self.weight = nn.Parameter(torch.ones(width)) if gain else None
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        if not (self.low_precision and torch.is_autocast_enabled(device)):
            return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)
        dtype = torch.get_autocast_dtype(device)
        weight, bias = (None if p is None else p.to(dtype) for p in (self.weight, self.bias))
        with torch.autocast(device, enabled=False):
            return F.layer_norm(x.to(dtype), self.shape, weight, bias, self.eps)


class _RmsNorm(nn.Module):
    """`x * rsqrt(mean(x^2) + eps)` in fp32, cast back, times the gain."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight


def _make_norm(config: OpenLMConfig) -> nn.Module:
    name, eps = config.argument("model_norm", "default_layer_norm"), config.argument("norm_eps", 1e-5)
    if name == "rms_norm":
        return _RmsNorm(config.hidden_size, eps)
    if name not in _NORMS:
        raise ValueError(f"unknown model_norm {name!r}; known: rms_norm, {', '.join(_NORMS)}")
    return _LayerNorm(config.hidden_size, eps, _NORMS[name])


class _Rotary(nn.Module):
    """Rotate-half rotary embedding; the angles come from the buffer `inv_freq` (width / 2) as it was stored.

    Loading in a lower precision may round the buffer. Then the frequencies of the config stand in for it, which an
    export writes, or those of the formula.
    """

    inv_freq: Tensor

    def __init__(self, width: int, stored: list[float] | None) -> None:
        super().__init__()
        self.width, self.stored = width, stored
        self.register_buffer("inv_freq", self.frequencies_of("cpu"))

    def frequencies_of(self, device: torch.device | str) -> Tensor:
        """The frequencies of the config or the formula, fp32."""
        if self.stored is not None:
            return torch.tensor(self.stored, dtype=torch.float32, device=device)
        exponents = torch.arange(0, self.width, 2, dtype=torch.float32, device=device) / self.width
        frequencies: Tensor = 1.0 / ROTARY_BASE**exponents
        return frequencies

    def frequencies(self) -> Tensor:
        """What the angles are computed from, fp32."""
        whole = self.inv_freq.dtype == torch.float32
        return self.inv_freq if whole else self.frequencies_of(self.inv_freq.device)

    def forward(self, q_BTHD: Tensor, k_BTHD: Tensor, offset: int) -> tuple[Tensor, Tensor]:
        positions = torch.arange(offset, offset + q_BTHD.shape[1], dtype=torch.float32, device=q_BTHD.device)
        angles = positions[:, None] * self.frequencies().to(q_BTHD.device)[None, :]
        doubled = torch.cat([angles, angles], dim=-1)[None, :, None]
        cos, sin = doubled.cos().to(q_BTHD.dtype), doubled.sin().to(q_BTHD.dtype)
        return q_BTHD * cos + _rotate_half(q_BTHD) * sin, k_BTHD * cos + _rotate_half(k_BTHD) * sin


def _rotate_half(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


class _Attention(nn.Module):
    def __init__(self, config: OpenLMConfig, layer: int) -> None:
        super().__init__()
        kind = config.argument("positional_embedding_type", "rotary")
        if kind != "rotary":
            raise ValueError(f"positional_embedding_type {kind!r} is not supported; only 'rotary' is")
        width = config.hidden_size
        self.layer, self.n_heads = layer, config.num_attention_heads
        self.in_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)
        self.pos_embed = _Rotary(width // self.n_heads, config.argument("inv_freq", None))
        qk_norm = bool(config.argument("qk_norm", config.argument("apply_qk_norm", False)))
        self.q_norm = _make_norm(config) if qk_norm else nn.Identity()
        self.k_norm = _make_norm(config) if qk_norm else nn.Identity()

    def forward(self, x_BTD: Tensor, mask: Tensor | None, offset: int, cache: Cache | None) -> Tensor:
        batch, tokens, width = x_BTD.shape
        heads = (batch, tokens, self.n_heads, width // self.n_heads)
        q, k, v = self.in_proj(x_BTD).chunk(3, dim=-1)
        q_BTHD, k_BTHD = self.pos_embed(self.q_norm(q).view(heads), self.k_norm(k).view(heads), offset)
        q_BHTD = q_BTHD.to(v.dtype).transpose(1, 2)
        k_BHKD, v_BHKD = k_BTHD.to(v.dtype).transpose(1, 2), v.view(heads).transpose(1, 2)
        if cache is not None:
            k_BHKD, v_BHKD = cache.update(k_BHKD, v_BHKD, self.layer)
        attended_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHKD, v_BHKD, mask, is_causal=mask is None)
        output: Tensor = self.out_proj(attended_BHTD.transpose(1, 2).reshape(batch, tokens, width))
        return output


class _SwiGlu(nn.Module):
    def __init__(self, config: OpenLMConfig) -> None:
        super().__init__()
        kind, width = config.argument("ffn_type", "swiglu"), config.hidden_size
        if kind not in _FFN_TYPES:
            raise ValueError(f"ffn_type {kind!r} is not supported; only {' and '.join(_FFN_TYPES)} are")
        hidden = 256 * ((int(2 * 4 * width / 3) + 255) // 256)
        self.w12 = nn.Linear(width, 2 * hidden, bias=False)
        self.w3 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.w12(x).chunk(2, dim=-1)
        output: Tensor = self.w3(F.silu(gate) * up)
        return output


class _Block(nn.Module):
    def __init__(self, config: OpenLMConfig, layer: int) -> None:
        super().__init__()
        self.attention = _Attention(config, layer)
        self.feed_forward = _SwiGlu(config)
        self.attention_norm = _make_norm(config)
        self.ffn_norm = _make_norm(config)

    def forward(self, x_BTD: Tensor, mask: Tensor | None, offset: int, cache: Cache | None) -> Tensor:
        h_BTD: Tensor = x_BTD + self.attention(self.attention_norm(x_BTD), mask, offset, cache)
        output: Tensor = h_BTD + self.feed_forward(self.ffn_norm(h_BTD))
        return output


class _Transformer(nn.Module):
    def __init__(self, config: OpenLMConfig) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.argument("post_embed_norm", False):
            self.post_embed_norm = _make_norm(config)
        self.layers = nn.ModuleList(_Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = _make_norm(config)
        self.output = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, x_BTD: Tensor, attention_mask: Tensor | None, cache: Cache | None) -> Tensor:
        if hasattr(self, "post_embed_norm"):
            x_BTD = self.post_embed_norm(x_BTD)
        offset = 0 if cache is None else cache.get_seq_length()
        mask = _attention_mask(x_BTD.shape[1], offset, attention_mask, x_BTD.device)
        for layer in self.layers:
            x_BTD = layer(x_BTD, mask, offset, cache)
        hidden_BTD: Tensor = self.norm(x_BTD)
        return hidden_BTD


def _attention_mask(tokens: int, past: int, attention_mask: Tensor | None, device: torch.device) -> Tensor | None:
    """Which query sees which key, boolean (1 or B, 1, T, K); None where plain causal attention says it all."""
    if past == 0 and (attention_mask is None or bool(attention_mask.all())):
        return None
    queries = torch.arange(past, past + tokens, device=device)
    visible = torch.arange(past + tokens, device=device)[None, :] <= queries[:, None]
    if attention_mask is None:
        return visible[None, None]
    allowed = visible[None] & attention_mask.to(device=device, dtype=torch.bool)[:, None, :]
    return (allowed | ~allowed.any(dim=-1, keepdim=True))[:, None]


class OpenLMForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """The model with its language-model head."""

    config_class = OpenLMConfig
    base_model_prefix = "model"
    _no_split_modules = ["_Block"]  # noqa: RUF012
    _supports_sdpa = True
    _tied_weights_keys = {"model.output.weight": "model.tok_embeddings.weight"}  # noqa: RUF012

    def __init__(self, config: OpenLMConfig) -> None:
        super().__init__(config)
        self.model = _Transformer(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of tokens."""
        embedding: nn.Module = self.model.tok_embeddings
        return embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embedding of tokens."""
        self.model.tok_embeddings = value

    def get_output_embeddings(self) -> nn.Module:
        """The language-model head."""
        head: nn.Module = self.model.output
        return head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the language-model head."""
        self.model.output = new_embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, T, V) in fp32, the loss where labels (B, T) are given, and the cache where it is used.

        Args:
            input_ids: (B, T), or `inputs_embeds` (B, T, D).
            attention_mask: (B, K) over cached and new tokens, 1 where a key may be seen.
            labels: ids, -100 where ignored; shifted here.
            kwargs: `cache` or `past_key_values`, whichever name transformers has; others are of no effect.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        cache = kwargs.get("cache", kwargs.get("past_key_values"))
        if cache is None and use_cache:
            cache = DynamicCache()
        x_BTD = self.model.tok_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        hidden_BTD = self.model(x_BTD, attention_mask, cache)
        logits_BTV = self.model.output(hidden_BTD).float()
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutputWithPast(loss=loss, logits=logits_BTV, **{_CACHE: cache})
